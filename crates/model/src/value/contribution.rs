//! How much a customer will contribute over 12 months, as a distribution that is quick to ask.
//!
//! The contribution `V = W + C` adds what he buys and what his contracts bring. `W` is 0 with the probability `P(W=0)`
//! and else taken to be lognormal ([`SpendInterval::from_moments`](crate::SpendInterval::from_moments)); `C` is one of
//! a few sums. So
//!
//! ```text
//! P(V <= v) = P(W=0) P(C <= v) + P(W>0) sum_i P(course i) Phi((ln(v - c_i) - m_i) / s_i)
//! ```
//!
//! In the first part `C` is taken exactly: whoever buys nothing brings what his contracts bring. In the second the
//! courses that a contract may take are few, because `W` blurs them: it ends early, ends late, or is renewed every
//! time. What is paid in a course scatters around its mean, and the lognormal above the course's least sum `c_i` has
//! the mean and the variance of both. Where a course holds a single sum, as all do for a contract by the year, nothing
//! is lost but the lognormal itself.

use std::cell::Cell;

use crate::SpendMoments;
use crate::kernel::normal_quantile::quick_normal_quantile;
use crate::kernel::quick::{quick_exp, quick_ln, quick_normal};

/// A sum that contracts may bring.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Atom {
    pub(crate) amount: f64,
    /// The probability of this sum or a smaller one.
    pub(crate) cdf: f64,
}

/// A course of the contracts: what it is to add to positive purchases.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Branch {
    pub(crate) probability: f64,
    /// The least sum, and mean and variance of all.
    pub(crate) least: f64,
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// Contracts with their courses put together have at most so many.
pub(crate) const BRANCHES: usize = 9;

/// What is bought: 0 with `p_zero`, else an amount with a mean and a variance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bought {
    pub(crate) p_zero: f64,
    mean: f64,
    variance: f64,
}

/// A lognormal above `least`.
#[derive(Clone, Copy, Debug, Default)]
struct Body {
    weight: f64,
    least: f64,
    ln_median: f64,
    deviation: f64,
    per_deviation: f64,
}

/// The distribution of a contribution.
pub(crate) struct Contribution<'a> {
    p_zero: f64,
    atoms: &'a [Atom],
    bodies: [Body; BRANCHES],
    branches: usize,
    /// How much of the part with positive purchases lies below the first sums, where that has been asked: one quantile
    /// is looked for at the same sums as the next. Negative until then.
    below_atoms: [Cell<f64>; REMEMBERED],
}

/// As many sums as a contract by the month has.
const REMEMBERED: usize = 13;

/// Purchases less likely than this cannot be seen in a quantile.
const UNSEEN: f64 = 1e-4;

/// Less than this on average, in minor units, is nothing.
const NOTHING: f64 = 1e-6;

impl Bought {
    /// Nothing at all.
    pub(crate) const NOTHING: Self = Self { p_zero: 1.0, mean: 0.0, variance: 0.0 };

    /// Splits the moments of what is bought into nothing and the positive amounts, and takes the share of them that
    /// stays.
    #[inline]
    pub(crate) fn new(p_zero: f64, moments: &SpendMoments, share: f64) -> Self {
        let positive = 1.0 - p_zero;
        let mean = share * moments.mean() / positive;
        if !(positive > 0.0 && mean > NOTHING) {
            return Self::NOTHING;
        }
        let relative = moments.variance() / moments.mean() / moments.mean() * positive - p_zero;
        Self { p_zero, mean, variance: f64::max(relative, 0.0) * mean * mean }
    }
}

impl Body {
    #[inline]
    fn new(bought: &Bought, branch: &Branch) -> Self {
        let mean = bought.mean + (branch.mean - branch.least);
        let relative = (bought.variance + branch.variance) / (mean * mean);
        // Beyond these the deviation is nothing, or more than can be told.
        let ln_variance = quick_ln(1.0 + relative.clamp(1e-12, 1e300));
        let deviation = f64::max(libm::sqrt(ln_variance), 1e-6);
        Self {
            weight: (1.0 - bought.p_zero) * branch.probability,
            least: branch.least,
            ln_median: quick_ln(mean) - 0.5 * ln_variance,
            deviation,
            per_deviation: 1.0 / deviation,
        }
    }

    /// The probability of at most `amount`.
    #[inline]
    fn below(&self, amount: f64) -> f64 {
        let above = amount - self.least;
        if above <= f64::MIN_POSITIVE {
            return 0.0;
        }
        self.weight * quick_normal((quick_ln(above) - self.ln_median) * self.per_deviation).below
    }

    /// The same, and the density there.
    #[inline]
    fn at(&self, amount: f64) -> (f64, f64) {
        let above = amount - self.least;
        if above <= f64::MIN_POSITIVE {
            return (0.0, 0.0);
        }
        let normal = quick_normal((quick_ln(above) - self.ln_median) * self.per_deviation);
        (self.weight * normal.below, self.weight * normal.density * self.per_deviation / above)
    }
}

impl<'a> Contribution<'a> {
    /// Joins what is bought with what contracts bring: all sums with their probabilities (ascending, at least one; the
    /// last `cdf` counts as 1), and the courses they may take.
    #[inline]
    pub(crate) fn new(bought: &Bought, atoms: &'a [Atom], branches: &[Branch]) -> Self {
        let mut bodies = [Body::default(); BRANCHES];
        let branches = if bought.p_zero < 1.0 { branches } else { &[] };
        for (body, branch) in bodies.iter_mut().zip(branches) {
            *body = Body::new(bought, branch);
        }
        let below_atoms = [const { Cell::new(-1.0) }; REMEMBERED];
        Self { p_zero: bought.p_zero, atoms, bodies, branches: branches.len(), below_atoms }
    }

