//! What customers who are alive will ever buy, discounted and tabulated for every age.
//!
//! Given alive, the sum for ever is a function of `x` and `A = alpha + T` alone (the module of
//! [`AliveCurve`](crate::AliveCurve) has the notation):
//!
//! ```text
//! DERT | alive = E_p[ (k/p) e^w E_{k+1}(w) ],    w = delta A / p
//! ```
//!
//! It falls with `A` no faster than `1/A`, and `e^w E_s(w)` has its singularities where `w` is negative. In `ln A`
//! they are at a distance of `pi`, so a series of a few Chebyshev polynomials serves all customers of an `x` whose ages
//! differ by a factor.

use super::alive::Alive;
use crate::Undefined;
use crate::kernel::chebyshev::Interpolant;

/// What a customer with a given `x` will ever buy if he is alive, each purchase discounted, as a function of his age
/// alone.
///
/// Relative error below 1e-11, and of the table itself below 1e-12. Building one costs several [`AliveCurve`](crate::AliveCurve)s, each age up to a century a
/// tenth of a microsecond; beyond that each is computed by itself.
pub struct ForEverCurve {
    youngest: Alive,
    delta: f64,
    /// The sum over `ln(A / alpha)`; none where it has no end.
    sums: Result<Interpolant, Undefined>,
}

/// As far as the table reaches, in weeks: a century.
const OLDEST: f64 = 5218.0;

/// With twenty Chebyshev coefficients a piece, the sum is then right to about 1e-14.
const WIDEST_PIECE: f64 = 1.0;

impl ForEverCurve {
    /// Tabulates for customers of whom `youngest` is the one of age 0.
    pub(crate) fn of(youngest: Alive, delta: f64) -> Self {
        let sum_at = |ageing: f64| {
            let rate = youngest.rate * libm::exp(ageing);
            Alive { rate, ..youngest }.discounted_for_ever(delta)
        };
        // Whether it has an end does not depend on the age.
        let sums = sum_at(0.0).map(|_| {
            Interpolant::new(libm::log1p(OLDEST / youngest.rate), WIDEST_PIECE, |ageing| {
                sum_at(ageing).expect("the sum of the youngest has an end")
            })
        });
        Self { youngest, delta, sums }
    }

    /// The discounted purchases of a customer whose age is `age` weeks.
    ///
    /// # Errors
    ///
    /// Without a discount the sum is infinite unless `a > 1`.
    pub fn purchases(&self, age: f64) -> Result<f64, Undefined> {
        let Self { youngest, delta, sums } = self;
        match sums {
            Ok(sums) if age <= OLDEST => Ok(sums.at(libm::log1p(age / youngest.rate))),
            _ => Alive { rate: youngest.rate + age, ..*youngest }.discounted_for_ever(*delta),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BgNbd, MbgNbd};

    #[test]
    fn a_curve_says_what_each_customer_by_himself_says() {
        let mut worst: f64 = 0.0;
        for [r, alpha, a, b] in [
            [0.243, 4.414, 0.793, 2.426],
            [0.01, 0.05, 0.05, 0.3],
            [5.0, 300.0, 1.0, 50.0],
            [0.6, 1e-3, 3.0, 0.2],
        ] {
            let (bg_nbd, mbg_nbd) =
                (BgNbd::new(r, alpha, a, b).unwrap(), MbgNbd::new(r, alpha, a, b).unwrap());
            for x in [0, 1, 7, 300] {
                for delta in [1e-6, 0.0027, 0.04] {
                    let bg_nbd_curve = bg_nbd.for_ever_curve(x, delta);
                    let mbg_nbd_curve = mbg_nbd.for_ever_curve(x, delta);
                    for age in [0.0, 1e-6, 0.3, 38.86, 500.0, 5218.0, 6000.0] {
                        let p_alive = bg_nbd.p_alive(x, age * 0.5, age);
                        let alone = bg_nbd.discounted_purchases_for_ever(x, age * 0.5, age, delta).unwrap();
                        let ratio = p_alive * bg_nbd_curve.purchases(age).unwrap() / alone;
                        worst = worst.max((ratio - 1.0).abs());
                        let p_alive = mbg_nbd.p_alive(x, age * 0.5, age);
                        let alone = mbg_nbd.discounted_purchases_for_ever(x, age * 0.5, age, delta).unwrap();
                        let ratio = p_alive * mbg_nbd_curve.purchases(age).unwrap() / alone;
                        worst = worst.max((ratio - 1.0).abs());
                    }
                }
            }
        }
        assert!(worst < 1e-12, "{worst:e}");
    }

    #[test]
    fn without_a_discount_the_sum_has_an_end_or_not_whatever_the_age() {
        let sum =
            |a: f64, age: f64| BgNbd::new(0.5, 5.0, a, 3.0).unwrap().for_ever_curve(2, 0.0).purchases(age);

        assert_eq!(sum(0.9, 30.0), Err(Undefined::InfiniteSum));
        assert!((sum(2.0, 30.0).unwrap() - 6.0).abs() < 1e-12);
        assert!((sum(2.0, 9000.0).unwrap() - 6.0).abs() < 1e-12);
    }
}
