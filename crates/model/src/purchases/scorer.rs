//! The value of a customer, quickly and always to the same bits.
//!
//! Given alive, what a customer will still buy, and how that scatters, depends on `x` and `T` alone. A night meets far
//! fewer pairs of them than customers, so the scorer keeps tables that fill as they are asked: one of what to expect
//! ([`AliveCurve`]), one of the scatter ([`SpreadCurve`]), which only prospects ask. Each has
//!
//! * curves, one for each `x`, some kilobytes each;
//! * points, one for each `x` and age in days, in a block for each `x`.
//!
//! Whatever is asked for beyond the tables is computed by the same functions. A point is a pure function of the
//! parameters, the terms, the season, `x` and the age, so threads that race to fill it store the same bits, and neither
//! the order of the customers nor the number of threads can be seen in a value. Reading takes no lock; a thread waits
//! for another only while that one lays out the curve or the block of an `x` nobody had asked for yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::account::money::whole_minor;
use crate::{
    AliveCurve, Clock, Level, OperationalHorizon, Parameters, Purchases, Rejection, Season, SpendInterval,
    Spread, SpreadCurve, Summary, Terms,
};

/// Curves are kept for `x` below this: a purchase a day for eleven years. About 4 MB a table if each is asked for.
const CURVES: usize = 4096;

/// Points are kept for `x` below this …
const BLOCKS: usize = 256;

/// … and ages of fewer days than this: 64 kB a block, 16 MB a table if each `x` is asked for.
const AGES: usize = 4096;

/// What a customer's purchases are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PurchaseValue {
    /// Discounted expected spend over the horizon, in minor units, rounded half away from zero.
    pub value_minor: i64,
    /// Expected number of purchases over the horizon, not discounted.
    pub expected_purchases: f64,
    /// Probability that the customer will still buy.
    pub p_alive: f64,
}

/// What a customer's purchases are worth, and how sure that is. What lies ahead of a customer is his
/// prospect; forecast and outlook are words for a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prospect {
    /// The value.
    pub value: PurchaseValue,
    /// Expected number of purchases over the horizon, each discounted to the end of the observation.
    pub discounted_purchases: f64,
    /// Variance of the number of purchases over the horizon.
    pub variance: f64,
    /// Probability of no purchase over the horizon.
    pub p_zero: f64,
    /// Expected mean spend on a purchase, in minor units.
    pub mean_spend_minor: f64,
    /// Between which amounts, in minor units, the spend over the horizon lies, not discounted: with a probability of
    /// 80 % and of 90 %, as nearly as two moments tell ([`SpendInterval::from_moments`]). None where the spend's
    /// variance is infinite (`p x + q <= 2`).
    pub spend_intervals: Option<[SpendInterval; 2]>,
}

/// Values customers under given parameters and terms; shared by threads.
pub struct Scorer {
    parameters: Parameters,
    terms: Terms,
    clock: Clock,
    horizon: OperationalHorizon,
    purchases: Table<AliveCurve>,
    spreads: Table<SpreadCurve>,
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
        let horizon = season.operational_horizon(last_day, &terms);
        let clock = season.clock(last_day);
        Self { parameters, terms, clock, horizon, purchases: Table::new(), spreads: Table::new() }
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
    pub fn value(&self, summary: &Summary) -> Result<PurchaseValue, Rejection> {
        self.look_at(summary).map(|look| look.value)
    }

    /// What a customer will buy: the value with all that says how sure it is.
    ///
    /// Costs about twice as much as [`value`](Self::value), whose value it holds to the bit. What it returns is finite.
    pub fn prospect(&self, summary: &Summary) -> Result<Prospect, Rejection> {
        const LEVELS: [Level; 2] = [Level::EIGHTY, Level::NINETY];
        let Look { value, alive, age, mean_spend } = self.look_at(summary)?;
        let spread = self.spread(summary.frequency, summary.age_days, age);
        let variance = spread.variance(value.p_alive, alive.expected);
        let p_zero = spread.p_zero(value.p_alive);
        let posterior = self
            .parameters
            .gamma_gamma
            .posterior_of_total(summary.frequency, summary.repeat_spend_minor as f64);
        let moments = posterior.total_spend(value.expected_purchases, variance).ok();
        Ok(Prospect {
            value,
            discounted_purchases: value.p_alive * alive.discounted,
            variance,
            p_zero,
            mean_spend_minor: mean_spend,
            spend_intervals: moments.map(|moments| SpendInterval::from_moments(p_zero, &moments, LEVELS)),
        })
    }

