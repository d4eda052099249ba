//! Figures of finished runs: worked out by a task of its own, beside the passes and after all that a night waits for.
//!
//! Readers see a run before it has figures, and whoever asks for them is told that they are due. One run is worked on at a
//! time, the latest first. Which are due is asked of the store, when a run was finished and every few seconds: nothing
//! that is remembered here counts.
//!
//! # Failure by failure
//!
//! * **The coordinator dies in the middle,** or is asked to stop, or its term ends. What is under way is given up, at the
//!   store too, which has all of it or nothing on record: the next leader finds the run due and begins it anew. Two that
//!   do it at once write it once.
//! * **Another night is at work.** Figures wait until no run is open, for [`PATIENCE`] at the longest: they cost the
//!   store about a second of its time for a million customers.
//! * **The store, or the source, is away, or something is missing there.** It is tried again after a pause that grows up to
//!   a minute; the reason is told once, and the coordinator is not ready until then. Another run that is due is not kept
//!   waiting by it.
//! * **It takes too long.** Each call has the store's own limit, and counts as failed beyond it.
//! * **A run can never have figures** (see `store`). That is put on record with the reason, told as a warning, and the run
//!   is not due any more.

use std::collections::HashMap;
use std::time::Duration;

use batch::RunId;
use resilience::trouble::Trouble;
use store::{Figured, Figuring as Store};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::{kind_of, metrics};

/// How often the store is asked which runs are due, where none was finished.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long figures wait for open runs.
const PATIENCE: Duration = Duration::from_mins(1);

/// The pause after the first try in vain, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How many runs that are due are looked at: if all of these fail, older ones would too.
const MOST: u32 = 20;

/// The task, and the runs that are due.
#[derive(Debug, Default)]
pub(crate) struct Figuring {
    task: JoinSet<Tried>,
    looked_at: Option<Instant>,
    due: HashMap<RunId, Tries>,
}

/// What came of a try.
#[derive(Debug)]
struct Tried {
    run: RunId,
    result: Result<Figured, store::Error>,
    took: Duration,
}

/// The tries at one run.
#[derive(Debug)]
struct Tries {
    seen_at: Instant,
    in_vain: u32,
    not_before: Option<Instant>,
}

/// How the fleet stands when a pass is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// A run was finished since the last pass.
    pub(crate) has_finished: bool,
    /// Runs that are not over.
    pub(crate) open_runs: usize,
}

impl Figuring {
    /// Hears what came of the task, and has it go on with the next run that is due. What takes long goes on when this
    /// returns.
    pub(crate) async fn go_on<S: Store>(&mut self, store: &S, now: Situation, trouble: &Trouble) {
        let mut is_news = now.has_finished;
        while let Some(joined) = self.task.try_join_next() {
            self.end(joined, trouble);
            is_news = true;
        }
        let is_early = self.looked_at.is_some_and(|looked| looked.elapsed() < LOOK_EVERY);
        if !self.task.is_empty() || is_early && !is_news {
            return;
        }
        self.looked_at = Some(Instant::now());
        match store.runs_without_figures(MOST).await {
            Ok(due) => {
                let next = self.next(&due, now.open_runs, Instant::now());
                if self.due.values().all(|tries| tries.in_vain == 0) {
                    trouble.over();
                }
                if let Some(run) = next {
                    self.begin(store, run);
                }
            }
            Err(error) => trouble.met(&error, kind_of(&error)),
        }
    }

    /// Leaves it to whoever leads: what is dropped is cancelled by the store.
    pub(crate) fn leads_no_more(&mut self) {
        *self = Self::default();
    }

    /// Which run is worked on now, of those that are due.
    fn next(&mut self, due: &[RunId], open_runs: usize, now: Instant) -> Option<RunId> {
        self.due.retain(|run, _| due.contains(run));
        for &run in due {
            self.due.entry(run).or_insert(Tries { seen_at: now, in_vain: 0, not_before: None });
        }
        due.iter().copied().find(|run| self.due[run].may_begin(open_runs, now))
    }

    fn begin<S: Store>(&mut self, store: &S, run: RunId) {
        let store = store.clone();
        self.task.spawn(async move {
            let began = Instant::now();
            let result = store.compute_figures(run).await;
            Tried { run, result, took: began.elapsed() }
        });
    }

