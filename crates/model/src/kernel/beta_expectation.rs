//! Expectations over a Beta distribution by the trapezoid rule in the logit of the probability.

/// The nodes and weights with which `E[g(p)]`, `p ~ Beta(a, b)`, is a sum.
///
/// In `y = ln(p / (1 - p))` the density is `p^a (1-p)^b / B(a,b)`, analytic in a strip around the real axis, and the
/// trapezoid rule converges exponentially. It wants `g` to be analytic there too, and constant to rounding where `p`
/// or `1 - p` is below `flat`: there the tails are geometric and summed in closed form, for with `a = 0.02` the left
/// one would reach down to `y = -1800`. The weights are divided by their own sum, so `B(a,b)` never enters.
///
/// Where `g` grows towards `p = 0`, as purchases before a rare dropout do, [`Self::sized`] keeps the nodes whose weight is
/// small and whose share is not.
///
/// Domain 1e-7 <= a, b <= 4e9. For `g(p) = (1 + p y)^-k` the relative error is about 2e-13 at `a = 1.2`, where the
/// step is widest for the width of the density, and below 1e-13 elsewhere.
pub(crate) struct BetaExpectation {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    p: f64,
    /// `1 - p`, with its own digits.
    complement: f64,
    weight: f64,
}

/// Shares below `exp(-NEGLIGIBLE)` of the largest are dropped.
const NEGLIGIBLE: f64 = 42.0;

impl BetaExpectation {
    /// Places the nodes for Beta(a, b) and a function that nowhere dwarfs its value at the mode.
    pub(crate) fn new(a: f64, b: f64, flat: f64) -> Self {
        Self::sized(a, b, flat, |_| 1.0)
    }

    /// Places the nodes for Beta(a, b) and functions that grow towards `p = 0` no faster than `size`.
    pub(crate) fn sized(a: f64, b: f64, flat: f64, size: impl Fn(f64) -> f64) -> Self {
        let density = LogitDensity::new(a, b);
        let step = 0.3 * f64::min(1.0, 1.1 / libm::sqrt(a / (a / b + 1.0)));
        let negligible = libm::exp(-NEGLIGIBLE);

        let mut nodes = Vec::with_capacity(256);
        let mut largest = 0.0;
        let mut d = 0.0;
        loop {
            let left = density.node(d);
            nodes.push(left);
            let share = left.weight * size(left.p);
            largest = f64::max(largest, share);
            if share < negligible * largest {
                break;
            }
            if left.p < flat {
                let weight = left.weight / libm::expm1(a * step);
                nodes.push(Node { p: 0.0, complement: 1.0, weight });
                break;
            }
            d -= step;
        }
        nodes.reverse();
        let mut d = step;
        loop {
            let right = density.node(d);
            nodes.push(right);
            if right.weight < negligible {
                break;
            }
            if right.complement < flat {
                let weight = right.weight / libm::expm1(b * step);
                nodes.push(Node { p: 1.0, complement: 0.0, weight });
                break;
            }
            d += step;
        }

        let sum: f64 = nodes.iter().map(|node| node.weight).sum();
        for node in &mut nodes {
            node.weight /= sum;
        }
        Self { nodes }
    }

    /// `E[g(p)]`.
    pub(crate) fn of(&self, g: impl Fn(f64) -> f64) -> f64 {
        self.nodes.iter().map(|node| node.weight * g(node.p)).sum()
    }

    /// The weights, each with what `g(p, 1 - p)` says of its node: for sums that are taken more than once.
    pub(crate) fn sampled<V>(&self, g: impl Fn(f64, f64) -> V) -> Vec<(f64, V)> {
        self.nodes.iter().map(|node| (node.weight, g(node.p, node.complement))).collect()
    }

    /// A probability that `p` exceeds with a chance of about 1e-12 only.
    pub(crate) fn upper_end(&self) -> f64 {
        let mut tail = 0.0;
        for node in self.nodes.iter().rev() {
            tail += node.weight;
            if tail > 1e-12 {
                return node.p;
            }
        }
        1.0
    }
}

/// The density of `logit p`, relative to its mode `p* = a / (a + b)`.
struct LogitDensity {
    a: f64,
    b: f64,
    sum: f64,
    mode: f64,
}

impl LogitDensity {
    fn new(a: f64, b: f64) -> Self {
        Self { a, b, sum: a + b, mode: a / (a + b) }
    }

    /// The node `d` beside the mode: `p = p* e^d / (1 + p*(e^d - 1))`, so that near the mode the logarithm of the
    /// weight is a difference of small numbers, not of `a ln p` and `b ln(1-p)`.
    fn node(&self, d: f64) -> Node {
        let growth = self.mode * libm::expm1(d);
        let weight = libm::exp(self.a * d - self.sum * libm::log1p(growth));
        let complement = self.b / self.sum / (1.0 + growth);
        Node { p: self.mode * libm::exp(d) / (1.0 + growth), complement, weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_the_beta_distribution_come_out() {
        for (a, b) in [
            (0.793, 2.426),
            (0.02, 0.5),
            (1.0, 3.0),
            (12.0, 400.0),
            (0.3, 5e6),
            (250.0, 0.4),
            (0.3, 1e-4),
            (1e6, 1e6),
        ] {
            let expectation = BetaExpectation::new(a, b, 1e-17);

            for (moment, exact) in [
                (expectation.of(|_| 1.0), 1.0),
                (expectation.of(|p| p), a / (a + b)),
                (expectation.of(|p| p * p), a / (a + b) * (a + 1.0) / (a + b + 1.0)),
            ] {
                assert!((moment / exact - 1.0).abs() < 1e-12, "Beta({a}, {b}): {moment} is not {exact}");
            }
        }
    }

    #[test]
    fn the_upper_end_leaves_almost_nothing_above() {
        // P(p > z) = (1 - z)^b for Beta(1, b).
        let end = BetaExpectation::new(1.0, 5000.0, 1e-17).upper_end();

        assert!((1e-14..1e-11).contains(&libm::pow(1.0 - end, 5000.0)));
    }
}
