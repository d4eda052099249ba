//! Season: a clock that runs faster in the months in which customers buy.
//!
//! Suppliers of weddings buy in summer. To a model of steady rates their winter is silence, and silence is death. So
//! time is counted not in calendar weeks but in *operational* weeks, of which a busy calendar week holds several and a
//! quiet one a fraction:
//!
//! ```text
//! tau(t) = int_0^t s(u) du,    s the season's index, mean 1
//! ```
//!
//! If every customer's rate at calendar time `t` is `lambda s(t)` with the same `s`, then purchases are a Poisson
//! process of rate `lambda` in `tau` (time change of a Poisson process; Cox & Isham 1980, section 4.2). BG/NBD drops
//! customers out *at purchases*, so it holds in `tau` exactly, with the same four parameters: `t_x`, `T` and the
//! horizon are transformed and nothing else. (Pareto/NBD lets customers die in calendar time; there this is only an
//! approximation.)
//!
//! **The year.** The index has 52 weeks. Day `n` of the year, counted from 0, lies in week `min(n / 7, 51)`: the last
//! week has eight days, in leap years nine. The mean is taken over the Gregorian calendar's mean year of 365.2425
//! days, so that over 400 years operational and calendar time agree.
//!
//! **The day.** A purchase counts at the end of its UTC day, as the observation ends with its last day: repeat
//! purchases can fall on the days after the first one, the horizon on the days after the last observed one. Kept for
//! every day of the year is how far operational time is *ahead* of calendar time. This is 0 throughout without a
//! season, so that [`Season::none`] leaves every bit of every result as it is.
//!
//! **Money.** Discounting stays in calendar time. Within a week of the index the clock runs evenly, so a discount of
//! `delta` a calendar week is one of `delta / s` an operational week, and [`OperationalHorizon`] integrates week by week
//! without any error of its own.

mod estimate;

pub use estimate::PurchaseCounts;

use serde::{Deserialize, Serialize};

use crate::parameter::ExactNumber;
use crate::{DAYS_PER_WEEK, ParameterError, Summary, Terms};

/// The least index of a week: the clock may crawl, but it never stands still.
const LEAST: f64 = 1e-4;

/// No week can hold more than the whole year.
const MOST: f64 = 53.0;

/// The index's mean is 1 up to this.
const ROUNDING: f64 = 1e-12;

const DAYS_IN_LEAP_YEAR: usize = 366;

/// The course of purchases over the year, and the clock that follows it.
///
/// Operational time is continuous, strictly increasing and piecewise linear in calendar time, for every day that an
/// `i64` can hold. Serialised, the index is 52 decimal texts that read back to the same bits.
///
/// ```
/// use model::{Season, Summary};
///
/// let summary = Summary { frequency: 1, recency_days: 30, age_days: 70, repeat_spend_minor: 100 };
/// assert_eq!(Season::none().times(&summary, 20_000), (summary.recency(), summary.age()));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text")]
pub struct Season {
    index: [f64; Season::WEEKS],
    /// By how many days operational time gained on calendar time from the start of the year to the start of a day.
    gained: [f64; DAYS_IN_LEAP_YEAR],
}

impl Season {
    /// Weeks in the index; the last one has eight or nine days.
    pub const WEEKS: usize = 52;

    /// No season at all: operational time is calendar time, to the bit.
    pub fn none() -> Self {
        Self::of(&[1.0; Season::WEEKS])
    }

    /// Takes the index of each week, from 1e-4 to 53; their mean over the mean year must be 1 to 1e-12.
    pub fn new(index: &[f64; Season::WEEKS]) -> Result<Self, ParameterError> {
        for &value in index {
            ParameterError::check("season index of a week", value, LEAST, MOST)?;
        }
        ParameterError::check("season mean", mean(index), 1.0 - ROUNDING, 1.0 + ROUNDING)?;
        Ok(Self::of(index))
    }

    /// Takes how much is bought in each week, in any unit, and scales it to the mean 1.
    pub fn of_activity(activity: &[f64; Season::WEEKS]) -> Result<Self, ParameterError> {
        for &value in activity {
            ParameterError::check("season activity of a week", value, f64::MIN_POSITIVE, 1e300)?;
        }
        let mean = mean(activity);
        Self::new(&activity.map(|value| value / mean))
    }

