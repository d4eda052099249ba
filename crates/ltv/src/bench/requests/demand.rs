//! Who is asked for: some again and again, most hardly ever.

use std::num::NonZeroU32;

use batch::CustomerId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Zipf};

/// A prime larger than any base, by which neighbours in rank are no neighbours in number.
const STRIDE: u64 = 4_294_967_291;

/// Draws customers by a Zipf distribution with exponent 1: the k-th in favour is asked for 1/k as often as the first.
/// Independent draws, the same ones each time. W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates from
/// monotone discrete distributions", ACM TOMACS 6 (1996) 169-184.
pub(super) struct Demand {
    ranks: Zipf<f64>,
    customers: u64,
    random: ChaCha8Rng,
}

impl Demand {
    /// Among the customers of a generated base, who are numbered from 1.
    pub(super) fn new(customers: NonZeroU32, seed: u64) -> Self {
        let customers = u64::from(customers.get());
        let ranks = Zipf::new(customers as f64, 1.0).expect("there is a customer, and the exponent is 1");
        Self { ranks, customers, random: ChaCha8Rng::seed_from_u64(seed) }
    }
}

impl Iterator for Demand {
    type Item = CustomerId;

    fn next(&mut self) -> Option<CustomerId> {
        let rank = self.ranks.sample(&mut self.random) as u64;
        Some(CustomerId((rank.wrapping_mul(STRIDE) % self.customers + 1).cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_first_in_favour_is_asked_for_twice_as_often_as_the_second() {
        let mut times: HashMap<CustomerId, u32> = HashMap::new();
        let customers = NonZeroU32::new(1_000).unwrap();
        for customer in Demand::new(customers, 1).take(100_000) {
            assert!((1..=1_000).contains(&customer.0));
            *times.entry(customer).or_default() += 1;
        }
        let mut times: Vec<_> = times.into_values().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        // 1 / H(1000) = 0.1336 of them all.
        assert!((12_900..13_800).contains(&times[0]), "{}", times[0]);
        assert!((6_400..7_000).contains(&times[1]), "{}", times[1]);
    }
}
