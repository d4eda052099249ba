//! Mixtures of negative binomial distributions with the same shape.

use super::gamma::{ln_gamma, ln_gamma_ratio};

/// Probabilities below this are left out.
const NEGLIGIBLE: f64 = 1e-24;

/// Entries of the longest mixture; what lies beyond is counted in the last.
const MOST: usize = 1 << 20;

/// The probabilities of 0, 1, 2, ... under a mixture of negative binomial distributions of shape `k`.
///
/// `NB(n) = Gamma(k+n) / (Gamma(k) n!) (1+w)^-k (w/(1+w))^n`, of mean `k w`. Each component starts at its mode and is
/// followed upward and downward by its recurrence, then divided by its own sum: neither a large `k` nor a large `w`
/// costs a digit, and nothing underflows before it is negligible.
pub(crate) struct Mixture {
    k: f64,
    probabilities: Vec<f64>,
    /// The component at hand, relative to its mode.
    terms: Vec<f64>,
}

impl Mixture {
    /// Starts with no component.
    pub(crate) fn new(k: f64) -> Self {
        Self { k, probabilities: vec![0.0], terms: Vec::new() }
    }

    /// Adds a component with its share of the mixture.
    pub(crate) fn add(&mut self, share: f64, w: f64) {
        if share <= NEGLIGIBLE {
            return;
        }
        let mode = f64::max((self.k - 1.0) * w, 0.0).floor();
        if mode >= (MOST - 1) as f64 {
            return self.add_to(MOST - 1, share);
        }
        let negligible = NEGLIGIBLE / share;
        let (first, mode) = (self.fall_below(mode as usize, w, negligible), mode as usize);
        self.terms.reverse();
        let whole = self.rise_above(mode, w, negligible);
        let sum: f64 = self.terms.iter().sum();
        let scale = share * if whole { 1.0 / sum } else { libm::exp(self.ln_probability(mode as f64, w)) };
        self.add_to(first + self.terms.len() - 1, 0.0);
        for (probability, term) in self.probabilities[first..].iter_mut().zip(&self.terms) {
            *probability += scale * term;
        }
        if !whole {
            self.add_to(MOST - 1, f64::max(share - scale * sum, 0.0));
        }
    }

    /// The probabilities.
    pub(crate) fn into_probabilities(self) -> Vec<f64> {
        self.probabilities
    }

    /// Follows the component from its mode down, and says how far.
    fn fall_below(&mut self, mode: usize, w: f64, negligible: f64) -> usize {
        self.terms.clear();
        self.terms.push(1.0);
        let (mut n, mut term) = (mode, 1.0);
        while n > 0 {
            let ratio = n as f64 / (self.k + (n - 1) as f64) * (1.0 + 1.0 / w);
            term *= ratio;
            if term < negligible * (1.0 - ratio) {
                break;
            }
            self.terms.push(term);
            n -= 1;
        }
        n
    }

    /// Follows the component from its mode up, and says whether it ended before the last entry.
    fn rise_above(&mut self, mode: usize, w: f64, negligible: f64) -> bool {
        let q = w / (1.0 + w);
        let (mut n, mut term) = (mode, 1.0);
        while n + 1 < MOST {
            let ratio = q * ((self.k + n as f64) / (n + 1) as f64);
            term *= ratio;
            if term < negligible * (1.0 - f64::max(ratio, q)) {
                return true;
            }
            self.terms.push(term);
            n += 1;
        }
        false
    }

    fn ln_probability(&self, n: f64, w: f64) -> f64 {
        let choices = if n > 0.0 { ln_gamma_ratio(self.k, n) - ln_gamma(n + 1.0) } else { 0.0 };
        choices - self.k * libm::log1p(w) - n * libm::log1p(1.0 / w)
    }

    fn add_to(&mut self, n: usize, probability: f64) {
        if self.probabilities.len() <= n {
            self.probabilities.resize(n + 1, 0.0);
        }
        self.probabilities[n] += probability;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(k: f64, w: f64) -> Vec<f64> {
        let mut mixture = Mixture::new(k);
        mixture.add(1.0, w);
        mixture.into_probabilities()
    }

    #[test]
    fn one_component_is_the_negative_binomial_distribution() {
        for (k, w) in [(0.3, 2.0), (1.0, 1e-9), (1.0, 50.0), (12.5, 4.0), (5000.5, 3.0), (4e9, 1e-8)] {
            let probabilities = component(k, w);

            let moment = |f: &dyn Fn(f64) -> f64| -> f64 {
                probabilities.iter().enumerate().map(|(n, probability)| f(n as f64) * probability).sum()
            };
            let (mean, variance) = (k * w, k * w * (1.0 + w));
            assert!((moment(&|_| 1.0) - 1.0).abs() < 1e-13);
            assert!((moment(&|n| n) / mean - 1.0).abs() < 1e-12, "{k} {w}");
            assert!((moment(&|n| (n - mean) * (n - mean)) / variance - 1.0).abs() < 1e-11, "{k} {w}");
            assert!((probabilities[0] - libm::exp(-k * libm::log1p(w))).abs() < 1e-13, "{k} {w}");
        }
    }

    #[test]
    fn what_lies_beyond_the_longest_mixture_is_counted_in_its_last_entry() {
        for (k, w) in [(0.5, 1e12), (5000.0, 1e3), (1e9, 1e9)] {
            let probabilities = component(k, w);

            assert_eq!(probabilities.len(), MOST);
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
