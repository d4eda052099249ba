//! Runs being finished: each by a task of its own, beside the passes.
//!
//! To finish a run takes as long as its primary key takes to build, and a lock on its table against everybody else. No
//! pass waits for it: meanwhile chunks are rescued and published, and other runs are finished, as ever. There is one
//! task for a run at a time. It is one try; the pass that sees the run settled still begins the next one, after a
//! pause that grows.
//!
//! # Failure by failure
//!
//! * **Somebody reads the run's table:** a backup that began in mid-run. The try gives up at once, so that nobody waits
//!   behind it, and a warning names who it is: once for each, not with each try. The run is finished some seconds
//!   after the reader has ended, and is open until then.
//! * **The store is away, or something is missing there.** The next try comes when a pass sees the run again. The reason
//!   is told once, and the coordinator is not ready until the run is finished, held, or over.
//! * **What is recorded of the run makes no sense.** The same, and it does not become visible. Each try says so to whoever
//!   wants to know (`CoordinatorConfig::unfinishable`).
//! * **The term ends meanwhile.** A try holds the run's row from its guard to its end: the next leader's try waits for
//!   it, and finds nothing left to do.
//! * **The coordinator is asked to stop.** Tries that are under way have some seconds to come to their end. Those that
//!   have not are given up, at the server too: each is one transaction, which leaves nothing behind, and the next leader
//!   begins it anew.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::time::Duration;

use batch::RunId;
use resilience::trouble::{Party, Trouble};
use store::{Blocker, FinishedRun, Supervision, Term};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::judging::End;
use crate::remembered::Remembered;
use crate::{Coordinator, judging, kind_of, metrics};

/// The most tries at once. Each holds a connection of the store's; now and then one asks with another who is in its way.
const MOST: usize = 3;

/// The pause after the first try that did not finish its run, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// How long tries that are under way may go on after the coordinator was asked to stop: as long as the end of most runs
/// takes, and well within the grace that orchestrators give (30 s).
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// What came of a try.
type Tried = Result<Option<End>, store::Error>;

/// The tries under way, and those that ended.
#[derive(Default)]
pub(crate) struct Finishing {
    tasks: JoinSet<(RunId, Tried)>,
    /// The settled runs.
    runs: HashMap<RunId, Tries>,
    ended: Vec<(RunId, Tried)>,
}

/// The tries at one run.
#[derive(Debug, Default)]
struct Tries {
    is_under_way: bool,
    in_vain: u32,
    not_before: Option<Instant>,
    /// Who stood in the way and was told of; `None` is whom nobody saw.
    told: HashSet<Option<i32>>,
    /// What else stands in the way, since it was met.
    way: Option<Party>,
}

impl Finishing {
    /// Begins a try at a run, unless one is under way, or it is too early for another.
    pub(crate) fn begin<S: Supervision>(&mut self, store: &S, term: Term, run: RunId) {
        let tries = self.runs.entry(run).or_default();
        if !tries.may_begin(self.tasks.len(), Instant::now()) {
            return;
        }
        tries.is_under_way = true;
        let store = store.clone();
        self.tasks.spawn(async move { (run, judging::end(&store, term, run).await) });
    }

    /// Waits until a try ends; for ever if none is under way.
    pub(crate) async fn one_ends(&mut self) {
        match self.tasks.join_next().await {
            Some(joined) => self.end(joined),
            None => pending().await,
        }
    }

    /// Waits until no try is under way, and gives up those that still are when the grace is over.
    pub(crate) async fn all_end(&mut self, grace: Duration) {
        if timeout(grace, self.all_ended()).await.is_ok() {
            return;
        }
        for (run, _) in self.runs.iter().filter(|(_, tries)| tries.is_under_way) {
            tracing::warn!(run.id = %run, "a run's end is given up, and left to the next coordinator");
        }
        // What is dropped is cancelled by the store.
        self.tasks.abort_all();
        self.all_ended().await;
    }

    async fn all_ended(&mut self) {
        while let Some(joined) = self.tasks.join_next().await {
            self.end(joined);
        }
    }

    /// Forgets runs that are over.
    pub(crate) fn keep(&mut self, is_open: impl Fn(RunId) -> bool) {
        self.runs.retain(|run, tries| {
            let is_kept = tries.is_under_way || is_open(*run);
            if !is_kept {
                tries.goes();
            }
            is_kept
        });
    }

    /// Forgets what stands in the way of the runs: whoever leads meets it now.
    pub(crate) fn leads_no_more(&mut self) {
        self.runs.values_mut().for_each(Tries::goes);
    }

    /// Notes what stands in the way of a run, until it is finished, held or over.
    fn meets(&mut self, run: RunId, trouble: &Trouble, error: &store::Error) {
        let way = self.runs.entry(run).or_default().way.get_or_insert_with(|| trouble.party());
        tracing::error_span!("finish", run.id = %run)
            .in_scope(|| way.met(format_args!("run {run}: {error}"), kind_of(error)));
    }

