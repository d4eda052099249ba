//! Gauss-Legendre quadrature with twelve nodes a panel, or with four or two on short intervals.

/// Half of the symmetric nodes on [-1, 1] and their weights.
const HALF: [(f64, f64); 6] = [
    (0.125_233_408_511_468_9, 0.249_147_045_813_402_77),
    (0.367_831_498_998_180_2, 0.233_492_536_538_354_8),
    (0.587_317_954_286_617_5, 0.203_167_426_723_065_92),
    (0.769_902_674_194_304_7, 0.160_078_328_543_346_22),
    (0.904_117_256_370_474_9, 0.106_939_325_995_318_43),
    (0.981_560_634_246_719_2, 0.047_175_336_386_511_83),
];

/// The same for four nodes.
const HALF_OF_FOUR: [(f64, f64); 2] =
    [(0.339_981_043_584_856_3, 0.652_145_154_862_546_1), (0.861_136_311_594_052_6, 0.347_854_845_137_453_85)];

/// The same for two nodes.
const HALF_OF_TWO: [(f64, f64); 1] = [(0.577_350_269_189_625_8, 1.0)];

/// Cuts `[0, end]` into equal panels no wider than `widest` and visits the nodes of each: `visit(node, weight)`.
pub(crate) fn visit_nodes(end: f64, widest: f64, visit: impl FnMut(f64, f64)) {
    visit_nodes_between(0.0, end, widest, visit);
}

/// The same for `[start, end]`.
pub(crate) fn visit_nodes_between(start: f64, end: f64, widest: f64, visit: impl FnMut(f64, f64)) {
    visit_panels(&HALF, start, end, widest, visit);
}

/// The same with four nodes a panel, which for equal accuracy must be a tenth as wide.
pub(crate) fn visit_few_nodes_between(start: f64, end: f64, widest: f64, visit: impl FnMut(f64, f64)) {
    visit_panels(&HALF_OF_FOUR, start, end, widest, visit);
}

/// The same with two nodes a panel, for what need not be right to more than six digits.
pub(crate) fn visit_two_nodes_between(start: f64, end: f64, widest: f64, visit: impl FnMut(f64, f64)) {
    visit_panels(&HALF_OF_TWO, start, end, widest, visit);
}

#[inline]
fn visit_panels(half: &[(f64, f64)], start: f64, end: f64, widest: f64, mut visit: impl FnMut(f64, f64)) {
    let length = end - start;
    let panels = (length / widest).ceil().max(1.0);
    let half_width = length / (2.0 * panels);
    for panel in 0..panels as u32 {
        let middle = start + f64::from(2 * panel + 1) * half_width;
        for &(node, weight) in half {
            visit(middle - half_width * node, half_width * weight);
            visit(middle + half_width * node, half_width * weight);
        }
    }
}

/// Visits the nodes of one panel around `middle`: `visit(node, weight)`.
#[inline]
pub(crate) fn visit_panel(middle: f64, half_width: f64, mut visit: impl FnMut(f64, f64)) {
    for (node, weight) in HALF {
        visit(middle - half_width * node, half_width * weight);
        visit(middle + half_width * node, half_width * weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integral(end: f64, f: impl Fn(f64) -> f64) -> f64 {
        let mut sum = 0.0;
        visit_nodes(end, 1.5, |node, weight| sum += weight * f(node));
        sum
    }

    #[test]
    fn polynomials_up_to_degree_23_are_exact() {
        for degree in 0..24 {
            let exact = libm::pow(1.4, f64::from(degree + 1)) / f64::from(degree + 1);
            assert!((integral(1.4, |z| libm::pow(z, f64::from(degree))) / exact - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn four_nodes_are_exact_up_to_degree_7() {
        for degree in 0..8 {
            let mut sum = 0.0;
            visit_few_nodes_between(0.5, 1.4, 0.3, |node, weight| {
                sum += weight * libm::pow(node, f64::from(degree));
            });
            let power = |z: f64| libm::pow(z, f64::from(degree + 1)) / f64::from(degree + 1);
            assert!((sum / (power(1.4) - power(0.5)) - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn an_exponential_over_many_panels_is_exact_to_rounding() {
        assert!((integral(40.0, |z| libm::exp(-z)) - 1.0).abs() < 1e-14);
    }
}
