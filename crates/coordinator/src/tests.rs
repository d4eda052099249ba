//! A coordinator on seams in memory, over runs whose work is done.

use std::sync::Mutex;

use queue::memory::Broker;
use store::contract::{Ground, base, chunk, done, observation, published, with_a_customer_twice};
use store::memory::{Accounts, Customer, Memory as Store};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;

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

    let why = "finish a run: customer 102 has two values";
    assert_eq!(*told.lock().unwrap(), [(senseless, why.to_owned()), (senseless, why.to_owned())]);
    assert!(!night.is_finished(senseless).await);
    assert!(night.is_finished(other).await);
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
    cache: cache::Memory,
}

impl Ground for Paused {
    type Store = Store;

    fn store(&self) -> &Store {
        &self.store
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

impl Paused {
    fn new() -> Self {
        let mut accounts = Accounts::new(observation());
        for known in base() {
            let customer = Customer {
                id: known.id,
                external_id: &known.external_id,
                segment: known.segment,
                acquired_at: known.acquired_at,
            };
            accounts.push(customer, &known.account()).expect("the base is in order");
        }
        Self { store: Store::new(accounts, store::contract::as_of()), cache: cache::Memory::new() }
    }

    fn coordinator(&self) -> Coordinator<Store, queue::memory::Memory, cache::Memory> {
        Coordinator {
            store: self.store.clone(),
            queue: Broker::new().connect(),
            cache: self.cache.clone(),
            config: config(),
        }
    }

    async fn is_finished(&self, run: RunId) -> bool {
        let record = self.store.run(run).await.expect("the store answers").expect("the run is there");
        record.state == batch::RunState::Finished
    }
}

fn config() -> CoordinatorConfig {
    CoordinatorConfig {
        name: "coordinator".into(),
        policy: SupervisePolicy::default(),
        pass_interval: Duration::from_secs(1),
        leadership_lease: Duration::from_secs(10),
        alive: Arc::new(|| {}),
        unfinishable: Arc::new(|_, _| {}),
    }
}
