//! `ltv dead-letters …`

use clap::{Args, Subcommand};

use super::{BrokerArgs, DatabaseArgs, ListArgs, RunArgs};

/// `ltv dead-letters …`
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List dead chunks, and messages that made no sense or came back too often
    List(DeadLettersArgs),
    /// Put a run's dead chunks back to work; those of a finished run as a run of their own
    Redrive(RedriveArgs),
    /// Throw away all messages among the dead letters; dead chunks stay
    Discard(DiscardArgs),
}

/// `ltv dead-letters list`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct DeadLettersArgs {
    #[command(flatten)]
    pub list: ListArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// `ltv dead-letters redrive`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct RedriveArgs {
    #[command(flatten)]
    pub run: RunArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// `ltv dead-letters discard`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct DiscardArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,
}
