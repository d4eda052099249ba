//! Watches runs: publishes what was lost, rescues, retries, finishes.
//!
//! A coordinator is a loop around `Coordinator::pass`: take a snapshot, ask [`batch::supervise`] what to do
//! about it, do it. It keeps nothing that matters between passes, so it may be killed at any moment and another
//! one goes on from the store.
//!
//! # Leadership
//!
//! Any number of coordinators may run; one leads, under a term that the store issues and that only grows. The
//! lease is renewed beside the passes, because finishing a large run takes longer than a lease.
//!
//! # Failure by failure
//!
//! * **The leader dies.** Its lease runs out and another takes a new term.
//! * **The leader is stopped, and comes back when another leads.** What it does then is guarded by its old term,
//!   or harmless: publishing twice makes a duplicate, and progress that it saw long ago is behind what the cache
//!   knows and changes nothing there. Its next renewal tells it that it leads no more.
//! * **The leader dies between finishing a run and telling the cache,** or is not answered. What the pass saw was told
//!   before, so that the cache lacks the rejections of dead chunks and nothing else. Readers who must know ask the
//!   store.
//! * **Two lead for a moment.** Every action is guarded by the state that it expects; one of them finds nothing
//!   left to do.
//! * **The store is away.** The pass fails and the next one tries again. Nobody is rescued on the strength of
//!   what is not known.
//! * **What is recorded of a settled run makes no sense.** It does not become visible. Each pass logs it, says so to
//!   whoever wants to know (`CoordinatorConfig::unfinishable`), and looks after the other runs.
//! * **The broker is away.** Queue lengths are unknown, which is not empty: no message counts as lost. What
//!   could not be published stays as it is, for the next pass.
//! * **The cache is away, or was emptied.** It is told which runs are visible as soon as it answers, after the
//!   values of partial runs have been written to it again: a value that is missing there must not let an older
//!   one through. How far a run came in the end is told until it is heard.

mod metrics;
mod publication;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use batch::{
    Action, Attempt, AttemptId, ChunkId, Forecast, Outlook, Progress, PublishCause, RunId, RunSnapshot,
    Snapshot, SupervisePolicy, Verdict, forecast, supervise,
};
use cache::Cache;
use queue::{Chunks, Outgoing, TraceContext};
use store::{FinishedRun, Planning, Supervision, Term};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use publication::Publication;

pub use metrics::describe as describe_metrics;

/// How a coordinator works.
#[derive(Clone)]
pub struct CoordinatorConfig {
    /// Its name in the store and the logs; unique for each process that ever lived.
    pub name: String,
    /// How patient it is.
    pub policy: SupervisePolicy,
    /// The longest pause between two passes. As a run's end comes near, passes come closer together.
    pub pass_interval: Duration,
    /// How long it leads without renewing.
    pub leadership_lease: Duration,
    /// Called at least once a second while it is alive. A call to the store that hangs ends at its own limit.
    pub alive: Arc<dyn Fn() + Send + Sync>,
    /// Called, at each pass again, with a settled run that cannot be finished because what is recorded of it makes no
    /// sense to the store ([`store::Error::Invalid`]). No waiting helps such a run, and it stays open until somebody
    /// cancels it; whoever waits for it alone had better end.
    pub unfinishable: Arc<Unfinishable>,
}

/// Is told of a run that cannot be finished, and why.
pub type Unfinishable = dyn Fn(RunId, &store::Error) + Send + Sync;

/// A coordinator with its seams.
pub struct Coordinator<S, Q, C> {
    /// Where runs are recorded.
    pub store: S,
    /// Where chunks are published.
    pub queue: Q,
    /// Where visible runs and progress are put near the reader.
    pub cache: C,
    /// How it works.
    pub config: CoordinatorConfig,
}

/// What a pass saw and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PassReport {
    /// Runs that are not over.
    pub open_runs: usize,
    /// Chunks published.
    pub published: usize,
    /// Chunks taken from attempts whose lease had expired.
    pub rescued: usize,
    /// Runs finished.
    pub finished: Vec<FinishedRun>,
    /// How the open runs stand.
    pub forecasts: Vec<(RunId, Forecast)>,
    /// When another look is worth while, at the latest.
    pub pause: Duration,
}

/// The shortest pause between two passes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

impl<S: Planning + Supervision, Q: Chunks, C: Cache> Coordinator<S, Q, C> {
    /// Leads, or waits to lead, until `shutdown` resolves.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (led, term) = watch::channel(None);
        let leadership = tokio::spawn(keep_leading(self.store.clone(), self.config.clone(), led));
        let mut memory = Memory::new();

