//! Piecewise Chebyshev interpolation of a smooth function on [0, end].

use std::f64::consts::PI;

/// Coefficients of one piece.
const DEGREES: usize = 20;

/// A function on `[0, end]`, tabulated as Chebyshev series on pieces of equal width.
pub(crate) struct Interpolant {
    pieces_per_unit: f64,
    pieces: Box<[[f64; DEGREES]]>,
}

impl Interpolant {
    /// Samples `f` at the Chebyshev points of pieces no wider than `widest`.
    pub(crate) fn new(end: f64, widest: f64, f: impl Fn(f64) -> f64) -> Self {
        let pieces = (end / widest).ceil().max(1.0);
        let width = end / pieces;
        let piece = |index: u32| series(|t| f((f64::from(index) + 0.5 * (t + 1.0)) * width));
        Self { pieces_per_unit: 1.0 / width, pieces: (0..pieces as u32).map(piece).collect() }
    }

    /// The function's value at `s` in `[0, end]`, by Clenshaw's recurrence.
    #[inline]
    pub(crate) fn at(&self, s: f64) -> f64 {
        let position = s * self.pieces_per_unit;
        let index = (position as usize).min(self.pieces.len() - 1);
        let t2 = 4.0 * (position - index as f64) - 2.0;
        let coefficients = &self.pieces[index];
        let (mut b1, mut b2) = (0.0, 0.0);
        for &c in coefficients[1..].iter().rev() {
            (b1, b2) = (c + t2 * b1 - b2, b1);
        }
        coefficients[0] + 0.5 * t2 * b1 - b2
    }
}

/// The Chebyshev coefficients of `f` on [-1, 1], the first one halved.
fn series(f: impl Fn(f64) -> f64) -> [f64; DEGREES] {
    let angle = |half_steps: usize| PI * half_steps as f64 / (2 * DEGREES) as f64;
    let mut samples = [0.0; DEGREES];
    for (point, sample) in samples.iter_mut().enumerate() {
        *sample = f(libm::cos(angle(2 * point + 1)));
    }
    let mut coefficients = [0.0; DEGREES];
    for (degree, coefficient) in coefficients.iter_mut().enumerate() {
        let cosine = |point: usize| libm::cos(angle(degree * (2 * point + 1) % (4 * DEGREES)));
        let sum: f64 = samples.iter().enumerate().map(|(point, sample)| sample * cosine(point)).sum();
        *coefficient = if degree == 0 { 1.0 } else { 2.0 } * sum / DEGREES as f64;
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smooth_function_is_reproduced_to_rounding_within_and_at_the_ends() {
        let f = |s: f64| libm::exp(-s) * libm::cos(s);
        let table = Interpolant::new(3.7, 1.0, f);

        for step in 0..=370 {
            let s = f64::from(step) / 100.0;
            assert!((table.at(s) - f(s)).abs() < 3e-15, "{s}");
        }
    }
}
