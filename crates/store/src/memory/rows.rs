//! The rows that the store keeps, and what is asked about them again and again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use batch::{
    Attempt, ChunkEvent, ChunkId, ChunkRef, ChunkSnapshot, ChunkState, CustomerId, MEANWHILE, Outcome,
    PlannedChunk, Priority, Progress, Refusal, RunId, RunState,
};
use jiff::Timestamp;
use model::{Account, ValueTerms};

use super::keys::Keys;
use super::later;
use super::mutations::Mutations;
use super::packed::Packed;
use super::requests::Requests;
use crate::encoding::members;
use crate::guard::Guarded;
use crate::record::{AttemptRecord, ModelVersion, ModelVersionId, Promotion, RunRecord, Term};

/// Everything that the store has recorded.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// By their number, from 1.
    runs: Vec<Run>,
    /// The runs by their night.
    pub(super) nights: BTreeMap<String, RunId>,
    /// By their number, from 1.
    pub(super) model_versions: Vec<ModelVersion>,
    /// A history: the last is in force.
    pub(super) promotions: Vec<PromotionRow>,
    pub(super) leadership: Option<Leadership>,
    pub(super) last_visible_version: i64,
    pub(super) requests: Requests,
    /// When customers did something that the base does not know of.
    pub(super) happened: BTreeSet<(CustomerId, Timestamp)>,
    pub(super) keys: Keys,
    pub(super) mutations: Mutations,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) night: Option<String>,
    pub(super) selection: String,
    pub(super) is_whole: bool,
    pub(super) priority: Priority,
    pub(super) state: RunState,
    pub(super) as_of: Timestamp,
    pub(super) model_version: ModelVersionId,
    pub(super) terms: ValueTerms,
    pub(super) planned_at: Timestamp,
    pub(super) deadline_at: Timestamp,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) visible_version: Option<i64>,
    pub(super) customers: u64,
    pub(super) trace: Vec<(String, String)>,
    pub(super) guard: Guarded,
    /// By their number, from 1.
    pub(super) chunks: Vec<Chunk>,
    /// What was committed, in the order of the commits; in the order of the customers once the run is finished.
    pub(super) values: Vec<Packed>,
    /// The accounts of values that were not computed from what the base says.
    pub(super) accounts: BTreeMap<CustomerId, Account>,
    /// The chunk that each belongs to, and the reason's code.
    pub(super) rejections: BTreeMap<CustomerId, (ChunkId, &'static str)>,
}

#[derive(Debug)]
pub(super) struct Chunk {
    first_customer: CustomerId,
    pub(super) customers: u32,
    members: Box<[u8]>,
    pub(super) work: f64,
    /// Where it stands; the failures are not counted in it, but in the attempts.
    pub(super) snapshot: ChunkSnapshot,
    pub(super) settled_at: Option<Timestamp>,
    pub(super) value_count: u64,
    pub(super) rejection_count: u64,
    pub(super) transactions: u64,
    pub(super) value_minor: i64,
    pub(super) attempts: Vec<AttemptRow>,
}

#[derive(Clone, Debug)]
pub(super) struct AttemptRow {
    pub(super) attempt: Attempt,
    pub(super) worker: String,
    pub(super) began_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) outcome: Option<Outcome>,
    pub(super) reason: Option<Cow<'static, str>>,
}

#[derive(Debug)]
pub(super) struct PromotionRow {
    pub(super) promotion: Promotion,
    /// The place of the promotion that a roll-back from this one returns to.
    pub(super) rolls_back_to: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Leadership {
    pub(super) leader: String,
    pub(super) term: Term,
    pub(super) expires_at: Timestamp,
    pub(super) renewed_at: Timestamp,
}

impl Rows {
    /// Who leads; nobody whose lease was given before the clock was set back.
    pub(super) fn leader(&self, now: Timestamp) -> Option<String> {
        let leads = self.leadership.as_ref().filter(|leads| leads.expires_at > now)?;
        (leads.renewed_at <= later(now, MEANWHILE)).then(|| leads.leader.clone())
    }

    pub(super) fn add_run(&mut self, run: Run) -> RunId {
        self.runs.push(run);
        RunId(self.runs.len() as i64)
    }

    pub(super) fn run(&self, run: RunId) -> Option<&Run> {
        self.runs.get(place(run.0)?)
    }

    pub(super) fn run_mut(&mut self, run: RunId) -> Option<&mut Run> {
        self.runs.get_mut(place(run.0)?)
    }

    /// The runs in the order of their numbers.
    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = (RunId, &Run)> {
        self.runs.iter().enumerate().map(|(place, run)| (RunId(place as i64 + 1), run))
    }

    pub(super) fn model_version(&self, version: ModelVersionId) -> Option<&ModelVersion> {
        self.model_versions.get(place(version.0)?)
    }

    pub(super) fn chunk(&self, id: ChunkRef) -> Option<&Chunk> {
        self.run(id.run)?.chunk(id.chunk)
    }

    pub(super) fn chunk_mut(&mut self, id: ChunkRef) -> Option<&mut Chunk> {
        self.run_mut(id.run)?.chunk_mut(id.chunk)
    }

    /// Where a chunk would stand after an event, or why it does not happen. What is not there is of no open run.
    pub(super) fn after(
        &self,
        id: ChunkRef,
        event: ChunkEvent,
        now: Timestamp,
    ) -> Result<ChunkSnapshot, Refusal> {
        let run = self.run(id.run).ok_or(Refusal::RunOver)?;
        let chunk = run.chunk(id.chunk).ok_or(Refusal::RunOver)?;
        let ruled = chunk.snapshot.after(event, run.state, now);
        self.mutations.after(id, &chunk.snapshot, event, ruled)
    }

