//! What a role has around its work: its servers, and which installation it works for.
//!
//! # Failure by failure
//!
//! * **PostgreSQL is away at the start.** Without it a role does not know whose queues and keys are its own. It says so
//!   once, and waits; it is alive and not ready meanwhile.
//! * **The installation is renewed while it works,** or the database is exchanged for another one under it. It asks every
//!   5 s, says so as an error, drains like after SIGTERM and ends with exit code 1: whoever watches over it starts it
//!   again, under the new identity. An answer that does not come is no other answer.
//! * **It is asked to stop while the store hangs.** No question that is under way is waited for: neither the one that it
//!   begins with nor the one that it watches with.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::bail;
use batch::InstallationId;
use cache::{Cache, Redis};
use process::Surroundings;
use process::operations::Check;
use queue::{Connection as _, RabbitMq};
use resilience::{Delays, Trouble};
use store::postgres::{Duty, Postgres, SourceStanding};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cli::{BrokerArgs, CacheArgs, DatabaseArgs};
use crate::config;

/// Connections that a role has beside those to the store: to publish, to consume, to ask the broker, and for each of the
/// first two one that declares; two to Redis.
pub(crate) const BESIDE_THE_STORE: usize = 7;

/// Connections that a worker has for each further lane beside those: to consume, and one that declares.
pub(crate) const TO_CONSUME: usize = 2;

/// How often a role asks whether it still works for the same installation.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What a role reaches beside the store, once it knows which installation it works for.
#[derive(Clone, Default)]
pub(crate) struct Servers {
    queue: Arc<OnceLock<RabbitMq>>,
    cache: Arc<OnceLock<Redis>>,
}

const NOT_YET: &str = "waits for PostgreSQL to say which installation this is";

/// What a role cannot do its work without, and Redis, which it can.
pub(crate) fn checks(store: &Postgres, servers: &Servers) -> Vec<Check> {
    let (store, Servers { queue, cache }) = (store.clone(), servers.clone());
    vec![
        Check::required("postgres", move || {
            let store = store.clone();
            async move { store.check_writable().await.map_err(|error| error.to_string()) }
        }),
        Check::required("rabbitmq", move || {
            let ready = match queue.get() {
                None => Err(NOT_YET.to_owned()),
                Some(queue) => queue.trouble().map_or(Ok(()), Err),
            };
            async move { ready }
        }),
        Check::optional("redis", move || {
            let cache = cache.get().cloned();
            async move {
                let Some(cache) = cache else { return Err(NOT_YET.to_owned()) };
                cache.check().await.map_err(|error| error.to_string())
            }
        }),
    ]
}

/// What the role does again and again, and cannot be ready while it does not go.
pub(crate) fn untroubled(name: &'static str, trouble: &Trouble) -> Check {
    let trouble = trouble.clone();
    Check::required(name, move || std::future::ready(trouble.reason().map_or(Ok(()), Err)))
}

/// The server that histories are read from, if it is not the fleet's own.
pub(crate) fn check_of_source(store: &Postgres) -> Option<Check> {
    let source = store.source_server()?.clone();
    Some(Check::required("source", move || {
        let source = source.clone();
        async move { source.check().await.map_err(|error| error.to_string()) }
    }))
}

/// Says what the server is that histories are read from, if it is not the fleet's own, and how it stands. One that is
/// away or lags behind is waited for.
pub(crate) async fn look_at_source(store: &Postgres, database: &DatabaseArgs) {
    let Some(url) = &database.source_url else { return };
    match store.look_at_source().await {
        Ok(None) => {}
        Ok(Some(SourceStanding::Complete(standing))) => {
            tracing::info!(%url, standing, "histories are read from elsewhere");
        }
        Ok(Some(SourceStanding::Behind(standing))) => {
            tracing::warn!(%url, standing, "histories are read from elsewhere, when all that a run needs is there");
        }
        Err(error) => tracing::warn!(%url, %error, "waiting for the server that histories are read from"),
    }
}

