//! What a model run is told: the parameters of the models, and the terms of the valuation.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::{BgNbd, ContractModels, GammaGamma, Season, WEEKS_PER_YEAR};

/// The parameters of the two purchase models.
///
/// Serialised, every number is a decimal text that reads back to the same bits whatever parser is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// How often customers buy, and when they stop.
    pub bg_nbd: BgNbd,
    /// How much they spend each time, in minor units.
    pub gamma_gamma: GammaGamma,
}

/// What a model version holds: the purchase models, the season that they were fitted in, the contract models.
///
/// A version of a program that knew the purchase models alone reads back as one without season and contracts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Models {
    /// How often customers buy, and how much they spend.
    #[serde(flatten)]
    pub purchases: Parameters,
    /// The season in whose time the purchase models were fitted; none for calendar time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<Season>,
    /// How long subscribers keep renewing.
    #[serde(default)]
    pub contracts: ContractModels,
}

impl From<Parameters> for Models {
    fn from(purchases: Parameters) -> Self {
        Self { purchases, season: None, contracts: ContractModels::default() }
    }
}

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
#[serde(into = "TermsText", try_from = "TermsText")]
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsText {
    horizon_weeks: ExactNumber,
    annual_discount_rate: ExactNumber,
}

impl From<Terms> for TermsText {
    fn from(terms: Terms) -> Self {
        Self {
            horizon_weeks: ExactNumber(terms.horizon_weeks),
            annual_discount_rate: ExactNumber(terms.annual_discount_rate),
        }
    }
}

impl TryFrom<TermsText> for Terms {
    type Error = ParameterError;

    fn try_from(text: TermsText) -> Result<Self, ParameterError> {
        Self::new(text.horizon_weeks.0, text.annual_discount_rate.0)
    }
}

/// A parameter outside its domain.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("parameter {name} = {value}: must be from {least} to {most}")]
pub struct ParameterError {
    /// Which parameter.
    pub name: &'static str,
    /// What it was to be.
    pub value: f64,
    /// The least that is allowed.
    pub least: f64,
    /// The most that is allowed.
    pub most: f64,
}

impl ParameterError {
    /// Lets a value pass that lies in `least..=most`; not a number never does.
    pub(crate) fn check(name: &'static str, value: f64, least: f64, most: f64) -> Result<f64, Self> {
        if (least..=most).contains(&value) { Ok(value) } else { Err(Self { name, value, least, most }) }
    }
}

/// A number that is written as the shortest decimal text that reads back to the same bits.
///
/// As a text, not as a JSON number: serde_json reads numbers with an error of one unit in the last place unless a
/// feature is on that this crate cannot switch on for everybody, and other readers of JSON make no promise at all.
/// A plain number, as people write, is understood too.
#[derive(Clone, Copy)]
pub(crate) struct ExactNumber(pub(crate) f64);

impl Serialize for ExactNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ExactNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parameters_survive_json_to_the_bit(r in 1e-3..10.0, alpha in 1e-3..1e3, a in 1e-3..10.0, b in 1e-3..10.0) {
            let parameters = Parameters {
                bg_nbd: BgNbd::new(r, alpha, a, b).unwrap(),
                gamma_gamma: GammaGamma::new(r, a + 1.0, alpha).unwrap(),
            };

            let json = serde_json::to_string(&parameters).unwrap();

            prop_assert_eq!(serde_json::from_str::<Parameters>(&json).unwrap(), parameters);
        }
    }

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
