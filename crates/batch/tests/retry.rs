//! What follows any failure, under any policy.

use std::time::Duration;

use batch::{ChunkId, ChunkRef, RetryPolicy, RunId, Verdict};
use jiff::Timestamp;
use proptest::prelude::*;

fn chunk(run: i64, chunk: i32) -> ChunkRef {
    ChunkRef { run: RunId(run), chunk: ChunkId(chunk) }
}

fn policies() -> impl Strategy<Value = RetryPolicy> {
    (1..20_u32, 1..10_000_u64, 1.0..10.0_f64, 1..100_000_u64).prop_map(
        |(max_failures, first_delay, factor, max_delay)| RetryPolicy {
            max_failures,
            first_delay: Duration::from_millis(first_delay),
            factor,
            max_delay: Duration::from_millis(max_delay),
        },
    )
}

/// The pause before a retry; `None` for a dead letter.
fn pause(policy: &RetryPolicy, chunk: ChunkRef, failures: u32) -> Option<Duration> {
    match policy.verdict(chunk, failures, Timestamp::UNIX_EPOCH) {
        Verdict::RetryAt(due) => Some(due.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs()),
        Verdict::DeadLetter => None,
    }
}

proptest! {
    #[test]
    fn a_chunk_dies_of_its_last_failure_and_not_before(
        policy in policies(),
        (run, number) in (1_i64.., 1_i32..),
        failures in 1..30_u32,
    ) {
        let is_dead = pause(&policy, chunk(run, number), failures).is_none();

        prop_assert_eq!(is_dead, failures >= policy.max_failures);
    }

    #[test]
    fn a_pause_is_within_the_upper_half_of_its_length_and_never_too_long(
        policy in policies(),
        (run, number) in (1_i64.., 1_i32..),
        failures in 1..20_u32,
    ) {
        let Some(pause) = pause(&policy, chunk(run, number), failures) else { return Ok(()) };

        let grown = policy.first_delay.as_secs_f64() * policy.factor.powi(failures as i32 - 1);
        let full = grown.min(policy.max_delay.as_secs_f64());
        let rounding = 1e-8;
        prop_assert!(pause.as_secs_f64() >= full / 2.0 - rounding);
        prop_assert!(pause.as_secs_f64() <= full + rounding);
        prop_assert!(pause <= policy.max_delay);
    }

    #[test]
    fn the_next_pause_is_as_long_or_longer_on_the_whole(policy in policies(), run in 1..1_000_000_i64) {
        let mean = |failures| {
            let pauses = (1..=500).filter_map(|number| pause(&policy, chunk(run, number), failures));
            pauses.map(|pause| pause.as_secs_f64()).sum::<f64>() / 500.0
        };

        for failures in 1..policy.max_failures.saturating_sub(1) {
            let (now, next) = (mean(failures), mean(failures + 1));
            // A spread that is uniform is within a tenth of its mean for five hundred chunks.
            prop_assert!(next >= now * 0.9, "{now} s, then {next} s after {failures}");
        }
    }

    #[test]
    fn the_same_history_gets_the_same_verdict(policy in policies(), run: i64, number: i32, failures: u32) {
        let verdict = || policy.verdict(chunk(run, number), failures, Timestamp::UNIX_EPOCH);

        prop_assert_eq!(verdict(), verdict());
    }

    #[test]
    fn any_policy_gives_a_verdict_that_is_not_in_the_past(
        factor in prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(-2.0)],
        [first_delay, max_delay] in any::<[Duration; 2]>(),
        [max_failures, failures] in any::<[u32; 2]>(),
        (run, number, now) in any::<(i64, i32, i64)>(),
    ) {
        let policy = RetryPolicy { max_failures, first_delay, factor, max_delay };
        let now = now.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let now = Timestamp::from_second(now).unwrap();

        match policy.verdict(chunk(run, number), failures, now) {
            Verdict::RetryAt(due) => prop_assert!(due >= now && failures < max_failures),
            Verdict::DeadLetter => prop_assert!(failures >= max_failures),
        }
    }
}
