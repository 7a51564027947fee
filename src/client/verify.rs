//! `farol verify`: is everything in a data folder as it was written?

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::VerifyArgs;
use crate::config::Size;

/// Prints what was checked and every problem; fails if there is one.
///
/// # Errors
/// When the folder cannot be checked: a server has it open, or it is none.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the async runtime")?;
    let report = runtime.block_on(storage::verify(&args.data))?;
    for problem in &report.problems {
        println!("{}: {}", problem.path.display(), problem.what);
    }
    println!(
        "{} segments with {} records ({}), {} records in {} batches of the journal, {} unfinished bytes at its end",
        report.segments,
        report.rows,
        Size(report.segment_bytes),
        report.journal_records,
        report.journal_batches,
        report.torn_bytes
    );
    match report.problems.len() {
        0 => println!("all is well"),
        1 => println!("1 problem"),
        count => println!("{count} problems"),
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
