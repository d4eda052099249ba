//! Whose the server's sessions are, and calls that do with any of them.
//!
//! A pooler of transactions gives each transaction whatever session is free. What the driver prepares it names by a
//! counter of its process, so a statement that outlives its transaction would be missing in the next session, or be one
//! that another process of the fleet has named alike.
//!
//! # Failure by failure
//!
//! * **A pooler of transactions stands in front of the database.** It is looked for before the first call, by two
//!   connections that ask for their sessions: only there one can meet the session of the other, or another one than
//!   before. From then on each call is one transaction, nothing that was prepared is kept for the next, and what others
//!   have left in the session goes first. That costs two round trips a call.
//! * **It was not seen**, because the first questions met the same sessions by chance. The first statement that a
//!   session does not know, or knows already, tells: the call is [`Unavailable`](crate::Error::Unavailable), and those
//!   that follow do without.
//! * **The pooler keeps prepared statements for its clients** (PgBouncer 1.21 or later, `max_prepared_statements`).
//!   Nothing rests on that. Its names are not the driver's, so what it keeps is left to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use resilience::within;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Fault, Postgres};
use crate::{Error, Result};

/// Takes away what the driver of any process has left in the session. Whoever keeps statements for its clients has
/// names of its own.
pub(super) const FORGET: &str = "
    do $$
    declare
        left_behind text;
    begin
        for left_behind in select name from pg_catalog.pg_prepared_statements where name ~ '^s[0-9]+$'
        loop
            execute pg_catalog.format('deallocate %I', left_behind);
        end loop;
    end
    $$";

/// What is known of the sessions. A clone knows the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    is_known: Arc<AtomicBool>,
    are_shared: Arc<AtomicBool>,
}

impl Sessions {
    pub(super) fn are_shared(&self) -> bool {
        self.are_shared.load(Ordering::Relaxed)
    }

    /// Takes note of an error that tells of shared sessions; says whether that is news.
    pub(super) fn learn(&self, fault: &Fault) -> bool {
        // A statement that is not known, or known already.
        let states = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
        let tells =
            matches!(fault, Fault::Driver(error) if error.code().is_some_and(|it| states.contains(it)));
        tells && !self.are_shared() && {
            self.share();
            true
        }
    }

    fn share(&self) {
        if !self.are_shared.swap(true, Ordering::Relaxed) {
            tracing::info!(
                "a pooler gives each transaction another session of the server: nothing that is prepared is kept"
            );
        }
    }
}

/// Whether two connections meet in a session, or one finds itself in another than before.
async fn do_meet(ours: &Client, other: &Client) -> Result<bool, Fault> {
    let (first, theirs) = (session(ours).await?, session(other).await?);
    if first == theirs {
        return Ok(true);
    }
    // While the other one holds a session, ours would come to another one, if it does not keep its own.
    other.batch_execute("begin").await?;
    let held = session(other).await?;
    let second = session(ours).await?;
    other.batch_execute("rollback").await?;
    Ok(held != theirs || held == first || second != first || session(other).await? != theirs)
}

/// The session that answers, asked without preparing anything.
async fn session(client: &Client) -> Result<String, Fault> {
    let messages = client.simple_query("select pg_catalog.pg_backend_pid()").await?;
    let pid = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    pid.map(str::to_owned).ok_or_else(|| Fault::nonsense("a session without a process"))
}

impl Postgres {
    /// Looks whose the sessions are, unless that is known.
    pub(super) async fn look_for_pooler(&self, ours: &Client) -> Result<()> {
        let what = "look for a pooler";
        if self.sessions.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let other = self.connect_alone().await?;
        let do_meet = within(self.config.call_limit, what, do_meet(ours, &other))
            .await
            .map_err(|elapsed| Error::Unavailable { what: what.into(), reason: elapsed.to_string() })?
            .map_err(|fault| fault.into_error(what))?;
        if do_meet {
            self.sessions.share();
        }
        self.sessions.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Does one call, whose statements are transactions by themselves; or together one, where sessions are shared.
    pub(super) async fn call<T>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    ) -> Result<T> {
        self.converse(what, limit, async |client| self.whole(client, work).await).await
    }

    /// Does some work on a connection, as one transaction where sessions are shared.
    pub(super) async fn whole<T>(
        &self,
        client: &ClientWrapper,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if !self.sessions.are_shared() {
            return work(client).await;
        }
        self.begin(client, "begin").await?;
        let done = work(client).await?;
        client.batch_execute("commit").await?;
        Ok(done)
    }

    /// Does one call that takes a short statement or two.
    pub(super) async fn short<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    ) -> Result<T> {
        self.call(what, self.config.call_limit, work).await
    }

    /// Does one call in one transaction, which `work` ends as its last statement.
    pub(super) async fn transact<T>(
        &self,
        what: &'static str,
        limit: Duration,
        begin: &str,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    ) -> Result<T> {
        self.converse(what, limit, async |client| {
            self.begin(client, begin).await?;
            work(client).await
        })
        .await
    }

    /// Does one call that begins whatever it begins by itself, as [`begin`](Self::begin) would: a permit, a connection, a
    /// time limit, a verdict.
    pub(super) async fn converse<T>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    ) -> Result<T> {
        let session = self.session(what).await?;
        let result = within(limit, what, work(session.client())).await;
        session.settle(result)
    }

    /// Begins a transaction in which statements can be prepared.
    pub(super) async fn begin(&self, client: &ClientWrapper, begin: &str) -> Result<(), Fault> {
        if self.sessions.are_shared() {
            client.statement_cache.clear();
        }
        Ok(client.batch_execute(&self.beginning(begin)).await?)
    }

    /// What begins such a transaction, in one message: where a session is shared it is ours from there on.
    pub(super) fn beginning(&self, begin: &str) -> String {
        // What forgets looks at tables, and a snapshot can only be asked for before that.
        if self.sessions.are_shared() { format!("begin; {FORGET}; commit; {begin}") } else { begin.into() }
    }

    /// Fails where sessions are shared, for what needs one of its own.
    pub(super) fn needs_its_session(&self, what: &str) -> Result<()> {
        if !self.sessions.are_shared() {
            return Ok(());
        }
        let reason = "a pooler gives each transaction another session: connect to the database itself".into();
        Err(Error::Broken { what: what.into(), reason })
    }
}
