//! The subscriptions of a made-up customer base, and what it cost to win its customers.
//!
//! Each customer is drawn from the generative process of sBG, plan by plan, so that a fit finds again what was put in:
//!
//! * 80 % of all customers subscribe, `Exponential` weeks after their acquisition, 3 on average;
//! * they choose a plan of [`PLANS`], pay at once and then every period, on the same day of the month;
//! * at each renewal, 2 % go on in another plan. That is decided before the churn, so that whoever changes says
//!   nothing of how long the plan is kept;
//! * of the others, each churns with a probability `theta ~ Beta(alpha, beta)` of its own, as its plan has it: four
//!   of five cancelled, one of five did not pay;
//! * of those who churned, 30 % come back, `Exponential` weeks later, 10 on average, in a plan chosen anew.
//!
//! What it cost to win a customer is known of 90 %, and is `Gamma(4)`, 120 dollars on average.
//!
//! The parameters are made up, but for those of the yearly plan: they are the "high end" customers of Fader & Hardie
//! (2007), `alpha = 0.668, beta = 3.806`. The random numbers are a customer's own, and others than those of its
//! purchases: with or without subscriptions, everybody buys the same.

use std::num::NonZeroU32;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::Currency;
use store::postgres::source::{AcquisitionCost, Subscription};

use super::dice::Dice;
use super::{GenerateSpec, SECONDS_PER_WEEK, round_to_minor};

/// A plan on offer.
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) period_months: u8,
    price_minor: u32,
    /// How many of a hundred choose it.
    percent: u8,
    /// The distribution of the probability to churn at a renewal.
    pub(super) alpha: f64,
    pub(super) beta: f64,
}

pub(super) const PLANS: [Plan; 3] = [
    Plan { name: "basic", period_months: 1, price_minor: 2_900, percent: 50, alpha: 0.8, beta: 7.2 },
    Plan { name: "pro", period_months: 1, price_minor: 7_900, percent: 30, alpha: 0.7, beta: 9.3 },
    Plan { name: "pro", period_months: 12, price_minor: 79_000, percent: 20, alpha: 0.668, beta: 3.806 },
];

const SUBSCRIBE: f64 = 0.8;
const WEEKS_BEFORE_SUBSCRIBING: f64 = 3.0;
const CHANGE_PLAN: f64 = 0.02;
const FAIL_TO_PAY: f64 = 0.2;
const COME_BACK: f64 = 0.3;
const WEEKS_AWAY: f64 = 10.0;
const COST_IS_KNOWN: f64 = 0.9;
const COST_SHAPE: f64 = 4.0;
const MEAN_COST_MINOR: f64 = 12_000.0;

/// Streams of random numbers from here on are those of subscriptions; below they are those of purchases.
const STREAMS: u64 = 1 << 32;

/// A subscription, without what follows from its place. Ordered by its start, then by customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subscribed {
    /// Seconds since the start of the base.
    second: u32,
    /// The customer's place.
    customer: u32,
    /// Its place among the plans.
    plan: u8,
    end: Option<(u32, EndReason)>,
}

/// Why a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EndReason {
    Cancelled,
    PaymentFailed,
    PlanChanged,
}

impl EndReason {
    fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::PaymentFailed => "payment_failed",
            Self::PlanChanged => "plan_changed",
        }
    }
}

/// What was paid to win a customer, where it is known.
pub(super) type Cost = Option<NonZeroU32>;

/// The generative process of subscriptions and costs.
pub(super) struct Process {
    seed: [u8; 32],
    start_second: i64,
    window_seconds: u32,
}

impl Process {
    pub(super) fn new(spec: &GenerateSpec, seed: [u8; 32]) -> Self {
        Self { seed, start_second: spec.start_second(), window_seconds: spec.weeks * SECONDS_PER_WEEK }
    }

