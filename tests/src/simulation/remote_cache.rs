//! The cache as a process reaches it: over a network, and as the world allows.

use batch::{CustomerId, Progress, RunId};
use cache::{Cache, CachedValue, Error, Memory, Valued, VisibleRuns};

use super::call::Call;
use super::fault::Fault;
use super::process::Process;
use super::world::World;

/// A run that no store of a night ever has.
pub(super) const FOREIGN_RUN: RunId = RunId(i64::MAX);

/// A process's handle to the cache.
#[derive(Clone)]
pub(super) struct RemoteCache {
    pub(super) inner: Memory,
    pub(super) world: World,
    pub(super) process: Process,
    /// Leaves a list alone that claims to be newer than the store's, whoever made it.
    pub(super) believes_newer: bool,
}

impl RemoteCache {
    async fn call<T>(&self, call: Call, effect: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let away = |reason: String| Error::Unavailable(format!("{call}: {reason}"));
        let fate =
            self.world.before(&self.process, call).await.map_err(|obstacle| away(obstacle.reason()))?;
        if self.world.strikes(Fault::Flush, "the cache") {
            self.inner.empty();
            self.world.flushed();
        }
        if self.world.strikes(Fault::ForeignList, "the cache") {
            let version = self.inner.visible().await?.map_or(0, |held| held.version) + 1_000;
            self.inner.put_visible(&VisibleRuns { version, runs: vec![FOREIGN_RUN] }).await?;
        }
        let answer = effect.await;
        self.world.after(&self.process, fate).await.map_err(away)?;
        answer
    }
}

/// What no role asks of a cache is answered at once.
impl Cache for RemoteCache {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        let effect = async {
            if !self.world.strikes(Fault::PartialPut, &self.process) {
                return self.inner.put_values(run, values).await;
            }
            let taken = self.world.draw(|chance| chance.among(0..values.len() as u64 + 1));
            self.inner.put_values(run, &values[..taken as usize]).await?;
            Err(Error::Unavailable("put values: connection closed".into()))
        };
        let put = self.call(Call::PutValues, effect).await;
        if put.is_err() {
            self.world.not_cached(&self.process, run);
        }
        put
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        self.call(Call::PutVisible, self.inner.put_visible(visible)).await
    }

    async fn forget_visible(&self, held: &VisibleRuns) -> Result<bool, Error> {
        self.call(Call::ForgetVisible, async {
            if self.believes_newer { Ok(true) } else { self.inner.forget_visible(held).await }
        })
        .await
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        self.call(Call::ReadVisible, self.inner.visible()).await
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        self.call(Call::ReadValue, self.inner.value(customer)).await
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        self.call(Call::PutProgress, self.inner.put_progress(run, progress)).await
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        self.inner.progress(run).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.inner.check().await
    }
}
