//! The value of a customer, quickly and always to the same bits.
//!
//! Given alive, what a customer will still buy depends on `x` and `T` alone. A night meets far fewer pairs of them
//! than customers, so the scorer keeps two tables that fill as they are asked:
//!
//! * curves, one for each `x` ([`AliveCurve`]), some kilobytes each;
//! * purchases, one entry for each `x` and age in days, in a block for each `x`.
//!
//! Whatever is asked for beyond the tables is computed by the same functions. An entry is a pure function of the
//! parameters, the terms, `x` and the age, so threads that race to fill it store the same bits, and neither the order
//! of the customers nor the number of threads can be seen in a value. Reading takes no lock; a thread waits for
//! another only while that one lays out the curve or the block of an `x` nobody had asked for yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::history::LARGEST_SUM_MINOR;
use crate::{AliveCurve, Clock, Outlook, Parameters, Purchases, Rejection, Season, Summary, Terms};

/// Curves are kept for `x` below this: a purchase a day for eleven years. About 4 MB if each is asked for.
const CURVES: usize = 4096;

/// Purchases are kept for `x` below this …
const BLOCKS: usize = 256;

/// … and ages of fewer days than this: 64 kB a block, 16 MB if each `x` is asked for.
const AGES: usize = 4096;

/// What a customer is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// Discounted expected spend over the horizon, in minor units, rounded half away from zero.
    pub value_minor: i64,
    /// Expected number of purchases over the horizon, not discounted.
    pub expected_purchases: f64,
    /// Probability that the customer will still buy.
    pub p_alive: f64,
}

/// Values customers under given parameters and terms; shared by threads.
pub struct Scorer {
    parameters: Parameters,
    terms: Terms,
    clock: Clock,
    outlook: Outlook,
    curves: Box<[OnceLock<AliveCurve>]>,
    blocks: Box<[OnceLock<Box<[Entry]>>]>,
}

impl Scorer {
    /// Prepares empty tables.
    pub fn new(parameters: Parameters, terms: Terms) -> Self {
        Self::in_season(parameters, terms, &Season::none(), 0)
    }

    /// Prepares empty tables for customers whose purchases follow a season, under parameters that were fitted in its
    /// time ([`fit::rows_in_season`](crate::fit::rows_in_season)); all summaries must end with `last_day`
    /// ([`Observation::last_day`](crate::Observation::last_day)).
    ///
    /// With [`Season::none`] the same as [`new`](Self::new), whatever the day.
    pub fn in_season(parameters: Parameters, terms: Terms, season: &Season, last_day: i64) -> Self {
        let outlook = season.outlook(last_day, &terms);
        let curves = (0..CURVES).map(|_| OnceLock::new()).collect();
        let blocks = (0..BLOCKS).map(|_| OnceLock::new()).collect();
        Self { parameters, terms, clock: season.clock(last_day), outlook, curves, blocks }
    }

    /// The parameters it values under.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The terms it values under.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Values a customer: `p_alive x discounted purchases given alive x mean spend`.
    ///
    /// What it returns is finite, whatever the summary.
    pub fn value(&self, summary: &Summary) -> Result<Value, Rejection> {
        if !summary.is_consistent() {
            return Err(Rejection::InconsistentSummary);
        }
        let Parameters { bg_nbd, gamma_gamma } = &self.parameters;
        let mean_spend = gamma_gamma
            .mean_of_total(summary.frequency, summary.repeat_spend_minor as f64)
            .map_err(|_| Rejection::SpendHasNoMean)?;
        let (t_x, age) = self.clock.times(summary);
        let p_alive = bg_nbd.p_alive(summary.frequency, t_x, age);
        let alive = self.purchases(summary.frequency, summary.age_days, age);
        Ok(Value {
            value_minor: whole_minor(p_alive * alive.discounted * mean_spend)?,
            expected_purchases: p_alive * alive.expected,
            p_alive,
        })
    }

    /// The purchases given alive, from the table where it reaches; `age` is a function of `age_days`.
    #[inline]
    fn purchases(&self, frequency: u32, age_days: u32, age: f64) -> Purchases {
        let (x, day) = (frequency as usize, age_days as usize);
        if x >= BLOCKS || day >= AGES {
            return self.compute(frequency, age);
        }
        let block = self.blocks[x].get_or_init(|| (0..AGES).map(|_| Entry::default()).collect());
        block[day].get().unwrap_or_else(|| {
            let purchases = self.compute(frequency, age);
            block[day].set(purchases);
            purchases
        })
    }

    #[cold]
    fn compute(&self, frequency: u32, age: f64) -> Purchases {
        let new_curve = || self.parameters.bg_nbd.seasonal_curve(frequency, &self.outlook);
        match self.curves.get(frequency as usize) {
            Some(kept) => kept.get_or_init(new_curve).purchases_over(age, &self.outlook),
            None => new_curve().purchases_over(age, &self.outlook),
        }
    }
}

/// The bits of two numbers that are both positive once known; zero until then.
///
/// Each half is read and written on its own: both are functions of the entry's place, so a reader who finds both
/// filled has the pair, whoever wrote them. Halves that truly underflow to zero are just computed again.
#[derive(Default)]
struct Entry {
    expected: AtomicU64,
    discounted: AtomicU64,
}

impl Entry {
    #[inline]
    fn get(&self) -> Option<Purchases> {
        match (self.expected.load(Relaxed), self.discounted.load(Relaxed)) {
            (0, _) | (_, 0) => None,
            (expected, discounted) => {
                Some(Purchases { expected: f64::from_bits(expected), discounted: f64::from_bits(discounted) })
            }
        }
    }

    fn set(&self, purchases: Purchases) {
        self.expected.store(purchases.expected.to_bits(), Relaxed);
        self.discounted.store(purchases.discounted.to_bits(), Relaxed);
    }
}

fn whole_minor(value: f64) -> Result<i64, Rejection> {
    let rounded = libm::round(value);
    if rounded <= LARGEST_SUM_MINOR as f64 { Ok(rounded as i64) } else { Err(Rejection::ValueOutOfRange) }
}
