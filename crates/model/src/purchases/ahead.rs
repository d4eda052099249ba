//! The future of every customer of a run, cut at the ends of months.

use crate::season::Stretch;
use crate::{ParameterError, Season, ValueTerms, WEEKS_PER_YEAR};

/// Below this effective annual rate nothing is summed up for ever: the sum would be about the purchases of the coming
/// ten thousand years.
pub(crate) const LEAST_RATE_FOR_EVER: f64 = 1e-4;

/// What is discounted by more than `exp(-40)` cannot be seen beside the rest.
const FARTHEST_DISCOUNT: f64 = 40.0;

/// The operational time that lies ahead of the last observed day, cut where the clock changes its speed and at `N` ends
/// of months (a twelfth of a mean year each); behind the last of them, what follows for ever.
///
/// Up to the last cut the season is followed week by week. Behind it the clock is taken to run evenly: a purchase at
/// the operational time `u` counts `c exp(-delta u)`, where `c` is such that a year of purchases at an even rate counts
/// what it truly does. The swings around `c` come to nothing but for how far the rate of those who stay and of those who
/// leave falls within a year: with a summer of three times a winter's purchases the error is below 0.1 % of what comes
/// behind the last cut.
pub(crate) struct Ahead<const N: usize> {
    delta: f64,
    stretches: Box<[Stretch]>,
    /// How many stretches have gone by at each cut.
    ends: [usize; N],
    rest: Option<Stretch>,
}

impl<const N: usize> Ahead<N> {
    /// Cuts at the ends of the given months, ascending and at most 600.
    pub(crate) fn new(
        season: &Season,
        last_day: i64,
        terms: &ValueTerms,
        months: [u32; N],
    ) -> Result<Self, ParameterError> {
        let years = months.map(|month| f64::from(month) / 12.0);
        let last = years[N - 1];
        let cuts = years.map(|years| season.horizon(last_day, years * WEEKS_PER_YEAR));
        let horizon = season.operational_horizon(last_day, &terms.over_years(last)?);
        let (mut stretches, mut ends, mut next) = (Vec::new(), [0; N], 0);
        for &stretch in horizon.stretches() {
            while next < N && cuts[next] < stretch.until {
                stretches.push(Stretch { until: cuts[next], ..stretch });
                ends[next] = stretches.len();
                next += 1;
            }
            stretches.push(stretch);
        }
        ends[next..].fill(stretches.len());

        let delta = horizon.delta();
        let has_end = terms.annual_discount_rate() >= LEAST_RATE_FOR_EVER;
        let rest = has_end.then(|| {
            let until = cuts[N - 1];
            let year_more = season.operational_horizon(last_day, &terms.over_years(last + 1.0).ok()?);
            let ln_discount = libm::log(mean_ratio(year_more.stretches(), until, delta));
            Some(Stretch { until: until + FARTHEST_DISCOUNT / delta, ln_discount, delta })
        });
        Ok(Self { delta, stretches: stretches.into(), ends, rest: rest.flatten() })
    }

    /// The same without what follows for ever.
    pub(crate) fn up_to_the_last_cut(self) -> Self {
        Self { rest: None, ..self }
    }

    /// The discount rate per calendar week.
    pub(crate) fn delta(&self) -> f64 {
        self.delta
    }

    /// All stretches up to the last cut.
    pub(crate) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// How many stretches have gone by at each cut.
    pub(crate) fn ends(&self) -> [usize; N] {
        self.ends
    }

    /// What follows for ever; none without a discount worth the name.
    pub(crate) fn rest(&self) -> Option<&Stretch> {
        self.rest.as_ref()
    }

    /// The operational weeks until all ends that are looked at.
    pub(crate) fn longest(&self) -> f64 {
        let last = self.stretches.last().map_or(0.0, |stretch| stretch.until);
        self.rest.map_or(last, |rest| rest.until)
    }
}

/// What purchases at an even rate count from the operational time `from` to the end of the stretches, in units of what
/// they would without a season.
fn mean_ratio(stretches: &[Stretch], from: f64, delta: f64) -> f64 {
    // int_start^end exp(-rate (u - start)) du
    let counted = |rate: f64, start: f64, end: f64| -libm::expm1(-rate * (end - start)) / rate;
    let (mut sum, mut start) = (0.0, from);
    for stretch in stretches.iter().filter(|stretch| stretch.until > from) {
        let at_start = libm::exp(stretch.ln_discount - stretch.delta * start);
        sum += at_start * counted(stretch.delta, start, stretch.until);
        start = stretch.until;
    }
    sum / (libm::exp(-delta * from) * counted(delta, from, start))
}
