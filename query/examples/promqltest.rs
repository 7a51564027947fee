//! Runs test scripts in Prometheus's language: `cargo run -p farol-query --example promqltest FILE...`. Says what failed,
//! and how many evaluations passed.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use query::Budget;
use query::budget::MemoryPool;
use query::promql::testing::{evaluate, run};

fn main() -> ExitCode {
    let pool = match rayon::ThreadPoolBuilder::new().build() {
        Ok(pool) => pool,
        Err(error) => {
            println!("no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let memory = MemoryPool::new(4 << 30, 4 << 30);
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for path in std::env::args().skip(1) {
        let budget = || Budget::new(&memory, Duration::from_secs(60));
        let reports = std::fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|script| {
            run(&script, &|source, expr, text, times| evaluate(source, expr, text, times, &pool, &budget()))
        });
        match reports {
            Err(why) => {
                println!("{path}: {why}");
                failed += 1;
            }
            Ok(reports) => {
                for report in reports {
                    match report.result {
                        Ok(()) => passed += 1,
                        Err(why) => {
                            println!("{path}:{}: {}\n    {why}", report.line, report.expr);
                            failed += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
