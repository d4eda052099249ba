//! The logarithm of one plus odds that are known by their logarithm.

/// `ln(1 + e^z)` for every `z`, without overflow: relative error about 3e-16.
pub(crate) fn ln_1p_exp(z: f64) -> f64 {
    if z > 0.0 { z + libm::log1p(libm::exp(-z)) } else { libm::log1p(libm::exp(z)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_beyond_the_range_of_exp_are_their_own_logarithm() {
        assert!((ln_1p_exp(0.0) - std::f64::consts::LN_2).abs() < 1e-15);
        assert!(ln_1p_exp(1e4).total_cmp(&1e4).is_eq());
        assert!((ln_1p_exp(-100.0) / libm::exp(-100.0) - 1.0).abs() < 1e-15);
        assert!(ln_1p_exp(f64::NEG_INFINITY).total_cmp(&0.0).is_eq());
    }
}
