//! The guard before a run is shown: a settled run beside the run before it, and when it has to wait for a person.
//!
//! An exact run over a broken source is exactly wrong: where a load has emptied a table in mid-run, everybody whose
//! chunk was read then is rejected as one who never bought anything. So a settled run is compared before readers see
//! it, and beyond the [`Limits`] that it was planned with it is held: a person releases or rejects it.
//!
//! * **What is compared.** The planned customers, the transactions that were read, and the value in all must not have
//!   changed by more than a share, up or down; of the customers, not much more than before may be rejected, by each
//!   reason and in all.
//! * **With what.** The latest finished run of the same selection whose moment comes before: like with like. A run over
//!   customers that somebody named is compared with nothing, since no other one is like it. Nor is the first run.
//!   Values under other terms or in another currency are other money, and not compared.
//! * **A small base.** What concerns no more than [`floor`](Limits::floor) customers (or rows) is never a deviation,
//!   however large a share it is.
//! * **The source itself.** Its rows are counted at the plan and at the end. A relation that has shrunk meanwhile is a
//!   deviation where the counts are exact, and where it is empty in the end. A large relation's count is the planner's
//!   estimate, which is told and decides nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RunId;

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Share(f64);

/// A number that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a share from 0 to 1, such as 0.02")]
pub struct NoShare;

impl TryFrom<f64> for Share {
    type Error = NoShare;

    fn try_from(share: f64) -> Result<Self, NoShare> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(NoShare) }
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl FromStr for Share {
    type Err = NoShare;

    fn from_str(text: &str) -> Result<Self, NoShare> {
        text.parse::<f64>().map_err(|_| NoShare)?.try_into()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a run may lie from the run before. A run keeps those that it was planned with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The share of the customers who may be rejected beyond what the run before would lead one to expect: by each
    /// reason, and in all. 1 is no limit.
    pub rejected_rise: Share,
    /// The share by which customers, transactions and value may be less than the other run's, whichever is the larger:
    /// 0.3 allows from 70 % of it to 143 %. 1 is no limit.
    pub change: Share,
    /// So many customers, or rows, are never a deviation.
    pub floor: u64,
}

impl Limits {
    /// No run is beyond them.
    pub fn none() -> Self {
        Self { rejected_rise: Share(1.0), change: Share(1.0), ..Self::default() }
    }

    /// Whether two counts lie too far apart.
    fn are_apart(&self, one: u64, other: u64) -> bool {
        let (less, more) = (one.min(other), one.max(other));
        more - less > self.floor && self.is_far_less(less as f64, more as f64)
    }

    fn is_far_less(&self, less: f64, more: f64) -> bool {
        less < (1.0 - self.change.0) * more
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { rejected_rise: Share(0.02), change: Share(0.3), floor: 100 }
    }
}

/// A settled run in the figures that are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The customers that were planned.
    pub customers: u64,
    /// Those of them that are rejected, by the reason's code; those of dead chunks among them.
    pub rejections: BTreeMap<String, u64>,
    /// The transactions that were read of them; not known where a worker of a release before read some.
    pub transactions: Option<u64>,
    /// The value in all over 12 months, in minor units; not known in the same way.
    pub value_minor: Option<i64>,
}

impl Figures {
    fn rejected(&self) -> u64 {
        self.rejections.values().sum()
    }

    fn valued(&self) -> u64 {
        self.customers.saturating_sub(self.rejected())
    }
}

/// The run before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// The run.
    pub run: RunId,
    /// What it came to.
    pub figures: Figures,
    /// Whether its values are of the same terms and currency.
    pub is_same_money: bool,
}

/// How many rows a relation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCount {
    /// So many.
    pub rows: u64,
    /// Whether they were counted; else the server's planner has estimated them.
    pub is_exact: bool,
}

