//! Runs that somebody follows: one task looks at each, however many do.
//!
//! It looks once a second, at the progress that the cache holds, and every few seconds, or where the cache says nothing, at
//! the store, which alone knows how a run stands. Whoever follows is handed the last look: one who is slow misses some, and
//! nothing is kept for him.
//!
//! # Failure by failure
//!
//! * **The cache is away, was emptied, or is behind.** The store is asked, and nothing is told that goes back.
//! * **The store is away.** What was seen last stays, and the next look is a second later.
//! * **Nobody follows any more.** The task ends with its next look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{Progress, RunId};
use cache::Cache as _;
use documents::RunProgress;
use jiff::Timestamp;
use store::{Archive as _, Planning as _, RunRecord};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::Api;
use crate::seams::Seams;

/// How often a run is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// After how many looks at the cache the store is asked.
const LOOKS: u32 = 5;

/// The runs that are followed.
#[derive(Default)]
pub(crate) struct Followed(Mutex<HashMap<RunId, Arc<watch::Sender<RunProgress>>>>);

impl Followed {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<watch::Sender<RunProgress>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many they are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes a run off, unless somebody has begun to follow it.
    fn leave(&self, run: RunId, sender: &watch::Sender<RunProgress>) -> bool {
        let mut followed = self.lock();
        let is_left = sender.receiver_count() == 0;
        if is_left {
            followed.remove(&run);
        }
        is_left
    }
}

/// Follows a run from how it is recorded, which was read just now.
pub(crate) async fn follow<S: Seams>(
    api: &Api<S>,
    record: RunRecord,
) -> store::Result<watch::Receiver<RunProgress>> {
    let run = record.run;
    if let Some(sender) = api.followed.lock().get(&run) {
        return Ok(sender.subscribe());
    }
    let seen = Seen::now(api, record).await?;
    if seen.record.state.is_over() {
        return Ok(watch::channel(seen.told()).1);
    }
    let mut followed = api.followed.lock();
    // Another may have begun meanwhile.
    if let Some(sender) = followed.get(&run) {
        return Ok(sender.subscribe());
    }
    let (sender, receiver) = watch::channel(seen.told());
    let sender = Arc::new(sender);
    followed.insert(run, sender.clone());
    drop(followed);
    tokio::spawn(look_again(api.clone(), seen, sender));
    Ok(receiver)
}

async fn look_again<S: Seams>(api: Api<S>, mut seen: Seen, sender: Arc<watch::Sender<RunProgress>>) {
    let run = seen.record.run;
    loop {
        sleep(LOOK).await;
        if api.followed.leave(run, &sender) {
            return;
        }
        seen.look(&api).await;
        let told = seen.told();
        // What is expected moves with every look; whoever follows is told what has happened.
        let is_news = |last: &RunProgress| last.id() != told.id() || last.outlook != told.outlook;
        sender.send_if_modified(|last| {
            let is_news = is_news(last);
            *last = told.clone();
            is_news
        });
        if seen.record.state.is_over() {
            api.followed.lock().remove(&run);
            return;
        }
    }
}

/// What was seen of a run.
struct Seen {
    record: RunRecord,
    progress: Progress,
    /// What the store's clock showed, and when that was.
    clock: (Timestamp, Instant),
    /// How often the cache was looked at since the store was.
    looks: u32,
}

impl Seen {
    async fn now<S: Seams>(api: &Api<S>, record: RunRecord) -> store::Result<Self> {
        let clock = (api.store.now().await?, Instant::now());
        Ok(Self { progress: record.progress, record, clock, looks: 0 })
    }

    fn told(&self) -> RunProgress {
        let (then, since) = self.clock;
        let now = then.checked_add(since.elapsed()).unwrap_or(then);
        RunProgress::new(&self.record, &self.progress, now)
    }

    async fn look<S: Seams>(&mut self, api: &Api<S>) {
        self.looks += 1;
        let cached = api.cache.progress(self.record.run).await.ok().flatten();
        if let Some(cached) = cached.filter(|cached| cached.is_further_than(&self.progress)) {
            self.progress = cached;
        }
        let is_enough = cached.is_some() && !self.progress.is_settled() && self.looks < LOOKS;
        if is_enough {
            return;
        }
        if let Ok(Some(record)) = api.store.run(self.record.run).await {
            // A redrive takes dead chunks back: what the store says holds, but where the cache has seen what came later.
            if !self.progress.is_further_than(&record.progress) || record.state.is_over() {
                self.progress = record.progress;
            }
            self.record = record;
            self.looks = 0;
        }
        if let Ok(now) = api.store.now().await {
            self.clock = (now, Instant::now());
        }
    }
}
