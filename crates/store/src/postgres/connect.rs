//! Makes connections, also through a pooler.
//!
//! Nothing that a result rests on is a setting of the session: a pooler may drop what a connection says of itself, and
//! hand each transaction to another session of the server. What a transaction needs it says itself ([`BEGIN_IN_UTC`],
//! the release in `attempts`). What a connection asks for when it is made are time limits of the server's own, the
//! backstop for a client that was stopped with a statement under way.
//!
//! # Failure by failure
//!
//! * **A pooler refuses the limits** (PgBouncer: `unsupported startup parameter`). The connection is made without them,
//!   and so are all that follow; it is said once. What the URL asks for (`?options=`) is never left out: without it
//!   somebody else might do the work.
//! * **A pooler ignores them.** Nobody notices, and nothing but a backstop is missing.
//! * **A pooler hands each transaction to another session and keeps no prepared statements.** The driver prepares
//!   whatever it asks and names it as every other process does, so a statement would be missing, or be another one.
//!   Refused at the start, by [`Postgres::check_pooler`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use resilience::within;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::config::Connector;
use super::{Fault, Postgres, with_causes};
use crate::{Error, Result};

/// Begins a transaction over one snapshot that reads the customer's own relations. A moment without a zone is one of
/// UTC there, whatever the session's zone is.
pub(super) const BEGIN_IN_UTC: &str =
    "begin isolation level repeatable read read only; set local timezone = 'UTC'";

/// Makes connections that ask for time limits of the server's own, if they may.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    /// With the limits.
    limited: Config,
    /// With what the URL asks for, and nothing else.
    plain: Config,
    connector: Connector,
    is_refused: Arc<AtomicBool>,
}

impl Connections {
    pub(super) fn new(plain: Config, limits: &str, connector: Connector) -> Self {
        let given = plain.get_options().unwrap_or_default().to_owned();
        let mut limited = plain.clone();
        limited.options(format!("{given} {limits}").trim());
        Self { limited, plain, connector, is_refused: Arc::default() }
    }

    /// How they are secured.
    pub(super) fn connector(&self) -> Connector {
        self.connector
    }

    /// The same, for a connection whose work may take as long as it needs.
    pub(super) fn without_limits(&self) -> Self {
        Self::new(self.plain.clone(), "-c statement_timeout=0", self.connector)
    }

    pub(super) async fn connect(&self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        if !self.is_refused.load(Ordering::Relaxed) {
            match open(&self.limited, self.connector).await {
                Err(error) if is_refusal(&error) => {
                    if !self.is_refused.swap(true, Ordering::Relaxed) {
                        tracing::info!(
                            error = %with_causes(&error),
                            "a pooler refuses the time limits of connections: they are left to its own settings"
                        );
                    }
                }
                connected => return connected,
            }
        }
        open(&self.plain, self.connector).await
    }
}

impl deadpool_postgres::Connect for Connections {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>>
    {
        Box::pin(Self::connect(self))
    }
}

async fn open(
    config: &Config,
    connector: Connector,
) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    let (client, connection) = config.connect(connector).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %with_causes(&error), "database connection ended");
        }
    });
    Ok((client, task))
}

/// Whether what was asked of a connection is what is wrong with it.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let states = [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED];
    error.code().is_some_and(|state| states.contains(state))
}

/// What stands between a process and its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// Nothing, or what hands out whole sessions.
    Sessions,
    /// A session is another's at the end of each transaction, but prepared statements are found again.
    TransactionsAndStatements,
    /// A session is another's at the end of each transaction, with what was prepared in it.
    Transactions,
}

impl Postgres {
    /// Fails where a pooler stands in front of the database that could hand a statement to a session that does not know
    /// it, or knows another one of its name.
    pub async fn check_pooler(&self) -> Result<()> {
        let what = "look for a pooler";
        let looked = async {
            let (ours, other) = (self.connect_alone().await?, self.connect_alone().await?);
            between(&ours, &other).await.map_err(|fault| fault.into_error(what))
        };
        let found = within(self.config.call_limit, what, looked)
            .await
            .map_err(|elapsed| Error::Unavailable { what: what.into(), reason: elapsed.to_string() })??;
        if found != Between::Transactions {
            return Ok(());
        }
        Err(Error::Broken {
            what: format!("use {}", self.config.url),
            reason: "the pooler in front of the database gives each transaction another session and keeps no \
                     prepared statements: set its max_prepared_statements above 0 (PgBouncer 1.21 or later), or \
                     pool_mode = session, or connect to the database itself"
                .into(),
        })
    }
}

/// Looks by two connections, which only a pooler would let use one session.
async fn between(ours: &Client, other: &Client) -> Result<Between, Fault> {
    const SESSION: &str = "select pg_backend_pid() as the_session_of_ltv";
    // Whoever keeps the statements of many clients in one session has to rename them.
    const IS_KEPT: &str = "
        select exists (select from pg_prepared_statements where statement = $1 and name !~ '^s[0-9]+$')";
    let Ok(session) = ours.prepare(SESSION).await else { return Ok(Between::Transactions) };
    let Some(first) = ask(ours, &session).await? else { return Ok(Between::Transactions) };
    other.batch_execute("begin").await?;
    let rows = other.simple_query(SESSION).await?;
    let theirs = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i32>().ok(),
        _ => None,
    });
    let found = if theirs == Some(first) {
        // The other one holds the session in which ours was prepared.
        let kept = IS_KEPT.replace("$1", &format!("'{SESSION}'"));
        let rows = other.simple_query(&kept).await?;
        let is_kept = rows.iter().any(|message| {
            matches!(message, tokio_postgres::SimpleQueryMessage::Row(row) if row.get(0) == Some("t"))
        });
        if is_kept { Between::TransactionsAndStatements } else { Between::Transactions }
    } else {
        match ask(ours, &session).await? {
            Some(second) if second == first => Between::Sessions,
            Some(_) => Between::TransactionsAndStatements,
            None => Between::Transactions,
        }
    };
    other.batch_execute("rollback").await?;
    Ok(found)
}

/// The session that answers a statement which was prepared before, if it knows it.
async fn ask(client: &Client, session: &tokio_postgres::Statement) -> Result<Option<i32>, Fault> {
    match client.query_one(session, &[]).await {
        Ok(row) => Ok(Some(row.try_get(0)?)),
        Err(error) if error.code() == Some(&SqlState::INVALID_SQL_STATEMENT_NAME) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