    #[inline]
    fn look_at(&self, summary: &Summary) -> Result<Look, Rejection> {
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
        let value = PurchaseValue {
            value_minor: whole_minor(p_alive * alive.discounted * mean_spend)?,
            expected_purchases: p_alive * alive.expected,
            p_alive,
        };
        Ok(Look { value, alive, age, mean_spend })
    }

    /// The purchases given alive; `age` is a function of `age_days`.
    #[inline]
    fn purchases(&self, frequency: u32, age_days: u32, age: f64) -> Purchases {
        let new_curve = || self.parameters.bg_nbd.seasonal_curve(frequency, &self.horizon);
        let point = |curve: &AliveCurve| {
            let Purchases { expected, discounted } = curve.purchases_over(age, &self.horizon);
            [expected, discounted]
        };
        let [expected, discounted] = self.purchases.get(frequency, age_days, new_curve, point);
        Purchases { expected, discounted }
    }

    /// How the purchases scatter given alive; `age` is a function of `age_days`.
    #[inline]
    fn spread(&self, frequency: u32, age_days: u32, age: f64) -> Spread {
        let new_curve = || self.parameters.bg_nbd.seasonal_spread_curve(frequency, &self.horizon);
        let point = |curve: &SpreadCurve| {
            let Spread { variance, p_zero } = curve.at(age);
            [variance, p_zero]
        };
        let [variance, p_zero] = self.spreads.get(frequency, age_days, new_curve, point);
        Spread { variance, p_zero }
    }
}

/// What is known of a customer once he is valued.
struct Look {
    value: PurchaseValue,
    alive: Purchases,
    age: f64,
    mean_spend: f64,
}

/// Two numbers for each `x` and age, computed when they are first asked for.
struct Table<C> {
    curves: Box<[OnceLock<C>]>,
    blocks: Box<[OnceLock<Box<[Entry]>>]>,
}

impl<C> Table<C> {
    fn new() -> Self {
        let curves = (0..CURVES).map(|_| OnceLock::new()).collect();
        let blocks = (0..BLOCKS).map(|_| OnceLock::new()).collect();
        Self { curves, blocks }
    }

    /// The point, from the table where it reaches.
    #[inline]
    fn get(
        &self,
        frequency: u32,
        age_days: u32,
        new_curve: impl Fn() -> C,
        point: impl Fn(&C) -> [f64; 2],
    ) -> [f64; 2] {
        let (x, day) = (frequency as usize, age_days as usize);
        if x >= BLOCKS || day >= AGES {
            return self.compute(x, new_curve, point);
        }
        let block = self.blocks[x].get_or_init(|| (0..AGES).map(|_| Entry::default()).collect());
        block[day].get().unwrap_or_else(|| {
            let computed = self.compute(x, new_curve, point);
            block[day].set(computed);
            computed
        })
    }

    #[cold]
    fn compute(&self, x: usize, new_curve: impl Fn() -> C, point: impl Fn(&C) -> [f64; 2]) -> [f64; 2] {
        match self.curves.get(x) {
            Some(kept) => point(kept.get_or_init(new_curve)),
            None => point(&new_curve()),
        }
    }
}

/// The bits of two numbers that are both positive once known; zero until then.
///
/// Each half is read and written on its own: both are functions of the entry's place, so a reader who finds both
/// filled has the pair, whoever wrote them. Halves that truly underflow to zero are just computed again.
#[derive(Default)]
struct Entry([AtomicU64; 2]);

impl Entry {
    #[inline]
    fn get(&self) -> Option<[f64; 2]> {
        match self.0.each_ref().map(|half| half.load(Relaxed)) {
            [0, _] | [_, 0] => None,
            known => Some(known.map(f64::from_bits)),
        }
    }

    fn set(&self, point: [f64; 2]) {
        for (half, number) in self.0.iter().zip(point) {
            half.store(number.to_bits(), Relaxed);
        }
    }
}
