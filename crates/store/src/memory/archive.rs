//! What a person asks about: runs, their story, their values, dead chunks. By the names that the PostgreSQL backend
//! has for them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use batch::{
    AttemptId, ChunkEvent, ChunkId, ChunkRef, ChunkState, CustomerId, Outcome, RunEvent, RunId, RunState,
};
use jiff::Timestamp;

use super::packed::Packed;
use super::rows::{Chunk, Rows, Run};
use super::values::{after, valued};
use super::{Base, Customer, Memory, guard};
use crate::archive::{DeadChunk, Explained, Named, Rank, RunSummary, SegmentValue, Staffing, TopCustomer};
use crate::guard::{Decision, NewDecision};
use crate::keys::Effect;
use crate::record::{AttemptRecord, RunRecord, Valued};
use crate::{Archive, Result};

impl Archive for Memory {
    async fn run(&self, run: RunId) -> Result<Option<RunRecord>> {
        self.call(|rows, _| Ok(rows.run(run).map(|row| rows.run_record(run, row)))).await
    }

    async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>> {
        self.runs_before(RunId(i64::MAX), limit).await
    }

    async fn runs_before(&self, before: RunId, limit: u32) -> Result<Vec<RunRecord>> {
        self.call(|rows, _| {
            let latest = rows.runs().rev().filter(|(id, _)| *id < before).take(limit as usize);
            Ok(latest.map(|(id, run)| rows.run_record(id, run)).collect())
        })
        .await
    }

    async fn staffing(&self, run: RunId) -> Result<Staffing> {
        self.call(|rows, now| {
            let chunks = rows.run(run).into_iter().flat_map(|run| run.chunks.iter());
            let held = chunks.filter(|chunk| chunk.snapshot.state == ChunkState::Leased).count();
            Ok(Staffing { leader: rows.leader(now), held: held as u64 })
        })
        .await
    }

    async fn summary(&self, run: RunId, top: u32) -> Result<RunSummary> {
        self.call(|rows, _| {
            let empty = RunSummary { segments: Vec::new(), top: Vec::new(), rejections: Vec::new() };
            Ok(rows.run(run).map_or(empty, |run| summary(self.base(), run, top as usize)))
        })
        .await
    }

    async fn ranked(&self, run: RunId, after: Option<Rank>, limit: u32) -> Result<Vec<Valued>> {
        self.call(|rows, _| {
            let finished = rows.run(run).filter(|run| run.state == RunState::Finished);
            Ok(finished.map(|run| ranked(self.base(), run, after, limit as usize)).unwrap_or_default())
        })
        .await
    }

    async fn names(&self, customers: &[CustomerId]) -> Result<Vec<Named>> {
        self.call(|_, _| {
            let mut customers = customers.to_vec();
            customers.sort_unstable();
            let named = |&customer: &CustomerId| {
                let Customer { external_id, segment, .. } =
                    self.base().customer(self.base().place(customer)?);
                Some(Named { customer, external_id: external_id.to_owned(), segment: segment.to_owned() })
            };
            Ok(customers.iter().filter_map(named).collect())
        })
        .await
    }

    async fn explain(&self, run: RunId, customer: CustomerId) -> Result<Explained> {
        self.call(|rows, _| {
            Ok(rows.run(run).map_or(Explained::Absent, |run| explained(self.base(), run, customer)))
        })
        .await
    }

    async fn customer_named(&self, external_id: &str) -> Result<Option<CustomerId>> {
        self.call(|_, _| Ok(self.base().named(external_id))).await
    }

    async fn customers_named(&self, external_ids: &[String]) -> Result<Vec<(String, CustomerId)>> {
        let named = |name: &String| Some((name.clone(), self.base().named(name)?));
        self.call(|_, _| Ok(external_ids.iter().filter_map(named).collect())).await
    }

    async fn customers_there(&self, customers: &[CustomerId]) -> Result<Vec<CustomerId>> {
        let is_there = |customer: &&CustomerId| self.base().place(**customer).is_some();
        let there: BTreeSet<CustomerId> = customers.iter().filter(is_there).copied().collect();
        self.call(|_, _| Ok(there.into_iter().collect())).await
    }

    async fn troubled_attempts(&self, run: RunId, limit: u32) -> Result<Vec<(AttemptId, AttemptRecord)>> {
        self.story(run, limit, |chunk| {
            chunk.attempts.iter().any(|row| row.outcome.is_some_and(|outcome| outcome != Outcome::Done))
        })
        .await
    }

    async fn dead_chunks(&self, limit: u32) -> Result<Vec<DeadChunk>> {
        self.call(|rows, _| {
            let dead = rows.runs().rev().flat_map(|(id, run)| {
                let dead = run.chunks().filter(|(_, chunk)| chunk.snapshot.state == ChunkState::Dead);
                dead.map(move |(chunk_id, chunk)| {
                    dead_chunk(ChunkRef { run: id, chunk: chunk_id }, run, chunk)
                })
            });
            Ok(dead.take(limit as usize).collect())
        })
        .await
    }

