//! Naive values to show beside a model's, under their own name.
//!
//! They are what users know from subscription tools and spreadsheets. Each assumes what the models were made to avoid:
//! a churn that is the same for everybody and for ever (Fader & Hardie 2010 show what that costs), no discount, a
//! customer who never leaves.

use crate::Undefined;

/// The contract's value as subscription tools show it: `ARPA x margin / churn`, undiscounted.
///
/// `arpa` is the revenue per account and period, `margin` its share that is kept, `churn` the share of customers lost in
/// a period. With a churn of 0 the tools show nothing, or infinity.
pub fn constant_churn_value(arpa: f64, margin: f64, churn: f64) -> Result<f64, Undefined> {
    if churn > 0.0 { finite(arpa * margin / churn) } else { Err(Undefined::InfiniteSum) }
}

/// The purchases of a customer who goes on at his own historic rate `x / T`, and never leaves.
///
/// Times in weeks. A customer of no age has no rate yet.
pub fn own_rate_purchases(x: u32, age: f64, horizon_weeks: f64) -> Result<f64, Undefined> {
    finite(f64::from(x) / age * horizon_weeks)
}

/// The periods until a margin without churn has paid back the cost of acquisition: `CAC / (ARPA x margin)`.
pub fn churnless_payback(cac: f64, arpa: f64, margin: f64) -> Result<f64, Undefined> {
    finite(cac / (arpa * margin))
}

fn finite(value: f64) -> Result<f64, Undefined> {
    if value.is_finite() { Ok(value) } else { Err(Undefined::InfiniteMean) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_values_come_out() {
        assert_eq!(constant_churn_value(50.0, 0.8, 0.05), Ok(50.0 * 0.8 / 0.05));
        assert_eq!(own_rate_purchases(6, 26.0, 52.0), Ok(12.0));
        assert_eq!(churnless_payback(300.0, 50.0, 0.5), Ok(12.0));
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        assert_eq!(constant_churn_value(50.0, 0.8, 0.0), Err(Undefined::InfiniteSum));
        assert_eq!(own_rate_purchases(0, 0.0, 52.0), Err(Undefined::InfiniteMean));
        assert_eq!(churnless_payback(300.0, 0.0, 0.5), Err(Undefined::InfiniteMean));
    }
}