        tokio::pin!(shutdown);
        loop {
            let leads = *term.borrow();
            let turn = async {
                memory.leads_under(leads);
                let Some(leads) = leads else { return self.config.pass_interval };
                match self.pass(leads, &mut memory).await {
                    Ok(report) => {
                        note(&report, &mut memory.outlooks);
                        report.pause
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a pass failed");
                        memory.well_since = Instant::now();
                        self.config.pass_interval
                    }
                }
            };
            // A pass that is under way is finished: its actions are not to be torn.
            let pause = self.while_alive(turn).await;
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = self.while_alive(sleep(pause)) => {}
            }
        }

        leadership.abort();
        let leads = *term.borrow();
        if let Some(leads) = leads {
            // The next one need not wait for the end of our lease.
            let _ = self.store.abdicate(&self.config.name, leads).await;
        }
    }

    /// Waits for something and says once a second that we are alive: finishing a large run takes minutes.
    async fn while_alive<T>(&self, awaited: impl Future<Output = T>) -> T {
        tokio::pin!(awaited);
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => (self.config.alive)(),
                result = &mut awaited => return result,
            }
        }
    }

    /// Looks once, and does what is to be done.
    async fn pass(&self, term: Term, memory: &mut Memory) -> Result<PassReport, store::Error> {
        let began = Instant::now();
        let waiting = self.queue.waiting().await;
        let mut snapshot = self.store.snapshot(waiting).await?;
        memory.remind(&mut snapshot);
        let mut report = PassReport { open_runs: snapshot.runs.len(), ..PassReport::default() };
        // Before anything is done: finishing a large run takes minutes, and the readers wait for it too.
        for run in &snapshot.runs {
            let seen = forecast(&run.progress, run.planned_at, run.deadline_at, snapshot.taken_at);
            metrics::run(run, &seen);
            report.forecasts.push((run.run, seen));
            // The next pass tells more.
            let _ = self.cache_progress(run.run, &run.progress).await;
        }
        let mut to_publish = Vec::new();
        for action in supervise(&snapshot, &self.config.policy) {
            match action {
                Action::Publish { attempt, cause } => to_publish.push((attempt, cause)),
                Action::Rescue { attempt, verdict } => {
                    report.rescued += usize::from(self.rescue(term, attempt, verdict).await);
                }
                Action::Finish(run) => report.finished.extend(self.finish(term, run).await),
            }
        }
        memory.finished.extend(report.finished.iter().map(|finished| (finished.run, finished.progress)));
        for (run, progress) in mem::take(&mut memory.finished) {
            let told = self.cache_progress(run, &progress).await;
            if told.is_err_and(|error| error.is_transient()) {
                memory.finished.push((run, progress));
            }
        }
        report.published = self.publish(&snapshot, &to_publish).await?;
        memory.publication.bring_up_to_date(&self.store, &self.cache, !report.finished.is_empty()).await;
        report.pause = pause(&report, &snapshot, memory.idle_passes, self.config.pass_interval);
        metrics::passed(began.elapsed());
        Ok(report)
    }

    /// Rescues a chunk. One whose row is held by somebody is tried again by the next pass.
    async fn rescue(&self, term: Term, attempt: AttemptId, verdict: Verdict) -> bool {
        let is_rescued = self.store.rescue(term, attempt, verdict).await.unwrap_or_else(|error| {
            tracing::warn!(run.id = %attempt.chunk.run, chunk.id = %attempt.chunk.chunk, %error, "not rescued yet");
            false
        });
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
        is_rescued
    }

    /// Finishes a settled run. One that cannot be finished is tried again by the next pass and keeps no other run
    /// waiting.
    async fn finish(&self, term: Term, run: RunId) -> Option<FinishedRun> {
        let finished = match self.store.finish_run(term, run).await {
            Ok(finished) => finished,
            Err(error @ store::Error::Unavailable { .. }) => {
                tracing::warn!(run.id = %run, %error, "a run is not finished yet");
                None
            }
            Err(error @ store::Error::Broken { .. }) => {
                tracing::error!(run.id = %run, %error, "a run is not finished before the store is mended");
                None
            }
            Err(error @ store::Error::Invalid { .. }) => {
                tracing::error!(run.id = %run, %error, "a settled run cannot be finished");
                (self.config.unfinishable)(run, &error);
                None
            }
        };
        if let Some(finished) = &finished {
            metrics::finished(finished);
            tracing::info!(
                run.id = %run,
                customers = finished.progress.customers,
                values = finished.progress.values,
                rejections = finished.progress.rejections,
                dead_chunks = finished.progress.dead,
                took = ?finished.took,
                "finished"
            );
        }
        finished
    }

    /// Tells the cache how far a run is.
    async fn cache_progress(&self, run: RunId, progress: &Progress) -> Result<(), cache::Error> {
        let told = self.cache.put_progress(run, progress).await;
        if let Err(error) = &told {
            tracing::debug!(run.id = %run, %error, "progress not cached");
        }
        told
    }

    /// Publishes chunks and records what was confirmed; returns how many that were.
    async fn publish(
        &self,
        snapshot: &Snapshot,
        to_publish: &[(AttemptId, PublishCause)],
    ) -> Result<usize, store::Error> {
        let mut published = 0;
        for run in &snapshot.runs {
            let due: Vec<_> = to_publish.iter().filter(|(due, _)| due.chunk.run == run.run).collect();
            if due.is_empty() {
                continue;
            }
            let trace = TraceContext(self.store.trace_of(run.run).await?);
            let messages = due.iter().map(|(due, _)| message(run, *due, &trace)).collect();
            let results = self.queue.publish(messages).await;
            let mut confirmed: Vec<(ChunkId, Attempt)> = Vec::with_capacity(due.len());
            for ((due, cause), _) in due.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
                metrics::republished(*cause);
                confirmed.push((due.chunk.chunk, due.attempt));
            }
            if let Some(Err(error)) = results.iter().find(|result| result.is_err()) {
                let unconfirmed = due.len() - confirmed.len();
                tracing::warn!(run.id = %run.run, unconfirmed, %error, "chunks not published, trying again");
            }
            self.store.mark_published(run.run, &confirmed).await?;
            published += confirmed.len();
        }
        Ok(published)
    }
}

