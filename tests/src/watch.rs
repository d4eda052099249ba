//! Looks at a run's progress all night long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batch::{Progress, RunId};
use store::Archive;
use store::postgres::Postgres;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(100);

/// A look at a run's progress every 100 ms, which panics at its end if the progress ever fell or went too far.
#[derive(Debug)]
#[must_use]
pub struct Watch {
    is_over: Arc<AtomicBool>,
    looking: JoinHandle<Vec<Progress>>,
}

impl Watch {
    pub(crate) fn begin(store: Postgres, run: RunId) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let looking = tokio::spawn({
            let is_over = Arc::clone(&is_over);
            async move {
                let mut seen = Vec::new();
                let mut beat = interval(EVERY);
                beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !is_over.load(Ordering::Relaxed) {
                    beat.tick().await;
                    // While the store is away there is nothing to see.
                    if let Ok(Some(record)) = store.run(run).await {
                        seen.push(record.progress);
                    }
                }
                seen
            }
        });
        Self { is_over, looking }
    }

    /// Ends the watch, and holds what it saw against the rules; returns how often it saw the run half done.
    pub async fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let seen = self.looking.await.expect("looking does not panic");
        for pair in seen.windows(2) {
            assert!(never_falls(&pair[0], &pair[1]), "progress fell: {:?}, then {:?}", pair[0], pair[1]);
        }
        for progress in &seen {
            assert!(stays_within_the_plan(progress), "progress beyond the plan: {progress:?}");
        }
        seen.iter().filter(|progress| 0 < progress.done && progress.done < progress.chunks).count()
    }
}

fn never_falls(before: &Progress, after: &Progress) -> bool {
    before.done <= after.done
        && before.values <= after.values
        && before.rejections <= after.rejections
        && before.chunks == after.chunks
        && before.customers == after.customers
}

fn stays_within_the_plan(progress: &Progress) -> bool {
    progress.done + progress.dead <= progress.chunks
        && progress.values + progress.rejections <= progress.customers
        && progress.work_settled <= progress.work * (1.0 + 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_that_falls_or_goes_too_far_is_seen() {
        let half = Progress { chunks: 4, done: 2, customers: 40, values: 20, ..Progress::default() };
        let less = Progress { values: 19, ..half };
        let too_much = Progress { rejections: 21, ..half };

        assert!(never_falls(&less, &half) && !never_falls(&half, &less));
        assert!(stays_within_the_plan(&half) && !stays_within_the_plan(&too_much));
    }
}
