//! How far histories are observed.

use super::Currency;

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// What all customers of a run share: how far their histories are observed, and in which currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    as_of_us: i64,
    currency: Currency,
}

impl Observation {
    /// Observes everything before `as_of_us`, in microseconds since 1970-01-01 UTC.
    ///
    /// The last observed day is the day of `as_of_us - 1`: midnight of 1 October observes through 30 September.
    pub fn new(as_of_us: i64, currency: Currency) -> Self {
        Self { as_of_us, currency }
    }

    /// The first microsecond that is no longer observed.
    pub fn as_of_us(&self) -> i64 {
        self.as_of_us
    }

    /// The currency of the run.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The last observed day, in days since 1970-01-01 UTC.
    pub fn last_day(&self) -> i64 {
        day_of(self.as_of_us.saturating_sub(1))
    }
}

/// The UTC day of a moment, in days since 1970-01-01.
pub(crate) fn day_of(time_us: i64) -> i64 {
    time_us.div_euclid(MICROSECONDS_PER_DAY)
}
