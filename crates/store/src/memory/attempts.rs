//! Attempts at chunks: begin, renew, resume, fail, give back.

use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkEvent, ChunkRef, Outcome, Refusal, RetryPolicy, Verdict};
use jiff::Timestamp;

use super::Memory;
use super::rows::{AttemptRow, Chunk, Rows};
use crate::record::{Assignment, Begin, Standing};
use crate::{Attempts, Result};

impl Attempts for Memory {
    async fn begin_attempt(
        &self,
        chunk: ChunkRef,
        worker: &str,
        lease: Duration,
        is_repeat: bool,
    ) -> Result<Begin> {
        self.call(|rows, now| {
            Ok(match begin(rows, chunk, worker, is_repeat, now, lease) {
                Ok(assignment) => Begin::Assigned(Box::new(assignment)),
                Err(Refusal::RunOver | Refusal::RunHeld) => Begin::NoRun,
                Err(Refusal::Settled) => Begin::Settled,
                Err(Refusal::NotDue) => Begin::NotDue,
                Err(_) => Begin::Leased,
            })
        })
        .await
    }

    async fn renew_leases(&self, held: &[AttemptId], lease: Duration) -> Result<Vec<AttemptId>> {
        self.call(|rows, now| {
            Ok(held.iter().copied().filter(|&attempt| renew(rows, attempt, now, lease)).collect())
        })
        .await
    }

    async fn resume_attempt(&self, attempt: AttemptId, lease: Duration) -> Result<Standing> {
        self.call(|rows, now| {
            let is_held = renew(rows, attempt, now, lease);
            let row = rows.chunk_mut(attempt.chunk).and_then(|chunk| chunk.row_mut(attempt.attempt));
            let is_done = row.as_ref().is_some_and(|row| row.outcome == Some(Outcome::Done));
            if let Some(row) = row.filter(|row| row.outcome == Some(Outcome::Lost)) {
                row.outcome = Some(Outcome::Excused);
                row.reason = Some("its worker came back after it was taken for lost".into());
            }
            Ok(match (is_held, is_done) {
                (true, _) => Standing::Held,
                (_, true) => Standing::Committed,
                _ => Standing::Superseded,
            })
        })
        .await
    }

    async fn fail_attempt(
        &self,
        attempt: AttemptId,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        self.call(|rows, now| {
            let failures = rows.chunk(attempt.chunk).map_or(0, Chunk::failures);
            let verdict = policy.verdict(attempt.chunk, failures + 1, now);
            let event = ChunkEvent::Failed(attempt.attempt, verdict);
            let taken = rows.take(attempt.chunk, event, now, Some(reason.to_owned().into()));
            Ok(taken.is_ok().then_some(verdict))
        })
        .await
    }

    async fn give_back(&self, attempt: AttemptId) -> Result<()> {
        self.call(|rows, now| {
            let event = ChunkEvent::GivenBack(attempt.attempt);
            // If it is refused, there is nothing to give back.
            let _ = rows.take(attempt.chunk, event, now, Some("its worker was draining".into()));
            Ok(())
        })
        .await
    }

    /// It is well at once, always.
    async fn wait_until_available(&self) {}
}

fn begin(
    rows: &mut Rows,
    id: ChunkRef,
    worker: &str,
    is_repeat: bool,
    now: Timestamp,
    lease: Duration,
) -> Result<Assignment, Refusal> {
    // Then its first begin took effect, and nobody heard of it.
    let is_own = is_repeat
        && rows
            .chunk(id)
            .and_then(|chunk| chunk.row(chunk.snapshot.attempt))
            .is_some_and(|latest| latest.worker == worker && latest.outcome.is_none());
    let leased_until = rows.mutations.lease_end(worker, now, lease);
    // Before any is excused: a worker that does not answer twice may be one that the chunk kills.
    let losses = rows.chunk(id).map_or(0, |chunk| chunk.count(|outcome| outcome == Outcome::Lost));
    if is_repeat && let Some(chunk) = rows.chunk_mut(id) {
        let is_own_loss = |row: &AttemptRow| row.worker == worker && row.outcome == Some(Outcome::Lost);
        excuse(&mut chunk.attempts, is_own_loss, now);
    }
    let chunk = rows.take(id, ChunkEvent::Begun { leased_until, is_own }, now, None)?;
    excuse(&mut chunk.attempts, |row| row.outcome.is_none(), now);
    let attempt = chunk.snapshot.attempt;
    chunk.attempts.push(begun(attempt, worker, now));
    let customers = chunk.members();

    let run = rows.run(id.run).expect("a chunk has a run");
    Ok(Assignment {
        attempt: AttemptId { chunk: id, attempt },
        customers,
        losses,
        is_whole: run.is_whole,
        as_of: run.as_of,
        model_version: run.model_version,
        terms: run.terms,
    })
}

/// Gives an attempt that is the latest of an open run its lease anew; false if it is not.
fn renew(rows: &mut Rows, id: AttemptId, now: Timestamp, lease: Duration) -> bool {
    let row = rows.chunk(id.chunk).and_then(|chunk| chunk.row(id.attempt));
    let worker = row.map_or("", |row| &row.worker);
    let leased_until = rows.mutations.lease_end(worker, now, lease);
    let event = ChunkEvent::Renewed { attempt: id.attempt, leased_until };
    rows.take(id.chunk, event, now, None).is_ok()
}

/// Excuses attempts that nobody heard of.
fn excuse(attempts: &mut [AttemptRow], which: impl Fn(&AttemptRow) -> bool, now: Timestamp) {
    for row in attempts.iter_mut().filter(|row| which(row)) {
        row.end(Outcome::Excused, now, Some("its begin was not answered".into()));
    }
}

fn begun(attempt: Attempt, worker: &str, now: Timestamp) -> AttemptRow {
    AttemptRow {
        attempt,
        worker: worker.to_owned(),
        began_at: now,
        ended_at: None,
        outcome: None,
        reason: None,
    }
}
