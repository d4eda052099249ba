//! What became of each attempt, by the calls that took effect: kept by somebody who does not ask the store.
//!
//! Each entry is made at the very moment of the effect, also where the caller never hears of it.

use std::collections::BTreeMap;

use batch::{Attempt, AttemptId, ChunkRef, Outcome};

use tokio::time::Instant;

use super::rule::{Rule, Violation};

/// What became of every attempt of a night.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<ChunkRef, Vec<Entry>>);

/// One attempt.
#[expect(clippy::struct_excessive_bools, reason = "each says something that may or may not have happened")]
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) attempt: Attempt,
    pub(super) worker: String,
    /// Whether its worker heard that it had begun.
    pub(super) is_answered: bool,
    /// Whether its worker tried to give it back and was not answered.
    pub(super) was_given_in_vain: bool,
    /// Whether its worker was there when the chunk was taken from it.
    pub(super) was_taken_alive: bool,
    /// Whether its worker asked where it stood after the chunk had been taken from it.
    pub(super) came_back: bool,
    /// How it ended.
    pub(super) end: Option<Outcome>,
    pub(super) ended_at: Option<Instant>,
    /// How many attempts the chunk was charged for when this one ended, this one included.
    pub(super) charges: u32,
}

impl Ledger {
    /// An attempt was begun.
    pub(super) fn begun(&mut self, id: AttemptId, worker: &str) -> Option<Violation> {
        let entries = self.0.entry(id.chunk).or_default();
        let next = entries.len() as i32 + 1;
        entries.push(Entry {
            attempt: id.attempt,
            worker: worker.to_owned(),
            is_answered: false,
            was_given_in_vain: false,
            was_taken_alive: false,
            came_back: false,
            end: None,
            ended_at: None,
            charges: 0,
        });
        let what = || format!("{id} is the chunk's attempt number {next}");
        (id.attempt.0 != next).then(|| Violation { rule: Rule::Numbering, what: what() })
    }

    /// An attempt was committed.
    pub(super) fn committed(&mut self, id: AttemptId) -> Option<Violation> {
        let entries = self.0.entry(id.chunk).or_default();
        let is_done = entries.iter().any(|entry| entry.end == Some(Outcome::Done));
        let is_latest =
            entries.last().is_some_and(|latest| latest.attempt == id.attempt && latest.end.is_none());
        self.close(id, Outcome::Done);
        let what = || format!("{id} was committed, and it was not the attempt that might");
        (is_done || !is_latest).then(|| Violation { rule: Rule::Fence, what: what() })
    }

    /// The latest attempt ended, if it had not.
    fn close(&mut self, id: AttemptId, outcome: Outcome) {
        let Some(entries) = self.0.get_mut(&id.chunk) else { return };
        let is_open = |latest: &Entry| latest.attempt == id.attempt && latest.end.is_none();
        if entries.last().is_some_and(is_open) {
            let latest = entries.len() - 1;
            (entries[latest].end, entries[latest].ended_at) = (Some(outcome), Some(Instant::now()));
            entries[latest].charges = entries.iter().filter(|entry| entry.is_charged()).count() as u32;
        }
    }

    /// An attempt failed, was given back or was taken for lost, if it was the latest.
    pub(super) fn ended(&mut self, id: AttemptId, outcome: Outcome) -> Option<Violation> {
        self.close(id, outcome);
        None
    }

    /// A worker heard that its attempt had begun.
    pub(super) fn answered(&mut self, id: AttemptId) -> Option<Violation> {
        self.entry_mut(id).into_iter().for_each(|entry| entry.is_answered = true);
        None
    }

    /// A worker tried to give its attempt back, and was not answered.
    pub(super) fn given_in_vain(&mut self, id: AttemptId) -> Option<Violation> {
        self.entry_mut(id).into_iter().for_each(|entry| entry.was_given_in_vain = true);
        None
    }

    /// The worker of an attempt asked where it stands.
    pub(super) fn asked(&mut self, id: AttemptId) -> Option<Violation> {
        self.entry_mut(id).into_iter().for_each(Entry::comes_back);
        None
    }

    /// A worker asks again to begin: it came back to whatever of it was taken for lost.
    pub(super) fn asked_to_begin(&mut self, chunk: ChunkRef, worker: &str) -> Option<Violation> {
        let entries = self.0.get_mut(&chunk).into_iter().flatten();
        entries.filter(|entry| entry.worker == worker).for_each(Entry::comes_back);
        None
    }

    pub(super) fn entry_mut(&mut self, id: AttemptId) -> Option<&mut Entry> {
        self.0.get_mut(&id.chunk)?.iter_mut().rev().find(|entry| entry.attempt == id.attempt)
    }

    /// The attempts at a chunk, in their order.
    pub(super) fn story(&self, chunk: ChunkRef) -> Vec<Entry> {
        self.0.get(&chunk).cloned().unwrap_or_default()
    }
}

impl Entry {
    fn comes_back(&mut self) {
        self.came_back |= self.end == Some(Outcome::Lost);
    }

    fn is_charged(&self) -> bool {
        self.outcome().is_some_and(Outcome::counts)
    }

    /// How the store should tell of it, which excuses attempts that nobody heard of and those whose workers came back.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self.end {
            Some(Outcome::Lost) if self.came_back => Some(Outcome::Excused),
            // Another one was begun while it was open: only its own worker can do that, which never heard of it.
            None if !self.is_answered => Some(Outcome::Excused),
            end => end,
        }
    }
}