    fn of(index: &[f64; Season::WEEKS]) -> Self {
        let mut gained = [0.0; DAYS_IN_LEAP_YEAR];
        for day in 1..DAYS_IN_LEAP_YEAR {
            gained[day] = gained[day - 1] + (index[week_of(day - 1)] - 1.0);
        }
        Self { index: *index, gained }
    }

    /// The index of each week of the year.
    pub fn index(&self) -> &[f64; Season::WEEKS] {
        &self.index
    }

    /// A customer's `t_x` and `T` in operational weeks, when `last_day` is the last observed day
    /// ([`Observation::last_day`](crate::Observation::last_day)).
    ///
    /// `0 <= t_x <= T` where the summary has it so; without a season [`Summary::recency`] and [`Summary::age`]. For many
    /// customers use a [`Clock`].
    pub fn times(&self, summary: &Summary, last_day: i64) -> (f64, f64) {
        let last_day = within_calendar(last_day);
        times(summary, |days_ago| self.ahead_after(last_day - days_ago))
    }

    /// The season's clock for a run in which `last_day` is the last observed day of every customer.
    pub fn clock(&self, last_day: i64) -> Clock {
        let last_day = within_calendar(last_day);
        let ahead = (0..CLOCK_DAYS).map(|days_ago| self.ahead_after(last_day - days_ago)).collect();
        Clock { season: self.clone(), last_day, ahead }
    }

    /// Operational weeks in the `calendar_weeks` (finite, at least 0) that follow `last_day`.
    pub fn horizon(&self, last_day: i64, calendar_weeks: f64) -> f64 {
        let last_day = within_calendar(last_day);
        let days = calendar_weeks * DAYS_PER_WEEK;
        let whole = libm::floor(days);
        let end = last_day.saturating_add(whole as i64);
        let in_last_day = (days - whole) * (self.index_at(end.saturating_add(1)) - 1.0);
        let gained = self.ahead_after(end) - self.ahead_after(last_day) + in_last_day;
        calendar_weeks + gained / DAYS_PER_WEEK
    }

    /// Operational weeks from 1970-01-01 UTC to a moment in days since then (`tau`); negative before.
    ///
    /// Domain: up to 1e9 days either way, error below 1e-12 weeks or half a unit in the last place.
    pub fn tau(&self, moment_days: f64) -> f64 {
        self.tau_days(moment_days) / DAYS_PER_WEEK
    }

    /// The moment, in days since 1970-01-01 UTC, at which so many operational weeks have passed: undoes
    /// [`tau`](Self::tau).
    pub fn moment(&self, tau: f64) -> f64 {
        let target = tau * DAYS_PER_WEEK;
        // Operational time is never ahead or behind by more than what a year holds.
        let (mut before, mut after) = ((target - 500.0) as i64, (target + 500.0) as i64);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if self.tau_days(middle as f64) <= target { before = middle } else { after = middle }
        }
        let day = before as f64;
        day + (target - self.tau_days(day)) / self.index_at(before)
    }

    /// What lies ahead of every customer after `last_day`, computed once for a run.
    pub fn operational_horizon(&self, last_day: i64, terms: &Terms) -> OperationalHorizon {
        OperationalHorizon::new(self, last_day, terms)
    }

    fn tau_days(&self, moment_days: f64) -> f64 {
        let whole = libm::floor(moment_days);
        let day = whole as i64;
        moment_days + (self.ahead_before(day) + (moment_days - whole) * (self.index_at(day) - 1.0))
    }

    fn index_at(&self, day: i64) -> f64 {
        self.index[week_of(Date::of(day).day_of_year)]
    }

    /// By how many days operational time is ahead at the end of a day.
    #[inline]
    fn ahead_after(&self, day: i64) -> f64 {
        self.ahead_before(day.saturating_add(1))
    }

    /// By how many days operational time is ahead at the start of a day.
    #[inline]
    fn ahead_before(&self, day: i64) -> f64 {
        let date = Date::of(day);
        date.leap_days_owed() * (self.index[Season::WEEKS - 1] - 1.0) + self.gained[date.day_of_year]
    }
}

