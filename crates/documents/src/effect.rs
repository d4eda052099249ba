//! What came of a call that changes something about a run.

use batch::RunId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Digits;

/// A run that was started, or found.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Started {
    /// The run.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// Whether this call made it, or the night had it already.
    pub is_new: bool,
    /// Its customers, if this call made it.
    pub customers: u64,
    /// Its chunks, if this call made it. What the broker does not confirm of them, the coordinator publishes.
    pub chunks: u64,
}

/// A run that is cancelled.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Cancelled {
    /// The run.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// Whether it was cancelled now, and not before.
    pub is_new: bool,
}
