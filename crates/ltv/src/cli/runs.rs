//! `ltv runs …`

use std::time::Duration;

use batch::RunId;
use clap::{Args, Subcommand};

use super::values::duration;
use super::{DatabaseArgs, DecideArgs};

/// `ltv runs …`
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List the latest runs
    List(ListArgs),
    /// Show a run, or explain one customer's value in it
    Show(ShowArgs),
    /// Tell what moved since the run before, and why
    Moved(MovedArgs),
    /// Follow a run until it is over or held; exit code 0 only if it is finished
    Watch(WatchArgs),
    /// Stop a run; its values never become visible
    Cancel(RunArgs),
    /// Have a run shown that is held because it lies far from the run before
    Release(DecideArgs),
    /// Drop a run that is held; its night can be dispatched again
    Reject(DecideArgs),
}

/// A listing.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct ListArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `ltv runs show`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct ShowArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run; the latest finished one unless given
    pub run: Option<RunId>,

    /// Explain this customer's value, by its number or its external id
    #[arg(long, value_name = "ID")]
    pub customer: Option<String>,

    /// How many of the most valuable customers
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: u32,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `ltv runs moved`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct MovedArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run; the latest finished one unless given
    pub run: Option<RunId>,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `ltv runs watch`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct WatchArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run; the latest one unless given
    pub run: Option<RunId>,

    /// How long after its deadline the run is waited for; it goes on when this command is over
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    pub give_up: Duration,
}

/// A run.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct RunArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run
    pub run: RunId,
}
