//! The command line: what the user typed, and nothing about what it means. `--help` is the reference.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use batch::{Priority, RunId};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use model::backtest::ContenderKind;
use model::{Currency, ParameterError, ValueTerms};
use resilience::ServerUrl;
use worker::FaultPlan;

use crate::models::ModelName;
use crate::telemetry::LogFormat;

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
    /// Look at runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Look at what could not be done, and put it back to work
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Look at model versions, and choose the one that runs pin
    #[command(subcommand)]
    Models(ModelsCommand),
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

/// Where the database is.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArgs {
    /// PostgreSQL, as postgres://user:password@host:port/database
    #[arg(long, env = "LTV_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: ServerUrl,

    /// How long reading or committing a chunk, or cutting a plan, may take; more for a slow source
    #[arg(long, env = "LTV_BULK_LIMIT", value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub bulk_limit: Duration,
}

impl FitArgs {
    /// The database, where the models are fitted to it.
    pub(crate) fn database(&self) -> Option<DatabaseArgs> {
        let database_url = self.database_url.clone()?;
        Some(DatabaseArgs { database_url, bulk_limit: self.bulk_limit })
    }
}

/// Where the broker is.
#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// RabbitMQ, as amqp://user:password@host:port/vhost
    #[arg(long, env = "LTV_AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub amqp_url: ServerUrl,

    /// What the names of queues begin with
    #[arg(long, env = "LTV_QUEUE_PREFIX", value_name = "NAME", default_value = "ltv")]
    pub queue_prefix: String,
}

/// Where the cache is.
#[derive(Clone, Debug, Args)]
pub struct CacheArgs {
    /// Redis, as redis://user:password@host:port
    #[arg(long, env = "LTV_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: ServerUrl,

    /// What the names of keys begin with
    #[arg(long, env = "LTV_CACHE_PREFIX", value_name = "NAME", default_value = "ltv")]
    pub cache_prefix: String,
}

/// What every role has.
#[derive(Clone, Debug, Args)]
pub struct RoleArgs {
    /// Its name in logs and in the store, unique for each process that ever lived; made up unless given
    #[arg(long, env = "LTV_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,

    /// Where /healthz, /readyz and /metrics are served; port 0 takes a free one
    #[arg(long, env = "LTV_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

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

/// `ltv fit`
#[derive(Debug, Args)]
#[command(after_long_help = FIT_FILES)]
pub struct FitArgs {
    /// PostgreSQL, as postgres://user:password@host:port/database; not asked where there is --input
    #[arg(
        long,
        env = "LTV_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        required_unless_present = "input"
    )]
    pub database_url: Option<ServerUrl>,

    /// How long reading a page of histories may take; more for a slow source
    #[arg(long, env = "LTV_BULK_LIMIT", value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub bulk_limit: Duration,

    /// Look at nothing at or after this moment; the present one unless given, or the end of a file's last day
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// The currency of the transactions; customers with another one are left out
    #[arg(long, value_parser = currency, default_value = "USD")]
    pub currency: Currency,

    /// Store the model version and leave the promoted one in force; without it, the new one is what the next run
    /// pins. While none was ever promoted, a run pins the latest
    #[arg(long)]
    pub no_promote: bool,

    /// Promote the model version even if it is too far from the one in force; without it, such a one is stored and not
    /// promoted, and the command fails
    #[arg(long, conflicts_with = "input")]
    pub accept_breaches: bool,

    /// Whether purchases follow the weeks of the year: then the season is estimated first, from two years at least, and
    /// the purchases are fitted in its time
    #[arg(long, value_enum, value_name = "HOW", default_value_t, conflicts_with = "input")]
    pub season: SeasonChoice,

    /// Who promotes it
    #[command(flatten)]
    pub by: ByArgs,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// Fit this model to --input, and nothing to the database
    #[arg(long, value_name = "NAME", requires_all = ["input", "out"], help_heading = FILE_FORM)]
    pub model: Option<ModelName>,

    /// CSV, gzipped or not: transactions, a summary of customers, or counts of contracts; see below
    #[arg(long, value_name = "FILE", requires_all = ["model", "out"], help_heading = FILE_FORM)]
    pub input: Option<PathBuf>,

    /// Fit a model to each segment too, whose name stands in this column; segments of fewer than 300 customers have the
    /// parameters of all, and those of bg_nbd and gamma_gamma stay the nearer to them the smaller they are
    #[arg(long, value_name = "COLUMN", requires = "input", help_heading = FILE_FORM)]
    pub segment_column: Option<String>,

    /// Where the fitted model goes, as JSON
    #[arg(long, value_name = "FILE", requires = "input", help_heading = FILE_FORM)]
    pub out: Option<PathBuf>,
}

