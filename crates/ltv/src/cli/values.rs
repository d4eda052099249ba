//! What can stand after an option: moments, durations, horizons, rates.

use std::time::Duration;

use batch::LONGEST_LEASE;
use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use model::Currency;
use model::backtest::ContenderKind;
use offline::ModelName;
use offline::predict::Horizon;

/// Parses a moment: a date, at midnight UTC, or RFC 3339.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
        return Ok(midnight.timestamp());
    }
    text.parse().map_err(|_| "expected a date such as 2026-11-23, or 2026-11-23T02:00:00Z".into())
}

/// Parses a duration above zero, such as `30m` or `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|_| "expected a time such as 500ms, 20s, 30m or 1h 30m".to_owned())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("it must be longer than zero".into()),
    }
}

/// Parses a lease. One shorter than a second would be lost by an ordinary hiccup, and one that is longer than any is not
/// believed ([`LONGEST_LEASE`]).
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_secs(1) => Err("it must be at least 1s".into()),
        long if long > LONGEST_LEASE => {
            Err(format!("it must be at most {}h", LONGEST_LEASE.as_secs() / 3_600))
        }
        lease => Ok(lease),
    }
}

/// A model, as it is named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ModelArg {
    /// Purchases at any time, dropout after a purchase
    BgNbd,
    /// The same, with dropout after the first purchase too
    MbgNbd,
    /// Purchases at any time, dropout at any time
    ParetoNbd,
    /// Spend on a purchase
    GammaGamma,
    /// Use of discrete opportunities
    BgBb,
    /// Contracts: churn that differs between customers
    Sbg,
    /// Contracts: churn that changes with time too
    Bdw,
}

impl From<ModelArg> for ModelName {
    fn from(model: ModelArg) -> Self {
        match model {
            ModelArg::BgNbd => Self::BgNbd,
            ModelArg::MbgNbd => Self::MbgNbd,
            ModelArg::ParetoNbd => Self::ParetoNbd,
            ModelArg::GammaGamma => Self::GammaGamma,
            ModelArg::BgBb => Self::BgBb,
            ModelArg::Sbg => Self::Sbg,
            ModelArg::Bdw => Self::Bdw,
        }
    }
}

/// Parses a horizon, such as `52w`, `365d` or `12`.
pub(super) fn horizon(text: &str) -> Result<Horizon, String> {
    let number = |digits: &str| above_zero(digits.trim());
    let parsed = match text.trim() {
        text if text.ends_with('w') => number(text.trim_end_matches('w')).map(Horizon::Weeks),
        text if text.ends_with('d') => {
            number(text.trim_end_matches('d')).map(|days| Horizon::Weeks(days / model::DAYS_PER_WEEK))
        }
        text => number(text).map(Horizon::Periods),
    };
    parsed.map_err(|_| "expected a time such as 52w or 365d, or a number of periods".into())
}

pub(super) fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok(number),
        _ => Err("expected a number above zero".into()),
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=10.0).contains(&rate) => Ok(rate),
        _ => Err("expected a rate from 0 to 10, such as 0.15".into()),
    }
}

pub(super) fn currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).map_err(|error| error.to_string())
}

/// Parses a number of weeks, such as `52w`; twenty years at most.
pub(super) fn weeks(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('w').unwrap_or(text).trim();
    match number.parse() {
        Ok(weeks @ 1..=1_040) => Ok(weeks),
        _ => Err("expected a number of weeks from 1w to 1040w, such as 52w".into()),
    }
}

pub(super) fn contender(text: &str) -> Result<ContenderKind, String> {
    ContenderKind::from_code(text).ok_or_else(|| {
        let known = ContenderKind::ALL.map(ContenderKind::code).join(", ");
        format!("expected one of {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_or_rfc_3339() {
        assert_eq!(moment("1998-07-01").unwrap().to_string(), "1998-07-01T00:00:00Z");
        assert_eq!(moment("1998-07-01T02:00:00+02:00").unwrap().to_string(), "1998-07-01T00:00:00Z");
        assert!(moment("yesterday").is_err());
        assert!(moment("1998-02-30").is_err());
    }

    #[test]
    fn horizons_are_weeks_days_or_periods() {
        assert_eq!(horizon("52w"), Ok(Horizon::Weeks(52.0)));
        assert_eq!(horizon("364d"), Ok(Horizon::Weeks(52.0)));
        assert_eq!(horizon("12"), Ok(Horizon::Periods(12.0)));
        for wrong in ["", "0w", "-1", "w", "52m", "NaN"] {
            assert!(horizon(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn horizons_are_whole_weeks() {
        assert_eq!((weeks("52w"), weeks("39")), (Ok(52), Ok(39)));
        assert!(["0w", "w", "-3w", "1.5w", "52d", "9999w"].iter().all(|text| weeks(text).is_err()));
    }

    #[test]
    fn durations_are_positive_and_leases_neither_too_short_nor_too_long() {
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert!(duration("-5s").is_err());
        assert!(duration("0s").is_err());
        assert!(lease("999ms").is_err());
        assert_eq!((lease("1s"), lease("24h")), (Ok(Duration::from_secs(1)), Ok(LONGEST_LEASE)));
        assert_eq!(lease("24h 1s"), Err("it must be at most 24h".into()));
        assert!(lease("25h").is_err());
    }
}
