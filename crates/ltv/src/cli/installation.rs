//! `ltv installation …`

use clap::{Args, Subcommand};

use super::{ByArgs, DatabaseArgs};

/// `ltv installation …`
#[derive(Debug, Subcommand)]
pub enum InstallationCommand {
    /// Show the identity, the names of its queues and keys, and the identities before it
    Show(InstallationShowArgs),
    /// Give it another identity, after a restore: nothing in queues and caches is read again
    Renew(RenewArgs),
}

/// `ltv installation show`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct InstallationShowArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub names: NamesArgs,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `ltv installation renew`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct RenewArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub names: NamesArgs,

    #[command(flatten)]
    pub by: ByArgs,

    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// What names begin with.
#[derive(Clone, Debug, Args)]
pub struct NamesArgs {
    /// What the names of queues begin with
    #[arg(long, env = "LTV_QUEUE_PREFIX", value_name = "NAME", default_value = "ltv")]
    pub queue_prefix: String,

    /// What the names of keys begin with
    #[arg(long, env = "LTV_CACHE_PREFIX", value_name = "NAME", default_value = "ltv")]
    pub cache_prefix: String,
}
