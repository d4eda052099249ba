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
//! * **A pooler hands each transaction to another session.** See `pooling`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::secure::{Door, Secure};
use super::{url, with_causes};

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
    door: Door,
    is_refused: Arc<AtomicBool>,
}

impl Connections {
    pub(super) fn new(plain: Config, limits: &str, door: Door) -> Self {
        let given = plain.get_options().unwrap_or_default().to_owned();
        let mut limited = plain.clone();
        limited.options(format!("{given} {limits}").trim());
        Self { limited, plain, door, is_refused: Arc::default() }
    }

    /// How they are secured.
    pub(super) fn secure(&self) -> Secure {
        self.door.secure()
    }

    /// How long one may take.
    pub(super) fn limit(&self) -> Duration {
        url::connect_limit(&self.plain)
    }

    /// The same, for a connection whose work may take as long as it needs.
    pub(super) fn without_limits(&self) -> Self {
        self.with_limits("-c statement_timeout=0")
    }

    /// The same, for a connection that asks for other limits.
    pub(super) fn with_limits(&self, limits: &str) -> Self {
        let others = Self::new(self.plain.clone(), limits, self.door.clone());
        Self { is_refused: Arc::clone(&self.is_refused), ..others }
    }

    pub(super) async fn connect(&self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        if !self.is_refused.load(Ordering::Relaxed) {
            match self.door.open(&self.limited).await {
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
        self.door.open(&self.plain).await
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

/// Whether what was asked of a connection is what is wrong with it.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let states = [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED];
    error.code().is_some_and(|state| states.contains(state))
}
