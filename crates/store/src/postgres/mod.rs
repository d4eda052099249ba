//! The store on PostgreSQL.
//!
//! # Failure by failure
//!
//! Every call has a time limit and goes through the role's circuit breaker; none is retried here, because only
//! the caller knows what a repeat would mean. Each says what it is safe to repeat:
//!
//! * **No connection, or it was lost, or no answer in time.** [`Error::Unavailable`]. The connection is thrown
//!   away, and what still runs on it is cancelled (see `abandoned`). What was asked may have taken effect, so every
//!   statement that changes something is guarded by what it expects to find (`where attempt = $2 and state =
//!   'leased'`), and doing it twice changes nothing the second time. A worker whose begin was not answered asks again
//!   and says so; it gets a new attempt, and the one that nobody heard of costs nothing.
//! * **A commit whose answer was lost.** The worker asks where its attempt stands ([`Attempts::resume_attempt`]):
//!   committed, still held (it does the work again), or superseded.
//! * **The server restarts, or fails over to a read-only standby.** The same, and the breaker opens after a few
//!   calls. `25006`, `57P0x`, `08xxx`, `53xxx` are the server's state, not the statement's fault.
//! * **Deadlock or serialization failure.** Unavailable too: the transaction left nothing behind.
//! * **A worker's future is dropped in the middle of a call.** The session goes with it, connection included, so
//!   that nobody inherits a half-finished transaction.
//! * **Somebody holds a lock that a call needs** against all others. [`Error::Blocked`]: see `locks`.
//! * **A relation, a column or a right is missing.** [`Error::Broken`]: somebody has to mend it, and no chunk is to
//!   blame for it. A right is looked for at the start, by [`Postgres::check_rights`].
//! * **A pooler stands in front of the server.** See `pooling` and `connect`.
//! * **The way cannot be secured**, or not as the server or the URL wants it. Unavailable; the error says who mends it.
//! * **The data make no sense** (class `22` or `23`, or a row that cannot be understood). [`Error::Invalid`]: no
//!   retry helps.
//! * **A customer's rows cannot be read.** No error, but a rejection of that customer: `unreadable.rs`.
//! * **The customer's own relations are on another server,** which is away, or lags behind: `elsewhere.rs`.
//!
//! [`Attempts::resume_attempt`]: crate::Attempts::resume_attempt

mod abandoned;
mod accounts;
mod answer_rows;
mod answers;
mod archive;
mod attempts;
mod comparisons;
mod config;
mod connect;
mod copy;
mod elsewhere;
mod exports;
mod figures;
mod figuring;
mod floor;
mod guard;
mod installation;
mod keys;
mod listings;
mod locks;
mod migrate;
mod models;
mod movements;
mod planning;
mod pooling;
mod publishing;
mod requests;
mod rights;
mod row;
mod season;
mod secure;
mod segments;
pub mod source;
mod stale;
mod supervision;
mod tenures;
mod unreadable;
mod url;
mod value_row;
mod values;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use resilience::{Breaker, Elapsed, InvalidConfig, Name, Permit, within};
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::keys::Claim;
use crate::{Blocker, Error, Result, metrics};

use connect::Connections;
use elsewhere::Elsewhere;
use pooling::Sessions;
use secure::Secure;

pub use config::PostgresConfig;
pub use elsewhere::SourceStanding;
pub use floor::{FloorChunk, FloorLane, SourceSize};
pub use installation::Installation;
pub use migrate::Migrated;
pub use rights::Duty;

/// The store on PostgreSQL. A clone is another handle to the same connections.
#[derive(Clone)]
pub struct Postgres {
    config: PostgresConfig,
    connections: Connections,
    sessions: Sessions,
    pool: Pool,
    breaker: Breaker,
    /// Where the customer's own relations are, if not here.
    elsewhere: Option<Elsewhere>,
    /// The claim that what is done through this handle is done under.
    claim: Option<Arc<Claim>>,
    #[cfg(feature = "faults")]
    is_fenced: bool,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Makes the store. Connections are opened when they are needed, so a database that is away is no error yet; only a
    /// configuration that can never work is one.
    pub fn new(config: PostgresConfig) -> std::result::Result<Self, InvalidConfig> {
        Self::open(config, "postgres")
    }

