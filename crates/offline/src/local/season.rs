//! When the whole base bought, counted by day: the same as the fleet counts in its database
//! (`store::postgres::Postgres::purchase_counts`).

use model::{Observation, PurchaseCounts};

use super::in_order::Purchase;

const DAY_US: i64 = 86_400_000_000;

/// Counts purchase days. Each customer's lines come in the order of time.
#[derive(Debug)]
pub(super) struct SeasonCount {
    counts: PurchaseCounts,
    currency: [u8; 3],
    /// Of each customer.
    days: Vec<Option<Days>>,
}

/// The days of a customer that are still needed.
#[derive(Clone, Copy, Debug)]
struct Days {
    first: i32,
    latest: i32,
}

impl SeasonCount {
    /// Begins to count for so many customers, the first of whom bought at `earliest_us`, if anybody did.
    pub(super) fn new(observation: &Observation, earliest_us: Option<i64>, customers: usize) -> Self {
        let last_day = observation.last_day();
        let first_day = earliest_us.map_or(last_day, day_of);
        Self {
            counts: PurchaseCounts::of_a_century(first_day, last_day),
            currency: *observation.currency().as_bytes(),
            days: vec![None; customers],
        }
    }

    /// Whether a line makes its day a purchase day.
    pub(super) fn is_purchase(amount_minor: i64, currency: [u8; 3], wanted: [u8; 3]) -> bool {
        amount_minor >= 0 && currency == wanted
    }

    /// Counts the next line of a customer.
    pub(super) fn count(&mut self, line: &Purchase) {
        if !Self::is_purchase(line.amount_minor, line.currency, self.currency) {
            return;
        }
        let day = day_of(line.at_us);
        let today = day as i32;
        let days = self.days[line.place as usize].get_or_insert(Days { first: today, latest: i32::MIN });
        if std::mem::replace(&mut days.latest, today) != today {
            self.counts.customers_on(days.first.into(), day, 1);
        }
    }

    pub(super) fn finish(self) -> PurchaseCounts {
        self.counts
    }
}

fn day_of(at_us: i64) -> i64 {
    at_us.div_euclid(DAY_US)
}
