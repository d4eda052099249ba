//! What customers who are alive will still buy, tabulated for a whole run.
//!
//! Given alive, everything that is expected of a customer is a function of `x` and of `A = alpha + T` alone. For a given
//! `x` and a given future each is analytic in `ln A` in a strip of half-width `pi/2` about the real axis at least,
//! where it stays of the size it has on the axis. So seven numbers for each `x` and every age come from a few dozen ages:
//! they are integrated at the nodes of Chebyshev series in `ln(A / alpha)`, once for each `x` that is asked for, and a
//! customer costs one evaluation of seven series side by side. That holds in a season too, whose future is the same for
//! all; there an integral has hundreds of stretches.
//!
//! A curve is a pure function of the parameters, the terms, the season and `x`, and so is what is read from it: neither
//! the order of the customers nor the number of threads can be seen in a value. Reading takes no lock; a thread waits
//! for another only while that one lays out the curve of an `x` nobody had asked for yet.

use std::array;
use std::sync::OnceLock;

use crate::kernel::chebyshev::Interpolant;
use crate::purchases::ahead::Ahead;
use crate::{AliveCurve, BgNbd, DAYS_PER_WEEK, ParameterError, Season, Spread, SpreadCurve, ValueTerms};

/// Curves are kept for `x` up to this: 5 kB each for usual parameters, and 38 MB with those of the months if each is
/// asked for.
const MOST_REPEATS: usize = 4096;

/// Curves of single months are kept for `x` below this: 17 kB each.
const MONTHLY_CURVES: usize = 1024;

/// They reach as far as this age in operational weeks: eleven years, and how far a season can be ahead. Beyond it
/// everything is integrated customer by customer.
const OLDEST: f64 = 4096.0 / DAYS_PER_WEEK + 53.0;

/// With twenty coefficients a piece in `ln A`, the series are then right to about 1e-11.
const WIDEST_PIECE: f64 = 2.0;

/// And so to about 1e-8: months are compared with a cost, and no more.
const WIDEST_MONTHS_PIECE: f64 = 3.0;

/// Months that are looked at one by one.
pub(crate) const MONTHS: usize = 36;

/// What is expected of a customer if he is alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IfAlive {
    /// Purchases over 12 months.
    pub(crate) expected: f64,
    /// Discounted purchases over 12, 24 and 36 months; ascending, the first at most `expected`.
    pub(crate) discounted: [f64; 3],
    /// Discounted purchases for ever, if that has an end.
    pub(crate) for_ever: Option<f64>,
    /// How the purchases over 12 months scatter.
    pub(crate) spread: Spread,
}

/// Tables of what is expected of customers who are alive.
pub(crate) struct PurchaseTables {
    bg_nbd: BgNbd,
    years: Ahead<3>,
    months: Ahead<MONTHS>,
    /// Operational weeks in the coming 12 months.
    year: f64,
    curves: Box<[OnceLock<Curves>]>,
}

/// Everything about one `x`.
struct Curves {
    alive: AliveCurve,
    spread: SpreadCurve,
    years: Interpolant<LANES>,
    /// Discounted purchases until the end of each month, a year's months together.
    months: OnceLock<[Interpolant<12>; 3]>,
}

/// Expected, three times discounted, for ever, variance, probability of none.
const LANES: usize = 7;

impl PurchaseTables {
    /// Prepares for customers whose histories all end with `last_day`.
    pub(crate) fn new(
        bg_nbd: BgNbd,
        season: &Season,
        last_day: i64,
        terms: &ValueTerms,
    ) -> Result<Self, ParameterError> {
        let years = Ahead::new(season, last_day, terms, [12, 24, 36])?;
        let ends = array::from_fn(|month| month as u32 + 1);
        let months = Ahead::new(season, last_day, terms, ends)?.up_to_the_last_cut();
        let year = years.stretches()[years.ends()[0] - 1].until;
        let curves = (0..=MOST_REPEATS).map(|_| OnceLock::new()).collect();
        Ok(Self { bg_nbd, years, months, year, curves })
    }