/// Where the season of a fit comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SeasonChoice {
    /// Every week is like any other
    #[default]
    None,
    /// From the purchases of all customers
    Estimate,
}

const FILE_FORM: &str = "To a file, without a server";

const FIT_FILES: &str = "\
What --input may hold, its columns in any order, further ones ignored:

  transactions        customer_id (or external_id), occurred_at, amount (or amount_minor), [currency],
                      as `ltv load` reads them, for the models of purchases and of spend
  customers           x, t_x, T (or frequency, recency, T), times in weeks, for bg_nbd, mbg_nbd, pareto_nbd;
                      x, zbar for gamma_gamma; [weights] (weight, customers, donors, count): how many are like this
  opportunities       x, t_x, n (or frequency, recency, periods), [weights], for bg_bb
  contracts           for sbg and bdw, period, survivors: customers left after so many renewals, 0 for the start,
                      [cohort]; or period, churned, active: customers lost at that renewal, and customers
                      still there who have made so many renewals and not yet faced another

The document has model, parameters and standard_errors by name, log_likelihood, gradient_norm, customers and
converged; with --segment-column, the same for each segment, and weight_of_parent: how much of its parameters is
that of all customers, 0 for nothing, 1 for everything.";

/// `ltv predict`
#[derive(Debug, Args)]
#[command(after_long_help = PREDICT_FILES)]
pub struct PredictArgs {
    /// The model, as `ltv fit --input` wrote it
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,

    /// A fitted gamma_gamma beside a model of purchases: adds the spend
    #[arg(long, value_name = "FILE")]
    pub spend_model: Option<PathBuf>,

    /// Customers, as `ltv fit --input` reads them; for sbg and bdw a column n, the coming renewal
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Where the rows go, with the predictions behind their columns
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// How much of the future counts: weeks such as 52w, days such as 365d, or a plain number of the model's
    /// periods (weeks, opportunities, renewals)
    #[arg(long, value_name = "TIME", value_parser = horizon, default_value = "52w")]
    pub horizon: Horizon,

    /// The yearly discount rate: 0.15 is 15 %
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "0.15")]
    pub annual_discount_rate: f64,

    /// Opportunities or renewals in a year, for the models that count them
    #[arg(long, value_name = "N", value_parser = above_zero, default_value = "1")]
    pub periods_per_year: f64,

    /// For transactions: look at nothing at or after this moment; the end of the last day unless given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// For transactions: their currency; customers with another one are left out
    #[arg(long, value_parser = currency, default_value = "USD")]
    pub currency: Currency,
}

const PREDICT_FILES: &str = "\
What is predicted, column by column:

  bg_nbd, mbg_nbd, pareto_nbd   p_alive, cet (purchases over the horizon), det (the same, discounted),
                                dert (discounted, for ever), var_y (variance of the purchases), p_zero (no purchase);
                                with --spend-model: mean_spend, expected_spend (cet x mean_spend),
                                value (det x mean_spend)
  gamma_gamma                   mean_spend, var_mean_spend
  bg_bb                         p_alive (at the next opportunity), cet, det, dert
  sbg                           retention (at the coming renewal), expected_renewals and discounted_renewals
                                (over the horizon), derl (discounted, for ever), mean_churn
  bdw                           retention, expected_renewals, discounted_renewals

A quantity that is infinite is written `inf`.";

/// `ltv evaluate`
#[derive(Debug, Args)]
#[command(after_long_help = EVALUATE_FILES)]
pub struct EvaluateArgs {
    /// The model; rows that name another one in a column `model` are left empty
    #[arg(long, value_name = "NAME")]
    pub model: ModelName,

    /// CSV, gzipped or not: the points, each with its parameters
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Where the same rows go, with the model's quantities under their names
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

const EVALUATE_FILES: &str = "\
What --input holds, and what is computed:

