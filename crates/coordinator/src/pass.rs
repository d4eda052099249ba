//! One look at everything, and what is done about it.
//!
//! # Failure by failure
//!
//! * **The store is away.** The pass fails, and the next one tries again. Only rescues stand for themselves: one that
//!   fails keeps no other waiting. No pass waits for a run to be finished (see `finishing`), nor for one to be written to
//!   the cache (see `publication`).
//! * **The broker is away.** Queue lengths are unknown, which is not empty: no message counts as lost.
//! * **The coordinator dies between finishing a run and telling the cache,** or is not answered. What the pass saw was
//!   told before, so that the cache lacks the rejections of dead chunks and nothing else. Readers who must know ask
//!   the store.
//! * **The coordinator dies in mid-pass.** Each action is guarded in the store by what it expects to find, so the next
//!   one's pass repeats it without harm.

use std::mem;
use std::time::Duration;

use batch::{
    Action, AttemptId, Forecast, Priority, Progress, RunId, RunSnapshot, Snapshot, Verdict, supervise,
};
use cache::Cache;
use queue::Chunks;
use store::{Figuring, Publishing, Supervision, Term};
use tokio::time::Instant;

use crate::figuring::Situation;
use crate::remembered::Remembered;
use crate::{Coordinator, kind_of, metrics, namesakes};

/// What a pass saw and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PassReport {
    /// Runs that are not over.
    pub(crate) open_runs: usize,
    /// Chunks published.
    pub(crate) published: usize,
    /// Chunks taken from attempts whose lease had expired.
    pub(crate) rescued: usize,
    /// How the open runs stand.
    pub(crate) forecasts: Vec<(RunId, Forecast)>,
    /// When another look is worth while, at the latest.
    pub(crate) pause: Duration,
}

/// The shortest pause between two passes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

impl<S: Publishing + Supervision + Figuring, Q: Chunks, C: Cache> Coordinator<S, Q, C> {
    /// Looks once, and does what is to be done.
    pub(crate) async fn pass(
        &self,
        term: Term,
        remembered: &mut Remembered,
    ) -> Result<PassReport, store::Error> {
        let began = Instant::now();
        let waiting = self.queue.waiting().await;
        remembered.hear_of_broker(&waiting);
        let open = self.store.snapshot().await?;
        metrics::held_now(open.held);
        let mut snapshot = Snapshot::new(open, waiting, &self.config.policy.deadline);
        remembered.remind(&mut snapshot);
        let mut report = PassReport { open_runs: snapshot.runs.len(), ..PassReport::default() };
        // Before anything is done: the readers wait for it.
        for run in &snapshot.runs {
            metrics::run(run);
            let RunSnapshot { recorded, forecast } = run;
            report.forecasts.push((recorded.run, *forecast));
            // The next pass tells more.
            let _ = self.cache_progress(recorded.run, &recorded.progress).await;
        }
        remembered.finishing.keep(|run| snapshot.runs.iter().any(|open| open.recorded.run == run));
        let (mut to_publish, mut to_finish, mut rescues) = (Vec::new(), Vec::new(), Vec::new());
        for action in supervise(&snapshot, &self.config.policy) {
            match action {
                Action::Publish { attempt, cause } => to_publish.push((attempt, cause)),
                Action::Shorten(attempt) => rescues.push(self.shorten(term, attempt).await),
                Action::Rescue { attempt, verdict } => {
                    let rescued = self.rescue(term, attempt, verdict).await;
                    report.rescued += usize::from(matches!(rescued, Ok(true)));
                    rescues.push(rescued);
                }
                Action::Finish(run) => to_finish.push(run),
            }
        }
        self.hear_of_rescues(&rescues);
        to_finish.sort_by_key(|run| priority(&snapshot, *run));
        for &run in &to_finish {
            remembered.finishing.begin(&self.store, term, run);
        }
        // While they are finished.
        let open: Vec<RunId> = snapshot.runs.iter().map(|run| run.recorded.run).collect();
        for name in remembered.namesakes.look(&self.store, &open, &to_finish).await {
            namesakes::tell(&name);
        }
        report.published = self.publish(&snapshot, &to_publish).await?;
        let now = Situation { has_finished: remembered.has_finished, open_runs: report.open_runs };
        self.tell_of_finished(remembered).await;
        // Last of all: no reader of the night waits for it.
        remembered.figuring.go_on(&self.store, now, &self.config.troubles.figures).await;
        report.pause = pause(&report, &snapshot, remembered.idle_passes, self.config.pass_interval);
        metrics::passed(began.elapsed());
        Ok(report)
    }

