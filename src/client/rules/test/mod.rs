//! `farol rules test`: promtool's unit tests of rules, and their twin for LogQL. No server is needed.
//!
//! Flow: YAML (`yaml`) -> samples and lines (`lab`, `lines`) -> rules, evaluated as the server would (`rules`) -> what fires
//! and what expressions give, compared with what is expected (`case`).

mod case;
mod lab;
mod lines;
mod rules;
mod yaml;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use regex::Regex;

use super::check::read;
use crate::alert::rule::{Language, RuleGroup, parse_file};
use crate::cli::RulesTestArgs;
use yaml::FileYaml;

/// Runs the tests of every file.
///
/// # Errors
/// When a file cannot be read, or `--run` is no expression.
pub(crate) fn run(args: &RulesTestArgs) -> anyhow::Result<ExitCode> {
    let names = args.run.iter().map(|name| Regex::new(name)).collect::<Result<Vec<_>, _>>().context("--run")?;
    let mut failed = false;
    for file in &args.files {
        println!("Unit Testing:  {}", file.display());
        let text = read(file)?;
        match run_file(file, &text, &names, args.language.into()) {
            Ok(()) => println!("  SUCCESS\n"),
            Err(errors) => {
                failed = true;
                println!("  FAILED:");
                errors.iter().for_each(|error| eprintln!("{error}\n"));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs the tests of a file.
///
/// # Errors
/// All that went otherwise than expected.
fn run_file(path: &Path, text: &str, names: &[Regex], language: Language) -> Result<(), Vec<String>> {
    let file: FileYaml = serde_saphyr::from_str(text)
        .map_err(|error| vec![format!("{}: {}", path.display(), error.without_snippet())])?;
    let groups = groups(path, &file, language)?;
    let mut errors = Vec::new();
    for test in file.tests.iter().filter(|test| names.is_empty() || names.iter().any(|name| name.is_match(&test.name)))
    {
        errors.extend(case::run(test, &file, &groups));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The groups of the rule files, in the order in which they are to be evaluated.
fn groups(path: &Path, file: &FileYaml, language: Language) -> Result<Vec<RuleGroup>, Vec<String>> {
    let mut order = HashMap::new();
    for (at, name) in file.group_eval_order.iter().enumerate() {
        if order.insert(name.as_str(), at).is_some() {
            return Err(vec![format!("group name repeated in evaluation order: {name}")]);
        }
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut groups, mut errors) = (Vec::new(), Vec::new());
    for pattern in &file.rule_files {
        let pattern = folder.join(pattern).display().to_string();
        let found: Vec<_> = glob::glob(&pattern).map_err(|error| vec![error.to_string()])?.flatten().collect();
        if found.is_empty() {
            eprintln!("  WARNING: no file match pattern {pattern}");
        }
        for rules in found {
            let name = rules.display().to_string();
            match std::fs::read_to_string(&rules) {
                Err(error) => errors.push(format!("{name}: {error}")),
                Ok(text) => match parse_file(&text, &name, language) {
                    Ok(found) => groups.extend(found),
                    Err(mistakes) => errors.push(mistakes.to_string()),
                },
            }
        }
    }
    groups.sort_by_key(|group: &RuleGroup| order.get(group.key.name.as_str()).copied().unwrap_or(0));
    if errors.is_empty() { Ok(groups) } else { Err(errors) }
}

#[cfg(test)]
mod tests;