  bg_nbd, mbg_nbd, pareto_nbd   r, alpha, a_or_s (a, s), b_or_beta (b, beta); x, t_x, T, t, delta
                                -> log_lik, p_alive, ln_p_alive, ln_p_dead, cet, det, dert, var_y, p_zero
  the same with p, q, v, zbar   -> pmf0, pmf1, pmf2, mean_y, var_y, mean_spend_total, var_spend_total,
                                   y_q05, v_q05, y_q50, v_q50, y_q95, v_q95, and further levels that the
                                   input has columns for, such as v_q995
  gamma_gamma                   p, q, v; x, zbar
                                -> mean_spend, var_mean_spend, log_lik, post_shape, post_scale
  bg_bb                         alpha, beta, gamma, delta; x, t_x, n, n_star, d
                                -> log_lik, p_alive_n, p_alive_n_plus_1, cet_n_star, dert
  sbg                           alpha, beta; n, d
                                -> survival_n, retention_n, pmf_n, del_d, derl_n_d, derl12_n_d,
                                   post_mean_churn, post_sd_churn
  bdw                           alpha, beta, bdw_c; n -> bdw_survival_n, bdw_retention_n

A computed column takes the place of one with its name, or follows the others. Times are weeks, delta and d are
rates per week and per period. An infinite quantity is written `inf`, and one below 1e-320 may be 0.0.";

/// `ltv backtest`
#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// CSV as `ltv load` takes it, with the columns transaction_id, customer_id, occurred_at, currency, and amount or
    /// amount_minor
    #[arg(long, value_name = "FILE")]
    pub transactions: PathBuf,

    /// CSV as `ltv load` takes it; from it come the segments, and without it there is one
    #[arg(long, value_name = "FILE")]
    pub customers: Option<PathBuf>,

    /// How often histories are cut into what was known and what came
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=24))]
    pub origins: u32,

    /// How far is forecast from each origin, in weeks
    #[arg(long, value_name = "WEEKS", value_parser = weeks, default_value = "52w")]
    pub horizon: u32,

    /// Which models take part
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', value_parser = contender,
          default_value = "bg_nbd,mbg_nbd,pareto_nbd")]
    pub models: Vec<ContenderKind>,

    /// The model that the others must beat
    #[arg(long, value_name = "NAME", value_parser = contender, default_value = "bg_nbd")]
    pub champion: ContenderKind,

    /// Look at nothing at or after this moment; the midnight after the last transaction unless given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// The currency of the transactions; customers with another one are left out
    #[arg(long, value_parser = currency, default_value = "USD")]
    pub currency: Currency,

    /// The same seed gives the same bootstrap intervals, on every machine
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Write one JSON document into this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a page with all plots into this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// `ltv dispatch`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("selection").required(true))]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub struct DispatchArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    /// Value the whole base
    #[arg(long, group = "selection")]
    pub all: bool,

    /// Value everybody in a segment
    #[arg(long, value_name = "NAME", group = "selection")]
    pub segment: Option<String>,

    /// Value the customers whose numbers are in this file, one a line
    #[arg(long, value_name = "FILE", group = "selection")]
    pub customers: Option<PathBuf>,

    /// How urgently: critical, high or normal
    #[arg(long, default_value = "normal")]
    pub priority: Priority,

    /// How long it may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m")]
    pub deadline: Duration,

    /// Value the customers as of this moment; the present one unless given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// Value with this model version; the promoted one unless given
    #[arg(long, value_name = "N")]
    pub model_version: Option<i64>,

    #[command(flatten)]
    pub terms: TermsArgs,

    /// Customers in a chunk of average work
    #[arg(long, value_name = "N", default_value_t = batch::PlanPolicy::default().chunk_customers)]
    pub chunk_customers: u32,

    /// Make another run even if the night has one
    #[arg(long)]
    pub again: bool,

    /// Wait until the run is finished, with a progress bar on a terminal
    #[arg(long)]
    pub wait: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What the money of a value is.
#[derive(Clone, Copy, Debug, Args)]
pub struct TermsArgs {
    /// The yearly discount rate: 0.15 is 15 %
    #[arg(long, value_name = "RATE", default_value_t = model::ValueTerms::default().annual_discount_rate())]
    pub discount_rate: f64,

