//! Where histories are cut, and what each side of the cut holds.

use crate::{HistoryFold, Observation, Rejection, Summary};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// One line of a customer's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Microseconds since 1970-01-01 UTC.
    pub occurred_at_us: i64,
    /// Minor units; a refund is negative.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: [u8; 3],
}

/// A customer at an origin, and what he did in the horizon after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was known at the origin.
    pub calibration: Summary,
    /// His segment's number.
    pub segment: u32,
    /// His purchase days in the horizon.
    pub purchases: u32,
    /// His net spend in the horizon.
    pub spend_minor: i64,
}

/// Cuts the history of a customer, in time order, at an origin and at the end of the holdout.
///
/// Both sides are folded by [`HistoryFold`]; the holdout is what the longer history has more. `None` is a customer who
/// came after the origin.
pub fn cut(
    lines: &[Line],
    segment: u32,
    origin: &Observation,
    end: &Observation,
) -> Option<Result<Outcome, Rejection>> {
    let fold = |observation: &Observation| {
        let mut fold = HistoryFold::new();
        for line in lines.iter().take_while(|line| line.occurred_at_us < observation.as_of_us()) {
            fold.push(line.occurred_at_us, line.amount_minor, line.currency);
        }
        fold.finish(observation)
    };
    if lines.first().is_none_or(|line| line.occurred_at_us >= origin.as_of_us()) {
        return None;
    }
    let outcome = fold(origin).and_then(|calibration| {
        let later = fold(end)?;
        Ok(Outcome {
            calibration,
            segment,
            purchases: later.frequency - calibration.frequency,
            spend_minor: later.repeat_spend_minor - calibration.repeat_spend_minor,
        })
    });
    Some(outcome)
}

/// The days of a customer's purchases after the first purchase day, since 1970-01-01; lines in time order.
pub fn repeat_days(lines: &[Line]) -> impl Iterator<Item = i64> + '_ {
    let mut last = None;
    let mut is_first = true;
    lines.iter().filter(|line| line.amount_minor >= 0).filter_map(move |line| {
        let day = line.occurred_at_us.div_euclid(MICROSECONDS_PER_DAY);
        if last == Some(day) {
            return None;
        }
        last = Some(day);
        (!std::mem::take(&mut is_first)).then_some(day)
    })
}

/// Where histories are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The first day after each calibration, since 1970-01-01, the earliest first.
    pub origin_days: Vec<i64>,
    /// The length of each holdout.
    pub horizon_weeks: u32,
    /// Weeks from one origin to the next; 0 if there is one origin.
    pub step_weeks: u32,
}

/// The histories do not reach far enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{origins} origins with a horizon of {horizon_weeks} weeks need {needed_weeks} weeks of transactions, \
     and there are {found_weeks}; {}", hint(*longest)
)]
pub struct TooShort {
    /// Origins asked for.
    pub origins: u32,
    /// The horizon asked for.
    pub horizon_weeks: u32,
    /// The weeks they need.
    pub needed_weeks: u32,
    /// The weeks there are.
    pub found_weeks: u32,
    /// The longest horizon that would fit as many origins, in weeks.
    pub longest: Option<u32>,
}

fn hint(longest: Option<u32>) -> String {
    match longest {
        Some(weeks) => format!("the longest horizon that would fit is {weeks} weeks"),
        None => "no horizon would fit as many".into(),
    }
}

/// Places the origins in `first_day..end_day` (since 1970-01-01).
///
/// The last holdout ends with the data. The origins before it lie a whole horizon apart if the data reach back so far,
/// so that no week is a holdout twice; else as far apart as possible, whole weeks, and at least an eighth of the
/// horizon. Half a horizon of calibration must lie before the first.
pub fn schedule(
    first_day: i64,
    end_day: i64,
    origins: u32,
    horizon_weeks: u32,
) -> Result<Schedule, TooShort> {
    let found_weeks = u32::try_from((end_day - first_day) / 7).unwrap_or(0);
    let gaps = origins.saturating_sub(1);
    let needed_weeks = needed_weeks(gaps, horizon_weeks);
    if origins == 0 || horizon_weeks == 0 || found_weeks < needed_weeks {
        let longest = longest_horizon_weeks(found_weeks, origins);
        return Err(TooShort { origins, horizon_weeks, needed_weeks, found_weeks, longest });
    }
    let spare = found_weeks - horizon_weeks - least_calibration(horizon_weeks);
    let step_weeks = spare.checked_div(gaps).map_or(0, |step| step.min(horizon_weeks));
    let last = end_day - 7 * i64::from(horizon_weeks);
    let origin_days = (0..origins).map(|place| last - 7 * i64::from((gaps - place) * step_weeks)).collect();
    Ok(Schedule { origin_days, horizon_weeks, step_weeks })
}

