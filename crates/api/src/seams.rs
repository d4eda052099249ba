//! The servers that an api works over, as one type parameter.

use std::marker::PhantomData;

/// Which store, queue and cache. A resource that needs another trait of the store's adds it to [`ApiStore`].
pub trait Seams: Clone + Send + Sync + 'static {
    /// The truth.
    type Store: ApiStore;
    /// Messages.
    type Queue: ApiQueue;
    /// What may be lost.
    type Cache: cache::Cache;
}

/// What an api asks of the store.
pub trait ApiStore:
    store::Archive
    + store::Exports
    + store::Keys
    + store::ModelVersions
    + store::Moves
    + store::Planning
    + store::Publishing
    + store::Requests
    + store::Supervision
    + store::Values
{
}

impl<S> ApiStore for S where
    S: store::Archive
        + store::Exports
        + store::Keys
        + store::ModelVersions
        + store::Moves
        + store::Planning
        + store::Publishing
        + store::Requests
        + store::Supervision
        + store::Values
{
}

/// What an api asks of the queue.
pub trait ApiQueue: queue::Chunks + queue::DeadLetters + queue::Requests {}

impl<Q: queue::Chunks + queue::DeadLetters + queue::Requests> ApiQueue for Q {}

/// These three.
pub struct Over<S, Q, C>(PhantomData<S>, PhantomData<Q>, PhantomData<C>);

impl<S, Q, C> Clone for Over<S, Q, C> {
    fn clone(&self) -> Self {
        Self(PhantomData, PhantomData, PhantomData)
    }
}

impl<S: ApiStore, Q: ApiQueue + Sync, C: cache::Cache> Seams for Over<S, Q, C> {
    type Store = S;
    type Queue = Q;
    type Cache = C;
}