    /// The share of spend that stays with the business: 0.12 where suppliers pay a commission of 12 %
    #[arg(long, value_name = "SHARE", default_value_t = model::ValueTerms::default().take_rate())]
    pub take_rate: f64,

    /// The share of future spend that will be refunded; histories are net of the refunds so far
    #[arg(long, value_name = "SHARE", default_value_t = model::ValueTerms::default().refund_rate())]
    pub refund_rate: f64,

    /// The share of payments for subscriptions that stays with the business
    #[arg(long, value_name = "SHARE", default_value_t = model::ValueTerms::default().contract_margin())]
    pub contract_margin: f64,
}

impl TermsArgs {
    pub(crate) fn terms(&self) -> Result<ValueTerms, ParameterError> {
        ValueTerms::new(self.discount_rate, self.take_rate, self.refund_rate, self.contract_margin)
    }
}

/// `ltv local`
#[derive(Debug, Args)]
#[command(after_long_help = LOCAL_FILES)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct LocalArgs {
    /// CSV, gzipped or not, in any order, as `ltv load` takes it: transaction_id, customer_id, occurred_at, currency,
    /// and amount or amount_minor. It is read once if numbers ascend and each customer's lines are in the order of
    /// time, else several times, so that memory does not grow with it
    #[arg(long, value_name = "FILE")]
    pub transactions: PathBuf,

    /// CSV as `ltv load` takes it: who the customers are; whoever has a transaction unless given
    #[arg(long, value_name = "FILE")]
    pub customers: Option<PathBuf>,

    /// CSV as `ltv load` takes it
    #[arg(long, value_name = "FILE")]
    pub subscriptions: Option<PathBuf>,

    /// CSV as `ltv load` takes it
    #[arg(long, value_name = "FILE")]
    pub acquisition_costs: Option<PathBuf>,

    /// The models: one document of `ltv models show VERSION --json`, or, given twice, a bg_nbd and a gamma_gamma that
    /// `ltv fit --model NAME --out` wrote; fitted to the customers unless given
    #[arg(long, value_name = "FILE")]
    pub model: Vec<PathBuf>,

    /// Whether purchases follow the weeks of the year: then the season is estimated first, from two years at least, and
    /// the purchases are fitted in its time
    #[arg(long, value_enum, value_name = "HOW", default_value_t, conflicts_with = "model")]
    pub season: SeasonChoice,

    /// Value the customers as of this moment, and look at nothing at or after it; the midnight after the last
    /// transaction unless given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<Timestamp>,

    /// The currency of the transactions; customers with another one are rejected. That of --model, or USD, unless given
    #[arg(long, value_parser = currency)]
    pub currency: Option<Currency>,

    #[command(flatten)]
    pub terms: TermsArgs,

    /// How long it may take: a miss is predicted and told
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30m")]
    pub deadline: Duration,

    /// Threads that compute; one for each core unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Customers in a chunk
    #[arg(long, value_name = "N", default_value_t = batch::PlanPolicy::default().chunk_customers,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk_customers: u32,

    /// Where the values go, a row for each customer; compressed if the name ends in .gz. Nothing else is kept. A file
    /// of that name is replaced when all is done, a pipe is written to then
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// How many of the most valuable customers
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: u32,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

const LOCAL_FILES: &str = "\
What --out holds, by customer_id, amounts in minor units:

  customer_id, external_id, segment
  value_minor, value_24_minor, value_36_minor, value_for_ever_minor      expected over 12, 24, 36 months and for ever
  purchases_12_minor … purchases_for_ever_minor                          what of it comes from purchases
  contract_12_minor … contract_for_ever_minor                            and what from contracts
  historic_minor                                                         contributed so far
  lower_80_minor, upper_80_minor, lower_90_minor, upper_90_minor         between which amounts the 12 months will lie
  expected_purchases, p_alive
  grade, own_rate, own_spend, relative_width                             how far the value rests on the customer himself
  payback_months, payback_probability, ltv_to_cac                        where the acquisition cost is known
  frequency, recency_days, age_days, repeat_spend_minor, spend_minor,
  paid_minor, acquisition_cost_minor, contracts                          what the value was computed from
  rejection                                                              why there is no value; the others are empty then

An empty field is what is not there: no interval, no end of a sum for ever. Numbers read back to the same bits, and
are those that the fleet gives for the same customers, models, moment and terms.";

