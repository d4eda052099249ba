//! One simulated night: who takes part, how it goes, how it must end.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use batch::{CustomerId, PlanPolicy, Priority, RetryPolicy, RunId, SupervisePolicy};
use coordinator::{Coordinator, CoordinatorConfig};
use dispatcher::{Dispatcher, Order};
use jiff::Timestamp;
use model::ValueTerms;
use queue::Chunks as _;
use queue::memory::Broker;
use resilience::{Delays, Jitter};
use store::memory::Memory;
use store::{Archive, Selection};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use worker::{ComputeOn, FaultPlan, Lane, Worker, WorkerConfig};

use super::base::{Customers, Ordered, store_over};
use super::checks::{self, Expected};
use super::mutation::Mutation;
use super::panics;
use super::readers::Readers;
use super::remote_cache::RemoteCache;
use super::remote_queue::{RemoteQueue, Weather};
use super::remote_store::RemoteStore;
use super::rule::{Rule, Violation};
use super::world::{Deaths, Faults, Process, World};
use super::yesterday;

/// How long a lease lasts.
pub(super) const LEASE: Duration = Duration::from_secs(20);

/// Longer than anything is on its way: a message, a process that stands still.
const LONGEST_WAY: Duration = Duration::from_mins(3);

/// How long a night may take, the storm included.
const LONGEST: Duration = Duration::from_mins(50);

/// What is drawn for a night beside its weather.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    customers: u64,
    chunk_customers: u32,
    workers: u64,
    slots: u16,
    /// How long a worker may take to finish what it holds when it is asked to end.
    grace_period: Duration,
    coordinators: u64,
    dispatchers: u64,
    /// A customer whose mathematics panic.
    poison: Option<CustomerId>,
    /// How long reading a chunk's histories takes, at the longest: short and long nights.
    work: Duration,
    /// Customers whom somebody wants valued at once, under other terms.
    urgent: Vec<CustomerId>,
    /// For which moment: before the run of the night before, between the two nights, at tonight's, or after it.
    urgent_as_of: Timestamp,
    /// Whether the cache still knows of the night before.
    is_cache_warm: bool,
}

/// How a night went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed it came from.
    pub seed: u64,
    /// What went wrong in it, by kind.
    pub faults: Faults,
    /// At which calls processes died.
    pub deaths: Deaths,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// Everything that happened, in order.
    pub story: Vec<String>,
}

/// Lives through the night of a seed, with the protocol as it is or mutated.
///
/// The same seed and mutation give the same story.
pub fn night(seed: u64, mutation: Option<Mutation>) -> Report {
    live(seed, async |world| Night::new(seed, mutation, world).await.live().await)
}

/// Lives through something in the world of a seed, on one thread and a paused clock, and reports how it went.
fn live(seed: u64, events: impl AsyncFnOnce(World)) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without input and output needs nothing");
    let made = OnceLock::new();
    // A harness that panics must say in which night.
    let _ = panics::listening(|| {
        runtime.block_on(async {
            let world = made.get_or_init(|| World::new(seed)).clone();
            events(world).await;
        });
    });
    // What it left behind goes first: that must not panic either.
    drop(runtime);
    let world = made.into_inner().expect("a world is made from any seed");
    world.hear_panics();
    Report {
        seed,
        faults: world.faults(),
        deaths: world.deaths(),
        violations: world.violations(),
        story: world.story(),
    }
}

/// Lives through the nights of these seeds on so many threads, and hands each report to `each`, in no order. Stops at the
/// first that went wrong and returns it.
pub fn nights(
    seeds: Range<u64>,
    mutation: Option<Mutation>,
    threads: usize,
    each: impl Fn(&Report) + Sync,
) -> Option<Report> {
    let next = Mutex::new(seeds);
    let failed = Mutex::new(None::<Report>);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().expect("nobody panics with it").is_none() {
                    let Some(seed) = next.lock().expect("nobody panics with it").next() else { return };
                    let report = night(seed, mutation);
                    each(&report);
                    if !report.violations.is_empty() {
                        failed.lock().expect("nobody panics with it").get_or_insert(report);
                    }
                }
            });
        }
    });
    failed.into_inner().expect("nobody panicked with it")
}

