//! `ltv bench …`

use clap::{Args, Subcommand};

use super::{BrokerArgs, CacheArgs, DatabaseArgs};

/// `ltv bench …`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure the floor, then full nights, in one run on one stack
    Night(BenchNightArgs),

    /// Ask an api for values at given rates, on an idle fleet or during nights, and measure how long the answers take
    Requests(BenchRequestsArgs),
}

/// The base and the fleet that are measured.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct BenchFleetArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    #[command(flatten)]
    pub cache: CacheArgs,

    /// Customers of the generated base
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub customers: u32,

    /// Transactions of a customer, on average
    #[arg(long, value_name = "M", default_value_t = 10.0)]
    pub transactions: f64,

    /// Generate no subscriptions and acquisition costs: customers who only buy
    #[arg(long)]
    pub no_subscriptions: bool,

    /// Worker processes, and lanes of the floor
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,

    /// Chunks at work at a time in a worker
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub slots: u16,

    /// Customers in a chunk of average work
    #[arg(long, value_name = "N", default_value_t = batch::PlanPolicy::default().chunk_customers)]
    pub chunk_customers: u32,

    /// A server process to account for, as name=pid; may be given more than once
    #[arg(long, value_name = "NAME=PID", value_parser = server)]
    pub server: Vec<(String, u32)>,

    /// Print one JSON document and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}

/// `ltv bench night`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct BenchNightArgs {
    #[command(flatten)]
    pub fleet: BenchFleetArgs,

    /// Measured nights, after one to warm up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub nights: u16,
}

/// `ltv bench requests`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct BenchRequestsArgs {
    #[command(flatten)]
    pub fleet: BenchFleetArgs,

    /// Let one night follow another while fresh values are asked for, and say by how much that slows them
    #[arg(long)]
    pub during_night: bool,

    /// Fresh values asked for in a second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,

    /// Known values asked for in a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub cached_rate: u32,

    /// How long each rate is kept up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::values::duration)]
    pub lasting: std::time::Duration,

    /// How many are asked for at once, known ones and fresh ones
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub at_once: u32,
}

fn server(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text.split_once('=').ok_or("expected name=pid")?;
    Ok((name.to_owned(), pid.parse().map_err(|_| "expected a process id after the =")?))
}
