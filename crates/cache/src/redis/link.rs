//! The connection to Redis: why it is down, and a new client when the old one hangs.
//!
//! fred reconnects by itself, without end, once it knows that a connection is gone. Two things it does not do are
//! done here.
//!
//! It forgets why it is not connected, which is what an operator asks first.
//!
//! It can hang. It gives a silent connection up some seconds after its *last* write, so a caller that goes on
//! asking keeps a dead connection; and since one task both reads and writes, a write to a socket that nobody
//! empties stops it altogether, until the kernel gives up after a quarter of an hour. A client from which nothing
//! but time-outs has come for `PATIENCE` is therefore thrown away, with its task, its socket and its queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::Builder;
use resilience::Delays;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long nothing but time-outs is borne before the client is replaced. A server that was only slow for as long
/// gets a new connection, which costs it little.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client that is connected or will be.
#[derive(Clone, Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    /// Ends with the last clone.
    _keeper: Arc<AbortOnDrop<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rung when the client hangs.
    hangs: Notify,
}

#[derive(Debug)]
struct State {
    client: Client,
    /// Why the last connection failed or ended.
    reason: String,
    /// When the first of the calls was made up that timed out in a row, with no answer since.
    silent_since: Option<Instant>,
}

impl Link {
    /// Starts to connect, and goes on until the last clone is dropped.
    pub(super) fn open(builder: Builder) -> Result<Self, Error> {
        let client = builder.build()?;
        let state = State { client, reason: "not connected yet".into(), silent_since: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), hangs: Notify::new() });
        let keeper = AbortOnDrop(tokio::spawn(keep_connected(Arc::clone(&shared), builder)));
        Ok(Self { shared, _keeper: Arc::new(keeper) })
    }

    /// Returns the client if it is connected, else why it is not. A command for a client that is not connected
    /// would wait in its queue, and be sent long after its caller has gone.
    pub(super) fn client(&self) -> Result<Client, String> {
        let state = self.shared.lock();
        if state.client.is_connected() { Ok(state.client.clone()) } else { Err(state.reason.clone()) }
    }

    /// Waits until the client is connected.
    pub(super) async fn connected(&self) {
        let client = self.shared.lock().client.clone();
        // An error only says that one try failed; more will be made.
        while client.wait_for_connect().await.is_err() {}
    }

    /// Hears that a call was answered.
    pub(super) fn answered(&self) {
        self.shared.lock().silent_since = None;
    }

    /// Hears that a call timed out.
    pub(super) fn timed_out(&self) {
        let mut state = self.shared.lock();
        let since = *state.silent_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE {
            state.silent_since = None;
            self.shared.hangs.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs fred's connection task, and starts it again should it end or hang.
async fn keep_connected(shared: Arc<Shared>, builder: Builder) {
    let mut delays = Delays::reconnect();
    let is_secured = builder.get_config().is_some_and(|config| config.tls.is_some());
    loop {
        let client = shared.lock().client.clone();
        let mut errors = client.error_rx();
        let mut connection = AbortOnDrop(client.connect());

        let reason = loop {
            tokio::select! {
                failed = errors.recv() => if let Ok((error, _)) = failed {
                    shared.lock().reason = told(&error, is_secured);
                },
                ended = &mut connection.0 => break format!("connection task ended: {ended:?}"),
                () = shared.hangs.notified() => {
                    break format!("no answer for {} s although connected", PATIENCE.as_secs());
                }
            }
        };
        drop(connection);

        tracing::warn!(reason = reason, "starting a new redis client");
        let client = builder.build().expect("the same settings built the first client");
        *shared.lock() = State { client, reason, silent_since: None };
        delays.pause().await;
    }
}

/// What an error of fred's means, before what it shows of itself.
fn told(error: &Error, is_secured: bool) -> String {
    let shown = error.details();
    match tls::explain_shown(shown) {
        Some(meaning) => format!("{meaning} ({shown})"),
        // What Redis does with a handshake that it does not understand.
        None if is_secured && *error.kind() == ErrorKind::Timeout => format!(
            "no answer: if the server is well, it does not speak TLS here: use its port for TLS, or say that plaintext \
             is meant, redis:// ({shown})"
        ),
        // What it does with plaintext where it speaks TLS, or with whoever shows no certificate.
        None if shown.contains("ConnectionReset") => {
            let mend = if is_secured {
                "if it wants a certificate of ours, name it, sslcert=FILE and sslkey=FILE"
            } else {
                "if it speaks TLS here, write rediss://"
            };
            format!("the server hung up: {mend} ({shown})")
        }
        None => shown.to_owned(),
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
