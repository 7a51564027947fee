//! Grouping accuracy of pattern mining on the Loghub 2k sets: `pattern_accuracy FOLDER`, where the folder has
//! `<System>_2k.log_structured.csv` files. A line counts as right if exactly the lines of its true event have its pattern.
#![allow(clippy::unwrap_used, missing_docs, reason = "a measurement")]

use std::collections::{HashMap, HashSet};
use std::path::Path;

use storage::patterns::PatternMiner;

fn main() {
    let folder = std::env::args().nth(1).expect("a folder with Loghub's structured files");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with("_structured.csv"));
    files.sort();
    let accuracies: Vec<f64> = files.iter().map(|path| accuracy(path)).collect();
    println!("mean of {}: {:.4}", accuracies.len(), accuracies.iter().sum::<f64>() / accuracies.len() as f64);
}

fn accuracy(path: &Path) -> f64 {
    let bytes = std::fs::read(path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let mut records = csv(&text).into_iter();
    let header = records.next().unwrap();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (content, event) = (column("Content"), column("EventId"));
    let mut miner = PatternMiner::default();
    let lines: Vec<(u32, String)> =
        records.map(|record| (miner.line(&record[content]), record[event].clone())).collect();
    let patterns = miner.finish();
    let (mut found, mut truth) = (HashMap::<usize, Vec<usize>>::new(), HashMap::<&str, Vec<usize>>::new());
    for (at, (form, event)) in lines.iter().enumerate() {
        found.entry(patterns.of_form(*form)).or_default().push(at);
        truth.entry(event).or_default().push(at);
    }
    let truth: HashSet<Vec<usize>> = truth.into_values().collect();
    let right: usize = found.values().filter(|lines| truth.contains(*lines)).map(Vec::len).sum();
    let accuracy = right as f64 / lines.len() as f64;
    let name = path.file_name().unwrap().to_string_lossy();
    println!("{name:44} {accuracy:.3}  {} patterns, {} events", patterns.texts().len(), truth.len());
    accuracy
}

/// Records of a CSV file with quotes.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            '\r' if !quoted => {}
            c => field.push(c),
        }
    }
    records
}