    fn end(&mut self, joined: Result<(RunId, Tried), JoinError>) {
        let (run, tried) = match joined {
            Ok(ended) => ended,
            Err(error) if error.is_cancelled() => return,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let tries = self.runs.entry(run).or_default();
        tries.is_under_way = false;
        if tried.is_ok() {
            tries.goes();
        }
        if !matches!(tried, Ok(Some(_))) {
            tries.not_before = Some(Instant::now() + pause_after(tries.in_vain));
            tries.in_vain = tries.in_vain.saturating_add(1);
        }
        self.ended.push((run, tried));
    }

    fn take_ended(&mut self) -> Vec<(RunId, Tried)> {
        while let Some(joined) = self.tasks.try_join_next() {
            self.end(joined);
        }
        std::mem::take(&mut self.ended)
    }

    /// Whether anybody of these was not told of yet; they are from now on.
    fn is_news(&mut self, run: RunId, by: &[Blocker]) -> bool {
        let told = &mut self.runs.entry(run).or_default().told;
        if by.is_empty() {
            return told.is_empty() && told.insert(None);
        }
        // Each of them, also behind the first one who is new.
        by.iter().filter(|blocker| told.insert(Some(blocker.pid))).count() > 0
    }
}

impl Tries {
    fn may_begin(&self, under_way: usize, now: Instant) -> bool {
        !self.is_under_way && under_way < MOST && self.not_before.is_none_or(|earliest| now >= earliest)
    }

    /// Nothing stands in the way any more.
    fn goes(&mut self) {
        if let Some(way) = self.way.take() {
            way.over();
        }
    }
}

/// How long a run is left alone after so many tries in vain and one more.
fn pause_after(in_vain: u32) -> Duration {
    let (first, longest) = PAUSES;
    first.saturating_mul(1 << in_vain.min(16)).min(longest)
}

impl<S: Supervision, Q, C> Coordinator<S, Q, C> {
    /// Says what came of the tries that ended, and remembers it for the cache.
    pub(crate) fn hear_of_finished(&self, remembered: &mut Remembered) {
        for (run, tried) in remembered.finishing.take_ended() {
            match tried {
                Ok(Some(End::Held) | None) => {}
                Ok(Some(End::Finished(finished))) => {
                    note(&finished);
                    remembered.finished.push((finished.run, finished.progress));
                    remembered.has_finished = true;
                }
                Err(error @ store::Error::Blocked { .. }) => {
                    let store::Error::Blocked { by, .. } = &error else { continue };
                    if remembered.finishing.is_news(run, by) {
                        tracing::warn!(
                            run.id = %run, %error, "a settled run is finished when its table is free"
                        );
                    }
                }
                Err(error) => {
                    remembered.finishing.meets(run, &self.config.troubles.finishing, &error);
                    if matches!(error, store::Error::Invalid { .. }) {
                        (self.config.unfinishable)(run, &error);
                    }
                }
            }
        }
    }
}

fn note(finished: &FinishedRun) {
    metrics::finished(finished);
    tracing::info!(
        run.id = %finished.run,
        customers = finished.progress.customers,
        values = finished.progress.values,
        rejections = finished.progress.rejections,
        dead_chunks = finished.progress.dead,
        took = ?finished.took,
        "finished"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId(7);

    fn blocker(pid: i32) -> Blocker {
        Blocker { pid, ..Blocker::default() }
    }

    #[test]
    fn pauses_between_tries_grow_up_to_the_longest() {
        assert_eq!([0, 1, 2, 3, 99].map(|in_vain| pause_after(in_vain).as_secs()), [1, 2, 4, 4, 4]);
    }

    #[test]
    fn who_stands_in_the_way_is_news_once() {
        let mut finishing = Finishing::default();

        assert!(finishing.is_news(RUN, &[]), "nobody was seen");
        assert!(!finishing.is_news(RUN, &[]));
        assert!(finishing.is_news(RUN, &[blocker(1)]));
        assert!(!finishing.is_news(RUN, &[blocker(1)]));
        assert!(!finishing.is_news(RUN, &[]));
        assert!(finishing.is_news(RUN, &[blocker(1), blocker(2)]));
        assert!(finishing.is_news(RunId(8), &[blocker(1)]), "another run");
        finishing.keep(|_| false);
        assert!(finishing.is_news(RUN, &[blocker(1)]), "it was over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_does_not_end_is_given_up_when_the_grace_is_over() {
        let mut finishing = Finishing::default();
        finishing.tasks.spawn(pending());
        finishing.tasks.spawn(async { (RUN, Ok(None)) });
        let began = Instant::now();

        finishing.all_end(GRACE).await;

        assert_eq!((began.elapsed(), finishing.tasks.len()), (GRACE, 0));
        assert!(matches!(finishing.take_ended()[..], [(RUN, Ok(None))]), "the other one came to its end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_tried_once_at_a_time_not_too_soon_and_not_too_many_at_once() {
        let now = Instant::now();
        let free = Tries::default();
        let busy = Tries { is_under_way: true, ..Tries::default() };
        let early = Tries { not_before: Some(now + Duration::from_secs(1)), ..Tries::default() };

        assert!(free.may_begin(MOST - 1, now));
        assert!(!free.may_begin(MOST, now));
        assert!(!busy.may_begin(1, now));
        assert!(!early.may_begin(0, now));
        assert!(early.may_begin(0, now + Duration::from_secs(1)));
    }
}