    /// Shortens a lease that was given before the clock was set back. If that fails, the next pass sees it again.
    async fn shorten(&self, term: Term, attempt: AttemptId) -> store::Result<bool> {
        let is_shortened = self.store.shorten_lease(term, attempt, self.config.policy.lease_duration).await?;
        if is_shortened {
            tracing::warn!(
                run.id = %attempt.chunk.run,
                chunk.id = %attempt.chunk.chunk,
                attempt = attempt.attempt.0,
                "shortened a lease that was given later than now: PostgreSQL's clock was set back"
            );
        }
        Ok(is_shortened)
    }

    /// Rescues a chunk. One whose row is held by somebody is tried again by the next pass.
    async fn rescue(&self, term: Term, attempt: AttemptId, verdict: Verdict) -> store::Result<bool> {
        let is_rescued = self.store.rescue(term, attempt, verdict).await?;
        if is_rescued {
            metrics::rescued(verdict);
            tracing::warn!(
                run.id = %attempt.chunk.run,
                chunk.id = %attempt.chunk.chunk,
                attempt = attempt.attempt.0,
                ?verdict,
                "rescued a chunk whose lease had expired"
            );
        }
        Ok(is_rescued)
    }

    /// Notes what stood in the way of those that a pass wanted to rescue. Where there are none nothing does.
    fn hear_of_rescues(&self, rescues: &[store::Result<bool>]) {
        let trouble = &self.config.troubles.rescues;
        match rescues.iter().find_map(|rescued| rescued.as_ref().err()) {
            Some(error) => trouble.met(error, kind_of(error)),
            None => trouble.over(),
        }
    }

    /// Tells the cache how far those runs came that were finished, and has it told which runs are visible.
    async fn tell_of_finished(&self, remembered: &mut Remembered) {
        for (run, progress) in mem::take(&mut remembered.finished) {
            let told = self.cache_progress(run, &progress).await;
            if told.is_err_and(|error| error.is_transient()) {
                remembered.finished.push((run, progress));
            }
        }
        let has_finished = mem::take(&mut remembered.has_finished);
        let trouble = &self.config.troubles.publication;
        remembered.publication.bring_up_to_date(&self.store, &self.cache, has_finished, trouble).await;
    }

    /// Waits until the cache was told of the last run that was finished.
    pub(crate) async fn tell_the_last(&self, remembered: &mut Remembered) {
        let trouble = &self.config.troubles.publication;
        remembered.publication.is_told(trouble).await;
        if remembered.has_finished || remembered.publication.has_news() {
            self.tell_of_finished(remembered).await;
            remembered.publication.is_told(trouble).await;
        }
    }

    /// Tells the cache how far a run is.
    async fn cache_progress(&self, run: RunId, progress: &Progress) -> Result<(), cache::Error> {
        let told = self.cache.put_progress(run, progress).await;
        if let Err(error) = &told {
            tracing::debug!(run.id = %run, %error, "progress not cached");
        }
        told
    }
}

/// Which run's end comes first, where there are many.
fn priority(snapshot: &Snapshot, run: RunId) -> Option<Priority> {
    snapshot.runs.iter().map(|seen| &seen.recorded).find(|open| open.run == run).map(|open| open.priority)
}

/// How long the next pass may wait: half the time to the next predicted end, so that a run which is done is
/// seen to be done at once. While nothing moves, passes come ever more slowly.
fn pause(report: &PassReport, snapshot: &Snapshot, idle_passes: u32, longest: Duration) -> Duration {
    let shortest = SHORTEST_PAUSE.saturating_mul(1 << idle_passes.min(16)).min(longest);
    let next_end = report
        .forecasts
        .iter()
        .filter_map(|(_, seen)| seen.finish_at)
        .map(|end| end.duration_since(snapshot.taken_at).unsigned_abs() / 2)
        .min();
    next_end.map_or(longest, |half| half.clamp(shortest, longest))
}