    async fn dead_customers(&self, run: RunId) -> Result<Vec<CustomerId>> {
        self.call(|rows, _| {
            let chunks = rows.run(run).into_iter().flat_map(Run::chunks);
            let dead = chunks.filter(|(_, chunk)| chunk.snapshot.state == ChunkState::Dead);
            let mut customers: Vec<CustomerId> = dead.flat_map(|(_, chunk)| chunk.members()).collect();
            customers.sort_unstable();
            Ok(customers)
        })
        .await
    }

    async fn redrive(&self, run: RunId) -> Result<u64> {
        self.call_once("redrive dead chunks", |rows, now| {
            let chunks: Vec<ChunkId> =
                rows.run(run).into_iter().flat_map(Run::chunks).map(|(chunk, _)| chunk).collect();
            let said = reopen(rows, run).map(|said| said.taken_back()).unwrap_or_default();
            let mut redriven = 0;
            for chunk in chunks {
                if let Ok(chunk) = rows.take(ChunkRef { run, chunk }, ChunkEvent::Redriven, now, None) {
                    forgive(chunk, &said);
                    redriven += 1;
                }
            }
            Ok((redriven, (redriven > 0).then_some(Effect::Redriven { run, chunks: redriven })))
        })
        .await
    }

    async fn cancel_run(&self, run: RunId) -> Result<bool> {
        self.call_once("cancel a run", |rows, now| {
            let is_new = cancel(rows, run, now);
            Ok((is_new, is_new.then_some(Effect::Cancelled { run, is_new })))
        })
        .await
    }

    async fn decide(&self, run: RunId, new: &NewDecision) -> Result<bool> {
        self.call_once("decide about a run", |rows, now| {
            let is_new = guard::decide(rows, run, new, now);
            Ok((is_new, is_new.then_some(Effect::Decided { run, kind: new.kind, is_new })))
        })
        .await
    }
}

impl Memory {
    /// The whole story of a run: every attempt of each chunk, in order.
    pub async fn attempts(&self, run: RunId) -> Result<Vec<(AttemptId, AttemptRecord)>> {
        self.story(run, u32::MAX, |_| true).await
    }

    async fn story(
        &self,
        run: RunId,
        limit: u32,
        is_told: impl Fn(&Chunk) -> bool,
    ) -> Result<Vec<(AttemptId, AttemptRecord)>> {
        self.call(|rows, _| {
            let Some(row) = rows.run(run) else { return Ok(Vec::new()) };
            let told = row.chunks().filter(|(_, chunk)| is_told(chunk));
            let told = told.flat_map(|(id, chunk)| {
                let chunk_ref = ChunkRef { run, chunk: id };
                let tell = move |record: AttemptRecord| {
                    (AttemptId { chunk: chunk_ref, attempt: record.attempt }, record)
                };
                chunk.attempts.iter().map(move |row| tell(row.record()))
            });
            Ok(told.take(limit as usize).collect())
        })
        .await
    }

    /// The chunks of a run with their planned customers and where they stand.
    pub async fn chunks(&self, run: RunId) -> Result<Vec<(ChunkId, ChunkState, Vec<CustomerId>)>> {
        self.call(|rows, _| {
            let chunks = rows.run(run).into_iter().flat_map(Run::chunks);
            Ok(chunks.map(|(id, chunk)| (id, chunk.snapshot.state, chunk.members())).collect())
        })
        .await
    }

