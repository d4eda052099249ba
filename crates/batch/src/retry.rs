//! What follows an attempt that failed or was lost.
//!
//! Only failures that belong to the chunk arrive here: an attempt that failed on the chunk's own data, or whose
//! worker never came back. A dependency that was down costs time, never an attempt.

use std::time::Duration;

use jiff::Timestamp;

use crate::{ChunkRef, RequestId};

/// What happens to a chunk next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt, not before this moment.
    RetryAt(Timestamp),
    /// No further attempt: the chunk is dead until a person redrives it.
    DeadLetter,
}

/// How often and how soon a chunk is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Failed or lost attempts after which the chunk is dead.
    pub max_failures: u32,
    /// The pause after the first failure.
    pub first_delay: Duration,
    /// How much longer each further pause is.
    pub factor: f64,
    /// The longest pause.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_failures: 5,
            first_delay: Duration::from_millis(500),
            factor: 2.0,
            max_delay: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    /// Decides what follows the chunk's `failures`-th failed or lost attempt.
    ///
    /// The pause is spread over its upper half by the chunk's number, so that chunks which failed together do
    /// not come back together, and the same history always gives the same verdict.
    pub fn verdict(&self, chunk: ChunkRef, failures: u32, now: Timestamp) -> Verdict {
        self.judge(chunk.run.0 as u64 ^ ((chunk.chunk.0 as u64) << 20), failures, now)
    }

    /// The same for a request; its dead letter is that it has failed.
    pub fn verdict_of_request(&self, request: RequestId, failures: u32, now: Timestamp) -> Verdict {
        self.judge(request.0 as u64, failures, now)
    }

    fn judge(&self, who: u64, failures: u32, now: Timestamp) -> Verdict {
        if failures >= self.max_failures {
            return Verdict::DeadLetter;
        }
        let exponent = failures.saturating_sub(1).min(64) as i32;
        // Whatever the factor is, a pause is a duration up to the longest.
        let full = Duration::try_from_secs_f64(self.first_delay.as_secs_f64() * self.factor.powi(exponent))
            .map_or(self.max_delay, |full| full.min(self.max_delay));
        let delay = full / 2 + (full / 2).mul_f64(spread(who, failures));
        Verdict::RetryAt(now.checked_add(delay).unwrap_or(Timestamp::MAX))
    }
}

/// A number in [0, 1) that depends on whom it is for and its failures alone (Fibonacci hashing).
fn spread(who: u64, failures: u32) -> f64 {
    let mixed = (who ^ (u64::from(failures) << 52)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChunkId, RunId};

    const CHUNK: ChunkRef = ChunkRef { run: RunId(1), chunk: ChunkId(7) };

    #[test]
    fn the_last_allowed_failure_is_a_dead_letter() {
        let policy = RetryPolicy { max_failures: 3, ..RetryPolicy::default() };

        assert!(matches!(policy.verdict(CHUNK, 2, Timestamp::UNIX_EPOCH), Verdict::RetryAt(_)));
        assert_eq!(policy.verdict(CHUNK, 3, Timestamp::UNIX_EPOCH), Verdict::DeadLetter);
    }

    #[test]
    fn pauses_grow_and_stay_within_their_half_open_bounds() {
        let policy = RetryPolicy { max_failures: 100, ..RetryPolicy::default() };

        for failures in 1..99 {
            let full = (0.5 * 2_f64.powi(failures as i32 - 1)).min(15.0);
            let Verdict::RetryAt(at) = policy.verdict(CHUNK, failures, Timestamp::UNIX_EPOCH) else {
                panic!("dead after {failures}");
            };
            let delay = at.as_duration().as_secs_f64();
            assert!((full / 2.0..=full).contains(&delay), "failure {failures}: {delay} s");
        }
    }
}