/// How many rows the source holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCounts {
    /// In `source.customers`.
    pub customers: RowCount,
    /// In `source.transactions`.
    pub transactions: RowCount,
    /// In `source.subscriptions`; not known where it cannot be read, or a program of a release before counted.
    #[serde(default)]
    pub subscriptions: Option<RowCount>,
}

/// The source at a run's plan and at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceChange {
    /// When the run was planned.
    pub at_plan: SourceCounts,
    /// When it was settled.
    pub at_end: SourceCounts,
}

/// What a settled run is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What it was planned with.
    pub limits: Limits,
    /// What it came to.
    pub now: Figures,
    /// The run before, if there is one like it.
    pub before: Option<Before>,
    /// What the source did meanwhile, where that is known.
    pub source: Option<SourceChange>,
}

/// Something that lies beyond a run's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// What it is about.
    pub what: Measure,
    /// The run before, or the source at the plan.
    pub before: i64,
    /// This run, or the source at its end.
    pub now: i64,
}

/// What a deviation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Customers rejected by the reason of this code.
    RejectedAs(String),
    /// Customers rejected by whatever reason.
    Rejected,
    /// Customers planned.
    Customers,
    /// Transactions read.
    Transactions,
    /// The value in all, in minor units.
    Value,
    /// The rows of `source.customers`.
    SourceCustomers,
    /// The rows of `source.transactions`.
    SourceTransactions,
    /// The rows of `source.subscriptions`.
    SourceSubscriptions,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RejectedAs(reason) => write!(f, "customers rejected as {reason}"),
            Self::Rejected => f.write_str("customers rejected"),
            Self::Customers => f.write_str("customers"),
            Self::Transactions => f.write_str("transactions read"),
            Self::Value => f.write_str("value in minor units"),
            Self::SourceCustomers => f.write_str("rows of source.customers while it went on"),
            Self::SourceTransactions => f.write_str("rows of source.transactions while it went on"),
            Self::SourceSubscriptions => f.write_str("rows of source.subscriptions while it went on"),
        }
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, before {}", self.what, self.now, self.before)
    }
}

/// Finds what of a settled run lies beyond its limits. A run without a deviation may be shown.
pub fn judge(evidence: &Evidence) -> Vec<Deviation> {
    let Evidence { limits, now, before, source } = evidence;
    let mut deviations = Vec::new();
    if let Some(before) = before {
        deviations.extend(rejected(now, &before.figures, limits));
        deviations.extend(changed(now, before, limits));
    }
    if let Some(SourceChange { at_plan, at_end }) = source {
        deviations.extend(shrunk(Measure::SourceCustomers, at_plan.customers, at_end.customers, limits));
        deviations.extend(shrunk(
            Measure::SourceTransactions,
            at_plan.transactions,
            at_end.transactions,
            limits,
        ));
        let subscriptions = Option::zip(at_plan.subscriptions, at_end.subscriptions);
        deviations.extend(
            subscriptions
                .and_then(|(at_plan, at_end)| shrunk(Measure::SourceSubscriptions, at_plan, at_end, limits)),
        );
    }
    deviations
}

/// Reasons by which more are rejected than one would expect; all of them together where none alone is a deviation.
fn rejected(now: &Figures, before: &Figures, limits: &Limits) -> Vec<Deviation> {
    let scale = now.customers as f64 / before.customers.max(1) as f64;
    let most = (limits.rejected_rise.0 * now.customers as f64).max(limits.floor as f64);
    let deviation = |what, before: u64, now: u64| {
        let more = now as f64 - scale * before as f64;
        (more > most).then(|| Deviation { what, before: minor(before), now: minor(now) })
    };
    let by_reason = now.rejections.iter().filter_map(|(reason, &count)| {
        let usual = before.rejections.get(reason).copied().unwrap_or(0);
        deviation(Measure::RejectedAs(reason.clone()), usual, count)
    });
    let by_reason: Vec<Deviation> = by_reason.collect();
    if by_reason.is_empty() {
        return deviation(Measure::Rejected, before.rejected(), now.rejected()).into_iter().collect();
    }
    by_reason
}