/// `ltv worker`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct WorkerArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    #[command(flatten)]
    pub cache: CacheArgs,

    #[command(flatten)]
    pub role: RoleArgs,

    /// Chunks at work at a time
    #[arg(long, env = "LTV_SLOTS", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub slots: u16,

    /// Threads that compute
    #[arg(long, env = "LTV_COMPUTE_THREADS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub compute_threads: u16,

    /// How long a chunk is believed to be at work without a sign of life
    #[arg(long, env = "LTV_LEASE", value_name = "TIME", value_parser = lease, default_value = "20s")]
    pub lease: Duration,

    /// Failures after which a chunk is dead
    #[arg(long, env = "LTV_MAX_FAILURES", value_name = "N", default_value_t = batch::RetryPolicy::default().max_failures,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_failures: u32,

    /// How long it may take to finish what it holds after SIGTERM
    #[arg(long, env = "LTV_GRACE_PERIOD", value_name = "TIME", value_parser = duration, default_value = "25s")]
    pub grace_period: Duration,

    /// Break the protocol on purpose, for tests
    #[arg(long, env = "LTV_FAULT", hide = true)]
    pub fault: Option<FaultPlan>,

    /// Ignore the fencing token, for tests
    #[cfg(feature = "faults")]
    #[arg(long, hide = true)]
    pub no_fence: bool,
}

/// `ltv coordinator`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct CoordinatorArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    #[command(flatten)]
    pub cache: CacheArgs,

    #[command(flatten)]
    pub role: RoleArgs,

    /// The longest pause between two passes
    #[arg(long, env = "LTV_PASS_INTERVAL", value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub pass_interval: Duration,

    /// How long it leads without renewing
    #[arg(long, env = "LTV_LEADERSHIP_LEASE", value_name = "TIME", value_parser = lease, default_value = "10s")]
    pub leadership_lease: Duration,

    /// How long the workers' leases last
    #[arg(long, env = "LTV_LEASE", value_name = "TIME", value_parser = lease, default_value = "20s")]
    pub lease: Duration,

    /// How long a dispatcher may take to publish a chunk
    #[arg(long, env = "LTV_PUBLISH_GRACE", value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub publish_grace: Duration,

    /// How long a published chunk may be with nobody while its queue is empty
    #[arg(long, env = "LTV_LOST_AFTER", value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub lost_after: Duration,

    /// Failures after which a chunk is dead
    #[arg(long, env = "LTV_MAX_FAILURES", value_name = "N", default_value_t = batch::RetryPolicy::default().max_failures,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_failures: u32,
}

/// `ltv runs …`
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List the latest runs
    List(ListArgs),
    /// Show a run, or explain one customer's value in it
    Show(ShowArgs),
    /// Follow a run until it is over
    Watch(WatchArgs),
    /// Stop a run; its values never become visible
    Cancel(RunArgs),
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

/// `ltv runs watch`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct WatchArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run; the latest one unless given
    pub run: Option<RunId>,
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

/// `ltv dead-letters …`
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List dead chunks, and messages that made no sense
    List(DeadLettersArgs),
    /// Put a run's dead chunks back to work; those of a finished run as a run of their own
    Redrive(RedriveArgs),
    /// Throw away the messages that made no sense
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
    pub broker: BrokerArgs,
}

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

/// `ltv bench …`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure the floor, then full nights, in one run on one stack
    Night(BenchNightArgs),
}

/// `ltv bench night`
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "flattened arguments are documented by their types")]
pub struct BenchNightArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    pub broker: BrokerArgs,

    #[command(flatten)]
    pub cache: CacheArgs,

    /// Customers of the generated base
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
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

    /// Measured nights, after one to warm up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub nights: u16,

    /// A server process to account for, as name=pid; may be given more than once
    #[arg(long, value_name = "NAME=PID", value_parser = server)]
    pub server: Vec<(String, u32)>,

    /// Print one JSON document and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}

/// Parses a moment: a date, at midnight UTC, or RFC 3339.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
        return Ok(midnight.timestamp());
    }
    text.parse().map_err(|_| "expected a date such as 2026-11-23, or 2026-11-23T02:00:00Z".into())
}

