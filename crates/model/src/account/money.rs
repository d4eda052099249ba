//! Sums of money: integer minor units, as far as they can be believed.

use super::Rejection;

/// The largest sum of money that is believed, in minor units: beyond it a float no longer holds every integer.
pub(crate) const LARGEST_SUM_MINOR: i64 = 1 << 53;

/// Rounds half away from zero; beyond what is believed there is no value.
pub(crate) fn whole_minor(value: f64) -> Result<i64, Rejection> {
    let rounded = libm::round(value);
    if rounded <= LARGEST_SUM_MINOR as f64 { Ok(rounded as i64) } else { Err(Rejection::ValueOutOfRange) }
}