/// Sums that have grown or shrunk too much.
fn changed(now: &Figures, before: &Before, limits: &Limits) -> Vec<Deviation> {
    let Before { figures: before, is_same_money, .. } = before;
    let mut deviations = Vec::new();
    if limits.are_apart(now.customers, before.customers) {
        let (before, now) = (minor(before.customers), minor(now.customers));
        deviations.push(Deviation { what: Measure::Customers, before, now });
    }
    if let (Some(now), Some(before)) = (now.transactions, before.transactions)
        && limits.are_apart(now, before)
    {
        deviations.push(Deviation { what: Measure::Transactions, before: minor(before), now: minor(now) });
    }
    let is_small = now.valued().max(before.valued()) <= limits.floor;
    if let (Some(now), Some(before)) = (now.value_minor, before.value_minor)
        && *is_same_money
        && !is_small
        && limits.is_far_less(now.min(before) as f64, now.max(before) as f64)
    {
        deviations.push(Deviation { what: Measure::Value, before, now });
    }
    deviations
}

/// A relation that has certainly lost too many rows.
fn shrunk(what: Measure, at_plan: RowCount, at_end: RowCount, limits: &Limits) -> Option<Deviation> {
    let is_certain = at_end.is_exact && (at_plan.is_exact || at_end.rows == 0);
    let has_shrunk = at_end.rows < at_plan.rows && limits.are_apart(at_plan.rows, at_end.rows);
    let (before, now) = (minor(at_plan.rows), minor(at_end.rows));
    (is_certain && has_shrunk).then_some(Deviation { what, before, now })
}

