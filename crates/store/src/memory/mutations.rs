//! The rules that a harness may have broken, to see that its checks notice. Each is right unless the feature `faults`
//! is on and the store was made wrong.

#![cfg_attr(not(feature = "faults"), expect(clippy::unused_self, reason = "the same shape as with faults"))]

use std::time::Duration;

#[cfg(feature = "faults")]
use batch::ChunkState;
use batch::{Attempt, ChunkEvent, ChunkRef, ChunkSnapshot, Limits, Progress, Refusal, RunId};
use jiff::Timestamp;

use super::later;

/// A rule that is broken.
#[cfg(feature = "faults")]
pub enum Mutation {
    /// Every attempt may commit, whatever the chunk's state, and not only the latest.
    WithoutFence,
    /// Progress comes from a counter that each commit increments before it is known whether it is allowed.
    CountedProgress,
    /// A lease ends by the clock of its worker: so many microseconds ahead of the store's, given the worker's name.
    WorkersClocks(Box<dyn Fn(&str) -> i64 + Send>),
    /// An attempt's number is the one that the sender of its message knew, and one more: nobody counts.
    ClaimedAttempts,
    /// No run is compared with the one before.
    WithoutGuard,
    /// Of what is known of a customer the oldest is shown.
    OlderValueWins,
}

#[cfg(feature = "faults")]
impl std::fmt::Debug for Mutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WithoutFence => "WithoutFence",
            Self::CountedProgress => "CountedProgress",
            Self::WorkersClocks(_) => "WorkersClocks",
            Self::ClaimedAttempts => "ClaimedAttempts",
            Self::WithoutGuard => "WithoutGuard",
            Self::OlderValueWins => "OlderValueWins",
        })
    }
}

#[cfg(feature = "faults")]
impl super::Memory {
    /// The same store with a broken rule: for the test that shows what the rule is for.
    #[must_use]
    pub fn with_mutation(self, mutation: Mutation) -> Self {
        self.rows().mutations.broken = Some(mutation);
        self
    }
}

/// The rules that can be broken.
#[derive(Debug, Default)]
pub(super) struct Mutations {
    #[cfg(feature = "faults")]
    broken: Option<Mutation>,
    /// Chunks, values, rejections and work, as they were counted.
    #[cfg(feature = "faults")]
    counted: std::collections::BTreeMap<RunId, (u64, u64, u64, f64)>,
    /// The attempt that the last message for a chunk told of.
    #[cfg(feature = "faults")]
    told: std::collections::BTreeMap<ChunkRef, Attempt>,
}

impl Mutations {
    /// Where a chunk stands after an event, given what the rule says.
    pub(super) fn after(
        &self,
        id: ChunkRef,
        before: &ChunkSnapshot,
        event: ChunkEvent,
        ruled: Result<ChunkSnapshot, Refusal>,
    ) -> Result<ChunkSnapshot, Refusal> {
        #[cfg(feature = "faults")]
        match (&self.broken, event) {
            (Some(Mutation::WithoutFence), ChunkEvent::Committed(_)) if ruled != Err(Refusal::RunOver) => {
                return Ok(ChunkSnapshot {
                    state: ChunkState::Done,
                    leased_at: None,
                    leased_until: None,
                    ..*before
                });
            }
            (Some(Mutation::ClaimedAttempts), ChunkEvent::Begun { .. }) => {
                let attempt = Attempt(self.told.get(&id).map_or(0, |told| told.0) + 1);
                return ruled.map(|after| ChunkSnapshot { attempt, ..after });
            }
            _ => {}
        }
        let _ = (id, before, event);
        ruled
    }

    /// When a lease that a worker takes now will end.
    pub(super) fn lease_end(&self, worker: &str, now: Timestamp, lease: Duration) -> Timestamp {
        #[cfg(feature = "faults")]
        if let Some(Mutation::WorkersClocks(ahead_us)) = &self.broken {
            let ahead = jiff::SignedDuration::from_micros(ahead_us(worker));
            return later(now.checked_add(ahead).unwrap_or(now), lease);
        }
        let _ = worker;
        later(now, lease)
    }

    /// Hears that a message for a chunk was sent, by somebody who knew of this attempt.
    pub(super) fn hear_of_message(&mut self, chunk: ChunkRef, attempt: Attempt) {
        #[cfg(feature = "faults")]
        self.told.insert(chunk, attempt);
        let _ = (chunk, attempt);
    }

    /// Hears of a commit that is tried.
    pub(super) fn hear_of_commit(&mut self, run: RunId, values: u64, rejections: u64, work: f64) {
        #[cfg(feature = "faults")]
        {
            let counted = self.counted.entry(run).or_default();
            counted.0 += 1;
            counted.1 += values;
            counted.2 += rejections;
            counted.3 += work;
        }
        let _ = (run, values, rejections, work);
    }

    /// The limits that a run is judged by, given those it was planned with.
    pub(super) fn limits(&self, planned: Option<Limits>) -> Option<Limits> {
        #[cfg(feature = "faults")]
        if matches!(self.broken, Some(Mutation::WithoutGuard)) {
            return None;
        }
        planned
    }

    /// Which of two moments wins.
    pub(super) fn wins(&self, one: Timestamp, other: Timestamp) -> std::cmp::Ordering {
        #[cfg(feature = "faults")]
        if matches!(self.broken, Some(Mutation::OlderValueWins)) {
            return other.cmp(&one);
        }
        one.cmp(&other)
    }

    /// How far a run is, given the sums over its chunks.
    pub(super) fn progress(&self, run: RunId, sum: Progress) -> Progress {
        #[cfg(feature = "faults")]
        if matches!(self.broken, Some(Mutation::CountedProgress)) {
            let (done, values, rejections, work_settled) =
                self.counted.get(&run).copied().unwrap_or_default();
            return Progress { done, values, rejections, work_settled, ..sum };
        }
        let _ = run;
        sum
    }
}
