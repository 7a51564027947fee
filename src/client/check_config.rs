//! `farol check-config`: everything that is wrong with the configuration, at once.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::CheckConfigArgs;
use crate::config;

/// Prints what is wrong, or the configuration that results.
///
/// # Errors
/// When the configuration cannot be printed.
pub(crate) fn run(args: &CheckConfigArgs) -> anyhow::Result<ExitCode> {
    let machine_bytes = config::memory_total_bytes();
    let file = args.serve.config.as_deref();
    let loaded = match config::load(file, std::env::vars(), &args.serve.settings(), machine_bytes) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if args.print {
        print!("{}", toml::to_string(&loaded.config).context("print the configuration")?);
        return Ok(ExitCode::SUCCESS);
    }
    for name in loaded.ignored_variables {
        println!("note: the environment variable {name} sets nothing");
    }
    println!("the configuration is right");
    Ok(ExitCode::SUCCESS)
}
