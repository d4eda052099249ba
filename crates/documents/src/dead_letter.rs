//! What could not be done.

use batch::RunId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Digits;

/// All that could not be done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeadLetters {
    /// Chunks that used up their attempts.
    pub chunks: Vec<DeadChunk>,
    /// Messages that made no sense, were not ours, or came back too often; `null` if RabbitMQ did not tell.
    pub messages: Option<Vec<DeadMessage>>,
    /// Why RabbitMQ did not tell of messages, if so.
    pub messages_error: Option<String>,
}

/// A chunk that used up its attempts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeadChunk {
    /// Its run.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// Its number within the run.
    #[schema(value_type = i32)]
    pub chunk: batch::ChunkId,
    /// How many customers it holds.
    pub customers: u64,
    /// When it died.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub died_at: Option<Timestamp>,
    /// Why its last attempt failed.
    pub reason: Option<String>,
    /// Whether its run is still going on, so that it can be put back to work.
    pub run_is_open: bool,
}

impl From<&store::DeadChunk> for DeadChunk {
    fn from(dead: &store::DeadChunk) -> Self {
        Self {
            run: dead.chunk.run,
            chunk: dead.chunk.chunk,
            customers: dead.customers,
            died_at: dead.died_at,
            reason: dead.reason.clone(),
            run_is_open: dead.is_open,
        }
    }
}

/// A message that made no sense, was not ours, or came back too often.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeadMessage {
    /// Why it was refused.
    pub reason: String,
    /// The queue that it came from, where the broker tells.
    pub queue: Option<String>,
    /// What it is, in words.
    pub what: String,
}

/// What became of a run's dead chunks that were put back to work.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Redriven {
    /// The run.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// How many of its chunks are back within it, if it goes on or is held.
    pub chunks: Option<u64>,
    /// The run of their own that values their customers, if it was finished.
    #[schema(value_type = Option<Digits>)]
    pub as_run: Option<RunId>,
    /// How many customers that one has.
    pub customers: Option<u64>,
}
