//! What a dispatch did.

use batch::RunId;
use serde::Serialize;

/// A run that was planned and published, or found.
#[derive(Clone, Debug, Serialize)]
pub struct Dispatched {
    /// The run.
    pub run: RunId,
    /// Whether this dispatch planned it.
    pub is_new: bool,
    /// The customers that are planned.
    pub customers: u64,
    /// Chunks that were published and confirmed.
    pub published: u64,
    /// Chunks that were not confirmed; the coordinator publishes them.
    pub unconfirmed: u64,
    /// Why the first of them was not.
    pub reason: Option<String>,
    /// How long planning took.
    pub plan_seconds: f64,
    /// How long publishing took.
    pub publish_seconds: f64,
}
