//! `farol rules`: rule files checked, unit-tested, and tried on stored data.

mod backtest;
mod check;
mod lint;
mod test;

use std::process::ExitCode;

use crate::cli::RulesCommand;

/// Runs one of the commands.
///
/// # Errors
/// When a file cannot be read, or the server does not answer.
pub(crate) fn run(command: &RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Check(args) => check::run(args),
        RulesCommand::Test(args) => test::run(args),
        RulesCommand::Backtest(args) => backtest::run(args),
    }
}
