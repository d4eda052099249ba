//! The command line: what the user typed, and nothing about what it means. `--help` is the reference.
//!
//! A file for each family of commands; `values.rs` parses what stands after an option.

mod base;
mod bench;
mod dead_letters;
mod dispatch;
mod files;
mod fit;
mod guard;
mod installation;
mod local;
mod models;
mod requests;
mod roles;
mod runs;
mod segments;
mod servers;
mod values;

use clap::{Args, Parser, Subcommand, ValueEnum};
use process::telemetry;

pub use base::{GenerateArgs, LoadArgs, MigrateArgs};
pub use bench::{BenchCommand, BenchNightArgs};
pub use dead_letters::{DeadLettersArgs, DeadLettersCommand, DiscardArgs, RedriveArgs};
pub use dispatch::{DispatchArgs, TermsArgs};
pub use files::{BacktestArgs, EvaluateArgs, PredictArgs};
pub use fit::{FitArgs, SeasonChoice};
pub use guard::{DecideArgs, GuardArgs};
pub use installation::{InstallationCommand, InstallationShowArgs, NamesArgs, RenewArgs};
pub use local::LocalArgs;
pub use models::{ByArgs, ChoiceArgs, ModelShowArgs, ModelsCommand, PromoteArgs};
pub use requests::{RequestArgs, RequestShowArgs, RequestsCommand};
pub use roles::{ApiArgs, CoordinatorArgs, RoleArgs, WorkerArgs};
pub use runs::{ListArgs, MovedArgs, RunArgs, RunsCommand, ShowArgs, WatchArgs};
pub use segments::{SegmentHistoryArgs, SegmentsCommand, SegmentsListArgs};
pub use servers::{BrokerArgs, CacheArgs, DatabaseArgs};
pub use values::ModelArg;

/// Recalculates the customer lifetime value of a whole customer base every night.
#[derive(Debug, Parser)]
#[command(name = "ltv", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How it tells about itself.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or update the schema
    Migrate(MigrateArgs),
    /// Load customers and transactions from CSV files, gzipped or not
    Load(LoadArgs),
    /// Generate customers and transactions from the models' own generative process
    Generate(GenerateArgs),
    /// Fit the models to the histories, store a model version and promote it; or one model to a file, without a server
    Fit(FitArgs),
    /// Predict what the customers of a file will do, from a model that was fitted to a file
    Predict(PredictArgs),
    /// Evaluate a model at the points of a file, where every row has its own parameters
    Evaluate(EvaluateArgs),
    /// Hold forecasts against what came: several origins, several models, one champion; needs no server
    Backtest(BacktestArgs),
    /// Value a whole base in this one process, from files into a file; needs no server and keeps nothing else
    Local(LocalArgs),
    /// Plan a run and publish its chunks
    Dispatch(DispatchArgs),
    /// Take chunks, compute their values, commit them
    Worker(WorkerArgs),
    /// Watch runs: publish what was lost, rescue, retry, finish
    Coordinator(CoordinatorArgs),
    /// Answer over HTTP what the other commands can say
    Api(ApiArgs),
    /// Look at runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Look at urgent requests, and leave one
    #[command(subcommand)]
    Requests(RequestsCommand),
    /// Tell what the segments of a run come to, or one of them in the runs before
    #[command(subcommand)]
    Segments(SegmentsCommand),
    /// Look at what could not be done, and put it back to work
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Look at model versions, and choose the one that runs pin
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Look at the identity of this installation, and renew it after a restore
    #[command(subcommand)]
    Installation(InstallationCommand),
    /// Measure a night against the floor under it
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// How a process tells about itself.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// How log lines look, on standard error
    #[arg(long, env = "LTV_LOG_FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,

    /// Which log lines: a level, or directives such as `info,store=debug`
    #[arg(long, env = "LTV_LOG", default_value = "info", global = true)]
    pub log: String,

    /// Where traces go, by OTLP over gRPC; nowhere unless set
    #[arg(long, env = "LTV_OTLP_ENDPOINT", value_name = "URL", global = true)]
    pub otlp_endpoint: Option<String>,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: short lines, coloured on a terminal.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl From<LogFormat> for telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
