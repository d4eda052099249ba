//! Calls that need a lock against all others.
//!
//! To finish a run is to alter its table, and to cancel it is to drop it: nobody may read the table meanwhile. Whoever
//! does (a backup, above all, which holds every table it will come to until it has read the last one) keeps the call
//! waiting, and everybody who comes to the table after the call waits behind it.
//!
//! # Failure by failure
//!
//! * **Somebody reads the table.** The call waits for [`lock_limit`](super::PostgresConfig::lock_limit), leaves nothing
//!   behind, and says who it was ([`Error::Blocked`](crate::Error::Blocked)). Whoever called tries again. It is no
//!   failure of the database's, and the breaker hears of none.
//! * **Who it was cannot be seen.** The server forgets who stood in a call's way as soon as the call gives up, so
//!   another connection asks while it waits. If there is none, or the reader ends at that very moment, nobody is named.
//!   What other users' sessions do is told only to a member of `pg_read_all_stats`; their process, user and
//!   application are told to everybody.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::time::sleep;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::row::get;
use super::{Fault, Postgres};
use crate::{Blocker, Result};

impl Postgres {
    /// Does one call in a transaction that waits for no lock for long. `work` ends the transaction.
    pub(super) async fn locking<T>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    ) -> Result<T> {
        self.converse(what, limit, async |client| self.watched(client, work).await).await
    }

    async fn watched<T>(
        &self,
        client: &ClientWrapper,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let limit = self.config.lock_limit;
        self.begin(client, &format!("begin; set local lock_timeout = {}", limit.as_millis().max(1))).await?;
        let row = client.query_one("select pg_backend_pid() as pid", &[]).await?;
        let pid: i32 = get(&row, "pid")?;

        let mut seen = Vec::new();
        let watch = async {
            loop {
                sleep(limit / 4).await;
                if let Ok(blockers) = self.blockers_of(pid).await
                    && !blockers.is_empty()
                {
                    seen = blockers;
                }
            }
        };
        let result = tokio::select! {
            biased;
            result = work(client) => result,
            () = watch => unreachable!("it never ends"),
        };
        result.map_err(|fault| match fault {
            Fault::Driver(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Fault::Blocked(seen)
            }
            fault => fault,
        })
    }

    /// Who keeps a session waiting.
    async fn blockers_of(&self, pid: i32) -> Result<Vec<Blocker>> {
        const BLOCKERS: &str = "
            select distinct b.pid,
                   coalesce(a.usename::text, '') as usename,
                   coalesce(a.application_name, '') as application,
                   coalesce(a.query, '') as query
              from unnest(pg_blocking_pids($1)) as b (pid)
              left join pg_stat_activity a on a.pid = b.pid
             order by b.pid";
        self.short("ask who holds a lock", async |client| {
            let rows = client.query(BLOCKERS, &[&pid]).await?;
            rows.iter().map(blocker).collect()
        })
        .await
    }
}

fn blocker(row: &Row) -> Result<Blocker, Fault> {
    Ok(Blocker {
        pid: get(row, "pid")?,
        user: get(row, "usename")?,
        application: get(row, "application")?,
        query: get(row, "query")?,
    })
}