/// By so many days ago a [`Clock`] is read from a table: eleven years.
const CLOCK_DAYS: i64 = 4096;

/// A [`Season`] read at the end of one observation: two reads from a table by days for each customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    season: Season,
    last_day: i64,
    /// By how many days operational time was ahead at the end of the day so many days ago.
    ahead: Box<[f64]>,
}

impl Clock {
    /// The same as [`Season::times`], to the bit.
    #[inline]
    pub fn times(&self, summary: &Summary) -> (f64, f64) {
        times(summary, |days_ago| match self.ahead.get(days_ago as usize) {
            Some(&ahead) => ahead,
            None => self.season.ahead_after(self.last_day - days_ago),
        })
    }
}

/// `t_x` and `T`, given by how many days operational time was ahead so many days ago; a recency beyond the age reaches
/// into the future.
#[inline]
fn times(summary: &Summary, ahead: impl Fn(i64) -> f64) -> (f64, f64) {
    let &Summary { recency_days, age_days, .. } = summary;
    let (age, recency) = (i64::from(age_days), i64::from(recency_days));
    let at_first = ahead(age);
    let weeks = |days: u32, now: f64| (f64::from(days) + (now - at_first)) / DAYS_PER_WEEK;
    (weeks(recency_days, ahead(age - recency)), weeks(age_days, ahead(0)))
}

impl Default for Season {
    /// [`Season::none`].
    fn default() -> Self {
        Self::none()
    }
}

/// Keeps days so far from the ends of their type that sums of them are safe; no clock ever shows the others.
#[inline]
fn within_calendar(day: i64) -> i64 {
    day.clamp(-(1 << 60), 1 << 60)
}

/// The mean over the mean year of 365.2425 days.
fn mean(index: &[f64; Season::WEEKS]) -> f64 {
    let (last, weeks) = index.split_last().expect("a year has weeks");
    let days: f64 = weeks.iter().map(|value| DAYS_PER_WEEK * (value - 1.0)).sum();
    1.0 + (days + (1.0 + DAYS_PER_WEEK + 0.2425) * (last - 1.0)) / 365.2425
}

fn week_of(day_of_year: usize) -> usize {
    usize::min(day_of_year / 7, Season::WEEKS - 1)
}

/// A day in the Gregorian calendar, which repeats every 400 years; ours begin with 1601, so that every leap day ends
/// the cycle of 4, 100 or 400 years that it belongs to.
#[derive(Clone, Copy)]
struct Date {
    cycle: i64,
    /// Years of this cycle that are over, and the leap days in them.
    years: i64,
    leap_days: i64,
    day_of_year: usize,
}

impl Date {
    /// Finds a day given in days since 1970-01-01.
    #[inline]
    fn of(day: i64) -> Self {
        const FROM_1601_TO_1970: i64 = 134_774;
        const DAYS_IN_400_YEARS: i64 = 146_097;
        const DAYS_IN_100_YEARS: i64 = 36_524;
        const DAYS_IN_4_YEARS: i64 = 1_461;
        let day = day.saturating_add(FROM_1601_TO_1970);
        let (cycle, day) = (day.div_euclid(DAYS_IN_400_YEARS), day.rem_euclid(DAYS_IN_400_YEARS));
        let centuries = i64::min(day / DAYS_IN_100_YEARS, 3);
        let day = day - centuries * DAYS_IN_100_YEARS;
        let (fours, day) = (day / DAYS_IN_4_YEARS, day % DAYS_IN_4_YEARS);
        let ones = i64::min(day / 365, 3);
        Self {
            cycle,
            years: 100 * centuries + 4 * fours + ones,
            leap_days: 24 * centuries + fours,
            day_of_year: (day - 365 * ones) as usize,
        }
    }

    /// The leap days of the years of this cycle that are over, beyond the 0.2425 that a mean year has.
    #[inline]
    fn leap_days_owed(self) -> f64 {
        (400 * self.leap_days - 97 * self.years) as f64 / 400.0
    }

