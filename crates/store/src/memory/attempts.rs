//! Attempts at chunks: begin, renew, resume, fail, give back. The guards are those of the statements in
//! `postgres/attempts.rs`.

use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkRef, ChunkState, RetryPolicy, Verdict};
use jiff::Timestamp;

use super::Memory;
use super::rows::{AttemptRow, Chunk, Outcome, Rows};
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
            let begun = begin(rows, chunk, worker, is_repeat, now, lease);
            Ok(begun.map_or_else(|| why_not(rows, chunk), |assignment| Begin::Assigned(Box::new(assignment))))
        })
        .await
    }

    async fn renew_leases(&self, held: &[AttemptId], lease: Duration) -> Result<Vec<AttemptId>> {
        self.call(|rows, now| {
            Ok(held.iter().copied().filter(|&attempt| rows.renew(attempt, now, lease)).collect())
        })
        .await
    }

    async fn resume_attempt(&self, attempt: AttemptId, lease: Duration) -> Result<Standing> {
        self.call(|rows, now| {
            let is_held = rows.renew(attempt, now, lease);
            let chunk = rows.run_mut(attempt.chunk.run).and_then(|run| run.chunk_mut(attempt.chunk.chunk));
            let row = chunk.and_then(|chunk| chunk.row_mut(attempt.attempt));
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
            let Some(chunk) = rows.leased(attempt) else { return Ok(None) };
            let verdict = policy.verdict(attempt.chunk, chunk.failures() + 1, now);
            if let Some(row) = chunk.row_mut(attempt.attempt) {
                row.end(Outcome::Failed, now, Some(reason.to_owned().into()));
            }
            chunk.follow(verdict, now);
            Ok(Some(verdict))
        })
        .await
    }

    async fn give_back(&self, attempt: AttemptId) -> Result<()> {
        self.call(|rows, now| {
            let Some(chunk) = rows.leased(attempt) else { return Ok(()) };
            (chunk.state, chunk.leased_until, chunk.published_at) = (ChunkState::Published, None, Some(now));
            if let Some(row) = chunk.row_mut(attempt.attempt) {
                row.end(Outcome::GivenBack, now, Some("its worker was draining".into()));
            }
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
) -> Option<Assignment> {
    let latest = rows.open_chunk(id).filter(|chunk| may_begin(chunk, worker, is_repeat, now))?.attempt;
    let attempt = rows.mutations.next_attempt(id, latest);
    let leased_until = rows.mutations.lease_end(worker, now, lease);

    let chunk = rows.open_chunk(id)?;
    // Before any is excused: a worker that does not answer twice may be one that the chunk kills.
    let losses = chunk.count(&[Outcome::Lost]);
    excuse(&mut chunk.attempts, worker, is_repeat, now);
    (chunk.state, chunk.attempt) = (ChunkState::Leased, attempt);
    (chunk.leased_until, chunk.retry_at) = (Some(leased_until), None);
    chunk.attempts.push(begun(attempt, worker, now));
    let customers = chunk.members();

    let run = rows.run(id.run)?;
    Some(Assignment {
        attempt: AttemptId { chunk: id, attempt },
        customers,
        losses,
        is_whole: run.is_whole,
        as_of: run.as_of,
        model_version: run.model_version,
        terms: run.terms,
    })
}

fn may_begin(chunk: &Chunk, worker: &str, is_repeat: bool, now: Timestamp) -> bool {
    match chunk.state {
        ChunkState::Pending | ChunkState::Published => true,
        ChunkState::Retryable => chunk.retry_at.is_some_and(|due| due <= now),
        // Its first begin took effect, and nobody heard of it.
        ChunkState::Leased => {
            let is_own = |row: &AttemptRow| row.worker == worker && row.outcome.is_none();
            is_repeat && chunk.row(chunk.attempt).is_some_and(is_own)
        }
        ChunkState::Done | ChunkState::Dead => false,
    }
}

/// Excuses the attempts before the one that begins which nobody heard of.
fn excuse(attempts: &mut [AttemptRow], worker: &str, is_repeat: bool, now: Timestamp) {
    for row in attempts {
        let is_own_loss = is_repeat && row.worker == worker && row.outcome == Some(Outcome::Lost);
        if row.outcome.is_none() || is_own_loss {
            row.end(Outcome::Excused, now, Some("its begin was not answered".into()));
        }
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

/// Why there is nothing to begin.
fn why_not(rows: &Rows, id: ChunkRef) -> Begin {
    let open = rows.run(id.run).filter(|run| !run.state.is_over());
    let Some(chunk) = open.and_then(|run| run.chunk(id.chunk)) else { return Begin::NoRun };
    match chunk.state {
        ChunkState::Done | ChunkState::Dead => Begin::Settled,
        ChunkState::Retryable => Begin::NotDue,
        ChunkState::Pending | ChunkState::Published | ChunkState::Leased => Begin::Leased,
    }
}
