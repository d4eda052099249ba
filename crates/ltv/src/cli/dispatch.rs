//! `ltv dispatch`, and what the money of a value is.

use std::path::PathBuf;
use std::time::Duration;

use batch::Priority;
use clap::Args;
use jiff::Timestamp;
use model::{ParameterError, ValueTerms};

use super::values::{duration, moment};
use super::{BrokerArgs, DatabaseArgs, GuardArgs};

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

    #[command(flatten)]
    pub guard: GuardArgs,

    /// Customers in a chunk of average work
    #[arg(long, value_name = "N", default_value_t = batch::PlanPolicy::default().chunk_customers)]
    pub chunk_customers: u32,

    /// Make another run even if the night has one
    #[arg(long)]
    pub again: bool,

    /// Wait until the run is finished, with a progress bar on a terminal; fail (exit code 1) if it is held, or stopped
    #[arg(long)]
    pub wait: bool,

    /// How long after its deadline the run is waited for; it goes on when this command is over
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h", requires = "wait")]
    pub give_up: Duration,

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
