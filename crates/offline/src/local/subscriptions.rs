//! The customers' subscriptions, kept line by line until the models are known: a line names its plan, and which model
//! that has, only the models say. Some 64 bytes a line, of which a customer has a few at most.

use anyhow::Result;
use files::read::{self, FileToRead, ReadReport};
use jiff::Timestamp;
use model::{ContractModels, Observation, Rejection, Subscribed, Subscription, SubscriptionFold};
use store::postgres::source::Conflict;
use store::{PlanTenures, TenureCounts};

use super::histories::unknown_customer;
use super::names::Names;

/// The subscriptions of a file.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// By customer, then by their start.
    rows: Vec<Row>,
    plans: Names,
    end_reasons: Names,
    /// What became of the file's lines.
    pub(super) report: ReadReport,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    customer: i64,
    started_at_us: i64,
    ended_at_us: Option<i64>,
    price_minor: i64,
    line: u64,
    plan: u32,
    end_reason: Option<u32>,
    period_months: i32,
    currency: [u8; 3],
}

impl Row {
    /// What no two lines of a customer may share.
    fn identity(&self) -> (i64, i64, u32, i32) {
        (self.customer, self.started_at_us, self.plan, self.period_months)
    }
}

impl Subscriptions {
    /// Reads a file.
    pub(super) fn read(file: &FileToRead<'_>, is_known: impl Fn(i64) -> bool) -> Result<Self> {
        let mut all = Self::default();
        let report = read::subscriptions(file, |line, read| {
            all.rows.push(Row {
                customer: read.customer_id,
                started_at_us: read.started_at.as_microsecond(),
                ended_at_us: read.ended_at.map(Timestamp::as_microsecond),
                price_minor: read.price_minor,
                line,
                plan: all.plans.number(read.plan),
                end_reason: read.end_reason.map(|reason| all.end_reasons.number(reason)),
                period_months: read.period_months,
                currency: *read.currency.as_bytes(),
            });
        })?;
        all.report = report;
        all.keep_each_once(is_known);
        Ok(all)
    }

    /// How far those in the currency of the observation had come by its end, plan by plan.
    pub(super) fn tenures(&self, observation: &Observation) -> Vec<PlanTenures> {
        let mut counts = TenureCounts::default();
        let currency = *observation.currency().as_bytes();
        let is_seen = |line: &&Row| line.started_at_us < observation.as_of_us() && line.currency == currency;
        for line in self.rows.iter().filter(is_seen) {
            let end_reason = line.end_reason.map(|reason| self.end_reasons.name(reason));
            counts.line(&self.subscription(line), end_reason, observation);
        }
        counts.finish()
    }

    /// What those of each subscriber come to under these models, by customer.
    pub(super) fn subscribed<'a>(
        &'a self,
        models: &'a ContractModels,
        observation: &'a Observation,
    ) -> impl Iterator<Item = (i64, Result<Subscribed, Rejection>)> + 'a {
        let mut fold = SubscriptionFold::new();
        self.rows.chunk_by(|one, other| one.customer == other.customer).filter_map(move |lines| {
            let begun = lines.partition_point(|line| line.started_at_us < observation.as_of_us());
            for line in &lines[..begun] {
                fold.push(&self.subscription(line), models, observation);
            }
            (begun > 0).then(|| (lines[0].customer, fold.finish()))
        })
    }

    fn subscription(&self, line: &Row) -> Subscription<'_> {
        Subscription {
            plan: self.plans.name(line.plan),
            period_months: line.period_months.into(),
            started_at_us: line.started_at_us,
            ended_at_us: line.ended_at_us,
            price_minor: line.price_minor,
            currency: line.currency,
        }
    }

    fn keep_each_once(&mut self, is_known: impl Fn(i64) -> bool) {
        let Self { rows, plans, report, .. } = self;
        // Stable: of lines that are the same subscription, the first stays the first.
        rows.sort_by_key(Row::identity);
        let mut before = None;
        rows.retain(|row| {
            let is_again = before.replace(row.identity()) == Some(row.identity());
            let customer = row.customer;
            if !is_known(customer) {
                let unknown = Conflict::UnknownCustomer.code();
                report.reject(row.line, unknown, || unknown_customer(customer));
                return false;
            }
            if is_again {
                report.reject(row.line, Conflict::DuplicateSubscription.code(), || {
                    let plan = plans.name(row.plan);
                    format!("customer {customer} has this subscription to {plan} in an earlier line already")
                });
            }
            !is_again
        });
        rows.shrink_to_fit();
    }
}
