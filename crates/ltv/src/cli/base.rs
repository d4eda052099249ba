//! What makes the database and a customer base: `ltv migrate`, `load` and `generate`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use resilience::ServerUrl;

use super::DatabaseArgs;
use super::values::moment;

/// `ltv migrate`
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented by its type")]
    pub database: DatabaseArgs,
}

/// `ltv load`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("files").required(true).multiple(true))]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct LoadArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// CSV with the columns customer_id, external_id, segment, acquired_at
    #[arg(long, value_name = "FILE", group = "files")]
    pub customers: Option<PathBuf>,

    /// CSV with the columns transaction_id, customer_id, occurred_at, currency, and amount or amount_minor
    #[arg(long, value_name = "FILE", group = "files")]
    pub transactions: Option<PathBuf>,

    /// CSV with the columns customer_id, plan, period_months, started_at, ended_at, currency, end_reason, and price or
    /// price_minor; ended_at and end_reason may be empty. A row that is in the database without an end, with the same
    /// price, gets the end that the file has; any other row that is there already is rejected as a duplicate
    #[arg(long, value_name = "FILE", group = "files")]
    pub subscriptions: Option<PathBuf>,

    /// CSV with the columns customer_id, currency, and cost or cost_minor
    #[arg(long, value_name = "FILE", group = "files")]
    pub acquisition_costs: Option<PathBuf>,

    /// Where rejected rows go, with line number and reason
    #[arg(long, value_name = "FILE", default_value = "rejects.csv")]
    pub rejects: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `ltv generate`
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// How many customers
    #[arg(long, value_name = "N", default_value_t = 250_000)]
    pub customers: u32,

    /// Transactions of a customer, on average; as the CDNOW parameters have it unless given
    #[arg(long, value_name = "M")]
    pub transactions: Option<f64>,

    /// The same seed gives the same base, on every machine
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// The moment up to which histories go
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "1998-07-01")]
    pub as_of: Timestamp,

    /// How many weeks before that the first customer comes
    #[arg(long, value_name = "N", default_value_t = 78)]
    pub weeks: u32,

    /// The first customer's number
    #[arg(long, value_name = "ID", default_value_t = 1_000_001)]
    pub first_customer: i64,

    /// The first transaction's number
    #[arg(long, value_name = "ID", default_value_t = 1_000_001)]
    pub first_transaction: i64,

    /// Leave subscriptions and acquisition costs out; customers and transactions are the same without
    #[arg(long)]
    pub no_subscriptions: bool,

    /// Write customers.csv, transactions.csv, subscriptions.csv and acquisition_costs.csv into this folder
    #[arg(long, value_name = "FOLDER", required_unless_present = "into")]
    pub out: Option<PathBuf>,

    /// Copy straight into the source tables of this database instead
    #[arg(long, value_name = "URL", conflicts_with = "out")]
    pub into: Option<ServerUrl>,
}
