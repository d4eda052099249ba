//! How many purchases a customer will make, as a distribution.

/// The probabilities of 0, 1, 2, ... purchases.
#[derive(Clone, Debug, PartialEq)]
pub struct PurchaseDistribution {
    probabilities: Vec<f64>,
}

impl PurchaseDistribution {
    /// Takes the probabilities of 0, 1, 2, ... purchases; what they leave to 1 is a tail that is neglected.
    pub fn from_probabilities(probabilities: Vec<f64>) -> Self {
        Self { probabilities }
    }

    /// The probability of exactly `n` purchases.
    pub fn pmf(&self, n: u32) -> f64 {
        self.probabilities.get(n as usize).copied().unwrap_or(0.0)
    }

    /// The probability of at most `n` purchases.
    pub fn cdf(&self, n: u32) -> f64 {
        let up_to = self.probabilities.len().min(n as usize + 1);
        self.probabilities[..up_to].iter().sum::<f64>().min(1.0)
    }

    /// The smallest number that is not exceeded with the probability `level`.
    pub fn quantile(&self, level: f64) -> u32 {
        let mut sum = 0.0;
        let enough = |probability: &f64| {
            sum += probability;
            sum >= level
        };
        let last = self.probabilities.len().saturating_sub(1);
        self.probabilities.iter().position(enough).unwrap_or(last) as u32
    }

    /// The expected number of purchases.
    pub fn mean(&self) -> f64 {
        self.probabilities.iter().enumerate().map(|(n, probability)| n as f64 * probability).sum()
    }
}