    fn end(&mut self, joined: Result<Tried, JoinError>, trouble: &Trouble) {
        let Tried { run, result, took } = match joined {
            Ok(tried) => tried,
            Err(error) if error.is_cancelled() => return,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        match result {
            Ok(figured) => {
                self.due.remove(&run);
                tell(run, &figured, took);
            }
            Err(error) => {
                if let Some(tries) = self.due.get_mut(&run) {
                    tries.not_before = Some(Instant::now() + pause_after(tries.in_vain));
                    tries.in_vain = tries.in_vain.saturating_add(1);
                }
                trouble.met(format_args!("run {run}: {error}"), kind_of(&error));
            }
        }
    }
}

impl Tries {
    fn may_begin(&self, open_runs: usize, now: Instant) -> bool {
        let has_waited = now.duration_since(self.seen_at) >= PATIENCE;
        (open_runs == 0 || has_waited) && self.not_before.is_none_or(|earliest| now >= earliest)
    }
}

/// How long a run is left alone after so many tries in vain and one more.
fn pause_after(in_vain: u32) -> Duration {
    let (first, longest) = PAUSES;
    first.saturating_mul(1 << in_vain.min(16)).min(longest)
}

fn tell(run: RunId, figured: &Figured, took: Duration) {
    match figured {
        Figured::Computed { segments, customers } => {
            metrics::figured(took);
            tracing::info!(run.id = %run, segments, customers, ?took, "worked out the figures of the segments");
        }
        Figured::Never(reason) => {
            tracing::warn!(run.id = %run, reason, "a run has no figures of its segments, and never will");
        }
        Figured::Done => {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use super::*;

    const CALM: Situation = Situation { has_finished: false, open_runs: 0 };
    const BUSY: Situation = Situation { has_finished: false, open_runs: 1 };

    /// Runs that are due, and what was tried of them.
    #[derive(Clone, Default)]
    struct Runs {
        due: Arc<Mutex<Vec<RunId>>>,
        tried: Arc<Mutex<Vec<RunId>>>,
        broken: Arc<Mutex<Vec<RunId>>>,
        hangs: bool,
    }

    impl Store for Runs {
        async fn runs_without_figures(&self, _limit: u32) -> store::Result<Vec<RunId>> {
            Ok(self.due.lock().unwrap().clone())
        }

        async fn compute_figures(&self, run: RunId) -> store::Result<Figured> {
            self.tried.lock().unwrap().push(run);
            if self.hangs {
                return pending().await;
            }
            if self.broken.lock().unwrap().contains(&run) {
                let (what, reason) = ("read the segments".into(), "it is not there".into());
                return Err(store::Error::Broken { what, reason });
            }
            self.due.lock().unwrap().retain(|due| *due != run);
            Ok(Figured::Computed { segments: 1, customers: 1 })
        }
    }

    impl Runs {
        fn due(runs: impl IntoIterator<Item = i64>) -> Self {
            let due = runs.into_iter().map(RunId).collect();
            Self { due: Arc::new(Mutex::new(due)), ..Self::default() }
        }

        fn tried(&self) -> Vec<i64> {
            self.tried.lock().unwrap().iter().map(|run| run.0).collect()
        }

        /// Passes a second apart.
        async fn passes(&self, figuring: &mut Figuring, seconds: u64, now: Situation, trouble: &Trouble) {
            for _ in 0..seconds {
                figuring.go_on(self, now, trouble).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn runs_that_are_due_are_worked_on_one_after_the_other_the_latest_first() {
        let (runs, trouble) = (Runs::due([9, 8, 7]), Trouble::new("figures"));

        runs.passes(&mut Figuring::default(), 4, CALM, &trouble).await;

        assert_eq!(runs.tried(), [9, 8, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_fails_is_tried_again_ever_later_and_keeps_no_other_waiting() {
        let (runs, trouble) = (Runs::due([9, 8]), Trouble::new("work out figures"));
        runs.broken.lock().unwrap().push(RunId(9));
        let mut figuring = Figuring::default();

        runs.passes(&mut figuring, 120, CALM, &trouble).await;

        let tried = runs.tried();
        assert_eq!(tried.iter().filter(|run| **run == 8).count(), 1);
        assert!((5..=12).contains(&tried.len()), "{tried:?}");
        let told = trouble.reason().expect("it stands in the way");
        assert_eq!(told, "work out figures: run 9: read the segments: it is not there");

        runs.broken.lock().unwrap().clear();
        runs.passes(&mut figuring, 70, CALM, &trouble).await;

        assert_eq!((runs.due.lock().unwrap().len(), trouble.reason()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn figures_wait_for_open_runs_and_not_for_ever() {
        let (runs, trouble) = (Runs::due([9]), Trouble::new("figures"));
        let mut figuring = Figuring::default();

        runs.passes(&mut figuring, 55, BUSY, &trouble).await;
        assert_eq!(runs.tried(), [0; 0]);
        runs.passes(&mut figuring, 12, BUSY, &trouble).await;

        assert_eq!(runs.tried(), [9]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_asked_every_few_seconds_and_when_a_run_was_finished() {
        let (runs, trouble) = (Runs::default(), Trouble::new("figures"));
        let mut figuring = Figuring::default();
        figuring.go_on(&runs, CALM, &trouble).await;
        runs.due.lock().unwrap().push(RunId(9));

        runs.passes(&mut figuring, 2, CALM, &trouble).await;
        assert_eq!(runs.tried(), [0; 0]);
        runs.passes(&mut figuring, 1, Situation { has_finished: true, open_runs: 0 }, &trouble).await;

        assert_eq!(runs.tried(), [9]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_given_up_when_the_term_ends() {
        let (runs, trouble) = (Runs { hangs: true, ..Runs::due([9]) }, Trouble::new("figures"));
        let mut figuring = Figuring::default();
        runs.passes(&mut figuring, 20, CALM, &trouble).await;
        assert_eq!(runs.tried(), [9], "one at a time");

        figuring.leads_no_more();

        assert!(figuring.task.is_empty() && figuring.due.is_empty());
    }
}
