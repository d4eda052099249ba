//! How far a run is, as whoever watches it is told.

use batch::{DeadlinePolicy, Progress, RunId, RunState, forecast};
use jiff::Timestamp;
use serde::Serialize;
use store::RunRecord;
use utoipa::ToSchema;

use crate::{Digits, shape};

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RunProgress {
    /// Its number.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// Where it stands.
    #[schema(value_type = shape::RunState)]
    pub state: RunState,
    /// Its chunks.
    pub chunks: u64,
    /// Those that are done.
    pub chunks_done: u64,
    /// Those that used up their attempts.
    pub chunks_dead: u64,
    /// The customers that are planned.
    pub customers: u64,
    /// Those with a value.
    pub values: u64,
    /// Those without one.
    pub rejections: u64,
    /// The settled share of the work, from 0 to 1.
    pub share: f64,
    /// When it has to be finished.
    #[schema(value_type = String, format = DateTime)]
    pub deadline_at: Timestamp,
    /// When it will be, at its pace; `null` while nobody can tell, and once it is over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub eta: Option<Timestamp>,
    /// How that stands against the deadline: `on track`, `at risk`, `infeasible` or `missed`; `null` once it is over.
    #[schema(example = "on track")]
    pub outlook: Option<&'static str>,
    /// When its values became visible, or when it was cancelled or rejected.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

impl RunProgress {
    /// Writes down how far a run was at a moment: as it is recorded, but with the sums that were seen.
    pub fn new(record: &RunRecord, progress: &Progress, now: Timestamp) -> Self {
        let policy = DeadlinePolicy::default();
        let seen = (!record.state.is_over())
            .then(|| forecast(progress, record.planned_at, record.deadline_at, now, &policy));
        Self {
            run: record.run,
            state: record.state,
            chunks: progress.chunks,
            chunks_done: progress.done,
            chunks_dead: progress.dead,
            customers: progress.customers,
            values: progress.values,
            rejections: progress.rejections,
            share: progress.share(),
            deadline_at: record.deadline_at,
            eta: seen.and_then(|seen| seen.finish_at),
            outlook: seen.map(|seen| seen.outlook.as_str()),
            finished_at: record.finished_at,
        }
    }

    /// What tells this state of a run from others, whoever looked: two processes that saw the same say the same.
    pub fn id(&self) -> String {
        let Self { state, chunks_done, chunks_dead, values, rejections, .. } = self;
        format!("{state}.{chunks_done}.{chunks_dead}.{}", values + rejections)
    }
}
