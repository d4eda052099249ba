//! `ltv models …`, and who chooses the model version that runs pin.

use clap::{Args, Subcommand};

use super::{DatabaseArgs, ListArgs};

/// `ltv models …`
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List model versions, and which one is promoted
    List(ListArgs),
    /// Show a model version: parameters, fit, data, when it was promoted, the runs that pinned it
    Show(ModelShowArgs),
    /// Make a model version the one that the next run pins; runs that are planned keep theirs
    Promote(PromoteArgs),
    /// Return to the model version that was promoted before; once more, and it goes further back
    RollBack(ChoiceArgs),
}

/// `ltv models show`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct ModelShowArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The model version; the promoted one unless given
    #[arg(value_name = "VERSION")]
    pub model_version: Option<i64>,

    /// How many promotions and how many runs, the latest of each
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `ltv models promote`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct PromoteArgs {
    /// The model version
    #[arg(value_name = "VERSION")]
    pub model_version: i64,

    #[command(flatten)]
    pub choice: ChoiceArgs,
}

/// `ltv models roll-back`, and `promote` beside its version
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct ChoiceArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub by: ByArgs,

    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Who chooses the model version that runs pin.
#[derive(Clone, Debug, Args)]
pub struct ByArgs {
    /// Who promotes, for the history; the database's user unless given
    #[arg(long, env = "LTV_BY", value_name = "NAME")]
    pub by: Option<String>,
}
