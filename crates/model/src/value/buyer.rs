//! A customer as far as he buys: what his purchases are expected to bring.

use super::Horizons;
use super::contribution::Branch;
use super::purchase_tables::IfAlive;
use crate::kernel::incomplete_beta::incomplete_beta;
use crate::{Rejection, SpendMoments, SpendPosterior};

/// A customer as far as he buys.
pub(super) struct Buyer {
    pub(super) frequency: u32,
    pub(super) age: f64,
    pub(super) p_alive: f64,
    /// The probability of no purchase in 12 months.
    pub(super) p_zero: f64,
    /// The share of spend that stays.
    pub(super) share: f64,
    /// What a purchase contributes on average.
    pub(super) per_purchase: f64,
    pub(super) spend: SpendPosterior,
    /// Of the spend in 12 months, where its variance is finite.
    pub(super) moments: Option<SpendMoments>,
    pub(super) if_alive: IfAlive,
}

impl Buyer {
    pub(super) fn expected_purchases(&self) -> f64 {
        self.p_alive * self.if_alive.expected
    }

    pub(super) fn horizons(&self) -> Result<Horizons, Rejection> {
        let per_purchase = self.p_alive * self.per_purchase;
        let IfAlive { discounted, for_ever, .. } = self.if_alive;
        Horizons::rounded(
            discounted.map(|purchases| per_purchase * purchases),
            for_ever.map(|all| per_purchase * all),
        )
    }

    pub(super) fn contribution_of_year(&self) -> f64 {
        self.expected_purchases() * self.per_purchase
    }

    /// The probability that he contributes `missing` in 12 months where the variance of his spend is infinite, beside
    /// contracts that bring the mean of their course: with as many purchases as are expected if there is one, the
    /// spend is what the spend model says exactly ([`SpendDistribution`](crate::SpendDistribution)).
    pub(super) fn reaches(&self, missing: f64, branches: &[Branch]) -> f64 {
        let positive = 1.0 - self.p_zero;
        let branch = |branch: &Branch| {
            let open = missing - branch.mean;
            if open <= 0.0 {
                return branch.probability;
            }
            if !(positive > 0.0 && self.share > 0.0) {
                return 0.0;
            }
            let purchases = f64::max(self.expected_purchases() / positive, 1.0);
            let shape = self.spend.p() * purchases;
            let spend = incomplete_beta(shape, self.spend.shape(), open / self.share, self.spend.scale());
            branch.probability * positive * spend.upper
        };
        branches.iter().map(branch).sum::<f64>().clamp(0.0, 1.0)
    }
}
