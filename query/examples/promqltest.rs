//! Runs scripts in Prometheus's test language: `cargo run --example promqltest -- FILE...` prints for every `eval` whether
//! it passed, and why not. With `-q` only those that failed.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;

use query::promql::testing;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quiet = arguments.iter().any(|argument| argument == "-q");
    let (mut passed, mut failed) = (0, 0);
    for path in arguments.iter().filter(|argument| *argument != "-q") {
        let run = std::fs::read_to_string(path).map_err(|error| error.to_string()).and_then(|text| testing::run(&text));
        let reports = match run {
            Ok(reports) => reports,
            Err(why) => {
                println!("FAILED {path}: {why}");
                failed += 1;
                continue;
            }
        };
        let mut failed_here = 0;
        for report in &reports {
            match &report.result {
                Ok(()) if quiet => {}
                Ok(()) => println!("passed {path}:{} {}", report.line, report.expr),
                Err(why) => {
                    println!("FAILED {path}:{} {}\n       {why}", report.line, report.expr);
                    failed_here += 1;
                }
            }
        }
        println!("{path}: {} passed, {failed_here} failed", reports.len() - failed_here);
        passed += reports.len() - failed_here;
        failed += failed_here;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
