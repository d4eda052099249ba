//! The worst relative error of each quantity, and where.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::csv::Row;

#[derive(Default)]
pub(crate) struct Worst(BTreeMap<&'static str, (f64, String)>);

impl Worst {
    pub(crate) fn compare(&mut self, quantity: &'static str, row: Row<'_>, actual: f64, expected: f64) {
        let equal = actual.partial_cmp(&expected) == Some(Ordering::Equal); // infinities and zeros too
        let error = if equal { 0.0 } else { (actual / expected - 1.0).abs() };
        let worst = self.0.entry(quantity).or_default();
        assert!(!error.is_nan(), "{quantity} of {}: {actual} is not {expected}", row.label());
        if error > worst.0 {
            *worst = (error, row.label());
        }
    }

    pub(crate) fn check(self, bound: f64) {
        for (quantity, (error, row)) in &self.0 {
            println!("{quantity}: worst relative error {error:.1e} at {row}");
        }
        for (quantity, (error, row)) in self.0 {
            assert!(error < bound, "{quantity}: {error:e} at {row}");
        }
    }
}