    fn open(config: PostgresConfig, dependency: &'static str) -> std::result::Result<Self, InvalidConfig> {
        config.validate()?;
        let breaker = Breaker::new(Name { dependency, role: config.role }, config.breaker)?;
        let connections = config.connections()?;
        let manager = Manager::from_connect(
            tokio_postgres::Config::new(), // `connections` knows better
            connections.clone(),
            // A query would cost a round trip for each checkout; what is not well is thrown away by `Session`.
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .post_create(abandoned::notice_clients_that_are_gone(config.connect_limit))
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(config.pool_limit),
                create: Some(connections.limit()),
                recycle: Some(Duration::from_secs(2)),
            })
            .build()
            .expect("a runtime is given, which is all that the builder checks");
        Ok(Self {
            config,
            connections,
            sessions: Sessions::default(),
            pool,
            breaker,
            elsewhere: None,
            claim: None,
            #[cfg(feature = "faults")]
            is_fenced: true,
        })
    }

    /// The same store, which lets every attempt commit and not only the latest: for the test that shows what the
    /// fence is for.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn without_fence(self) -> Self {
        Self { is_fenced: false, ..self }
    }

    /// The breaker in front of the database.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Answers whether the database can be reached.
    pub async fn check(&self) -> Result<()> {
        self.short("check", async |client| Ok(client.batch_execute("select 1").await?)).await
    }

    /// Answers whether the database can be reached, and written to.
    pub async fn check_writable(&self) -> Result<()> {
        const ASK: &str = "select current_setting('transaction_read_only') = 'on'";
        let what = "check";
        let is_read_only: bool = self
            .short(what, async |client| {
                Ok(client.query_typed(ASK, &[]).await?.first().is_some_and(|row| row.get(0)))
            })
            .await?;
        if is_read_only {
            let reason =
                "the database is read-only: a standby, or default_transaction_read_only is on".into();
            return Err(Error::Unavailable { what: what.into(), reason });
        }
        Ok(())
    }

    /// Opens a connection of its own, outside the pool, for work that holds one for long.
    async fn connect_alone(&self) -> Result<Client> {
        let what = || format!("connect to {}", self.config.url);
        let connections = self.connections.without_limits();
        let limit = self.config.call_limit.max(connections.limit());
        let (client, _) = within(limit, what(), connections.connect())
            .await
            .map_err(|elapsed| Error::Unavailable { what: what(), reason: elapsed.to_string() })?
            .map_err(|error| Fault::Driver(error).into_error(&what()))?;
        Ok(client)
    }

    /// Takes a connection from the pool, under a permit of the breaker.
    async fn session(&self, what: &'static str) -> Result<Session> {
        let unavailable = |reason: String| {
            let error = Error::Unavailable { what: what.into(), reason };
            metrics::failed(what, &error);
            error
        };
        let permit = self.breaker.try_acquire().map_err(|open| unavailable(open.to_string()))?;
        match self.pool.get().await {
            Ok(client) => {
                let (began, secure) = (Instant::now(), self.connections.secure());
                let sessions = self.sessions.clone();
                let mut session =
                    Session { what, began, secure, sessions, client: Some(client), permit: Some(permit) };
                // Boxed: it is large, and only the first one looks.
                match Box::pin(self.look_for_pooler(session.client())).await {
                    Ok(()) => Ok(session),
                    Err(error) => {
                        let reason = error.to_string();
                        if let Some(permit) = session.permit.take() {
                            permit.failure(&reason);
                        }
                        Err(unavailable(reason))
                    }
                }
            }
            Err(error) => {
                let reason = format!("{} at {}", with_causes(&error), self.config.url);
                permit.failure(&reason);
                Err(unavailable(reason))
            }
        }
    }
}

/// Connects as a URL says, and asks for nothing beyond: for tests that look where the product does not.
#[cfg(feature = "promises")]
pub async fn connect(url: &resilience::ServerUrl) -> Result<Client> {
    let what = || format!("connect to {url}");
    let url::Read { driver, password, tls } =
        url::read(url).map_err(|error| Error::Invalid { what: what(), reason: error.to_string() })?;
    let door = secure::Door::new(Secure(tls), password);
    door.open(&driver)
        .await
        .map(|(client, _)| client)
        .map_err(|error| Fault::Driver(error).into_error(&what()))
}

/// A connection in use. Unless the work on it ends well it is thrown away, never returned to the pool.
struct Session {
    what: &'static str,
    began: Instant,
    secure: Secure,
    sessions: Sessions,
    client: Option<Object>,
    permit: Option<Permit>,
}

