//! Sums whose bits do not depend on the number of threads.

use rayon::prelude::*;

/// Rows added one after the other by one thread.
const BLOCK: usize = 1024;

/// What can be added up: several sums side by side.
pub(super) trait Terms: Copy + Send {
    const ZERO: Self;

    fn plus(self, other: Self) -> Self;
}

impl<const N: usize> Terms for [f64; N] {
    const ZERO: Self = [0.0; N];

    #[inline]
    fn plus(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }
}

impl<A: Terms, B: Terms> Terms for (A, B) {
    const ZERO: Self = (A::ZERO, B::ZERO);

    #[inline]
    fn plus(self, other: Self) -> Self {
        (self.0.plus(other.0), self.1.plus(other.1))
    }
}

/// Adds up what `term` says of each row: blocks of fixed size in parallel, then the blocks in pairs.
pub(super) fn over_rows<R: Sync, T: Terms>(rows: &[R], term: impl Fn(&R) -> T + Sync) -> T {
    let block = |rows: &[R]| rows.iter().fold(T::ZERO, |sum, row| sum.plus(term(row)));
    let blocks: Vec<T> = rows.par_chunks(BLOCK).map(block).collect();
    in_pairs(&blocks)
}

fn in_pairs<T: Terms>(terms: &[T]) -> T {
    match terms {
        [] => T::ZERO,
        [only] => *only,
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            in_pairs(left).plus(in_pairs(right))
        }
    }
}