    /// The probability of no contribution at all.
    pub(crate) fn p_zero(&self) -> f64 {
        let first = &self.atoms[0];
        if first.amount > 0.0 { 0.0 } else { self.p_zero * self.cdf_of_atom(0) }
    }

    /// The probability of at least `amount`.
    pub(crate) fn at_least(&self, amount: f64) -> f64 {
        let smaller = self.atoms.iter().take_while(|atom| atom.amount < amount).count();
        let contracts_alone = if smaller == 0 { 0.0 } else { self.cdf_of_atom(smaller - 1) };
        (1.0 - self.p_zero * contracts_alone - self.below(amount)).clamp(0.0, 1.0)
    }

    /// The smallest amount that is not exceeded with the probability `level`.
    pub(crate) fn quantile(&self, level: f64) -> f64 {
        // Between which sums does the distribution reach the level, or at which of its jumps?
        let is_seen = self.branches > 0 && self.p_zero < 1.0 - UNSEEN;
        let (mut reached, mut beyond) = (0, self.atoms.len());
        let (mut at_lower, mut at_upper) = (0.0, 0.0);
        while reached < beyond {
            let middle = usize::midpoint(reached, beyond);
            let continuous = if is_seen { self.below_atom(middle) } else { 0.0 };
            if self.p_zero * self.cdf_of_atom(middle) + continuous >= level {
                (beyond, at_upper) = (middle, continuous);
            } else {
                (reached, at_lower) = (middle + 1, continuous);
            }
        }
        let below = reached.checked_sub(1);
        let lower = below.map_or(0.0, |place| self.atoms[place].amount);
        let level_left = level - below.map_or(0.0, |place| self.p_zero * self.cdf_of_atom(place));
        match self.atoms.get(reached) {
            Some(atom) if at_upper < level_left => atom.amount,
            Some(atom) => {
                let share = (level_left - at_lower) / (at_upper - at_lower);
                self.between(level_left, lower, atom.amount, lower + share * (atom.amount - lower))
            }
            None if !is_seen => lower,
            None => self.between(level_left, lower, f64::MAX, self.far_up(level)),
        }
    }

    #[inline]
    fn cdf_of_atom(&self, place: usize) -> f64 {
        if place + 1 == self.atoms.len() { 1.0 } else { self.atoms[place].cdf }
    }

    /// The part with positive purchases up to a sum of the contracts.
    #[inline]
    fn below_atom(&self, place: usize) -> f64 {
        let Some(known) = self.below_atoms.get(place) else { return self.below(self.atoms[place].amount) };
        if known.get() < 0.0 {
            known.set(self.below(self.atoms[place].amount));
        }
        known.get()
    }

    /// The part with positive purchases up to an amount.
    #[inline]
    fn below(&self, amount: f64) -> f64 {
        self.bodies[..self.branches].iter().map(|body| body.below(amount)).sum()
    }

    /// The same, and its density.
    #[inline]
    fn continuous(&self, amount: f64) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for body in &self.bodies[..self.branches] {
            let (below, density) = body.at(amount);
            sum = (sum.0 + below, sum.1 + density);
        }
        sum
    }

    /// About where the level is reached above all sums of the contracts: as if all courses but the one with the most had
    /// ended below.
    fn far_up(&self, level: f64) -> f64 {
        let last = &self.bodies[self.branches - 1];
        let exceeding = f64::min((1.0 - level) / f64::max(last.weight, f64::MIN_POSITIVE), 0.5);
        let z = if exceeding > 1e-300 { -quick_normal_quantile(exceeding) } else { 37.0 };
        last.least + quick_exp(last.ln_median + last.deviation * z)
    }

    /// Where the continuous part reaches `level`, between two amounts: Newton's method, and halves where it leaves what
    /// is left over.
    fn between(&self, level: f64, floor: f64, ceiling: f64, start: f64) -> f64 {
        // Measured from the lower end, beside which the whole way may be short.
        let (mut lower, mut upper, mut here) = (0.0, ceiling - floor, start - floor);
        if !(lower < here && here < upper) {
            here = middle(lower, upper);
        }
        for _ in 0..MOST_STEPS {
            let (below, density) = self.continuous(floor + here);
            let miss = level - below;
            if miss > 0.0 {
                lower = here;
            } else {
                upper = here;
            }
            let newton = here + miss / density;
            let there = if lower < newton && newton < upper { newton } else { middle(lower, upper) };
            let moved = (there - here).abs();
            here = there;
            // A step of Newton's leaves about the square of the miss before it.
            if miss.abs() < 2e-3 || moved <= 1e-4 * here {
                break;
            }
        }
        floor + here
    }
}

/// Halfway between two amounts; of their logarithms where they are far apart.
fn middle(lower: f64, upper: f64) -> f64 {
    let lower_or_little = f64::max(lower, 1e-3);
    if upper > 1e3 * lower_or_little {
        libm::sqrt(lower_or_little) * libm::sqrt(upper)
    } else {
        0.5 * (lower + upper)
    }
}

const MOST_STEPS: u32 = 100;