/// The longest horizon for which so many origins fit into so many weeks.
pub fn longest_horizon_weeks(weeks: u32, origins: u32) -> Option<u32> {
    let gaps = origins.checked_sub(1)?;
    (1..=weeks).rev().find(|&horizon| needed_weeks(gaps, horizon) <= weeks)
}

fn needed_weeks(gaps: u32, horizon_weeks: u32) -> u32 {
    let apart = gaps.saturating_mul(horizon_weeks.div_ceil(8));
    horizon_weeks.saturating_add(least_calibration(horizon_weeks)).saturating_add(apart)
}

fn least_calibration(horizon_weeks: u32) -> u32 {
    horizon_weeks.div_ceil(2)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Currency;

    /// A customer who was seen for 140 days.
    pub(in crate::backtest) fn outcome(
        frequency: u32,
        segment: u32,
        purchases: u32,
        spend_minor: i64,
    ) -> Outcome {
        let recency_days = if frequency == 0 { 0 } else { 70 };
        let repeat_spend_minor = i64::from(frequency) * 1_000;
        let calibration = Summary { frequency, recency_days, age_days: 140, repeat_spend_minor };
        Outcome { calibration, segment, purchases, spend_minor }
    }

    #[test]
    fn one_origin_lies_a_horizon_before_the_end() {
        let schedule = schedule(0, 546, 1, 39).unwrap();

        assert_eq!(schedule, Schedule { origin_days: vec![273], horizon_weeks: 39, step_weeks: 0 });
    }

    #[test]
    fn origins_lie_a_horizon_apart_if_they_can() {
        assert_eq!(schedule(0, 7 * 400, 3, 52).unwrap().origin_days, [7 * 244, 7 * 296, 7 * 348]);
        // 100 weeks: 26 of calibration, and 22 are left for two steps.
        assert_eq!(schedule(0, 700, 3, 52).unwrap().origin_days, [7 * 26, 7 * 37, 7 * 48]);
    }

    #[test]
    fn data_that_are_too_short_say_what_would_fit() {
        let error = schedule(0, 546, 3, 52).unwrap_err();

        assert_eq!(
            error.to_string(),
            "3 origins with a horizon of 52 weeks need 92 weeks of transactions, and there are 78; the longest \
             horizon that would fit is 44 weeks"
        );
        assert!(schedule(0, 546, 3, 44).is_ok() && schedule(0, 546, 3, 45).is_err());
        assert_eq!(schedule(0, 7, 3, 52).unwrap_err().longest, None);
    }

    #[test]
    fn a_history_is_cut_into_what_was_known_and_what_came() {
        let day = MICROSECONDS_PER_DAY;
        let line =
            |at: i64, amount_minor| Line { occurred_at_us: at * day + 5, amount_minor, currency: *b"USD" };
        let lines = [line(1, 100), line(3, 200), line(3, 50), line(10, 300), line(11, -100), line(20, 400)];
        let usd = Currency::parse("USD").unwrap();
        let [origin, end] = [10, 15].map(|at| Observation::new(at * day, usd));

        let outcome = cut(&lines, 4, &origin, &end).unwrap().unwrap();

        let calibration = Summary { frequency: 1, recency_days: 2, age_days: 8, repeat_spend_minor: 250 };
        assert_eq!(outcome, Outcome { calibration, segment: 4, purchases: 1, spend_minor: 200 });
        assert_eq!(repeat_days(&lines).collect::<Vec<_>>(), [3, 10, 20]);
        assert_eq!(cut(&lines[3..], 0, &origin, &end), None);
        let foreign = Line { currency: *b"EUR", ..lines[0] };
        assert_eq!(cut(&[foreign], 0, &origin, &end), Some(Err(Rejection::ForeignCurrency)));
    }
}
