//! How far a run may lie from the one before, and what a person says about a run that is held.

use batch::{Limits, RunId, Share};
use clap::Args;

use super::DatabaseArgs;

/// How far a run may lie from the run before; beyond that it is held.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Guard")]
pub struct GuardArgs {
    /// Hold the run if so large a share of its customers is rejected beyond what the run before leads one to expect; 1 is
    /// no limit
    #[arg(long, env = "LTV_MAX_REJECTED_RISE", value_name = "SHARE", default_value_t = Limits::default().rejected_rise)]
    pub max_rejected_rise: Share,

    /// Hold the run if its customers, the transactions read, or its value are less by so large a share than those of the
    /// run before, or these less than its own; 1 is no limit
    #[arg(long, env = "LTV_MAX_CHANGE", value_name = "SHARE", default_value_t = Limits::default().change)]
    pub max_change: Share,

    /// Hold no run for so few customers or transactions
    #[arg(long, env = "LTV_GUARD_FLOOR", value_name = "N", default_value_t = Limits::default().floor)]
    pub guard_floor: u64,
}

impl GuardArgs {
    pub(crate) fn limits(&self) -> Limits {
        let Self { max_rejected_rise, max_change, guard_floor } = *self;
        Limits { rejected_rise: max_rejected_rise, change: max_change, floor: guard_floor }
    }
}

/// `ltv runs release` and `ltv runs reject`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct DecideArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run
    pub run: RunId,

    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// Who decides, for the record; the database's user unless given
    #[arg(long, env = "LTV_BY", value_name = "NAME")]
    pub by: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
