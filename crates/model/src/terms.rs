//! The terms of a valuation: over how long, at which discount, and how much of the money stays.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::WEEKS_PER_YEAR;
use crate::parameter::{ExactNumber, ParameterError, exact_parameters};

/// What a run is told about money: the discount, and how much of it stays.
///
/// Unlike [`Terms`] it has no horizon: a [`Value`](crate::Value) covers 12, 24 and 36 months and what comes for ever.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "ValueTermsText", try_from = "ValueTermsText")]
pub struct ValueTerms {
    annual_discount_rate: f64,
    take_rate: f64,
    refund_rate: f64,
    contract_margin: f64,
}

impl ValueTerms {
    /// Takes the effective annual discount rate (0 to 10), the share of spend that stays (0 to 1), the share of future
    /// spend that will be refunded beyond what histories show, which are net of their refunds (0 to 1), and the share of
    /// payments for subscriptions that stays (0 to 1).
    pub fn new(
        annual_discount_rate: f64,
        take_rate: f64,
        refund_rate: f64,
        contract_margin: f64,
    ) -> Result<Self, ParameterError> {
        let share = |name, value| ParameterError::check(name, value, 0.0, 1.0);
        Ok(Self {
            annual_discount_rate: ParameterError::check(
                "annual_discount_rate",
                annual_discount_rate,
                0.0,
                10.0,
            )?,
            take_rate: share("take_rate", take_rate)?,
            refund_rate: share("refund_rate", refund_rate)?,
            contract_margin: share("contract_margin", contract_margin)?,
        })
    }

    /// The effective annual discount rate: 0.15 is 15 % a year.
    pub fn annual_discount_rate(&self) -> f64 {
        self.annual_discount_rate
    }

    /// The share of spend that stays with the business.
    pub fn take_rate(&self) -> f64 {
        self.take_rate
    }

    /// The share of future spend that will be refunded beyond what histories show.
    pub fn refund_rate(&self) -> f64 {
        self.refund_rate
    }

    /// The share of payments for subscriptions that stays.
    pub fn contract_margin(&self) -> f64 {
        self.contract_margin
    }

    /// The terms of the purchase models over a number of years.
    pub fn over_years(&self, years: f64) -> Result<Terms, ParameterError> {
        Terms::new(years * WEEKS_PER_YEAR, self.annual_discount_rate)
    }
}

impl Default for ValueTerms {
    /// 15 % a year, and every amount stays as it is.
    fn default() -> Self {
        Self { annual_discount_rate: 0.15, take_rate: 1.0, refund_rate: 0.0, contract_margin: 1.0 }
    }
}

/// By hand, and not by [`exact_parameters`]: it also reads what the terms of older runs have, or lack.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueTermsText {
    annual_discount_rate: ExactNumber,
    /// What the terms of older runs have, and values no longer depend on.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "it is read so as not to be an unknown one")]
    horizon_weeks: Option<IgnoredAny>,
    #[serde(default = "everything")]
    take_rate: ExactNumber,
    #[serde(default = "nothing")]
    refund_rate: ExactNumber,
    #[serde(default = "everything")]
    contract_margin: ExactNumber,
}

fn everything() -> ExactNumber {
    ExactNumber(1.0)
}

fn nothing() -> ExactNumber {
    ExactNumber(0.0)
}

impl From<ValueTerms> for ValueTermsText {
    fn from(terms: ValueTerms) -> Self {
        Self {
            annual_discount_rate: ExactNumber(terms.annual_discount_rate),
            horizon_weeks: None,
            take_rate: ExactNumber(terms.take_rate),
            refund_rate: ExactNumber(terms.refund_rate),
            contract_margin: ExactNumber(terms.contract_margin),
        }
    }
}

impl TryFrom<ValueTermsText> for ValueTerms {
    type Error = ParameterError;

    fn try_from(text: ValueTermsText) -> Result<Self, ParameterError> {
        Self::new(text.annual_discount_rate.0, text.take_rate.0, text.refund_rate.0, text.contract_margin.0)
    }
}

/// Over how long, and at which discount, future purchases are counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text")]
pub struct Terms {
    horizon_weeks: f64,
    annual_discount_rate: f64,
}

impl Terms {
    /// Sets the horizon in weeks (more than 0, at most 100 years) and the effective annual discount rate (0 to 10).
    pub fn new(horizon_weeks: f64, annual_discount_rate: f64) -> Result<Self, ParameterError> {
        let longest = 100.0 * WEEKS_PER_YEAR;
        let horizon_weeks =
            ParameterError::check("horizon_weeks", horizon_weeks, f64::MIN_POSITIVE, longest)?;
        let annual_discount_rate =
            ParameterError::check("annual_discount_rate", annual_discount_rate, 0.0, 10.0)?;
        Ok(Self { horizon_weeks, annual_discount_rate })
    }

    /// The period whose purchases are counted, in weeks from the end of the observation.
    pub fn horizon_weeks(&self) -> f64 {
        self.horizon_weeks
    }

    /// The effective annual discount rate: 0.15 is 15 % a year.
    pub fn annual_discount_rate(&self) -> f64 {
        self.annual_discount_rate
    }

    /// The continuous discount rate per week: `delta = ln(1 + d) / 52.1775`.
    pub fn delta(&self) -> f64 {
        libm::log1p(self.annual_discount_rate) / WEEKS_PER_YEAR
    }
}

impl Default for Terms {
    /// Twelve months at 15 % a year, as in Fader, Hardie & Lee (2005b).
    fn default() -> Self {
        Self { horizon_weeks: WEEKS_PER_YEAR, annual_discount_rate: 0.15 }
    }
}

exact_parameters!(Terms { horizon_weeks, annual_discount_rate });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BgNbd, GammaGamma};

    #[test]
    fn numbers_written_by_hand_are_understood() {
        let terms: Terms =
            serde_json::from_str(r#"{"horizon_weeks": 52, "annual_discount_rate": "0.15"}"#).unwrap();

        assert_eq!(terms, Terms::new(52.0, 0.15).unwrap());
    }

    #[test]
    fn a_misspelt_term_of_value_is_an_error_and_the_horizon_of_an_old_run_is_none() {
        let read = serde_json::from_str::<ValueTerms>;

        let misspelt = read(r#"{"annual_discount_rate": 0.1, "take_rat": 0.5}"#).unwrap_err().to_string();
        let old = read(r#"{"annual_discount_rate": "0.1", "horizon_weeks": "52.1775"}"#).unwrap();

        assert!(misspelt.contains("take_rat"), "{misspelt}");
        assert_eq!(old, ValueTerms::new(0.1, 1.0, 0.0, 1.0).unwrap());
        assert!(!serde_json::to_string(&old).unwrap().contains("horizon"));
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let message = |json: &str| serde_json::from_str::<Terms>(json).unwrap_err().to_string();

        let wrong = message(r#"{"horizon_weeks": -1, "annual_discount_rate": 0.15}"#);

        assert!(wrong.contains("parameter horizon_weeks = -1: must be from"), "{wrong}");
        assert!(BgNbd::new(0.2, f64::NAN, 1.0, 1.0).unwrap_err().to_string().contains("alpha"));
        assert!(GammaGamma::new(1.0, 2.0, 0.0).unwrap_err().to_string().contains('v'));
    }

    #[test]
    fn a_year_at_fifteen_percent_discounts_by_fifteen_percent() {
        let terms = Terms::default();

        assert!((libm::exp(terms.delta() * terms.horizon_weeks()) - 1.15).abs() < 1e-15);
    }
}
