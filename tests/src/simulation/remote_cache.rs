//! The cache as a process reaches it: over a network, and as the world allows.

use std::time::Duration;

use batch::{CustomerId, Progress, RunId};
use cache::memory::Key;
use cache::{Cache, CachedValue, Error, Holds, Memory, Valued, VisibleRuns};
use tokio::time::sleep;

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
        self.forget();
        if self.world.strikes(Fault::ForeignList, "the cache") {
            let version = self.inner.visible().await?.map_or(0, |held| held.version) + 1_000;
            self.inner.put_visible(&VisibleRuns { version, runs: vec![FOREIGN_RUN] }).await?;
        }
        let answer = effect.await;
        self.world.after(&self.process, fate).await.map_err(away)?;
        answer
    }
}

impl RemoteCache {
    /// Loses what is lost now: everything, and perhaps once more while it is written anew; or what stands under one name.
    fn forget(&self) {
        let is_twice = self.world.strikes(Fault::TwoFlushes, "the cache");
        if is_twice || self.world.strikes(Fault::Flush, "the cache") {
            self.inner.empty();
            self.world.flushed();
        }
        if is_twice {
            let (again, after) = (self.clone(), self.world.draw(|chance| chance.millis(0..6_000)));
            tokio::spawn(async move {
                sleep(after).await;
                again.inner.empty();
                again.world.flushed();
            });
        }
        let keys = self.inner.keys();
        if !keys.is_empty() && self.world.strikes(Fault::Eviction, "the cache") {
            let key = keys[self.world.draw(|chance| chance.among(0..keys.len() as u64)) as usize];
            self.world.tell(format_args!("{key:?} is lost"));
            self.inner.lose(key);
            match key {
                Key::Visible | Key::Progress(_) => self.world.flushed(),
                Key::Values(..) | Key::Members(_) => self.world.evicted(),
            }
        }
    }

    /// Draws how much of so many parts arrives, and how long after the rest does, if that is not lost: none if all goes
    /// well.
    fn torn(&self, call: Call, parts: usize) -> Option<(usize, Option<Duration>)> {
        let is_late = self.world.strikes_call(Fault::LatePut, call, &self.process);
        if !is_late && !self.world.strikes_call(Fault::PartialPut, call, &self.process) {
            return None;
        }
        // As often as not all but the last, which is what the rest is told by.
        let all_but_last = parts.saturating_sub(1) as u64;
        let taken = self
            .world
            .draw(|chance| if chance.happens(0.5) { all_but_last } else { chance.among(0..parts as u64 + 1) })
            as usize;
        Some((taken, is_late.then(|| self.world.draw(|chance| chance.millis(0..60_000)))))
    }
}

fn closed() -> Error {
    Error::Unavailable("connection closed".into())
}

/// What no role asks of a cache is answered at once.
impl Cache for RemoteCache {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        let effect = async {
            let Some((taken, after)) = self.torn(Call::PutValues, values.len()) else {
                return self.inner.put_values(run, values).await;
            };
            let (now, later) = values.split_at(taken);
            self.inner.put_values(run, now).await?;
            if let Some(after) = after {
                let (cache, later) = (self.inner.clone(), later.to_vec());
                tokio::spawn(async move {
                    sleep(after).await;
                    let _ = cache.put_values(run, &later).await;
                });
            }
            Err(closed())
        };
        let put = self.call(Call::PutValues, effect).await;
        if put.is_err() {
            self.world.not_cached(&self.process, run);
        }
        put
    }

    async fn put_members(&self, run: RunId, customers: &[CustomerId]) -> Result<(), Error> {
        let effect = async {
            let Some((taken, after)) = self.torn(Call::PutMembers, Memory::parts_of_members(customers))
            else {
                return self.inner.put_members(run, customers).await;
            };
            self.inner.put_a_part_of_members(run, customers, ..taken);
            if let Some(after) = after {
                let (cache, world, customers) = (self.inner.clone(), self.world.clone(), customers.to_vec());
                let is_lost = self.world.draw(|chance| chance.happens(0.8));
                tokio::spawn(async move {
                    sleep(after).await;
                    if is_lost {
                        // The values too, and nothing of an older run: what is not told of as lost would show it.
                        let is_of_run =
                            |key: &Key| matches!(key, Key::Values(of, _) | Key::Members(of) if *of == run);
                        cache.keys().into_iter().filter(is_of_run).for_each(|key| cache.lose(key));
                        world.evicted();
                    }
                    cache.put_a_part_of_members(run, &customers, taken..);
                });
            }
            Err(closed())
        };
        self.call(Call::PutMembers, effect).await
    }

    async fn holds_all(&self, run: RunId) -> Result<Holds, Error> {
        self.call(Call::HoldsAll, self.inner.holds_all(run)).await
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        self.call(Call::PutVisible, self.inner.put_visible(visible)).await
    }

    async fn replace_visible(&self, held: &VisibleRuns, with: &VisibleRuns) -> Result<bool, Error> {
        self.call(Call::ReplaceVisible, async {
            if self.believes_newer { Ok(true) } else { self.inner.replace_visible(held, with).await }
        })
        .await
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        self.call(Call::ReadVisible, self.inner.visible()).await
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        self.inner.value(customer).await
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
