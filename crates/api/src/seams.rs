//! The servers that an api works over, as one type parameter.

use std::marker::PhantomData;

/// Which store, queue and cache. A resource that needs another trait of the store's adds it here.
pub trait Seams: Clone + Send + Sync + 'static {
    /// The truth.
    type Store: store::Archive
        + store::ModelVersions
        + store::Planning
        + store::Publishing
        + store::Requests
        + store::Values;
    /// Messages.
    type Queue: queue::Chunks + queue::DeadLetters + queue::Requests;
    /// What may be lost.
    type Cache: cache::Cache;
}

/// These three.
pub struct Over<S, Q, C>(PhantomData<fn() -> (S, Q, C)>);

impl<S, Q, C> Clone for Over<S, Q, C> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<S, Q, C> Seams for Over<S, Q, C>
where
    S: store::Archive
        + store::ModelVersions
        + store::Planning
        + store::Publishing
        + store::Requests
        + store::Values,
    Q: queue::Chunks + queue::DeadLetters + queue::Requests,
    C: cache::Cache,
{
    type Store = S;
    type Queue = Q;
    type Cache = C;
}
