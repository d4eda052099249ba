//! `ltv segments …`

use batch::RunId;
use clap::{Args, Subcommand};

use super::DatabaseArgs;

/// `ltv segments …`
#[derive(Debug, Subcommand)]
pub enum SegmentsCommand {
    /// Tell what each segment of a run comes to
    List(SegmentsListArgs),
    /// Tell what a segment came to in the latest runs, each with the customers that it had then
    History(SegmentHistoryArgs),
}

/// `ltv segments list`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct SegmentsListArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run; the latest one over the whole base that has figures unless given
    #[arg(long, value_name = "RUN")]
    pub run: Option<RunId>,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `ltv segments history`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct SegmentHistoryArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The segment; all customers unless given
    #[arg(conflicts_with = "without_segment")]
    pub name: Option<String>,

    /// The customers who were in no segment
    #[arg(long)]
    pub without_segment: bool,

    /// Also of runs over a part of the base
    #[arg(long)]
    pub partial: bool,

    /// How many runs, the latest
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub limit: u32,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