/// Asks the store which installation this is, for as long as it is away; none if the role is asked to stop before. A
/// schema that is not the one this program was made for is an error, and so is a right that is missing.
pub(crate) async fn installation(
    duty: Duty,
    (store, database): (&Postgres, &DatabaseArgs),
    surroundings: &Surroundings,
) -> anyhow::Result<Option<InstallationId>> {
    let alive = surroundings.alive.ticker();
    let (mut delays, mut has_told) = (Delays::reconnect(), false);
    loop {
        alive();
        let identified = tokio::select! {
            biased;
            () = surroundings.stop.cancelled() => return Ok(None),
            identified = identify(store, duty) => identified,
        };
        match identified {
            Ok(installation) => {
                tracing::info!(%installation, "working for");
                return Ok(Some(installation));
            }
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(error) if !has_told => {
                has_told = true;
                tracing::warn!(
                    url = %database.database_url,
                    %error,
                    "waiting for PostgreSQL: start it (`scripts/stack up`), or set LTV_DATABASE_URL"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            biased;
            () = surroundings.stop.cancelled() => return Ok(None),
            () = delays.pause() => {}
        }
    }
}

async fn identify(store: &Postgres, duty: Duty) -> store::Result<InstallationId> {
    fits(store, duty).await?;
    store.installation().await
}

impl Servers {
    /// Connects to broker and cache, as this installation. Either may be away.
    pub(crate) async fn connect(
        &self,
        (broker, redis): (&BrokerArgs, &CacheArgs),
        role: &'static str,
        installation: InstallationId,
    ) -> anyhow::Result<(RabbitMq, Redis)> {
        let queue = config::queue(broker, role, installation).await?;
        let cache = config::cache(redis, role, installation).await?;
        if let Err(error) = cache.check().await {
            tracing::warn!(
                url = %redis.redis_url,
                %error,
                "the night goes on without Redis: start it (`scripts/stack up`), or set LTV_REDIS_URL"
            );
        }
        tokio::spawn(tell_of_redis(cache.clone(), redis.redis_url.to_string()));
        Ok((self.queue.get_or_init(|| queue).clone(), self.cache.get_or_init(|| cache).clone()))
    }
}

/// Says what Redis refuses, and whether it drops keys by itself, once it is there.
async fn tell_of_redis(cache: Redis, url: String) {
    for remark in cache.look().await.remarks() {
        tracing::warn!(url, "{remark}");
    }
}

/// Watches whether the installation stays the one that a role works for.
pub(crate) struct Watch {
    ours: InstallationId,
    stop: CancellationToken,
    task: JoinHandle<Option<InstallationId>>,
}

impl Watch {
    /// Stops the role when the installation is another one.
    pub(crate) fn start(store: &Postgres, ours: InstallationId, stop: &CancellationToken) -> Self {
        let store = store.clone();
        let ask = move || {
            let store = store.clone();
            async move { store.installation().await }
        };
        Self::over(ours, stop, ask)
    }

    /// Asks for it every few seconds.
    fn over<Asked>(
        ours: InstallationId,
        stop: &CancellationToken,
        mut ask: impl FnMut() -> Asked + Send + 'static,
    ) -> Self
    where
        Asked: Future<Output = store::Result<InstallationId>> + Send,
    {
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            loop {
                let asked = async {
                    sleep(ASK_EVERY).await;
                    ask().await
                };
                let answer = tokio::select! {
                    () = stopping.cancelled() => return None,
                    answer = asked => answer,
                };
                if let Ok(now) = answer
                    && now != ours
                {
                    tracing::error!(installation = %ours, %now, "the installation was renewed: stopping");
                    stopping.cancel();
                    return Some(now);
                }
            }
        });
        Self { ours, stop: stop.clone(), task }
    }

    /// Ends with the role: an error if that was why it stopped.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        if let Some(now) = self.task.await? {
            bail!("it worked for installation {}, which is {now} now: start it again", self.ours);
        }
        Ok(())
    }
}

/// Whether the database and what is allowed there do for the duty.
async fn fits(store: &Postgres, duty: Duty) -> store::Result<()> {
    store.check_rights(duty).await?;
    store.check_schema().await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const OURS: InstallationId = InstallationId(1);

    #[tokio::test(start_paused = true)]
    async fn a_role_that_ends_waits_for_no_answer_about_the_installation() {
        let stop = CancellationToken::new();
        let watch = Watch::over(OURS, &stop, pending::<store::Result<InstallationId>>);
        sleep(2 * ASK_EVERY).await;
        let began = tokio::time::Instant::now();

        let ended = tokio::time::timeout(ASK_EVERY, watch.end()).await;

        assert!(matches!(ended, Ok(Ok(()))));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_whose_installation_is_another_one_stops_and_says_so() {
        let stop = CancellationToken::new();
        let watch = Watch::over(OURS, &stop, async || Ok(InstallationId(2)));

        stop.cancelled().await;

        assert!(watch.end().await.is_err());
    }
}