    /// The customers of all values and of all rejections that a run holds, visible or not, as often as they stand
    /// there; the rejections with their chunk and the reason's code.
    pub async fn settled_customers(
        &self,
        run: RunId,
    ) -> Result<(Vec<CustomerId>, Vec<(CustomerId, ChunkId, &'static str)>)> {
        self.call(|rows, _| {
            let Some(run) = rows.run(run) else { return Ok((Vec::new(), Vec::new())) };
            let mut valued: Vec<CustomerId> =
                run.values.iter().flat_map(Packed::iter).map(|(customer, _)| customer).collect();
            valued.sort_unstable();
            let rejected =
                run.rejections.iter().map(|(customer, (chunk, reason))| (*customer, *chunk, *reason));
            Ok((valued, rejected.collect()))
        })
        .await
    }

    /// The customers whom a run has rejected, ascending, with the reason's code.
    pub async fn rejected(&self, run: RunId) -> Result<Vec<(CustomerId, &'static str)>> {
        self.call(|rows, _| {
            let rejected = rows.run(run).into_iter().flat_map(|run| &run.rejections);
            Ok(rejected.map(|(customer, (_, reason))| (*customer, *reason)).collect())
        })
        .await
    }
}

fn cancel(rows: &mut Rows, run: RunId, now: Timestamp) -> bool {
    let Some(row) = rows.run_mut(run) else { return false };
    let Ok(state) = row.state.after(RunEvent::Cancelled) else { return false };
    row.state = state;
    guard::drop_values(rows, run, "cancelled", now);
    true
}

/// Has a run go on that is open or held, to be judged anew, if it has dead chunks to be put back to work; returns what a
/// person had said about it.
fn reopen(rows: &mut Rows, run: RunId) -> Option<Decision> {
    let run = rows.run_mut(run).filter(|run| !run.state.is_over())?;
    if run.chunks().all(|(_, chunk)| chunk.snapshot.state != ChunkState::Dead) {
        return None;
    }
    if run.state == RunState::Held {
        run.state = run.state.after(RunEvent::Redriven).expect("it is held");
    }
    run.guard.held = None;
    run.guard.decision.take()
}

fn forgive(chunk: &mut Chunk, said: &str) {
    for row in &mut chunk.attempts {
        let Some(outcome) = row.outcome.filter(|outcome| outcome.counts()) else { continue };
        let reason = row.reason.as_deref().unwrap_or(outcome.as_str());
        (row.outcome, row.reason) =
            (Some(Outcome::Excused), Some(format!("redriven after: {reason}{said}").into()));
    }
}

fn dead_chunk(id: ChunkRef, run: &Run, chunk: &Chunk) -> DeadChunk {
    let last = chunk.row(chunk.snapshot.attempt);
    DeadChunk {
        chunk: id,
        customers: chunk.customers.into(),
        died_at: chunk.settled_at,
        reason: last.and_then(|row| row.reason.as_deref().map(str::to_owned)),
        is_open: !run.state.is_over(),
    }
}

/// What a run holds about a customer: values once it is finished, rejections at once.
pub(super) fn explained(base: &dyn Base, run: &Run, customer: CustomerId) -> Explained {
    let before = CustomerId(customer.0.saturating_sub(1));
    let values = (run.state == RunState::Finished).then(|| after(run, before)).into_iter().flatten();
    if let Some((_, value)) = values.take_while(|(at, _)| *at <= customer).find(|(at, _)| *at == customer) {
        return Explained::Valued(valued(base, run, customer, value));
    }
    let reason = run.rejections.get(&customer).map(|(_, reason)| *reason);
    reason.map_or(Explained::Absent, |reason| Explained::Rejected(reason.into()))
}

/// The most valuable customers of a finished run, after one.
fn ranked(base: &dyn Base, run: &Run, after: Option<Rank>, limit: usize) -> Vec<Valued> {
    let order = |value_minor: i64, customer| (Reverse(value_minor), customer);
    let mut all: Vec<_> = run.values.iter().flat_map(Packed::iter).collect();
    all.retain(|(customer, value)| {
        after
            .is_none_or(|rank| order(value.value_minor(), *customer) > order(rank.value_minor, rank.customer))
    });
    all.sort_by_key(|(customer, value)| order(value.value_minor(), *customer));
    all.into_iter().take(limit).map(|(customer, value)| valued(base, run, customer, value)).collect()
}

fn summary(base: &dyn Base, run: &Run, top: usize) -> RunSummary {
    let mut segments: BTreeMap<&str, SegmentValue> = BTreeMap::new();
    // The least of those that are among the top so far stands first.
    let mut best = BinaryHeap::with_capacity(top + 1);
    let finished = if run.state == RunState::Finished { &run.values[..] } else { &[] };
    for (customer, value) in finished.iter().flat_map(Packed::iter) {
        // As a join with the customers would, it passes over whoever is not there any more.
        let Some(place) = base.place(customer) else { continue };
        let segment = base.customer(place).segment;
        let sums = segments.entry(segment).or_insert_with(|| SegmentValue {
            segment: segment.to_owned(),
            customers: 0,
            value_minor: 0,
            contract_minor: 0,
            historic_minor: Some(0),
        });
        sums.customers += 1;
        sums.value_minor += value.value_minor();
        sums.contract_minor += value.contracts.months_12;
        sums.historic_minor = sums.historic_minor.map(|sum| sum + value.historic_minor);
        best.push((Reverse(value.value_minor()), customer, place));
        if best.len() > top {
            best.pop();
        }
    }
    let mut segments: Vec<SegmentValue> = segments.into_values().collect();
    segments.sort_by_key(|segment| Reverse(segment.value_minor));
    let top = best.into_sorted_vec().into_iter().map(|(_, customer, place)| {
        let Customer { external_id, segment, .. } = base.customer(place);
        let before = CustomerId(customer.0.saturating_sub(1));
        let (_, value) =
            after(run, before).find(|(at, _)| *at == customer).expect("it was there a moment ago");
        TopCustomer {
            external_id: external_id.to_owned(),
            segment: segment.to_owned(),
            valued: valued(base, run, customer, value),
        }
    });
    RunSummary { segments, top: top.collect(), rejections: rejections(run) }
}

fn rejections(run: &Run) -> Vec<(String, u64)> {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, reason) in run.rejections.values() {
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<(String, u64)> =
        reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    reasons.sort_by_key(|(_, count)| Reverse(*count));
    reasons
}
