//! What happened lately: verdicts counted in time buckets, the oldest forgotten as a whole.

use std::time::Duration;

use tokio::time::Instant;

/// Counts the verdicts of the last `buckets` × `bucket`.
///
/// The buckets stand in a ring, each marked with its number since `start`. A bucket whose number is too old
/// counts for nothing and is overwritten when its place is needed, so nothing has to be cleared as time passes.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    bucket: Duration,
    ring: Vec<Bucket>,
}

/// What a window or one of its buckets has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    number: u128,
    counts: Counts,
}

impl Window {
    pub(super) fn new(start: Instant, buckets: usize, bucket: Duration) -> Self {
        Self { start, bucket, ring: vec![Bucket::default(); buckets] }
    }

    pub(super) fn record(&mut self, now: Instant, failure: bool, slow: bool) {
        let number = self.number(now);
        let place = (number % self.ring.len() as u128) as usize;
        let bucket = &mut self.ring[place];
        if bucket.number != number {
            *bucket = Bucket { number, counts: Counts::default() };
        }
        bucket.counts.add(Counts { calls: 1, failures: failure.into(), slow: slow.into() });
    }

    pub(super) fn counts(&self, now: Instant) -> Counts {
        let current = self.number(now);
        let mut sum = Counts::default();
        for bucket in &self.ring {
            if bucket.number + self.ring.len() as u128 > current {
                sum.add(bucket.counts);
            }
        }
        sum
    }

    pub(super) fn clear(&mut self) {
        self.ring.fill(Bucket::default());
    }

    fn number(&self, now: Instant) -> u128 {
        now.saturating_duration_since(self.start).as_nanos() / self.bucket.as_nanos()
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_is_forgotten_as_a_whole_when_the_window_has_moved_on() {
        let start = Instant::now();
        let mut window = Window::new(start, 3, SECOND);

        window.record(start, true, false);
        window.record(start + SECOND, false, true);
        let calls = |seconds| window.counts(start + seconds * SECOND).calls;

        assert_eq!([1, 2, 3, 4].map(calls), [2, 2, 1, 0]);
    }

    #[test]
    fn a_place_in_the_ring_is_used_again_without_its_old_counts() {
        let start = Instant::now();
        let mut window = Window::new(start, 3, SECOND);

        window.record(start, true, true);
        window.record(start + 3 * SECOND, false, false);

        let expected = Counts { calls: 1, failures: 0, slow: 0 };
        assert_eq!(window.counts(start + 3 * SECOND), expected);
    }

    #[test]
    fn a_cleared_window_has_counted_nothing() {
        let start = Instant::now();
        let mut window = Window::new(start, 3, SECOND);

        window.record(start + SECOND, true, true);
        window.clear();

        assert_eq!(window.counts(start + SECOND), Counts::default());
    }
}