struct Night {
    mutation: Option<Mutation>,
    world: World,
    scene: Scene,
    store: Memory,
    broker: Broker,
    cache: cache::Memory,
    base: Customers,
}

impl Night {
    async fn new(seed: u64, mutation: Option<Mutation>, world: World) -> Self {
        let scene = world.draw(Scene::draw);
        world.tell(format_args!("seed {seed}: {scene:?}"));
        let base = Customers::new(seed, scene.customers);
        let store = store_over(base.clone()).await;
        let store = match mutation.and_then(Mutation::of_store) {
            Some(broken) => store.with_mutation(broken),
            None => store,
        };
        let broker = Broker::with_faults(Weather(world.clone()));
        Self { mutation, world, scene, store, broker, cache: cache::Memory::new(), base }
    }

    async fn live(self) {
        let ended = CancellationToken::new();
        let before = self.ordered(&self.base.ids(), terms_before(), as_of_before(), true);
        let tonight = self.ordered(&self.base.ids(), night_terms(), as_of(), true);
        let urgent = self.ordered(&self.scene.urgent, urgent_terms(), self.scene.urgent_as_of, false);
        let run_before = yesterday::finish(&self.store, &self.base, &before, terms_before()).await;
        if self.scene.is_cache_warm {
            yesterday::tell(&self.store, &self.cache, run_before, &before).await;
        }
        let orders = vec![Arc::clone(&before), Arc::clone(&tonight), Arc::clone(&urgent)];
        let readers = || {
            let (world, store) = (self.world.clone(), self.store.clone());
            let looked_at = [1, 2, 3].map(CustomerId).into_iter().chain(self.scene.urgent.iter().copied());
            Readers::new(world, store, self.cache.clone(), orders.clone(), looked_at.collect())
        };
        let watch = tokio::spawn(checks::watch(self.world.clone(), self.store.clone(), readers()));
        let mut lives: Vec<JoinHandle<()>> = Vec::new();
        for number in 1..=self.scene.workers {
            lives.push(self.keep_alive(format!("worker {number}"), &ended, |night, process| {
                Box::pin(night.work(process))
            }));
        }
        for number in 1..=self.scene.coordinators {
            lives.push(self.keep_alive(format!("coordinator {number}"), &ended, |night, process| {
                Box::pin(night.coordinate(process))
            }));
        }

        let mut expected = vec![self.expected(self.dispatch_all().await, tonight)];
        if !self.scene.urgent.is_empty() {
            let run = self.dispatch("urgent dispatcher", &self.urgent_order()).await;
            expected.push(self.expected(run, urgent));
        }
        self.wait_until_over(&expected).await;
        self.wait_until_settled(&expected).await;

        ended.cancel();
        for life in lives {
            if timeout(LONGEST, life).await.is_err() {
                self.world.violation(Rule::End, "a process does not end");
            }
        }
        watch.abort();
        if !watch.await.is_err_and(|end| end.is_cancelled()) {
            self.world.violation(Rule::NoPanic, "nobody watched the night to its end");
        }
        checks::at_the_end(&self.world, &self.store, &self.broker.connect(), &expected).await;
        let before = Expected { run: run_before, ordered: before, poison: None };
        checks::values_are_exact(&self.world, &self.store, &before).await;
        readers().look_at_the_end().await;
    }

    fn ordered(
        &self,
        customers: &[CustomerId],
        terms: ValueTerms,
        as_of: Timestamp,
        is_whole: bool,
    ) -> Arc<Ordered> {
        Arc::new(Ordered { as_of, is_whole, customers: self.base.valued(customers, terms, as_of) })
    }