    /// Draws the subscriptions of a customer, in the order of their starts, and what it cost to win it. The order of
    /// the draws is part of what a seed means.
    pub(super) fn customer(
        &self,
        place: u32,
        acquired_second: u32,
        subscriptions: &mut Vec<Subscribed>,
    ) -> Cost {
        let mut dice = Dice::new(self.seed, STREAMS + u64::from(place));
        let has_known_cost = dice.uniform() < COST_IS_KNOWN;
        let cost = round_to_minor(dice.gamma(COST_SHAPE) * MEAN_COST_MINOR / COST_SHAPE);
        let cost = NonZeroU32::new(cost).filter(|_| has_known_cost);

        let is_subscriber = dice.uniform() < SUBSCRIBE;
        let mut start = self.later(acquired_second, WEEKS_BEFORE_SUBSCRIBING, &mut dice);
        let mut plan = dice.plan(None);
        while let Some(second) = start.filter(|_| is_subscriber) {
            let end = self.end_of(second, plan, &mut dice);
            subscriptions.push(Subscribed { second, customer: place, plan, end });
            start = match end {
                Some((second, EndReason::PlanChanged)) => {
                    plan = dice.plan(Some(plan));
                    Some(second)
                }
                Some((second, _)) if dice.uniform() < COME_BACK => {
                    plan = dice.plan(None);
                    self.later(second, WEEKS_AWAY, &mut dice)
                }
                None | Some(_) => None,
            };
        }
        cost
    }

    /// When and why a subscription ends; none if it goes on.
    fn end_of(&self, second: u32, plan: u8, dice: &mut Dice) -> Option<(u32, EndReason)> {
        let Plan { period_months, alpha, beta, .. } = PLANS[usize::from(plan)];
        let churn = dice.beta(alpha, beta);
        let started_at = self.civil(second);
        for renewal in 1.. {
            let due = self.second_of(started_at, renewal * i32::from(period_months))?;
            if dice.uniform() < CHANGE_PLAN {
                return Some((due, EndReason::PlanChanged));
            }
            if dice.uniform() < churn {
                let has_failed = dice.uniform() < FAIL_TO_PAY;
                return Some((due, if has_failed { EndReason::PaymentFailed } else { EndReason::Cancelled }));
            }
        }
        None
    }

    /// A moment so many weeks later on average; none if the base ends before.
    fn later(&self, second: u32, weeks: f64, dice: &mut Dice) -> Option<u32> {
        let moment = f64::from(second) + dice.exponential() * weeks * f64::from(SECONDS_PER_WEEK);
        (moment < f64::from(self.window_seconds)).then_some(moment as u32)
    }

    /// So many months later, by the calendar; none if the base ends before.
    fn second_of(&self, started_at: DateTime, months: i32) -> Option<u32> {
        let due = started_at.checked_add(jiff::Span::new().try_months(months).ok()?).ok()?;
        let due = due.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() - self.start_second;
        u32::try_from(due).ok().filter(|&second| second < self.window_seconds)
    }

    fn civil(&self, second: u32) -> DateTime {
        let moment = Timestamp::from_second(self.start_second + i64::from(second))
            .expect("every moment lies between 1970 and `as_of`");
        moment.to_zoned(TimeZone::UTC).datetime()
    }
}

impl Dice {
    /// Chooses a plan, another than one's own.
    fn plan(&mut self, own: Option<u8>) -> u8 {
        loop {
            let percent = (self.uniform() * 100.0) as u8;
            let mut below = 0;
            let found = PLANS.iter().position(|plan| {
                below += plan.percent;
                percent < below
            });
            let plan = found.expect("the plans add up to a hundred percent") as u8;
            if own != Some(plan) {
                return plan;
            }
        }
    }
}

impl Subscribed {
    /// The row of it, in a base that begins at a moment.
    pub(super) fn row(
        &self,
        first_customer_id: i64,
        moment: impl Fn(u32) -> Timestamp,
        currency: Currency,
    ) -> Subscription<'static> {
        let Plan { name, period_months, price_minor, .. } = PLANS[usize::from(self.plan)];
        Subscription {
            customer_id: first_customer_id + i64::from(self.customer),
            plan: name,
            period_months: period_months.into(),
            started_at: moment(self.second),
            ended_at: self.end.map(|(second, _)| moment(second)),
            price_minor: price_minor.into(),
            currency,
            end_reason: self.end.map(|(_, reason)| reason.name()),
        }
    }
}

