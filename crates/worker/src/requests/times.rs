//! How long a request took here, and for what: what the bound on its wait is made of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::{self, Work};

/// How long a request took since it was taken.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) taken: Instant,
    /// To begin, each time.
    begin: AtomicU64,
    /// Until it was its turn, for all parts.
    turns: AtomicU64,
    /// To read and to compute the part that took longest.
    part: AtomicU64,
    /// To commit.
    answer: AtomicU64,
}

impl Times {
    pub(super) fn new() -> Self {
        let [begin, turns, part, answer] = std::array::from_fn(|_| AtomicU64::new(0));
        Self { taken: Instant::now(), begin, turns, part, answer }
    }

    pub(super) fn began(&self, took: Duration) {
        metrics::stage(Work::Request, "begin", took);
        add(&self.begin, took);
    }

    pub(super) fn had_its_turn(&self, waited: Duration) {
        metrics::stage(Work::Request, "turn", waited);
        add(&self.turns, waited);
    }

    pub(super) fn valued_a_part(&self, took: Duration) {
        self.part.fetch_max(micros(took), Ordering::Relaxed);
    }

    pub(super) fn committed(&self, took: Duration) {
        metrics::stage(Work::Request, "commit", took);
        add(&self.answer, took);
    }

    /// Tells of it, now that it was replied to.
    pub(super) fn replied(&self, outcome: &'static str, took: Duration) {
        metrics::stage(Work::Request, "reply", took);
        metrics::request_replied(self.taken.elapsed());
        let [begin_us, turns_us, part_us, answer_us] =
            [&self.begin, &self.turns, &self.part, &self.answer].map(|time| time.load(Ordering::Relaxed));
        let (reply_us, took_us) = (micros(took), micros(self.taken.elapsed()));
        tracing::debug!(outcome, took_us, begin_us, turns_us, part_us, answer_us, reply_us, "replied");
    }
}

fn add(time: &AtomicU64, took: Duration) {
    time.fetch_add(micros(took), Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
