//! The settings of a breaker, and the rules they keep.

use std::time::Duration;

use crate::Jitter;
use crate::config::InvalidConfig;

/// Holds the settings of a breaker. The default suits a server on the same network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// How many buckets the window has. More forget more smoothly.
    pub buckets: usize,
    /// How long a bucket is; the window reaches back `buckets` times this.
    pub bucket: Duration,
    /// Fewer calls than this in the window never open the breaker. It must be a number that the role reaches
    /// within the window even when every call runs into its time limit.
    pub minimum_calls: u32,
    /// The part of the calls that must fail to open it, above 0, at most 1.
    pub failure_ratio: f64,
    /// A call longer than this is slow. `Duration::MAX`: none is.
    pub slow_after: Duration,
    /// The part of the calls that must be slow to open it, above 0, at most 1.
    pub slow_ratio: f64,
    /// How many probes a half-open breaker admits at a time.
    pub probes: u32,
    /// How many probes must succeed to close it.
    pub successes_to_close: u32,
    /// How long it stays open the first time.
    pub open_for: Duration,
    /// What the open time is multiplied by with each further opening, at least 1.
    pub open_factor: f64,
    /// The longest open time.
    pub open_max: Duration,
    /// How the open time is drawn.
    pub jitter: Jitter,
    /// Closed for this long, the next opening counts as the first again.
    pub forgive_after: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            buckets: 10,
            bucket: Duration::from_secs(1),
            minimum_calls: 4,
            failure_ratio: 0.5,
            slow_after: Duration::from_secs(5),
            slow_ratio: 0.8,
            probes: 1,
            successes_to_close: 3,
            open_for: Duration::from_secs(1),
            open_factor: 2.0,
            open_max: Duration::from_secs(30),
            jitter: Jitter::Equal,
            forgive_after: Duration::from_mins(1),
        }
    }
}

impl BreakerConfig {
    /// Checks every rule; [`Breaker::new`](super::Breaker::new) does it too.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let is_ratio = |ratio: f64| ratio > 0.0 && ratio <= 1.0;

        InvalidConfig::unless(self.buckets >= 1, "buckets", "at least 1")?;
        InvalidConfig::unless(!self.bucket.is_zero(), "bucket", "longer than zero")?;
        InvalidConfig::unless(self.minimum_calls >= 1, "minimum_calls", "at least 1")?;
        InvalidConfig::unless(is_ratio(self.failure_ratio), "failure_ratio", "above 0 and at most 1")?;
        InvalidConfig::unless(!self.slow_after.is_zero(), "slow_after", "longer than zero")?;
        InvalidConfig::unless(is_ratio(self.slow_ratio), "slow_ratio", "above 0 and at most 1")?;
        InvalidConfig::unless(self.probes >= 1, "probes", "at least 1")?;
        InvalidConfig::unless(self.successes_to_close >= 1, "successes_to_close", "at least 1")?;
        InvalidConfig::unless(!self.open_for.is_zero(), "open_for", "longer than zero")?;
        let is_growth = self.open_factor >= 1.0 && self.open_factor.is_finite();
        InvalidConfig::unless(is_growth, "open_factor", "at least 1 and finite")?;
        InvalidConfig::unless(self.open_max >= self.open_for, "open_max", "at least open_for")
    }

    /// Tells how long an opening lasts before jitter, the first one being number 1.
    pub(super) fn open_time(&self, opening: u32) -> Duration {
        let growth = self.open_factor.powi(opening.saturating_sub(1).min(1_000) as i32);
        let seconds = self.open_for.as_secs_f64() * growth;
        Duration::try_from_secs_f64(seconds).map_or(self.open_max, |time| time.min(self.open_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_refused_by_the_name_of_its_field() {
        let good = BreakerConfig::default();
        let check = |config: BreakerConfig, expected: Result<(), &str>| {
            assert_eq!(config.validate().map_err(|error| error.field), expected);
        };

        check(good, Ok(()));
        check(BreakerConfig { slow_after: Duration::MAX, open_max: Duration::MAX, ..good }, Ok(()));
        check(BreakerConfig { buckets: 0, ..good }, Err("buckets"));
        check(BreakerConfig { bucket: Duration::ZERO, ..good }, Err("bucket"));
        check(BreakerConfig { minimum_calls: 0, ..good }, Err("minimum_calls"));
        for ratio in [0.0, -0.1, 1.1, f64::NAN] {
            check(BreakerConfig { failure_ratio: ratio, ..good }, Err("failure_ratio"));
            check(BreakerConfig { slow_ratio: ratio, ..good }, Err("slow_ratio"));
        }
        check(BreakerConfig { slow_after: Duration::ZERO, ..good }, Err("slow_after"));
        check(BreakerConfig { probes: 0, ..good }, Err("probes"));
        check(BreakerConfig { successes_to_close: 0, ..good }, Err("successes_to_close"));
        check(BreakerConfig { open_for: Duration::ZERO, ..good }, Err("open_for"));
        for factor in [0.9, f64::NAN, f64::INFINITY] {
            check(BreakerConfig { open_factor: factor, ..good }, Err("open_factor"));
        }
        check(BreakerConfig { open_max: Duration::from_millis(1), ..good }, Err("open_max"));
    }

    #[test]
    fn the_error_can_be_read_by_the_person_who_wrote_the_setting() {
        let error = BreakerConfig { probes: 0, ..BreakerConfig::default() }.validate().unwrap_err();

        assert_eq!(error.to_string(), "probes must be at least 1");
    }

    #[test]
    fn the_open_time_grows_up_to_its_cap_and_never_overflows() {
        let config = BreakerConfig::default();

        let seconds = |opening| config.open_time(opening).as_secs();

        assert_eq!([1, 2, 3, 4, 5, 6, 7, u32::MAX].map(seconds), [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