/// The row of what was paid to win a customer.
pub(super) fn cost_row(customer_id: i64, cost: NonZeroU32, currency: Currency) -> AcquisitionCost {
    AcquisitionCost { customer_id, cost_minor: cost.get().into(), currency }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::fit::{ContractRow, sbg};
    use model::{Course, Observation};

    use super::super::{currency, generate};
    use super::*;

    fn spec(customers: u32) -> GenerateSpec {
        GenerateSpec {
            customers,
            transactions_per_customer: None,
            first_customer_id: 1,
            first_transaction_id: 1,
            seed: 7,
            as_of: "2026-11-01T00:00:00Z".parse().unwrap(),
            weeks: 520,
            subscriptions: true,
        }
    }

    /// A generated line as a night reads it.
    fn read<'a>(line: &Subscription<'a>) -> model::Subscription<'a> {
        model::Subscription {
            plan: line.plan,
            period_months: line.period_months.into(),
            started_at_us: line.started_at.as_microsecond(),
            ended_at_us: line.ended_at.map(Timestamp::as_microsecond),
            price_minor: line.price_minor,
            currency: *line.currency.as_bytes(),
        }
    }

    #[test]
    fn a_fit_finds_again_how_long_each_plan_is_kept() {
        let generated = generate(&spec(40_000)).unwrap();
        let observation = Observation::new(spec(1).as_of.as_microsecond(), currency());
        let mut rows: BTreeMap<_, Vec<ContractRow>> = BTreeMap::new();
        for line in generated.subscriptions() {
            let course = Course::of(&read(&line), &observation).unwrap();
            let tenure = course.tenure(line.end_reason == Some("plan_changed"));
            let plan = (line.plan, line.period_months);
            rows.entry(plan).or_default().push(ContractRow { tenure, customers: 1 });
        }

        for Plan { name, period_months, alpha, beta, .. } in &PLANS {
            let found = sbg(&rows[&(*name, i32::from(*period_months))]).unwrap().model;
            let (mean, expected) = (found.alpha() / (found.alpha() + found.beta()), alpha / (alpha + beta));
            assert!(
                (mean / expected - 1.0).abs() < 0.05 && (found.alpha() / alpha - 1.0).abs() < 0.15,
                "{name} by {period_months} months: put in {alpha} and {beta}, found {found:?}"
            );
        }
    }

    #[test]
    fn a_plan_that_is_changed_is_followed_by_another_at_once() {
        let generated = generate(&spec(5_000)).unwrap();
        let of_customer = generated.subscriptions().fold(BTreeMap::new(), |mut all, line| {
            all.entry(line.customer_id).or_insert_with(Vec::new).push(line);
            all
        });

        let mut changes = 0;
        for lines in of_customer.values() {
            for pair in lines.windows(2) {
                let end = pair[0].ended_at.unwrap();
                assert!(end <= pair[1].started_at, "{pair:?}");
                if pair[0].end_reason == Some("plan_changed") {
                    changes += 1;
                    assert_eq!(end, pair[1].started_at);
                    let plan = |line: &Subscription<'_>| (line.plan.to_owned(), line.period_months);
                    assert_ne!(plan(&pair[0]), plan(&pair[1]));
                }
            }
            let last = lines.last().unwrap();
            assert_ne!(last.end_reason, Some("plan_changed"), "nobody changes to nothing: {last:?}");
        }
        assert!(changes > 100, "{changes}");
    }

    #[test]
    fn most_customers_subscribe_and_most_costs_are_known() {
        let generated = generate(&spec(20_000)).unwrap();
        let mut subscribers: Vec<_> = generated.subscriptions().map(|line| line.customer_id).collect();
        subscribers.sort_unstable();
        subscribers.dedup();
        let costs: Vec<_> = generated.acquisition_costs().map(|cost| cost.cost_minor as f64).collect();

        let share = |count: usize| count as f64 / 20_000.0;
        assert!((share(subscribers.len()) - SUBSCRIBE).abs() < 0.01, "{}", subscribers.len());
        assert!((share(costs.len()) - COST_IS_KNOWN).abs() < 0.01, "{}", costs.len());
        let mean = costs.iter().sum::<f64>() / costs.len() as f64;
        assert!((mean / MEAN_COST_MINOR - 1.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn the_plans_are_a_hundred_percent() {
        assert_eq!(PLANS.iter().map(|plan| plan.percent).sum::<u8>(), 100);
    }
}