fn minor(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A night of 20,000 customers.
    fn night(rejections: &[(&str, u64)]) -> Figures {
        Figures {
            customers: 20_000,
            rejections: rejections.iter().map(|&(reason, count)| (reason.to_owned(), count)).collect(),
            transactions: Some(100_000),
            value_minor: Some(5_000_000),
        }
    }

    fn found(now: Figures, before: Figures, limits: Limits) -> Vec<String> {
        let before = Some(Before { run: RunId(6), figures: before, is_same_money: true });
        let deviations = judge(&Evidence { limits, now, before, source: None });
        deviations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_source_that_was_emptied_in_mid_night_is_found() {
        let now = Figures {
            transactions: Some(78_000),
            value_minor: Some(3_900_000),
            ..night(&[("foreign_currency", 3), ("no_purchase", 4_384)])
        };

        let deviations =
            found(now, night(&[("foreign_currency", 3), ("no_purchase", 12)]), Limits::default());

        assert_eq!(deviations, ["customers rejected as no_purchase: 4384, before 12"]);
    }

    #[test]
    fn a_night_like_the_one_before_has_no_deviation_nor_has_one_that_grew_a_little() {
        let before = night(&[("no_purchase", 400)]);
        let grown = Figures {
            customers: 22_000,
            transactions: Some(120_000),
            value_minor: Some(6_500_000),
            ..night(&[("no_purchase", 800)])
        };

        assert_eq!(found(before.clone(), before.clone(), Limits::default()), [""; 0]);
        assert_eq!(found(grown, before, Limits::default()), [""; 0]);
    }

    #[test]
    fn sums_may_neither_shrink_nor_grow_too_much() {
        let halved = Figures { transactions: Some(50_000), value_minor: Some(2_500_000), ..night(&[]) };
        let few = Figures { customers: 9_000, ..night(&[]) };
        let told = |what: &[&str]| what.iter().map(|what| (*what).to_owned()).collect::<Vec<_>>();

        assert_eq!(
            found(halved.clone(), night(&[]), Limits::default()),
            told(&[
                "transactions read: 50000, before 100000",
                "value in minor units: 2500000, before 5000000"
            ])
        );
        assert_eq!(
            found(night(&[]), halved.clone(), Limits::default()),
            told(&[
                "transactions read: 100000, before 50000",
                "value in minor units: 5000000, before 2500000"
            ])
        );
        assert_eq!(found(few, night(&[]), Limits::default()), told(&["customers: 9000, before 20000"]));
        assert_eq!(found(halved, night(&[]), Limits::none()), [""; 0]);
    }

    #[test]
    fn many_reasons_that_each_rose_a_little_are_found_together() {
        let now = night(&[("a", 350), ("b", 350), ("c", 350)]);

        assert_eq!(found(now, night(&[]), Limits::default()), ["customers rejected: 1050, before 0"]);
    }

    #[test]
    fn a_small_base_does_not_trip_over_a_few_customers() {
        let small = |rejected| Figures {
            customers: 40,
            rejections: [("no_purchase".to_owned(), rejected)].into(),
            transactions: Some(100 - rejected),
            value_minor: Some(100_000 - 2_000 * rejected as i64),
        };

        assert_eq!(found(small(39), small(0), Limits::default()), [""; 0]);
        let floor = Limits { floor: 3, ..Limits::default() };
        assert_eq!(found(small(3), small(0), floor), [""; 0]);
        assert_eq!(found(small(4), small(0), floor), ["customers rejected as no_purchase: 4, before 0"]);
    }

    #[test]
    fn what_is_not_known_and_other_money_is_not_compared() {
        let other = Figures { transactions: None, value_minor: Some(1), ..night(&[]) };
        let before = Before { run: RunId(6), figures: night(&[]), is_same_money: false };
        let evidence = Evidence { limits: Limits::default(), now: other, before: Some(before), source: None };

        assert_eq!(judge(&evidence), []);
        assert_eq!(judge(&Evidence { before: None, ..evidence }), []);
    }

    #[test]
    fn a_source_that_has_certainly_shrunk_is_found_without_a_run_before() {
        let counts = |customers, rows, is_exact| SourceCounts {
            customers: RowCount { rows: customers, is_exact: true },
            transactions: RowCount { rows, is_exact },
            subscriptions: None,
        };
        let contracts = |rows| SourceCounts {
            subscriptions: Some(RowCount { rows, is_exact: true }),
            ..counts(900, 50_000, true)
        };
        let judged = |at_plan, at_end| {
            let source = Some(SourceChange { at_plan, at_end });
            let (limits, now) = (Limits::default(), night(&[]));
            judge(&Evidence { limits, now, before: None, source }).len()
        };

        assert_eq!(judged(counts(900, 50_000, true), counts(900, 10_000, true)), 1);
        assert_eq!(judged(counts(900, 50_000, true), counts(300, 10_000, true)), 2);
        assert_eq!(judged(counts(900, 10_000_000, false), counts(900, 0, true)), 1, "it is empty");
        assert_eq!(judged(counts(900, 10_000_000, false), counts(900, 4_000_000, false)), 0, "estimates");
        assert_eq!(judged(counts(900, 10_000, true), counts(2_000, 50_000, true)), 0, "it has grown");
        assert_eq!(judged(counts(90, 80, true), counts(0, 0, true)), 0, "it is small");
        assert_eq!(judged(contracts(9_000), contracts(0)), 1);
        assert_eq!(judged(contracts(9_000), counts(900, 50_000, true)), 0, "it is not known");
    }

    #[test]
    fn a_share_is_a_number_from_0_to_1() {
        assert_eq!("0.02".parse::<Share>().map(f64::from), Ok(0.02));
        for wrong in ["-0.1", "1.01", "NaN", "inf", "2 %", ""] {
            assert_eq!(wrong.parse::<Share>(), Err(NoShare), "{wrong}");
        }
        let stored = serde_json::to_string(&Limits::default()).expect("limits can be written");
        assert_eq!(serde_json::from_str::<Limits>(&stored).ok(), Some(Limits::default()));
        assert!(serde_json::from_str::<Limits>(&stored.replace("0.02", "20")).is_err());
    }
}
