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
    // The command line takes any text for a URL, and whoever is to use it finds that it is none.
    if error.is::<InvalidConfig>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
