//! `farol rules check`: every mistake of rule files with its line, and what is right but not meant so.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::lint;
use crate::alert::rule::{Language, Mistakes, RuleGroup, expand_file, parse_file};
use crate::cli::{RulesCheckArgs, RulesLanguage};

/// What a lint finding ends the program with, if it is to: promtool's code.
const LINT_FAILED: u8 = 3;

/// Checks files, and says of each how many rules it has or what is wrong.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn run(args: &RulesCheckArgs) -> anyhow::Result<ExitCode> {
    let (mut failed, mut linted) = (false, false);
    let mut all = Vec::new();
    for file in &args.files {
        let text = read(file)?;
        let namespace = file.display().to_string();
        if args.expand {
            match expand_file(&text, &namespace, args.language.into()) {
                Ok(expanded) => print!("{expanded}"),
                Err(mistakes) => failed |= tell(&mistakes),
            }
            continue;
        }
        println!("Checking {namespace}");
        match parse_file(&text, &namespace, args.language.into()) {
            Ok(groups) => {
                let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
                println!("  SUCCESS: {rules} rules found\n");
                all.extend(groups);
            }
            Err(mistakes) => {
                println!("  FAILED:");
                failed |= tell(&mistakes);
                println!();
            }
        }
    }
    if !args.no_lint && !args.expand {
        linted = report(&all);
    }
    Ok(match (failed, linted && args.lint_fatal) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(LINT_FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// The text of a file; `-` is standard input.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn tell(mistakes: &Mistakes) -> bool {
    for mistake in &mistakes.0 {
        eprintln!("{mistake}");
    }
    !mistakes.0.is_empty()
}

/// Prints what the lints find; true if it is anything.
fn report(groups: &[RuleGroup]) -> bool {
    let findings = lint::findings(groups);
    for finding in &findings {
        println!("{finding}");
    }
    !findings.is_empty()
}

impl From<RulesLanguage> for Language {
    fn from(language: RulesLanguage) -> Self {
        match language {
            RulesLanguage::Promql => Self::Promql,
            RulesLanguage::Logql => Self::Logql,
            RulesLanguage::Sql => Self::Sql,
        }
    }
}
