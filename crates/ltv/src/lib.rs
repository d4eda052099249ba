//! The one binary: configuration, wiring, output, and a subcommand for each role and question.
//!
//! Look first at [`cli`] (what can be typed) and then at the file of the same name in `command/`.

pub mod cli;
pub mod generate;
pub mod load;

mod bench;
mod command;
mod config;
mod output;

use std::process::ExitCode;

use clap::Parser;
use resilience::InvalidConfig;

use cli::Cli;

/// Parses the command line, does what it says, and turns the result into an exit code: 0 done, 1 failed,
/// 2 wrong use.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let result = runtime.block_on(command::run(cli));
    // Whoever is left on a thread of his own was given up, and may never end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("ltv: {error:#}");
    ExitCode::from(exit_code(error))
}

/// A setting that can never work is wrong use, like an option that cannot be read.
fn exit_code(error: &anyhow::Error) -> u8 {
    let is_wrong_use = error.chain().any(|cause| {
        let of_queue = cause.downcast_ref::<queue::Error>();
        cause.is::<InvalidConfig>() || matches!(of_queue, Some(queue::Error::Configuration(_)))
    });
    if is_wrong_use { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_used_is_wrong_use_and_a_server_that_is_away_a_failure() {
        let unusable = InvalidConfig::url("database URL", "it names no host", "postgres://host/database");

        assert_eq!(exit_code(&anyhow::Error::from(unusable.clone()).context("migrate")), 2);
        assert_eq!(exit_code(&queue::Error::from(unusable).into()), 2);
        assert_eq!(exit_code(&anyhow::anyhow!("connection refused").context("migrate")), 1);
    }
}
