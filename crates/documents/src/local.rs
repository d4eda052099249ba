//! A night in one process, which keeps nothing but its values.

use std::collections::BTreeMap;

use batch::{Attempt, ChunkId, Outcome};
use serde::Serialize;

use crate::RunSummary;

/// A night in one process: its run, what it read, where it wrote, and what went wrong on the way.
#[derive(Clone, Debug, Serialize)]
pub struct LocalNight {
    /// The run.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// The files that were read.
    pub files: Vec<LocalFile>,
    /// The file with the values.
    pub out: String,
    /// The attempts of chunks that did not go through at once.
    pub attempts: Vec<LocalAttempt>,
}

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
pub struct LocalFile {
    /// Its name.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// How many of them were rejected, by the reason's code.
    pub rejected: BTreeMap<String, u64>,
    /// The first of them.
    pub first_problem: Option<Problem>,
}

/// A row that was rejected.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// The line that it stands on.
    pub line: u64,
    /// What is wrong with it.
    pub detail: String,
}

/// An attempt at a chunk.
#[derive(Clone, Debug, Serialize)]
pub struct LocalAttempt {
    /// The chunk.
    pub chunk: ChunkId,
    /// The attempt's number.
    pub attempt: Attempt,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    pub reason: Option<String>,
}