    fn expected(&self, run: RunId, ordered: Arc<Ordered>) -> Expected {
        Expected { run, ordered, poison: self.scene.poison }
    }

    /// Starts a process, and another one after it whenever it has died or drained, until the night is over.
    fn keep_alive(
        &self,
        name: String,
        ended: &CancellationToken,
        start: fn(Arc<Hands>, Process) -> futures_util::future::BoxFuture<'static, ()>,
    ) -> JoinHandle<()> {
        let (hands, world, ended) = (Arc::new(self.hands()), self.world.clone(), ended.clone());
        tokio::spawn(async move {
            for life in 1_u64.. {
                let process = world.process(format!("{name}.{life}"));
                let mut task = tokio::spawn(start(Arc::clone(&hands), process.clone()));
                tokio::select! {
                    biased;
                    () = process.died().cancelled() => task.abort(),
                    () = ended.cancelled() => process.asked().cancel(),
                    _ = &mut task => {}
                }
                if !task.is_finished() {
                    tokio::select! {
                        biased;
                        () = process.died().cancelled() => task.abort(),
                        _ = &mut task => {}
                    }
                }
                process.ends();
                // Why it did, if it panicked, is heard from the panic itself.
                if !process.died().is_cancelled() && !process.asked().is_cancelled() {
                    world.violation(
                        Rule::End,
                        format_args!("{} ended, and nobody had asked it to", process.name()),
                    );
                }
                if ended.is_cancelled() {
                    return;
                }
                sleep(world.draw(|chance| chance.millis(100..20_000))).await;
            }
        })
    }

    fn hands(&self) -> Hands {
        Hands {
            mutation: self.mutation,
            world: self.world.clone(),
            scene: self.scene.clone(),
            store: self.store.clone(),
            broker: self.broker.clone(),
            cache: self.cache.clone(),
        }
    }

    /// Orders the night, by as many dispatchers at once as there are.
    async fn dispatch_all(&self) -> RunId {
        let order = Order {
            selection: Selection::All,
            priority: Priority::Normal,
            as_of: Some(as_of()),
            deadline: Duration::from_mins(30),
            model_version: None,
            terms: night_terms(),
            again: false,
        };
        let names: Vec<String> =
            (1..=self.scene.dispatchers).map(|number| format!("dispatcher {number}")).collect();
        let orders = names.iter().map(|name| self.dispatch(name, &order));
        let runs = futures_util::future::join_all(orders).await;
        if runs.iter().any(|run| *run != runs[0]) {
            self.world
                .violation(Rule::OneOutcome, format_args!("dispatchers of one night made runs {runs:?}"));
        }
        runs[0]
    }

    fn urgent_order(&self) -> Order {
        Order {
            selection: Selection::Customers(self.scene.urgent.clone()),
            priority: Priority::Critical,
            as_of: Some(self.scene.urgent_as_of),
            deadline: Duration::from_mins(1),
            model_version: None,
            terms: urgent_terms(),
            again: false,
        }
    }

    /// Orders something, as often as it takes.
    async fn dispatch(&self, name: &str, order: &Order) -> RunId {
        for life in 1_u64.. {
            let process = self.world.process(format!("{name}.{life}"));
            let dispatching = self.hands().dispatch(process.clone(), order.clone());
            tokio::select! {
                biased;
                () = process.died().cancelled() => {}
                run = dispatching => if let Some(run) = run { return run },
            }
            sleep(self.world.draw(|chance| chance.millis(100..10_000))).await;
        }
        unreachable!("there are more lives than that")
    }

