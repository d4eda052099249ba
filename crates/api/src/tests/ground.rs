//! The suite's customers in memory, and what was said of some of them.

use batch::{CustomerId, RequestId};
use store::memory::Memory;
use store::promises::{Ground, Happening, accounts, as_of, models, results};
use store::{
    Asked, CommitOutcome, ModelVersionId, ModelVersions, NewPromotion, NewRequest, RequestBegin,
    RequestClaim, Requests, ValueTerms,
};

use super::*;

/// A store in memory under a clock that stands still.
pub(crate) struct Paused(pub(crate) Memory);

impl Ground for Paused {
    type Store = Memory;

    fn store(&self) -> &Memory {
        &self.0
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn set_back(&self, time: Duration) {
        self.0.set_back(time);
    }

    async fn happens(&self, Happening { customer, at, .. }: Happening) {
        self.0.happens(customer, at);
    }
}

/// A store with the suite's customers, and so many model versions, of which the last is in force.
pub(crate) async fn with_models(number: usize) -> Memory {
    let store = Memory::new(accounts(), as_of());
    for _ in 0..number {
        save(&store).await;
    }
    store
}

pub(crate) async fn save(store: &Memory) -> ModelVersionId {
    store.save_model_version(&models(), Some(&NewPromotion::default())).await.unwrap()
}

/// Has a question about customers answered.
pub(crate) async fn answered(store: &Memory, customers: &[i64]) -> RequestId {
    let customers: Vec<_> = customers.iter().copied().map(CustomerId).collect();
    let new = NewRequest {
        asked_by: "a test".into(),
        key: None,
        fingerprint: Vec::new(),
        customers: customers.clone(),
        lasts: Duration::from_mins(1),
        trace: Vec::new(),
        is_waited_for: true,
    };
    let Asked::New(request) = store.ask(&new).await.unwrap() else { panic!("there was no key") };
    let (lease, terms) = (Duration::from_secs(5), ValueTerms::default());
    let claim = RequestClaim { worker: "worker", lease, is_repeat: false, max_failures: 3, terms };
    let RequestBegin::Assigned(assignment) = store.begin_request(request, &claim).await.unwrap() else {
        panic!("it waits")
    };
    let committed = store.answer_request(assignment.attempt, &results(&customers)).await.unwrap();
    assert_eq!(committed, CommitOutcome::Committed);
    request
}
