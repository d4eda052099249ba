//! `ltv requests …`

use batch::RequestId;
use clap::{Args, Subcommand};

use super::DatabaseArgs;

/// `ltv requests …`
#[derive(Debug, Subcommand)]
pub enum RequestsCommand {
    /// Show where an urgent request stands, and what was answered
    Show(RequestShowArgs),
    /// Leave a request that nobody is at work on
    Abandon(RequestArgs),
}

/// `ltv requests show`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct RequestShowArgs {
    #[command(flatten)]
    pub request: RequestArgs,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// A request.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct RequestArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The request
    pub request: RequestId,
}