    /// Lets an event happen to a chunk, and ends the attempt that it ends; or says why it does not happen.
    pub(super) fn take(
        &mut self,
        id: ChunkRef,
        event: ChunkEvent,
        now: Timestamp,
        reason: Option<Cow<'static, str>>,
    ) -> Result<&mut Chunk, Refusal> {
        let snapshot = self.after(id, event, now)?;
        let chunk = self.chunk_mut(id).expect("it was there a moment ago");
        chunk.snapshot = snapshot;
        chunk.settled_at = snapshot.state.is_settled().then_some(now);
        if let Some((attempt, outcome)) = event.ends()
            && let Some(row) = chunk.row_mut(attempt)
        {
            row.end(outcome, now, reason);
        }
        Ok(chunk)
    }

    /// Whether this term leads.
    pub(super) fn leads(&self, term: Term, now: Timestamp) -> bool {
        self.leadership.as_ref().is_some_and(|leads| leads.term == term && leads.expires_at > now)
    }

    /// The sums over a run's chunks.
    pub(super) fn progress(&self, id: RunId, run: &Run) -> Progress {
        let mut sum = Progress::default();
        for chunk in &run.chunks {
            sum.chunks += 1;
            sum.done += u64::from(chunk.snapshot.state == ChunkState::Done);
            sum.dead += u64::from(chunk.snapshot.state == ChunkState::Dead);
            sum.customers += u64::from(chunk.customers);
            sum.values += chunk.value_count;
            sum.rejections += chunk.rejection_count;
            sum.work += chunk.work;
            sum.work_settled += if chunk.snapshot.state.is_settled() { chunk.work } else { 0.0 };
        }
        self.mutations.progress(id, sum)
    }

    pub(super) fn run_record(&self, id: RunId, run: &Run) -> RunRecord {
        RunRecord {
            run: id,
            night: run.night.clone(),
            selection: run.selection.clone(),
            is_whole: run.is_whole,
            priority: run.priority,
            state: run.state,
            as_of: run.as_of,
            model_version: run.model_version,
            terms: run.terms,
            planned_at: run.planned_at,
            deadline_at: run.deadline_at,
            finished_at: run.finished_at,
            progress: self.progress(id, run),
            guard: run.guard.clone(),
        }
    }
}

impl Run {
    pub(super) fn chunk(&self, chunk: ChunkId) -> Option<&Chunk> {
        self.chunks.get(place(chunk.0.into())?)
    }

    pub(super) fn chunk_mut(&mut self, chunk: ChunkId) -> Option<&mut Chunk> {
        self.chunks.get_mut(place(chunk.0.into())?)
    }

    /// The chunks in the order of their numbers.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (ChunkId, &Chunk)> {
        self.chunks.iter().enumerate().map(|(place, chunk)| (ChunkId(place as i32 + 1), chunk))
    }
}

impl Chunk {
    pub(super) fn planned(id: ChunkId, planned: &PlannedChunk) -> Self {
        Self {
            first_customer: planned.customers[0],
            customers: planned.customers.len() as u32,
            members: members::encode(&planned.customers).into(),
            work: planned.work,
            snapshot: ChunkSnapshot::pending(id),
            settled_at: None,
            value_count: 0,
            rejection_count: 0,
            transactions: 0,
            value_minor: 0,
            attempts: Vec::new(),
        }
    }

    /// The planned customers, ascending.
    pub(super) fn members(&self) -> Vec<CustomerId> {
        members::decode(self.first_customer, self.customers as usize, &self.members)
            .expect("what was encoded can be decoded")
    }

    pub(super) fn row(&self, attempt: Attempt) -> Option<&AttemptRow> {
        self.attempts.iter().rev().find(|row| row.attempt == attempt)
    }

    pub(super) fn row_mut(&mut self, attempt: Attempt) -> Option<&mut AttemptRow> {
        self.attempts.iter_mut().rev().find(|row| row.attempt == attempt)
    }

    /// How many attempts ended in this way.
    pub(super) fn count(&self, is_one: impl Fn(Outcome) -> bool) -> u32 {
        self.attempts.iter().filter(|row| row.outcome.is_some_and(&is_one)).count() as u32
    }

    /// Attempts that count towards a dead letter.
    pub(super) fn failures(&self) -> u32 {
        self.count(Outcome::counts)
    }
}

impl AttemptRow {
    pub(super) fn end(&mut self, outcome: Outcome, now: Timestamp, reason: Option<Cow<'static, str>>) {
        (self.outcome, self.ended_at, self.reason) = (Some(outcome), Some(now), reason);
    }

    /// When its worker last said something of it.
    pub(super) fn seen_at(&self) -> Timestamp {
        let is_own = matches!(self.outcome, Some(Outcome::Done | Outcome::Failed | Outcome::GivenBack));
        self.ended_at.filter(|_| is_own).map_or(self.began_at, |ended| ended.max(self.began_at))
    }

    pub(super) fn record(&self) -> AttemptRecord {
        AttemptRecord {
            attempt: self.attempt,
            worker: self.worker.clone(),
            began_at: self.began_at,
            ended_at: self.ended_at,
            outcome: self.outcome,
            reason: self.reason.as_deref().map(str::to_owned),
        }
    }
}

/// The place of what is numbered from 1.
fn place(number: i64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}
