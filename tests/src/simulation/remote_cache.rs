//! The cache as a process reaches it: over a network, and as the world allows.

use batch::{CustomerId, Progress, RunId};
use cache::{Cache, CachedValue, Error, Memory, Valued, VisibleRuns};

use super::world::{Fault, Process, Server, World};

/// A process's handle to the cache.
#[derive(Clone)]
pub(super) struct RemoteCache {
    pub(super) inner: Memory,
    pub(super) world: World,
    pub(super) process: Process,
}

impl RemoteCache {
    async fn call<T>(&self, what: &str, effect: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let away = |why: String| Error::Unavailable(format!("{what}: {why}"));
        let fate = self.world.before(&self.process, Server::Cache, what).await.map_err(away)?;
        if self.world.strikes(Fault::Flush, "the cache") {
            self.inner.empty();
        }
        let answer = effect.await;
        self.world.after(&self.process, fate).await.map_err(away)?;
        answer
    }
}

impl Cache for RemoteCache {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        self.call("put values", self.inner.put_values(run, values)).await
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        self.call("put visible runs", self.inner.put_visible(visible)).await
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        self.call("read visible runs", self.inner.visible()).await
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        self.call("read a value", self.inner.value(customer)).await
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        self.call("put progress", self.inner.put_progress(run, progress)).await
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        self.call("read progress", self.inner.progress(run)).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.call("check", self.inner.check()).await
    }
}
