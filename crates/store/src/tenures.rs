//! How far all subscriptions came, plan by plan: what the contract models are fitted on.

use std::collections::BTreeMap;

use model::fit::{ContractRow, Tenure};
use model::{Course, LONGEST_PERIOD, Observation, Subscription};

/// The end reason of a subscription whose customer went on in another plan: no churn.
const PLAN_CHANGED: &str = "plan_changed";

/// The reason of an end for which none was given.
const UNKNOWN: &str = "unknown";

/// How far the subscriptions of a plan came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanTenures {
    /// The plan's name.
    pub plan: String,
    /// Months from one payment to the next; 0 for lines whose period cannot be, all of which are left out.
    pub period_months: u16,
    /// How many subscriptions came how far, each tenure once.
    pub rows: Vec<ContractRow>,
    /// Why those that have ended did, and how many of them; `unknown` where no reason is given.
    pub ends: BTreeMap<String, u64>,
    /// Lines that cannot be: a negative price, an end before the start.
    pub left_out: u64,
}

/// Counts subscriptions by plan, then by period. A line allocates only where it is the first of its kind.
#[derive(Debug, Default)]
pub struct TenureCounts(BTreeMap<String, BTreeMap<u16, Counts>>);

#[derive(Debug, Default)]
struct Counts {
    tenures: BTreeMap<Tenure, u64>,
    ends: BTreeMap<String, u64>,
    left_out: u64,
}

impl TenureCounts {
    /// Counts a subscription in the currency of the observation that began before its end, and why it ended if it
    /// has and that is known.
    pub fn line(&mut self, line: &Subscription<'_>, end_reason: Option<&str>, observation: &Observation) {
        let counts = self.counts_of(line);
        let Ok(course) = Course::of(line, observation) else {
            counts.left_out += 1;
            return;
        };
        let reason = end_reason.filter(|reason| !reason.is_empty()).unwrap_or(UNKNOWN);
        *counts.tenures.entry(course.tenure(reason == PLAN_CHANGED)).or_default() += 1;
        if course.days_to_renewal().is_none() {
            match counts.ends.get_mut(reason) {
                Some(ends) => *ends += 1,
                None => _ = counts.ends.insert(reason.to_owned(), 1),
            }
        }
    }

    fn counts_of(&mut self, line: &Subscription<'_>) -> &mut Counts {
        let Self(plans) = self;
        let period = u16::try_from(line.period_months).ok().filter(|&period| period <= LONGEST_PERIOD);
        if !plans.contains_key(line.plan) {
            plans.insert(line.plan.to_owned(), BTreeMap::new());
        }
        let periods = plans.get_mut(line.plan).expect("it was put there");
        periods.entry(period.unwrap_or(0)).or_default()
    }

    /// The plans by name, each by its periods.
    pub fn finish(self) -> Vec<PlanTenures> {
        let Self(plans) = self;
        let mut all = Vec::new();
        for (plan, periods) in plans {
            for (period_months, Counts { tenures, ends, left_out }) in periods {
                let rows = tenures.into_iter().map(|(tenure, customers)| ContractRow { tenure, customers });
                all.push(PlanTenures {
                    plan: plan.clone(),
                    period_months,
                    rows: rows.collect(),
                    ends,
                    left_out,
                });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use model::Currency;

    use super::*;

    fn us(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn line(start: &str, end: Option<&str>) -> Subscription<'static> {
        Subscription {
            plan: "pro",
            period_months: 1,
            started_at_us: us(start),
            ended_at_us: end.map(us),
            price_minor: 4_900,
            currency: *b"EUR",
        }
    }

    fn count(lines: &[(Subscription<'_>, Option<&str>)]) -> Vec<PlanTenures> {
        let observation = Observation::new(us("2026-07-01T00:00Z"), Currency::parse("EUR").unwrap());
        let mut counting = TenureCounts::default();
        for (line, end_reason) in lines {
            counting.line(line, *end_reason, &observation);
        }
        counting.finish()
    }

    #[test]
    fn an_end_is_a_churn_unless_the_customer_went_on_in_another_plan() {
        let ended = line("2026-01-10T00:00Z", Some("2026-03-10T00:00Z"));
        let goes_on = line("2026-01-10T00:00Z", None);

        let counted =
            count(&[(ended, Some("cancelled")), (ended, None), (ended, Some(PLAN_CHANGED)), (goes_on, None)]);

        let [pro] = &counted[..] else { panic!("{counted:?}") };
        let rows = [(Tenure::ChurnedAt(2), 2), (Tenure::ActiveAfter(1), 1), (Tenure::ActiveAfter(5), 1)];
        assert_eq!(pro.rows, rows.map(|(tenure, customers)| ContractRow { tenure, customers }));
        let ends = [("cancelled", 1), (PLAN_CHANGED, 1), (UNKNOWN, 1)];
        assert_eq!(pro.ends, ends.map(|(reason, ends)| (reason.to_owned(), ends)).into());
    }

    #[test]
    fn a_plan_sold_by_the_month_and_by_the_year_is_two() {
        let by_year = Subscription { period_months: 12, ..line("2025-01-10T00:00Z", None) };

        let counted = count(&[(by_year, None), (line("2026-01-10T00:00Z", None), None)]);

        let periods: Vec<_> = counted.iter().map(|plan| (&plan.plan[..], plan.period_months)).collect();
        assert_eq!(periods, [("pro", 1), ("pro", 12)]);
    }

    #[test]
    fn lines_that_cannot_be_are_left_out_and_counted() {
        let end_before_start = line("2026-01-10T00:00Z", Some("2026-01-09T00:00Z"));
        let no_period = Subscription { period_months: 0, ..line("2026-01-10T00:00Z", None) };
        let long_period = Subscription { period_months: 70_000, ..no_period };

        let counted = count(&[(end_before_start, None), (no_period, None), (long_period, None)]);

        let left_out: Vec<_> = counted.iter().map(|plan| (plan.period_months, plan.left_out)).collect();
        assert_eq!(left_out, [(0, 2), (1, 1)]);
        assert!(counted.iter().all(|plan| plan.rows.is_empty() && plan.ends.is_empty()));
    }
}
