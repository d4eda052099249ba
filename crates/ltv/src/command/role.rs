//! What a role looks at before it begins: its servers.

use cache::{Cache, Redis};
use process::operations::Check;
use queue::{Connection as _, RabbitMq};
use resilience::Trouble;
use store::postgres::{Duty, Postgres, SourceStanding};

use crate::cli::{CacheArgs, DatabaseArgs};

/// Connections that a role has beside those to the store: to publish, to consume, to ask the broker; two to Redis.
pub(crate) const BESIDE_THE_STORE: usize = 5;

/// What a role cannot do its work without, and Redis, which it can.
pub(crate) fn checks(store: &Postgres, queue: &RabbitMq, cache: &Redis) -> Vec<Check> {
    let (store, queue, cache) = (store.clone(), queue.clone(), cache.clone());
    vec![
        Check::required("postgres", move || {
            let store = store.clone();
            async move { store.check_writable().await.map_err(|error| error.to_string()) }
        }),
        Check::required("rabbitmq", move || {
            let is_ready = queue.ready();
            async move { is_ready.then_some(()).ok_or_else(|| "not connected".to_owned()) }
        }),
        Check::optional("redis", move || {
            let cache = cache.clone();
            async move { cache.check().await.map_err(|error| error.to_string()) }
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

/// Looks at the servers once. One that is away is waited for, and said to be away; a schema that is not the one
/// this program was made for is an error, and so is a right that is missing.
pub(crate) async fn look_around(
    duty: Duty,
    (store, database): (&Postgres, &DatabaseArgs),
    (cache, redis): (&Redis, &CacheArgs),
) -> anyhow::Result<()> {
    match fits(store, duty).await {
        Ok(()) => {}
        Err(error) if error.is_transient() => tracing::warn!(
            url = %database.database_url,
            %error,
            "waiting for PostgreSQL: start it (`scripts/stack up`), or set LTV_DATABASE_URL"
        ),
        Err(error) => return Err(error.into()),
    }
    if let Err(error) = cache.check().await {
        tracing::warn!(
            url = %redis.redis_url,
            %error,
            "the night goes on without Redis: start it (`scripts/stack up`), or set LTV_REDIS_URL"
        );
    }
    Ok(())
}

/// Whether the database and what is allowed there do for the duty.
async fn fits(store: &Postgres, duty: Duty) -> store::Result<()> {
    store.check_rights(duty).await?;
    store.check_schema().await
}
