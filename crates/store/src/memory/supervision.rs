//! What a pass of the coordinator looks at, and what it does about it.

use std::collections::BTreeMap;
use std::time::Duration;

use batch::{
    AttemptId, ChunkEvent, ChunkId, ChunkSnapshot, ChunkState, CustomerId, Evidence, MEANWHILE, OpenRun,
    OpenRuns, Presence, RunEvent, RunId, RunState, Verdict,
};
use jiff::Timestamp;

use super::rows::{Chunk, Leadership, Rows, Run};
use super::values::{after, in_order, valued};
use super::{Memory, guard, invalid, later};
use crate::guard::Hold;
use crate::record::{DEAD_CHUNK, FinishedRun, Term, Valued, VisibleRuns};
use crate::{Result, Supervision};

impl Supervision for Memory {
    async fn lead(&self, leader: &str, lease: Duration) -> Result<Option<Term>> {
        self.call(|rows, now| {
            let expires_at = later(now, lease);
            let term = match &rows.leadership {
                None => Term(1),
                Some(leads) if leads.expires_at <= now => Term(leads.term.0 + 1),
                Some(leads) if leads.leader == leader => leads.term,
                Some(leads) if leads.expires_at > later(expires_at, MEANWHILE) => Term(leads.term.0 + 1),
                Some(_) => return Ok(None),
            };
            rows.leadership =
                Some(Leadership { leader: leader.to_owned(), term, expires_at, renewed_at: now });
            Ok(Some(term))
        })
        .await
    }

    async fn leader(&self) -> Result<Option<String>> {
        self.call(|rows, now| Ok(rows.leader(now))).await
    }

    async fn abdicate(&self, leader: &str, term: Term) -> Result<()> {
        self.call(|rows, now| {
            let own = rows.leadership.as_mut().filter(|leads| leads.leader == leader && leads.term == term);
            if let Some(leads) = own {
                leads.expires_at = now;
            }
            Ok(())
        })
        .await
    }

    async fn snapshot(&self) -> Result<OpenRuns> {
        self.call(|rows, now| {
            let open = rows.runs().filter(|(_, run)| run.state.is_open());
            let runs = open.map(|(id, run)| open_run(rows, id, run, now)).collect();
            let held = rows.runs().filter(|(_, run)| run.state == RunState::Held).count() as u64;
            Ok(OpenRuns { taken_at: now, store_well_since: self.shared.start.0, runs, held })
        })
        .await
    }

    async fn presences(&self, runs: &[RunId]) -> Result<Vec<Presence>> {
        self.call(|rows, _| {
            let mut presences: BTreeMap<String, Presence> = BTreeMap::new();
            let chunks = runs.iter().filter_map(|run| rows.run(*run)).flat_map(Run::chunks);
            for row in chunks.flat_map(|(_, chunk)| &chunk.attempts) {
                let (from, to) = (row.began_at, row.seen_at());
                let entry = presences.entry(row.worker.clone());
                let seen = entry.or_insert_with(|| Presence { name: row.worker.clone(), from, to });
                (seen.from, seen.to) = (seen.from.min(from), seen.to.max(to));
            }
            Ok(presences.into_values().collect())
        })
        .await
    }

    async fn shorten_lease(&self, term: Term, attempt: AttemptId, lease: Duration) -> Result<bool> {
        self.call(|rows, now| {
            let held = rows.chunk(attempt.chunk);
            let ends = held.and_then(|chunk| chunk.snapshot.lease_from_before(lease, now));
            let Some(leased_until) = ends.filter(|_| rows.leads(term, now)) else { return Ok(false) };
            let event = ChunkEvent::Renewed { attempt: attempt.attempt, leased_until };
            Ok(rows.take(attempt.chunk, event, now, None).is_ok())
        })
        .await
    }

    async fn rescue(&self, term: Term, attempt: AttemptId, verdict: Verdict) -> Result<bool> {
        self.call(|rows, now| {
            if !rows.leads(term, now) {
                return Ok(false);
            }
            let event = ChunkEvent::Rescued(attempt.attempt, verdict);
            Ok(rows.take(attempt.chunk, event, now, Some("its lease expired".into())).is_ok())
        })
        .await
    }

    async fn evidence(&self, run: RunId) -> Result<Option<Evidence>> {
        self.call(|rows, _| Ok(guard::evidence(rows, run))).await
    }

    async fn hold_run(&self, term: Term, run: RunId, hold: &Hold) -> Result<bool> {
        self.call(|rows, now| Ok(guard::hold(rows, term, run, hold, now))).await
    }

    async fn finish_run(&self, term: Term, run: RunId) -> Result<Option<FinishedRun>> {
        self.call(|rows, now| finish(rows, term, run, now)).await
    }