/// Parses a duration above zero, such as `30m` or `1h 30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|_| "expected a time such as 500ms, 20s, 30m or 1h 30m".to_owned())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("it must be longer than zero".into()),
    }
}

/// Parses a lease. One shorter than a second would be lost by an ordinary hiccup.
fn lease(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_secs(1) => Err("it must be at least 1s".into()),
        lease => Ok(lease),
    }
}

/// How much of the future counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Horizon {
    /// A time, in weeks.
    Weeks(f64),
    /// As many of the model's periods.
    Periods(f64),
}

/// Parses a horizon, such as `52w`, `365d` or `12`.
fn horizon(text: &str) -> Result<Horizon, String> {
    let number = |digits: &str| above_zero(digits.trim());
    let parsed = match text.trim() {
        text if text.ends_with('w') => number(text.trim_end_matches('w')).map(Horizon::Weeks),
        text if text.ends_with('d') => {
            number(text.trim_end_matches('d')).map(|days| Horizon::Weeks(days / model::DAYS_PER_WEEK))
        }
        text => number(text).map(Horizon::Periods),
    };
    parsed.map_err(|_| "expected a time such as 52w or 365d, or a number of periods".into())
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok(number),
        _ => Err("expected a number above zero".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=10.0).contains(&rate) => Ok(rate),
        _ => Err("expected a rate from 0 to 10, such as 0.15".into()),
    }
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).map_err(|error| error.to_string())
}

/// Parses a number of weeks, such as `52w`; twenty years at most.
fn weeks(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('w').unwrap_or(text).trim();
    match number.parse() {
        Ok(weeks @ 1..=1_040) => Ok(weeks),
        _ => Err("expected a number of weeks from 1w to 1040w, such as 52w".into()),
    }
}

fn contender(text: &str) -> Result<ContenderKind, String> {
    ContenderKind::from_code(text).ok_or_else(|| {
        let known = ContenderKind::ALL.map(ContenderKind::code).join(", ");
        format!("expected one of {known}")
    })
}

fn server(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text.split_once('=').ok_or("expected name=pid")?;
    Ok((name.to_owned(), pid.parse().map_err(|_| "expected a process id after the =")?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn moments_are_dates_or_rfc_3339() {
        assert_eq!(moment("1998-07-01").unwrap().to_string(), "1998-07-01T00:00:00Z");
        assert_eq!(moment("1998-07-01T02:00:00+02:00").unwrap().to_string(), "1998-07-01T00:00:00Z");
        assert!(moment("yesterday").is_err());
        assert!(moment("1998-02-30").is_err());
    }

    #[test]
    fn horizons_are_weeks_days_or_periods() {
        assert_eq!(horizon("52w"), Ok(Horizon::Weeks(52.0)));
        assert_eq!(horizon("364d"), Ok(Horizon::Weeks(52.0)));
        assert_eq!(horizon("12"), Ok(Horizon::Periods(12.0)));
        for wrong in ["", "0w", "-1", "w", "52m", "NaN"] {
            assert!(horizon(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fit_is_to_the_database_or_to_a_file() {
        let check = |arguments: &str, is_right: bool| {
            let arguments = arguments.split_ascii_whitespace();
            assert_eq!(Cli::try_parse_from(arguments.clone()).is_ok(), is_right, "{arguments:?}");
        };
        check("ltv fit --database-url postgres://u:p@localhost/d", true);
        check("ltv fit --model bg_nbd --input f.csv --out m.json", true);
        check("ltv fit --model bg_nbd --input f.csv --out m.json --segment-column s", true);
        check("ltv fit --input f.csv --out m.json", false);
        check("ltv fit --model bg_nbd --input f.csv", false);
        check("ltv fit --database-url postgres://u:p@localhost/d --model bg_nbd", false);
        check("ltv fit --database-url postgres://u:p@localhost/d --segment-column s", false);
    }

    #[test]
    fn horizons_are_whole_weeks() {
        assert_eq!((weeks("52w"), weeks("39")), (Ok(52), Ok(39)));
        assert!(["0w", "w", "-3w", "1.5w", "52d", "9999w"].iter().all(|text| weeks(text).is_err()));
    }

    #[test]
    fn durations_are_positive_and_leases_not_too_short() {
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert!(duration("-5s").is_err());
        assert!(duration("0s").is_err());
        assert!(lease("999ms").is_err());
    }
}
