//! The contract, and what goes wrong on request.

use model::Grade;

use super::*;
use crate::contract::Subject;

crate::contract_tests! { tokio::test(start_paused = true), InMemory::new() }

/// The cache under the contract, and what becomes of every call to it.
struct InMemory {
    cache: Memory,
    trouble: Arc<Mutex<OnCall>>,
}

/// Answers always the same, until that is changed.
struct Always(Arc<Mutex<OnCall>>);

impl Faults for Always {
    fn on_call(&mut self, _: Call) -> OnCall {
        *self.0.lock().unwrap()
    }
}

impl InMemory {
    fn new() -> Self {
        let trouble = Arc::new(Mutex::new(OnCall::Serve));
        Self { cache: Memory::with_faults(Always(Arc::clone(&trouble))), trouble }
    }

    fn meet(&self, trouble: OnCall) {
        *self.trouble.lock().unwrap() = trouble;
    }
}

impl Subject for InMemory {
    type Cache = Memory;

    async fn connect(&self) -> Memory {
        self.cache.clone()
    }

    async fn empty(&self) {
        self.cache.empty();
    }

    async fn go_away(&self) {
        self.meet(OnCall::Refuse);
    }

    async fn hang(&self) {
        self.meet(OnCall::TimeOut { written: 0 });
    }

    async fn come_back(&self) {
        self.meet(OnCall::Serve);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_answered_has_written_as_much_as_the_fault_says() {
    let subject = InMemory::new();
    let cache = subject.connect().await;
    let visible = VisibleRuns { version: 1, runs: vec![RunId(1)] };
    let start = Instant::now();

    subject.meet(OnCall::TimeOut { written: 2 });
    let results = [
        cache.put_values(RunId(1), &[valued(1), valued(2), valued(3)]).await,
        cache.put_visible(&visible).await.map(drop),
        cache.put_progress(RunId(1), &Progress::default()).await,
    ];
    assert_eq!(start.elapsed().as_millis() / 10, 3 * LIMIT.as_millis() / 10);
    subject.meet(OnCall::TimeOut { written: 0 });
    cache.put_progress(RunId(2), &Progress::default()).await.unwrap_err();
    subject.meet(OnCall::Serve);

    for result in results {
        assert!(matches!(result, Err(Error::TimedOut(_))), "{result:?}");
    }
    let mut found = Vec::new();
    for customer in 1..=3 {
        found.push(cache.value(CustomerId(customer)).await.unwrap().is_some());
    }
    assert_eq!(found, [true, true, false]);
    assert_eq!(cache.visible().await, Ok(Some(visible)));
    assert_eq!(cache.progress(RunId(1)).await, Ok(Some(Progress::default())));
    assert_eq!(cache.progress(RunId(2)).await, Ok(None));
}

#[tokio::test]
async fn what_is_garbled_is_malformed_and_stays_where_it_is() {
    let subject = InMemory::new();
    let cache = subject.connect().await;
    cache.put_progress(RunId(1), &Progress::default()).await.unwrap();

    subject.meet(OnCall::Garble);
    let error = cache.progress(RunId(1)).await.unwrap_err();
    subject.meet(OnCall::Serve);

    assert_eq!(error.to_string(), "cache in memory: progress: not ours");
    assert!(!error.is_transient());
    assert_eq!(cache.progress(RunId(1)).await, Ok(Some(Progress::default())));
}

#[tokio::test]
async fn a_call_that_finds_it_emptied_is_answered_all_the_same() {
    let subject = InMemory::new();
    let cache = subject.connect().await;
    cache.put_progress(RunId(1), &Progress::default()).await.unwrap();

    subject.meet(OnCall::Empty);

    assert_eq!(cache.progress(RunId(1)).await, Ok(None));
}

fn valued(number: i64) -> Valued {
    let value = CachedValue {
        value_minor: number,
        value_36_minor: number,
        historic_minor: 0,
        between_80: None,
        expected_purchases: 1.0,
        p_alive: None,
        grade: Grade::A,
    };
    Valued { customer: CustomerId(number), value }
}
