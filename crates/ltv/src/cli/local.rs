//! `ltv local`: a night in one process.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use model::Currency;

use super::values::{currency, duration, moment};
use super::{SeasonChoice, TermsArgs};

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
