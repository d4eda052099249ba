//! A coordinator on seams in memory, over runs whose work is done.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use batch::{Attempt, AttemptId, CustomerId, Progress};
use cache::{Cache, CachedValue, Error, Valued, VisibleRuns};
use queue::memory::Broker;
use store::memory::Memory as Store;
use store::promises::{
    Ground, Happening, accounts, as_of, chunk, dead, done, part, published, with_a_customer_twice,
};
use store::{Archive, Attempts};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::*;
use crate::namesakes::Namesakes;

/// Longer than anything here takes; no test waits for it, since time jumps.
const LONG: Duration = Duration::from_mins(10);

#[tokio::test(start_paused = true)]
async fn a_run_that_makes_no_sense_is_told_of_at_each_pass_and_keeps_no_other_run_waiting() {
    let night = Paused::new();
    let senseless = with_a_customer_twice(&night).await;
    let other = settled(&night).await;
    let (over, told) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let tell = {
        let (over, told) = (Arc::clone(&over), Arc::clone(&told));
        move |run, error: &store::Error| {
            let mut told = told.lock().unwrap();
            told.push((run, error.to_string()));
            if told.len() == 2 {
                over.notify_one();
            }
        }
    };
    let coordinator = Coordinator {
        config: CoordinatorConfig { unfinishable: Arc::new(tell), ..config() },
        ..night.coordinator()
    };

    timeout(LONG, coordinator.run(over.notified())).await.expect("whoever is told can end it");

    let reason = "finish a run: customer 102 has two values";
    assert_eq!(*told.lock().unwrap(), [(senseless, reason.to_owned()), (senseless, reason.to_owned())]);
    assert!(!night.is_finished(senseless).await);
    assert!(night.is_finished(other).await);
}