    /// Counts the weeks of the index from 1601 on.
    fn week_number(self) -> i64 {
        (400 * self.cycle + self.years) * Season::WEEKS as i64 + week_of(self.day_of_year) as i64
    }
}

/// The horizon of a run in operational time, cut where the clock changes its speed.
///
/// Made by [`Season::operational_horizon`] for one last observed day and [`Terms`]; asked by
/// [`AliveCurve::purchases_over`](crate::AliveCurve::purchases_over) for every customer, without allocation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationalHorizon {
    delta: f64,
    stretches: Box<[Stretch]>,
}

/// A part of the horizon in which the clock runs evenly; in operational weeks `u` from the last observed day, a
/// purchase in it is discounted by `exp(ln_discount - delta u)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) until: f64,
    pub(crate) ln_discount: f64,
    pub(crate) delta: f64,
}

impl OperationalHorizon {
    fn new(season: &Season, last_day: i64, terms: &Terms) -> Self {
        let last_day = within_calendar(last_day);
        let delta = terms.delta();
        let weeks_at = |days: u32| f64::from(days) / DAYS_PER_WEEK;
        let index_in = |days: u32| season.index_at(last_day + 1 + i64::from(days));
        let longest = terms.horizon_weeks() * DAYS_PER_WEEK;
        let days = libm::ceil(longest) as u32;

        let changes = (1..days).filter(|&day| index_in(day).to_bits() != index_in(day - 1).to_bits());
        let starts: Vec<u32> = std::iter::once(0).chain(changes).collect();
        let ends = starts[1..].iter().map(|&day| weeks_at(day)).chain([terms.horizon_weeks()]);
        let stretch = |(&start, end): (&u32, f64)| {
            let index = index_in(start);
            let from = season.horizon(last_day, weeks_at(start));
            let slowed = delta / index;
            Stretch {
                until: season.horizon(last_day, end),
                ln_discount: slowed * from - delta * weeks_at(start),
                delta: slowed,
            }
        };
        Self { delta, stretches: starts.iter().zip(ends).map(stretch).collect() }
    }

    /// The horizon in operational weeks.
    pub fn operational_weeks(&self) -> f64 {
        self.stretches.last().map_or(0.0, |stretch| stretch.until)
    }

    /// The continuous discount rate per calendar week.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    pub(crate) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }
}

/// Why there is no season.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SeasonError {
    /// The index does not have 52 weeks.
    #[error("season: {found} weeks given, {needed} are needed")]
    WrongWeeks {
        /// Weeks given.
        found: usize,
        /// Weeks needed.
        needed: usize,
    },
    /// The index is out of its domain.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Two whole years are needed to tell a season from a customer's ageing.
    #[error("season: {found} days from the first purchase are too few, at least {needed} are needed")]
    TooFewDays {
        /// Days from the earliest first purchase to the last observed day, both included.
        found: u64,
        /// Days needed.
        needed: u64,
    },
    /// The period to count over is empty or longer than a century.
    #[error("season: {found} days to count purchases in, must be from 1 to {most}")]
    PeriodOutOfRange {
        /// Days given.
        found: i64,
        /// The most that are allowed.
        most: i64,
    },
    /// Too few purchases to spread over 52 weeks.
    #[error("season: {found} repeat purchases are too few, at least {needed} are needed")]
    TooFewRepeats {
        /// Repeat purchases counted.
        found: u64,
        /// Repeat purchases needed.
        needed: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    index: Vec<ExactNumber>,
}

impl From<Season> for Text {
    fn from(season: Season) -> Self {
        Self { index: season.index.into_iter().map(ExactNumber).collect() }
    }
}

impl TryFrom<Text> for Season {
    type Error = SeasonError;

    fn try_from(text: Text) -> Result<Self, SeasonError> {
        let index: Vec<f64> = text.index.into_iter().map(|number| number.0).collect();
        let index = <[f64; Season::WEEKS]>::try_from(index)
            .map_err(|index| SeasonError::WrongWeeks { found: index.len(), needed: Self::WEEKS })?;
        Ok(Self::new(&index)?)
    }
}
