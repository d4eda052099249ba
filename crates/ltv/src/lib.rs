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
mod stdout;

use std::process::ExitCode;

use clap::Parser;
use process::Interrupted;
use resilience::InvalidConfig;

use cli::Cli;
use stdout::{Unsaid, note};

/// Parses the command line, does what it says, and turns the result into an exit code: 0 done, 1 failed,
/// 2 wrong use, 128 and more ended by a signal.
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

/// What a shell says of a program that was ended because nobody read its output: 128 and the number of SIGPIPE.
const SIGPIPE_CODE: u8 = 128 + 13;

fn failed(error: &anyhow::Error) -> ExitCode {
    // Whoever closed the pipe has read enough, and is not told that we noticed.
    if !matches!(error.downcast_ref(), Some(Unsaid::Closed)) {
        note!("ltv: {error:#}");
    }
    ExitCode::from(exit_code(error))
}

/// A setting that can never work is wrong use, like an option that cannot be read.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return interrupted.exit_code();
    }
    if let Some(Unsaid::Closed) = error.downcast_ref() {
        return SIGPIPE_CODE;
    }
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
