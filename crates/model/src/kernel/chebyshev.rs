//! Piecewise Chebyshev interpolation of a smooth function on [0, end].

use std::f64::consts::PI;

/// Coefficients of one piece.
const DEGREES: usize = 20;

/// Functions on `[0, end]`, tabulated side by side as Chebyshev series on pieces of equal width.
pub(crate) struct Interpolant<const N: usize = 1> {
    pieces_per_unit: f64,
    pieces: Box<[Series<N>]>,
}

/// The coefficients of `N` functions, degree by degree.
type Series<const N: usize> = [[f64; N]; DEGREES];

impl<const N: usize> Interpolant<N> {
    /// Samples `f` at the Chebyshev points of pieces no wider than `widest`.
    pub(crate) fn of_all(end: f64, widest: f64, f: impl Fn(f64) -> [f64; N]) -> Self {
        let pieces = (end / widest).ceil().max(1.0);
        let width = end / pieces;
        let piece = |index: u32| series(|t| f((f64::from(index) + 0.5 * (t + 1.0)) * width));
        Self { pieces_per_unit: 1.0 / width, pieces: (0..pieces as u32).map(piece).collect() }
    }

    /// The functions' values at `s` in `[0, end]`, by Clenshaw's recurrence.
    #[inline]
    pub(crate) fn all_at(&self, s: f64) -> [f64; N] {
        let position = s * self.pieces_per_unit;
        let index = (position as usize).min(self.pieces.len() - 1);
        let t2 = 4.0 * (position - index as f64) - 2.0;
        let coefficients = &self.pieces[index];
        let (mut b1, mut b2) = ([0.0; N], [0.0; N]);
        for row in coefficients[1..].iter().rev() {
            for ((b1, b2), c) in b1.iter_mut().zip(&mut b2).zip(row) {
                (*b1, *b2) = (c + t2 * *b1 - *b2, *b1);
            }
        }
        let mut values = coefficients[0];
        for ((value, b1), b2) in values.iter_mut().zip(b1).zip(b2) {
            *value = *value + 0.5 * t2 * b1 - b2;
        }
        values
    }
}

impl<const N: usize> Interpolant<N> {
    /// `M` of the functions by themselves, from the one at place `first` on.
    pub(crate) fn lanes<const M: usize>(&self, first: usize) -> Interpolant<M> {
        let lanes = |row: &[f64; N]| std::array::from_fn(|lane| row[first + lane]);
        let pieces = self.pieces.iter().map(|piece| piece.each_ref().map(lanes)).collect();
        Interpolant { pieces_per_unit: self.pieces_per_unit, pieces }
    }
}

impl Interpolant {
    /// Samples one function.
    pub(crate) fn new(end: f64, widest: f64, f: impl Fn(f64) -> f64) -> Self {
        Self::of_all(end, widest, |s| [f(s)])
    }

    /// The function's value at `s` in `[0, end]`.
    #[inline]
    pub(crate) fn at(&self, s: f64) -> f64 {
        let [value] = self.all_at(s);
        value
    }
}

/// The Chebyshev coefficients of functions on [-1, 1], the first ones halved.
fn series<const N: usize>(f: impl Fn(f64) -> [f64; N]) -> Series<N> {
    let angle = |half_steps: usize| PI * half_steps as f64 / (2 * DEGREES) as f64;
    let mut samples = [[0.0; N]; DEGREES];
    for (point, sample) in samples.iter_mut().enumerate() {
        *sample = f(libm::cos(angle(2 * point + 1)));
    }
    let mut coefficients = [[0.0; N]; DEGREES];
    for (degree, row) in coefficients.iter_mut().enumerate() {
        let scale = if degree == 0 { 1.0 } else { 2.0 };
        for (point, sample) in samples.iter().enumerate() {
            let cosine = libm::cos(angle(degree * (2 * point + 1) % (4 * DEGREES)));
            for (sum, value) in row.iter_mut().zip(sample) {
                *sum += value * cosine;
            }
        }
        for sum in row {
            *sum = scale * *sum / DEGREES as f64;
        }
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

    #[test]
    fn functions_side_by_side_are_those_alone_to_the_bit() {
        let (f, g) = (|s: f64| libm::exp(-s), libm::sin);
        let both = Interpolant::of_all(2.0, 1.5, |s| [f(s), g(s)]);
        let alone = [Interpolant::new(2.0, 1.5, f), Interpolant::new(2.0, 1.5, g)];

        for step in 0..=20 {
            let s = f64::from(step) / 10.0;
            assert_eq!(both.all_at(s).map(f64::to_bits), alone.each_ref().map(|one| one.at(s).to_bits()));
        }
    }
}