/// That is told once, and whoever asks is told why.
#[tokio::test(start_paused = true)]
async fn a_coordinator_is_not_ready_while_a_run_cannot_be_finished_and_ready_when_it_is_cancelled() {
    let night = Paused::new();
    let senseless = with_a_customer_twice(&night).await;
    let coordinator = night.coordinator();
    let finishing = coordinator.config.troubles.finishing.clone();
    let (stands, met) = (finishing.clone(), Arc::new(Mutex::new(None)));
    let over = {
        let (store, met) = (night.store.clone(), Arc::clone(&met));
        async move {
            while stands.reason().is_none() {
                sleep(Duration::from_millis(10)).await;
            }
            *met.lock().unwrap() = stands.reason();
            assert!(store.cancel_run(senseless).await.unwrap());
            let is_over = async {
                while stands.reason().is_some() {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(5), is_over).await.expect("the next pass sees that it is over");
        }
    };

    timeout(LONG, coordinator.run(over)).await.expect("what is over is in nobody's way");

    let reason = format!("finish settled runs: run {senseless}: finish a run: customer 102 has two values");
    assert_eq!(met.lock().unwrap().take(), Some(reason));
    assert_eq!(finishing.reason(), None);
}

/// Also what only finishing adds: the rejections of those in dead chunks.
#[tokio::test(start_paused = true)]
async fn the_last_that_the_cache_hears_of_a_run_is_what_it_finished_with() {
    let night = Paused::new();
    let run = published(&night).await;
    done(&night, chunk(run, 1)).await;
    dead(&night, chunk(run, 2)).await;
    done(&night, chunk(run, 3)).await;

    timeout(LONG, night.coordinator().run(night.until_finished(run))).await.expect("it is settled");

    let record = night.record(run).await;
    assert_eq!((record.progress.dead, record.progress.rejections), (1, 6));
    assert_eq!(night.cache.progress(run).await, Ok(Some(record.progress)));
}

/// It was finished, so no later snapshot shows it.
#[tokio::test(start_paused = true)]
async fn a_cache_that_was_away_when_a_run_finished_hears_of_it_later() {
    let night = Paused::new();
    let run = settled(&night).await;
    night.cache.is_away.store(true, Ordering::Relaxed);
    let heard = async {
        night.until_finished(run).await;
        night.cache.is_away.store(false, Ordering::Relaxed);
        while night.cache.progress(run).await == Ok(None) {
            sleep(Duration::from_millis(10)).await;
        }
    };

    timeout(LONG, night.coordinator().run(heard)).await.expect("it is told again");

    assert_eq!(night.cache.progress(run).await, Ok(Some(night.record(run).await.progress)));
}

/// However much there is to be written to it, and whenever: when it is told, and when it has lost some of it.
#[tokio::test(start_paused = true)]
async fn chunks_are_rescued_while_a_cache_does_not_come_to_an_end_with_a_partial_run() {
    for is_told_before in [false, true] {
        let night = Paused::new();
        let (whole, partial) = (settled(&night).await, part(&night).await);
        done(&night, chunk(partial, 1)).await;
        night.cache.hangs.store(!is_told_before, Ordering::Relaxed);
        let asked = async || {
            while night.cache.asked.load(Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let rescued = async {
            night.until_finished(partial).await;
            night.until_finished(whole).await;
            if is_told_before {
                while night.cache.visible().await.unwrap().is_none_or(|told| told.runs != [partial, whole]) {
                    sleep(Duration::from_millis(10)).await;
                }
                night.cache.asked.store(0, Ordering::Relaxed);
                night.cache.hangs.store(true, Ordering::Relaxed);
                night.cache.inner.lose(cache::memory::Key::Members(partial));
            }
            asked().await;
            let open = part(&night).await;
            let lease = Duration::from_secs(20);
            let begun = night.store.begin_attempt(chunk(open, 1), "worker", lease, false).await.unwrap();
            assert!(matches!(begun, store::Begin::Assigned(_)));
            while night.store.troubled_attempts(open, 1).await.unwrap().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };

        timeout(LONG, night.coordinator().run(rescued)).await.expect("nobody waits for the cache");
    }
}

/// The store went back to a backup, and the cache did not.
#[tokio::test(start_paused = true)]
async fn a_list_of_another_past_is_told_anew_however_new_it_says_it_is() {
    for (version, runs) in [(900, vec![RunId(9), RunId(8)]), (1, vec![RunId(9)])] {
        let night = Paused::new();
        let run = settled(&night).await;
        night.cache.inner.put_visible(&VisibleRuns { version, runs }).await.unwrap();
        let told = async {
            while night.cache.visible().await.is_ok_and(|told| told.is_none_or(|told| told.runs != [run])) {
                sleep(Duration::from_millis(10)).await;
            }
        };

        timeout(LONG, night.coordinator().run(told)).await.expect("it is told anew");

        let shown = store::Supervision::visible_runs(&night.store).await.unwrap();
        assert_eq!(night.cache.visible().await.unwrap().map(|told| told.version), Some(shown.version));
    }
}

/// Before it has anything of its own to show.
#[tokio::test(start_paused = true)]
async fn a_store_that_shows_nothing_leaves_no_list_of_another_past() {
    let night = Paused::new();
    let theirs = VisibleRuns { version: 900, runs: vec![RunId(9)] };
    night.cache.inner.put_visible(&theirs).await.unwrap();
    let cleared = async {
        while night.cache.visible().await.unwrap().is_none_or(|visible| !visible.runs.is_empty()) {
            sleep(Duration::from_millis(10)).await;
        }
    };

    timeout(LONG, night.coordinator().run(cleared)).await.expect("it is cleared");
}

#[tokio::test(start_paused = true)]
async fn workers_that_live_at_a_time_under_one_name_are_told_of_once_when_their_run_is_settled() {
    let night = Paused::new();
    let run = published(&night).await;
    for (number, worker) in [(1, "twin-00000001"), (2, "twin-00000002"), (3, "worker-00000003")] {
        let begun = night.store.begin_attempt(chunk(run, number), worker, LONG, false).await.unwrap();
        assert!(matches!(begun, store::Begin::Assigned(_)));
    }
    night.pass(Duration::from_secs(1)).await;
    for number in [1, 2, 3] {
        let attempt = AttemptId { chunk: chunk(run, number), attempt: Attempt(1) };
        night.store.give_back(attempt).await.unwrap();
    }
    let mut namesakes = Namesakes::default();
    let mut look = async |settled: &[RunId]| namesakes.look(&night.store, &[run], settled).await;

    let meanwhile = look(&[]).await;
    let in_the_end = look(&[run]).await;
    let again = look(&[run]).await;

    assert_eq!((meanwhile.len(), again.len()), (0, 0));
    assert_eq!(in_the_end, ["twin"]);
}

/// A run whose chunks are all done.
async fn settled(night: &Paused) -> RunId {
    let run = published(night).await;
    for number in [1, 2, 3] {
        done(night, chunk(run, number)).await;
    }
    run
}

/// A store over the base of its contract; time passes by tokio's clock, which is paused.
struct Paused {
    store: Store,
    cache: Remote,
}

impl Ground for Paused {
    type Store = Store;

    fn store(&self) -> &Store {
        &self.store
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn set_back(&self, time: Duration) {
        self.store.set_back(time);
    }

    async fn happens(&self, Happening { customer, at, .. }: Happening) {
        self.store.happens(customer, at);
    }
}

impl Paused {
    fn new() -> Self {
        Self { store: Store::new(accounts(), as_of()), cache: Remote::default() }
    }

    fn coordinator(&self) -> Coordinator<Store, queue::memory::Memory, Remote> {
        Coordinator {
            store: self.store.clone(),
            queue: Broker::new().connect(),
            cache: self.cache.clone(),
            config: config(),
        }
    }

    async fn record(&self, run: RunId) -> store::RunRecord {
        self.store.run(run).await.expect("the store answers").expect("the run is there")
    }

    async fn is_finished(&self, run: RunId) -> bool {
        self.record(run).await.state == batch::RunState::Finished
    }

    async fn until_finished(&self, run: RunId) {
        while !self.is_finished(run).await {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A cache that can be away, and take values without an end.
#[derive(Clone, Default)]
struct Remote {
    inner: cache::Memory,
    is_away: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    /// How often it was asked to take values.
    asked: Arc<AtomicU32>,
}

impl Remote {
    async fn reach<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("it is away".into()));
        }
        call.await
    }
}

impl Cache for Remote {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.reach(self.inner.put_values(run, values)).await
    }

    async fn put_members(&self, run: RunId, customers: &[CustomerId]) -> Result<(), Error> {
        self.reach(self.inner.put_members(run, customers)).await
    }

    async fn holds_all(&self, run: RunId) -> Result<bool, Error> {
        self.reach(self.inner.holds_all(run)).await
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        self.reach(self.inner.put_visible(visible)).await
    }

    async fn replace_visible(&self, held: &VisibleRuns, with: &VisibleRuns) -> Result<bool, Error> {
        self.reach(self.inner.replace_visible(held, with)).await
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        self.reach(self.inner.visible()).await
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        self.reach(self.inner.value(customer)).await
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        self.reach(self.inner.put_progress(run, progress)).await
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        self.reach(self.inner.progress(run)).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.reach(self.inner.check()).await
    }
}

fn config() -> CoordinatorConfig {
    CoordinatorConfig {
        troubles: Troubles::default(),
        name: "coordinator".into(),
        policy: SupervisePolicy::default(),
        pass_interval: Duration::from_secs(1),
        leadership_lease: Duration::from_secs(10),
        alive: Arc::new(|| {}),
        unfinishable: Arc::new(|_, _| {}),
    }
}
