//! What goes with a run's messages, and what is recorded of them.

use batch::{Attempt, AttemptId, ChunkId, RunId};

use super::Ground;
use super::steps::{LEASE, begun, chunk, ok, planned};
use crate::{Archive, Attempts, Planning, Publishing};

/// The broker's confirms are recorded; a repeat, or a worker that was faster, does no harm.
pub async fn what_was_confirmed_is_published_and_what_has_moved_on_is_left_alone(ground: &impl Ground) {
    let store = ground.store();
    let run = planned(ground).await;

    ok(store.mark_published(run, &[sent(run, 2, 0)]).await);
    let left = ok(store.run_of_night("tonight").await).expect("the night has a run").unpublished;
    let assignment = begun(ground, chunk(run, 2), "worker").await;
    let stale = [sent(run, 2, 0), sent(run, 3, 4), sent(run, 9, 0), sent(RunId(99), 1, 0)];
    ok(store.mark_published(run, &stale).await);
    ok(store.mark_published(RunId(99), &[sent(run, 1, 0), sent(RunId(99), 1, 0)]).await);

    assert_eq!(left, [1, 3].map(ChunkId));
    assert_eq!(ok(store.run(run).await).expect("it was recorded").state, batch::RunState::Running);
    assert_eq!(ok(store.renew_leases(&[assignment.attempt], LEASE).await), [assignment.attempt]);
    let left = ok(store.run_of_night("tonight").await).expect("the night has a run").unpublished;
    assert_eq!(left, [1, 3].map(ChunkId));
}

/// For messages that are published again.
pub async fn a_run_keeps_its_trace(ground: &impl Ground) {
    let run = planned(ground).await;

    let trace = ok(ground.store().trace_of(run).await);

    assert_eq!(trace, [("traceparent".to_owned(), "00-1-2-01".to_owned())]);
    assert_eq!(ok(ground.store().trace_of(RunId(99)).await), []);
}

/// A chunk that was published, with the attempt that its sender knew of.
fn sent(run: RunId, number: i32, attempt: i32) -> AttemptId {
    AttemptId { chunk: chunk(run, number), attempt: Attempt(attempt) }
}
