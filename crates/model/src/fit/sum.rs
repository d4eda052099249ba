//! Sums whose bits do not depend on the number of threads.

use rayon::prelude::*;

/// Rows added one after the other by one thread.
const BLOCK: usize = 1024;

/// Adds up what `term` says of each row: blocks of fixed size in parallel, then the blocks in pairs.
pub(super) fn over_rows<R: Sync, const N: usize>(
    rows: &[R],
    term: impl Fn(&R) -> [f64; N] + Sync,
) -> [f64; N] {
    let block = |rows: &[R]| rows.iter().fold([0.0; N], |sum, row| add(sum, term(row)));
    let blocks: Vec<[f64; N]> = rows.par_chunks(BLOCK).map(block).collect();
    in_pairs(&blocks)
}

fn in_pairs<const N: usize>(terms: &[[f64; N]]) -> [f64; N] {
    match terms {
        [] => [0.0; N],
        [only] => *only,
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            add(in_pairs(left), in_pairs(right))
        }
    }
}

fn add<const N: usize>(a: [f64; N], b: [f64; N]) -> [f64; N] {
    std::array::from_fn(|i| a[i] + b[i])
}