fn message(run: &RunSnapshot, due: AttemptId, trace: &TraceContext) -> Outgoing {
    Outgoing { priority: run.priority, message: due, trace: trace.clone() }
}

/// What a coordinator remembers between passes. No run depends on it.
struct Memory {
    term: Option<Term>,
    /// Since when the store has never failed us, under this term.
    well_since: Instant,
    /// The work that was settled when the last pass looked.
    settled: f64,
    /// Passes since more of it was.
    idle_passes: u32,
    publication: Publication,
    /// Runs that were finished, and how far they came, until the cache has heard of it: no later snapshot shows
    /// them.
    finished: Vec<(RunId, Progress)>,
    outlooks: HashMap<RunId, Outlook>,
}

impl Memory {
    fn new() -> Self {
        Self {
            term: None,
            well_since: Instant::now(),
            settled: 0.0,
            idle_passes: 0,
            publication: Publication::default(),
            finished: Vec::new(),
            outlooks: HashMap::new(),
        }
    }

    fn leads_under(&mut self, term: Option<Term>) {
        if self.term != term {
            self.term = term;
            self.well_since = Instant::now();
        }
    }

    /// Adds to a snapshot what the store cannot know: since when it has been well, seen from here. A fail-over
    /// shows no other trace, and leases could not be renewed during one.
    fn remind(&mut self, snapshot: &mut Snapshot) {
        let here = snapshot.taken_at.checked_sub(self.well_since.elapsed()).unwrap_or(snapshot.taken_at);
        snapshot.store_well_since = snapshot.store_well_since.max(here);
        let settled = snapshot.runs.iter().map(|run| run.progress.work_settled).sum();
        let is_idle = self.settled.to_bits() == f64::to_bits(settled);
        self.idle_passes = if is_idle { self.idle_passes.saturating_add(1) } else { 0 };
        self.settled = settled;
    }
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

/// Tells a person what changed.
fn note(report: &PassReport, outlooks: &mut HashMap<RunId, Outlook>) {
    if report.published > 0 {
        tracing::info!(chunks = report.published, "published again");
    }
    for &(run, Forecast { finish_at, outlook }) in &report.forecasts {
        let before = outlooks.insert(run, outlook).unwrap_or(Outlook::OnTrack);
        if before == outlook {
            continue;
        }
        let finish_at = finish_at.map(|at| at.to_string());
        if outlook == Outlook::OnTrack {
            tracing::info!(run.id = %run, finish_at, outlook = outlook.as_str(), "the outlook changed");
        } else {
            tracing::warn!(run.id = %run, finish_at, outlook = outlook.as_str(), "the outlook changed");
        }
    }
    outlooks.retain(|run, _| report.forecasts.iter().any(|(open, _)| open == run));
}

/// Takes the leadership when it is free and renews it, three times in a lease, for ever.
async fn keep_leading<S: Supervision>(store: S, config: CoordinatorConfig, led: watch::Sender<Option<Term>>) {
    let mut renewal = interval(config.leadership_lease / 3);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        renewal.tick().await;
        let term = match store.lead(&config.name, config.leadership_lease).await {
            Ok(term) => term,
            // The store's guard decides; keep what we believe until it answers.
            Err(error) => {
                tracing::debug!(%error, "leadership not renewed");
                continue;
            }
        };
        led.send_if_modified(|before| {
            let is_changed = *before != term;
            if is_changed {
                tracing::info!(coordinator = %config.name, ?term, "leadership changed");
            }
            *before = term;
            is_changed
        });
    }
}
