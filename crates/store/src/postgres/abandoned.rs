//! Statements that go on after whoever asked has gone.
//!
//! A statement that waits for a lock does not notice that its connection was closed. Each call that ends at its time
//! limit would leave one behind, with its process at the server, until the server has no room for anybody.
//!
//! # Failure by failure
//!
//! * **A call ends at its limit, or its caller is dropped.** The server is asked to cancel the statement, over a
//!   connection of its own, as the protocol has it. Nobody waits for that.
//! * **The server cannot be asked,** or we die ourselves. From PostgreSQL 14 on it looks every few seconds whether the
//!   client of a statement is still there. Before that, the server's own limit (`statement_timeout`) is what is left.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Hook, HookError};
use resilience::within;
use tokio::runtime::Handle;
use tokio_postgres::NoTls;

/// How long the server is tried to be asked.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Asks the server to end what a connection is doing.
pub(super) fn cancel(client: &ClientWrapper) {
    if client.is_closed() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    let token = client.cancel_token();
    runtime.spawn(async move {
        let asked = within(CANCEL_LIMIT, "cancel a statement", token.cancel_query(NoTls)).await;
        if !matches!(asked, Ok(Ok(()))) {
            tracing::debug!("a statement that nobody waits for was not cancelled");
        }
    });
}

/// Lets the server notice that a client is gone, on every new connection. Not among the options of its start: a server
/// that does not know the setting would refuse the connection.
pub(super) fn notice_clients_that_are_gone() -> Hook {
    const NOTICE: &str = "
        select set_config('client_connection_check_interval', '5s', false)
         where current_setting('server_version_num')::integer >= 140000";
    Hook::async_fn(|client: &mut ClientWrapper, _| {
        Box::pin(async move {
            match client.batch_execute(NOTICE).await {
                // Not every system can look.
                Err(error) if error.as_db_error().is_none() => Err(HookError::Backend(error)),
                _ => Ok(()),
            }
        })
    })
}
