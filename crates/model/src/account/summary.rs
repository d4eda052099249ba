//! What a purchase history comes to.

use super::money::LARGEST_SUM_MINOR;
use crate::DAYS_PER_WEEK;

/// What the models need to know about a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Summary {
    /// Purchase days after the first one (`x`).
    pub frequency: u32,
    /// Days from the first purchase to the last one; 0 when there is only one.
    pub recency_days: u32,
    /// Days from the first purchase to the last observed day.
    pub age_days: u32,
    /// Net spend on all purchase days after the first one, in minor units.
    pub repeat_spend_minor: i64,
}

impl Summary {
    /// Mean net spend on a repeat purchase day, in minor units; 0 when there was none.
    pub fn mean_spend_minor(&self) -> f64 {
        if self.frequency == 0 { 0.0 } else { self.repeat_spend_minor as f64 / f64::from(self.frequency) }
    }

    /// Time from the first purchase to the last one (`t_x`), in weeks.
    pub fn recency(&self) -> f64 {
        f64::from(self.recency_days) / DAYS_PER_WEEK
    }

    /// Time from the first purchase to the end of the observation (`T`), in weeks.
    pub fn age(&self) -> f64 {
        f64::from(self.age_days) / DAYS_PER_WEEK
    }

    /// Says whether a history could have left this summary behind.
    pub(crate) fn is_consistent(&self) -> bool {
        let last_within_life = self.recency_days <= self.age_days;
        let spend_is_sane = (0..=LARGEST_SUM_MINOR).contains(&self.repeat_spend_minor);
        let silence_is_empty = self.frequency > 0 || (self.recency_days == 0 && self.repeat_spend_minor == 0);
        last_within_life && spend_is_sane && silence_is_empty
    }
}