    async fn values_after(&self, run: RunId, from: Option<CustomerId>, limit: u32) -> Result<Vec<Valued>> {
        self.call(|rows, _| {
            let from = from.unwrap_or(CustomerId(i64::MIN));
            let Some(run) = rows.run(run).filter(|run| run.state == RunState::Finished) else {
                return Ok(Vec::new());
            };
            let page = after(run, from).take(limit as usize);
            Ok(page.map(|(customer, value)| valued(self.base(), run, customer, value)).collect())
        })
        .await
    }

    async fn visible_runs(&self) -> Result<VisibleRuns> {
        self.call(|rows, _| {
            let finished = rows.runs().filter(|(_, run)| run.state == RunState::Finished);
            let mut finished: Vec<_> = finished.map(|(id, run)| (run.as_of, id, run.is_whole)).collect();
            finished.sort_unstable_by(|left, right| right.cmp(left));
            // Behind a run over the whole base nobody looks.
            let shown =
                finished.iter().position(|(.., is_whole)| *is_whole).map_or(finished.len(), |last| last + 1);
            let version = rows.runs().filter_map(|(_, run)| run.visible_version).max().unwrap_or(0);
            Ok(VisibleRuns { version, runs: finished[..shown].iter().map(|(_, id, _)| *id).collect() })
        })
        .await
    }
}

fn open_run(rows: &Rows, id: RunId, run: &Run, now: Timestamp) -> OpenRun {
    let open = run.chunks().filter(|(_, chunk)| !chunk.snapshot.state.is_settled());
    OpenRun {
        run: id,
        state: run.state,
        priority: run.priority,
        planned_at: run.planned_at,
        deadline_at: run.deadline_at,
        progress: rows.progress(id, run),
        open_chunks: open.map(|(_, chunk)| chunk_snapshot(chunk, now)).collect(),
    }
}

/// Failures are counted where they will be asked for.
fn chunk_snapshot(chunk: &Chunk, now: Timestamp) -> ChunkSnapshot {
    let is_expired = chunk.snapshot.leased_until.is_some_and(|until| until <= now);
    ChunkSnapshot { failures: if is_expired { chunk.failures() } else { 0 }, ..chunk.snapshot }
}

/// Finishes a run: everything is checked before anything is changed.
fn finish(rows: &mut Rows, term: Term, id: RunId, now: Timestamp) -> Result<Option<FinishedRun>> {
    if !rows.leads(term, now) {
        return Ok(None);
    }
    let Some(run) = rows.run(id) else { return Ok(None) };
    let dead = dead_customers(run);
    let mut progress = rows.progress(id, run);
    progress.rejections += dead.len() as u64;
    let Ok(state) = run.state.after(RunEvent::Finished(progress)) else {
        return Ok(None); // It was cancelled, or a dead letter was put back meanwhile.
    };
    if let Some((twice, _)) = dead.iter().find(|(customer, _)| run.rejections.contains_key(customer)) {
        return Err(invalid("finish a run", format_args!("customer {twice} would have two rejections")));
    }
    let values = in_order(run.values.clone())
        .map_err(|twice| invalid("finish a run", format_args!("customer {twice} has two values")))?;
    let stored: u64 = values.iter().map(|packed| packed.count).sum();
    if stored != progress.values || progress.values + progress.rejections != run.customers {
        return Err(invalid(
            "finish a run",
            format_args!(
                "run {id} planned {} customers, its chunks counted {} values and {} rejections, and {stored} \
                 values are stored",
                run.customers, progress.values, progress.rejections
            ),
        ));
    }

    // From here on nothing stands in the way.
    rows.last_visible_version += 1;
    let visible_version = rows.last_visible_version;
    let run = rows.run_mut(id).expect("it was there a moment ago");
    let rejections = dead.into_iter().map(|(customer, chunk)| (customer, (chunk, DEAD_CHUNK)));
    run.rejections.extend(rejections);
    for chunk in run.chunks.iter_mut().filter(|chunk| chunk.snapshot.state == ChunkState::Dead) {
        chunk.rejection_count = chunk.customers.into();
    }
    run.values = values;
    (run.state, run.finished_at, run.visible_version) = (state, Some(now), Some(visible_version));
    let took = now.duration_since(run.planned_at).unsigned_abs();
    Ok(Some(FinishedRun { run: id, progress, took }))
}

/// The customers of dead chunks who are not rejected yet.
fn dead_customers(run: &Run) -> Vec<(CustomerId, ChunkId)> {
    let dead = run
        .chunks()
        .filter(|(_, chunk)| chunk.snapshot.state == ChunkState::Dead && chunk.rejection_count == 0);
    dead.flat_map(|(id, chunk)| chunk.members().into_iter().map(move |customer| (customer, id))).collect()
}