impl Session {
    fn client(&self) -> &ClientWrapper {
        self.client.as_ref().expect("the session holds its connection until it is settled")
    }

    /// Ends the session: tells the breaker, keeps or discards the connection, names the error.
    fn settle<T>(mut self, result: std::result::Result<Result<T, Fault>, Elapsed>) -> Result<T> {
        metrics::called(self.what, self.began.elapsed());
        let has_answered = result.is_ok();
        let result = match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) if self.sessions.learn(&fault) => Err(Error::Unavailable {
                what: self.what.into(),
                reason: fault.into_error(self.what).to_string(),
            }),
            Ok(Err(fault)) => Err(fault.into_error(self.what)),
            Err(elapsed) => Err(Error::Unavailable { what: self.what.into(), reason: elapsed.to_string() }),
        };
        if let Some(permit) = self.permit.take() {
            // Who is only kept out by a lock has been answered well.
            let failed = result.as_ref().err().filter(|error| matches!(error, Error::Unavailable { .. }));
            permit.record(failed);
        }
        if let Err(error) = &result {
            metrics::failed(self.what, error);
        }
        // Without an answer in time the statement goes on: see `drop`.
        if has_answered && let Some(client) = self.client.take() {
            if result.is_ok() { drop(client) } else { drop(Object::take(client)) }
        }
        result
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            abandoned::cancel(&client, self.secure.clone());
            drop(Object::take(client));
        }
    }
}

/// What goes wrong inside a call, before it has a name.
#[derive(Debug)]
enum Fault {
    /// The driver or the server said so.
    Driver(tokio_postgres::Error),
    /// What was read or asked makes no sense.
    Nonsense(String),
    /// Somebody holds a lock that is needed.
    Blocked(Vec<Blocker>),
    /// Somebody else has the claim that it is done under.
    Superseded(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

impl Fault {
    fn nonsense(reason: impl fmt::Display) -> Self {
        Self::Nonsense(reason.to_string())
    }

    fn into_error(self, what: &str) -> Error {
        let what = what.to_owned();
        match self {
            Self::Driver(error) if is_transient(&error) => {
                Error::Unavailable { what, reason: with_causes(&error) }
            }
            Self::Driver(error) if is_about_data(&error) => {
                Error::Invalid { what, reason: with_causes(&error) }
            }
            Self::Driver(error) => Error::Broken { what, reason: with_causes(&error) },
            Self::Nonsense(reason) => Error::Invalid { what, reason },
            Self::Blocked(by) => Error::Blocked { what, by },
            Self::Superseded(reason) => Error::Superseded { what, reason },
        }
    }
}

/// Whether an error is the server's or the network's state rather than the statement's fault.
fn is_transient(error: &tokio_postgres::Error) -> bool {
    let Some(state) = error.code() else {
        // No SQLSTATE: the connection failed, or an answer could not be understood.
        return error.as_db_error().is_none();
    };
    passes(state)
}

/// Whether what a state tells of passes without anybody changing the statement.
fn passes(state: &SqlState) -> bool {
    /// `transaction_timeout`, of PostgreSQL 17 and later, which the driver has no name for.
    const TRANSACTION_TIMEOUT: &str = "25P04";
    let states = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::IDLE_SESSION_TIMEOUT,
    ];
    states.contains(state)
        || state.code() == TRANSACTION_TIMEOUT
        || ["08", "53", "58"].iter().any(|class| state.code().starts_with(class))
}

/// Whether an error is about the rows at hand: data exceptions and violated constraints.
fn is_about_data(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| state.code().starts_with("22") || state.code().starts_with("23"))
}

/// An error with everything that caused it: the driver's own message leaves the server's text out.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    if let Some(meaning) = secure::meaning(error) {
        return format!("{text}: {meaning}");
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    if let Some(mend) = secure::mend(&text) {
        text.push_str(": ");
        text.push_str(mend);
    }
    // One line: it goes into logs, tables and the reasons of attempts.
    text.replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_limit_of_the_servers_passes() {
        let check = |state: &str, expected: bool| {
            assert_eq!(passes(&SqlState::from_code(state)), expected, "{state}");
        };

        // Of a statement, a lock, and what idles in a transaction, outside of one (14 and later), or of a transaction
        // (17 and later).
        for limit in ["57014", "55P03", "25P03", "57P05", "25P04"] {
            check(limit, true);
        }
        for lasting in ["42P01", "42501", "22003", "25P02", "26000"] {
            check(lasting, false);
        }
    }
}
