//! The rows that the store keeps, and what is asked about them again and again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use batch::{
    Attempt, AttemptId, ChunkId, ChunkRef, ChunkState, CustomerId, PlannedChunk, Priority, Progress, RunId,
    RunState, Verdict,
};
use jiff::Timestamp;
use model::{Account, ValueTerms};

use super::mutations::Mutations;
use super::packed::Packed;
use crate::members;
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
    pub(super) state: ChunkState,
    /// The fencing token: only the latest attempt may commit.
    pub(super) attempt: Attempt,
    pub(super) published_at: Option<Timestamp>,
    pub(super) leased_until: Option<Timestamp>,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) settled_at: Option<Timestamp>,
    pub(super) value_count: u64,
    pub(super) rejection_count: u64,
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

/// How an attempt ended. Only the failed and the lost count towards a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed,
    Lost,
    Excused,
    GivenBack,
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
}

impl Rows {
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

    /// The chunk, while its run is open.
    pub(super) fn open_chunk(&mut self, chunk: ChunkRef) -> Option<&mut Chunk> {
        self.run_mut(chunk.run).filter(|run| !run.state.is_over())?.chunk_mut(chunk.chunk)
    }

    /// The chunk that this attempt has leased, whatever its run's state.
    pub(super) fn leased(&mut self, attempt: AttemptId) -> Option<&mut Chunk> {
        let chunk = self.run_mut(attempt.chunk.run)?.chunk_mut(attempt.chunk.chunk)?;
        chunk.is_leased_by(attempt.attempt).then_some(chunk)
    }

    /// Gives an attempt that is the latest of an open run its lease anew; false if it is not.
    pub(super) fn renew(&mut self, attempt: AttemptId, now: Timestamp, lease: Duration) -> bool {
        let run = attempt.chunk.run;
        if self.run(run).is_none_or(|run| run.state.is_over()) {
            return false;
        }
        let Some(worker) = self.leased(attempt).map(|chunk| chunk.worker_of(attempt.attempt)) else {
            return false;
        };
        let leased_until = self.mutations.lease_end(&worker, now, lease);
        let chunk = self.leased(attempt).expect("it was there a moment ago");
        chunk.leased_until = Some(leased_until);
        true
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
            sum.done += u64::from(chunk.state == ChunkState::Done);
            sum.dead += u64::from(chunk.state == ChunkState::Dead);
            sum.customers += u64::from(chunk.customers);
            sum.values += chunk.value_count;
            sum.rejections += chunk.rejection_count;
            sum.work += chunk.work;
            sum.work_settled += if chunk.state.is_settled() { chunk.work } else { 0.0 };
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
    pub(super) fn planned(planned: &PlannedChunk) -> Self {
        Self {
            first_customer: planned.customers[0],
            customers: planned.customers.len() as u32,
            members: members::encode(&planned.customers).into(),
            work: planned.work,
            state: ChunkState::Pending,
            attempt: Attempt(0),
            published_at: None,
            leased_until: None,
            retry_at: None,
            settled_at: None,
            value_count: 0,
            rejection_count: 0,
            attempts: Vec::new(),
        }
    }

    /// The planned customers, ascending.
    pub(super) fn members(&self) -> Vec<CustomerId> {
        members::decode(self.first_customer, self.customers as usize, &self.members)
            .expect("what was encoded can be decoded")
    }

    pub(super) fn is_leased_by(&self, attempt: Attempt) -> bool {
        self.state == ChunkState::Leased && self.attempt == attempt
    }

    pub(super) fn row(&self, attempt: Attempt) -> Option<&AttemptRow> {
        self.attempts.iter().rev().find(|row| row.attempt == attempt)
    }

    pub(super) fn row_mut(&mut self, attempt: Attempt) -> Option<&mut AttemptRow> {
        self.attempts.iter_mut().rev().find(|row| row.attempt == attempt)
    }

    /// How many attempts ended in one of these ways.
    pub(super) fn count(&self, outcomes: &[Outcome]) -> u32 {
        let is_one = |row: &&AttemptRow| row.outcome.is_some_and(|outcome| outcomes.contains(&outcome));
        self.attempts.iter().filter(is_one).count() as u32
    }

    /// Attempts that count towards a dead letter.
    pub(super) fn failures(&self) -> u32 {
        self.count(&[Outcome::Failed, Outcome::Lost])
    }

    /// Takes the chunk from its attempt, with what follows.
    pub(super) fn follow(&mut self, verdict: Verdict, now: Timestamp) {
        self.leased_until = None;
        (self.state, self.retry_at, self.settled_at) = match verdict {
            Verdict::RetryAt(due) => (ChunkState::Retryable, Some(due), None),
            Verdict::DeadLetter => (ChunkState::Dead, None, Some(now)),
        };
    }

    fn worker_of(&self, attempt: Attempt) -> String {
        self.row(attempt).map(|row| row.worker.clone()).unwrap_or_default()
    }
}

impl AttemptRow {
    pub(super) fn end(&mut self, outcome: Outcome, now: Timestamp, reason: Option<Cow<'static, str>>) {
        (self.outcome, self.ended_at, self.reason) = (Some(outcome), Some(now), reason);
    }

    pub(super) fn record(&self) -> AttemptRecord {
        AttemptRecord {
            attempt: self.attempt,
            worker: self.worker.clone(),
            began_at: self.began_at,
            ended_at: self.ended_at,
            outcome: self.outcome.map(|outcome| outcome.as_str().to_owned()),
            reason: self.reason.as_deref().map(str::to_owned),
        }
    }
}

impl Outcome {
    /// The word for it, everywhere.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Excused => "excused",
            Self::GivenBack => "given_back",
        }
    }
}

/// The place of what is numbered from 1.
fn place(number: i64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}