    async fn wait_until_over(&self, expected: &[Expected]) {
        let began = Instant::now();
        while !self.are_over(expected).await {
            if began.elapsed() > LONGEST {
                self.world.violation(Rule::End, format_args!("the night is not over after {LONGEST:?}"));
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn are_over(&self, expected: &[Expected]) -> bool {
        for expected in expected {
            let record = self.store.run(expected.run).await.expect("the store itself is never away");
            if record.is_some_and(|record| !record.state.is_over()) {
                return false;
            }
        }
        true
    }

    /// Waits for what follows a run's end: messages that had nothing left to do, workers that come back late.
    async fn wait_until_settled(&self, expected: &[Expected]) {
        let (began, queues) = (Instant::now(), self.broker.connect());
        let mut calm_since = Instant::now();
        loop {
            let waiting = queues.waiting().await;
            let open = checks::open_attempts(&self.store, expected.iter().map(|expected| expected.run)).await;
            let is_empty = Priority::ALL.iter().all(|&priority| waiting[priority] == Some(0));
            if !(self.world.storm_is_over() && is_empty && open == 0) {
                calm_since = Instant::now();
            }
            if calm_since.elapsed() > LONGEST_WAY {
                return;
            }
            if began.elapsed() > LONGEST {
                self.world.violation(Rule::End, format_args!(
                    "not settled after {LONGEST:?}: {waiting:?} messages wait, {open} attempts have no outcome"
                ));
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

/// What a process is given to reach the world with.
struct Hands {
    mutation: Option<Mutation>,
    world: World,
    scene: Scene,
    store: Memory,
    broker: Broker,
    cache: cache::Memory,
}

impl Hands {
    fn store(&self, process: &Process) -> RemoteStore<Memory> {
        RemoteStore {
            inner: self.store.clone(),
            world: self.world.clone(),
            process: process.clone(),
            work: self.scene.work,
        }
    }

    fn queue(&self, process: &Process) -> RemoteQueue {
        RemoteQueue {
            inner: self.broker.connect(),
            broker: self.broker.clone(),
            world: self.world.clone(),
            process: process.clone(),
            store: self.store.clone(),
        }
    }

    fn cache(&self, process: &Process) -> RemoteCache {
        RemoteCache { inner: self.cache.clone(), world: self.world.clone(), process: process.clone() }
    }

    async fn work(self: Arc<Self>, process: Process) {
        let faults: Vec<String> = [
            self.scene.poison.map(|customer| format!("panic={customer}")),
            (self.mutation == Some(Mutation::AckBeforeCommit)).then(|| "ack-first=0".into()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let faults: FaultPlan = match &faults[..] {
            [] => FaultPlan::default(),
            faults => faults.join(",").parse().expect("these are faults"),
        };
        let worker = Worker {
            store: self.store(&process),
            queue: self.queue(&process),
            cache: self.cache(&process),
            config: WorkerConfig {
                name: process.name().into(),
                lanes: vec![Lane::of_all_priorities(self.scene.slots)],
                lease: LEASE,
                retry: RetryPolicy::default(),
                compute_on: ComputeOn::TheCaller,
                delays: || Delays::reconnect().with_jitter(Jitter::None),
                grace_period: self.scene.grace_period,
                alive: Arc::new(|| {}),
                link: |_, _| {},
                faults,
            },
        };
        let asked = process.asked().clone();
        if let Err(error) = worker.run(asked.cancelled_owned()).await {
            self.world.violation(Rule::End, format_args!("{} ended: {error}", process.name()));
        }
    }

    async fn coordinate(self: Arc<Self>, process: Process) {
        let coordinator = Coordinator {
            store: self.store(&process),
            queue: self.queue(&process),
            cache: self.cache(&process),
            config: CoordinatorConfig {
                name: process.name().into(),
                policy: SupervisePolicy { lease_duration: LEASE, ..SupervisePolicy::default() },
                pass_interval: Duration::from_secs(1),
                leadership_lease: Duration::from_secs(10),
                alive: Arc::new(|| {}),
                unfinishable: Arc::new({
                    let world = self.world.clone();
                    move |run, error| world.violation(Rule::OneOutcome, format_args!("run {run}: {error}"))
                }),
            },
        };
        let asked = process.asked().clone();
        coordinator.run(asked.cancelled_owned()).await;
    }

    async fn dispatch(self, process: Process, order: Order) -> Option<RunId> {
        let chunk_customers = self.scene.chunk_customers;
        let dispatcher = Dispatcher {
            store: self.store(&process),
            queue: self.queue(&process),
            policy: PlanPolicy {
                chunk_customers,
                max_chunk_customers: 2 * chunk_customers,
                ..PlanPolicy::default()
            },
            trace_context: Vec::new,
        };
        match dispatcher.dispatch(&order).await {
            Ok(dispatched) => Some(dispatched.run),
            Err(error) => {
                self.world.tell(format_args!("{}: {error}", process.name()));
                None
            }
        }
    }
}

impl Scene {
    fn draw(chance: &mut super::chance::Chance) -> Self {
        let customers = chance.among(20..120);
        let someone = |chance: &mut super::chance::Chance| CustomerId(chance.among(1..customers + 1) as i64);
        let poison = someone(chance);
        let mut urgent: Vec<CustomerId> = (0..chance.among(0..6)).map(|_| someone(chance)).collect();
        urgent.sort_unstable();
        urgent.dedup();
        let moments =
            ["2026-06-29T12:00:00Z", "2026-06-30T12:00:00Z", "2026-07-01T00:00:00Z", "2026-07-01T12:00:00Z"]
                .map(moment);
        Self {
            customers,
            chunk_customers: chance.among(3..16) as u32,
            workers: chance.among(1..5),
            slots: chance.among(1..4) as u16,
            grace_period: chance.millis(500..10_000),
            coordinators: chance.among(1..3),
            dispatchers: chance.among(1..3),
            poison: chance.happens(0.2).then_some(poison),
            work: if chance.happens(0.5) { Duration::from_millis(10) } else { chance.millis(1_000..20_000) },
            urgent,
            urgent_as_of: moments[chance.among(0..4) as usize],
            is_cache_warm: chance.happens(0.8),
        }
    }
}

/// The moment that the night's run values for.
pub(super) fn as_of() -> Timestamp {
    moment("2026-07-01T00:00:00Z")
}

/// The moment that the run of the night before valued for.
fn as_of_before() -> Timestamp {
    moment("2026-06-30T00:00:00Z")
}

fn moment(text: &str) -> Timestamp {
    text.parse().expect("the constant is a moment")
}

fn terms_before() -> ValueTerms {
    ValueTerms::new(0.1, 0.3, 0.0, 0.7).expect("the constants are in their domains")
}

fn night_terms() -> ValueTerms {
    ValueTerms::default()
}

fn urgent_terms() -> ValueTerms {
    ValueTerms::new(0.15, 0.5, 0.0, 0.5).expect("the constants are in their domains")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_nobody_waits_for_is_a_violation_and_one_on_purpose_is_none() {
        let report = live(7, async |world| {
            for text in ["a customer on purpose", "a slot"] {
                let _ = tokio::spawn(async move { panic!("{text}") }).await;
            }
            world.tell("it goes on");
        });

        assert_eq!(report.violations.len(), 1, "{:?}", report.violations);
        assert_eq!(report.violations[0].rule, Rule::NoPanic);
        assert!(report.violations[0].what.contains("a slot"), "{:?}", report.violations);
        assert!(report.story[0].ends_with("it goes on"), "{:?}", report.story);
    }

    #[test]
    fn a_panic_of_the_harness_is_reported_with_its_seed_and_what_happened_before() {
        let report = live(7, async |world| {
            world.tell("it begins");
            panic!("the harness is wrong");
        });

        assert_eq!(report.seed, 7);
        assert!(report.violations[0].what.contains("the harness is wrong"), "{:?}", report.violations);
        assert!(report.story[0].ends_with("it begins"), "{:?}", report.story);
    }
}
