//! One simulated night: how it goes, how it must end.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use batch::{CustomerId, Priority, RunId, RunState};
use dispatcher::Order;
use jiff::Timestamp;
use model::ValueTerms;
use queue::Chunks as _;
use queue::memory::Broker;
use store::memory::Memory;
use store::{Archive, DecisionKind, NewDecision, Selection};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::asker::Heard;
use super::base::{Customers, Ordered, store_over};
use super::checks::{self, Expected};
use super::fault::{Deaths, Faults};
use super::hands::Hands;
use super::mutation::Mutation;
use super::panics;
use super::process::Process;
use super::readers::Readers;
use super::remote_queue::{OURS, Weather};
use super::rule::{Rule, Violation};
use super::scene::{Scene, as_of, as_of_before, night_terms, terms_before, urgent_terms};
use super::source::{Source, limits};
use super::world::World;
use super::yesterday;

/// Longer than anything is on its way: a message, a process that stands still.
const LONGEST_WAY: Duration = Duration::from_mins(3);

/// How long a night may take, the storm included.
const LONGEST: Duration = Duration::from_mins(50);

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
    source: Source,
    seed: u64,
    heard: Heard,
}

impl Night {
    async fn new(seed: u64, mutation: Option<Mutation>, world: World) -> Self {
        let scene = world.draw(Scene::draw);
        world.tell(format_args!("seed {seed}: {scene:?}"));
        let base = Customers::new(seed, scene.customers, scene.apart);
        let store = store_over(base.clone()).await;
        let store = match mutation.and_then(Mutation::of_store) {
            Some(broken) => store.with_mutation(broken),
            None => store,
        };
        let broker = Broker::with_faults(Weather(world.clone())).of(OURS);
        let broker = match mutation {
            Some(Mutation::AnybodysMessages) => broker.believing_anybody(),
            _ => broker,
        };
        let cache = cache::Memory::new();
        let cache = match mutation.and_then(Mutation::of_cache) {
            Some(broken) => cache.with_mutation(broken),
            None => cache,
        };
        let source = Source::new(scene.source_emptied_after);
        let heard = Heard::default();
        Self { mutation, world, scene, store, broker, cache, base, source, seed, heard }
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
            let looked_at = self.base.ids().into_iter().take(3).chain(self.scene.urgent.iter().copied());
            Readers::new(world, store, self.cache.clone(), orders.clone(), looked_at.collect())
        };
        let watch =
            tokio::spawn(checks::watch(self.world.clone(), self.store.clone(), readers(), run_before));
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

        lives.push(self.keep_alive("asker".into(), &ended, |night, process| Box::pin(night.ask(process))));
        let mut expected = vec![self.expected(self.dispatch_all().await, tonight)];
        if !self.scene.urgent.is_empty() {
            let run = self.dispatch("urgent dispatcher", &self.urgent_order()).await;
            expected.push(self.expected(run, urgent));
        }
        self.wait_until_over(&expected).await;
        self.wait_until_answered().await;
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
        let before = Expected { run: run_before, ordered: before, poison: None, may_be_emptied: false };
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
        let may_be_emptied = self.scene.source_emptied_after.is_some();
        Expected { run, ordered, poison: self.scene.poison, may_be_emptied }
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
            source: self.source.clone(),
            seed: self.seed,
            heard: self.heard.clone(),
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
            limits: limits(),
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
            limits: limits(),
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
            self.decide(expected).await;
            if began.elapsed() > LONGEST {
                self.world.violation(Rule::End, format_args!("the night is not over after {LONGEST:?}"));
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until every question has its answer, or can have none.
    async fn wait_until_answered(&self) {
        let (began, questions) = (Instant::now(), self.scene.questions.len());
        while self.heard.over() < questions {
            if began.elapsed() > LONGEST {
                let over = self.heard.over();
                let what = format_args!("of {questions} questions {over} are over after {LONGEST:?}");
                self.world.violation(Rule::End, what);
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

    /// Has a person decide about runs that are held, sooner or later.
    async fn decide(&self, expected: &[Expected]) {
        for run in expected.iter().map(|expected| expected.run) {
            let record = self.store.run(run).await.expect("the store itself is never away");
            let is_held = record.is_some_and(|record| record.state == RunState::Held);
            if !is_held || !self.world.draw(|chance| chance.happens(0.05)) {
                continue;
            }
            let is_to_be_shown = self.world.draw(|chance| chance.happens(0.5));
            let kind = if is_to_be_shown { DecisionKind::Release } else { DecisionKind::Reject };
            let new = NewDecision { kind, by: Some("a person".into()), reason: "it was looked at".into() };
            let is_decided = self.store.decide(run, &new).await.expect("the store itself is never away");
            self.world.tell(format_args!("a person says {kind:?} of run {run}: {is_decided}"));
        }
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