    /// What is expected of a customer with `x` repeat purchases at the age of so many operational weeks.
    #[inline]
    pub(crate) fn if_alive(&self, x: u32, age: f64) -> IfAlive {
        let lanes = match self.curves(x) {
            Some(curves) if age <= OLDEST => curves.years.all_at(self.ln_ageing(age)),
            Some(curves) => self.years_at(&curves.alive, &curves.spread, age),
            None => self.years_at(&self.alive_curve(x), &self.spread_curve(x), age),
        };
        let [expected, first, second, third, for_ever, variance, p_zero] = lanes;
        let at_12 = f64::min(first, expected);
        let at_24 = f64::max(second, at_12);
        let at_36 = f64::max(third, at_24);
        IfAlive {
            expected,
            discounted: [at_12, at_24, at_36],
            for_ever: self.years.rest().map(|_| f64::max(for_ever, at_36)),
            spread: Spread { variance: f64::max(variance, 0.0), p_zero: p_zero.clamp(0.0, 1.0) },
        }
    }

    /// The discounted purchases until the end of each month of a year, counted from 0 to 2, of such a customer.
    #[inline]
    pub(crate) fn months_of_year(&self, x: u32, age: f64, year: usize) -> [f64; 12] {
        let kept = self.curves(x).filter(|_| (x as usize) < MONTHLY_CURVES && age <= OLDEST);
        if let Some(curves) = kept {
            let months = curves.months.get_or_init(|| self.month_curves(&curves.alive));
            return months[year].all_at(self.ln_ageing(age));
        }
        let months = match self.curves(x) {
            Some(curves) => self.months_at(&curves.alive, age),
            None => self.months_at(&self.alive_curve(x), age),
        };
        array::from_fn(|month| months[12 * year + month])
    }

    #[inline]
    fn curves(&self, x: u32) -> Option<&Curves> {
        self.curves.get(x as usize).map(|kept| kept.get_or_init(|| self.new_curves(x)))
    }

    #[cold]
    fn new_curves(&self, x: u32) -> Curves {
        let (alive, spread) = (self.alive_curve(x), self.spread_curve(x));
        let years = self.tabulate(WIDEST_PIECE, |age| self.years_at(&alive, &spread, age));
        Curves { alive, spread, years, months: OnceLock::new() }
    }

    #[cold]
    fn month_curves(&self, alive: &AliveCurve) -> [Interpolant<12>; 3] {
        let all = self.tabulate(WIDEST_MONTHS_PIECE, |age| self.months_at(alive, age));
        array::from_fn(|year| all.lanes(12 * year))
    }

    fn tabulate<const N: usize>(
        &self,
        widest_piece: f64,
        at_age: impl Fn(f64) -> [f64; N],
    ) -> Interpolant<N> {
        let alpha = self.bg_nbd.alpha();
        Interpolant::of_all(self.ln_ageing(OLDEST), widest_piece, |ageing| {
            at_age(alpha * libm::expm1(ageing))
        })
    }

    /// `ln(A / alpha)`.
    #[inline]
    fn ln_ageing(&self, age: f64) -> f64 {
        libm::log1p(age / self.bg_nbd.alpha())
    }

    fn alive_curve(&self, x: u32) -> AliveCurve {
        AliveCurve::far(self.bg_nbd.youngest(x), self.years.longest(), self.years.delta())
    }

    fn spread_curve(&self, x: u32) -> SpreadCurve {
        SpreadCurve::coarsely(self.bg_nbd.youngest(x), self.year)
    }

    fn years_at(&self, alive: &AliveCurve, spread: &SpreadCurve, age: f64) -> [f64; LANES] {
        let purchases = alive.purchases_until(age, &self.years);
        let [first, second, third] = purchases.until.map(|until| until.discounted);
        let Spread { variance, p_zero } = spread.at(age);
        let for_ever = purchases.for_ever.unwrap_or(0.0);
        [purchases.until[0].expected, first, second, third, for_ever, variance, p_zero]
    }

    fn months_at(&self, alive: &AliveCurve, age: f64) -> [f64; MONTHS] {
        alive.purchases_until_about(age, &self.months).until.map(|until| until.discounted)
    }
}
