//! Shares of what came.

/// A share of something; of nothing there is none.
pub(super) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}
