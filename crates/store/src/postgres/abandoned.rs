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
//! * **A server falls silent between a login and its first question,** which is ours here. The pool does not limit that
//!   part of making a connection: it is limited here, as the rest of it is there.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Hook, HookError};
use resilience::within;
use tokio::runtime::Handle;

use super::secure::Secure;

/// How long the server is tried to be asked.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Asks the server to end what a connection is doing.
pub(super) fn cancel(client: &ClientWrapper, secure: Secure) {
    if client.is_closed() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    let token = client.cancel_token();
    runtime.spawn(async move {
        let asked = within(CANCEL_LIMIT, "cancel a statement", token.cancel_query(secure)).await;
        if !matches!(asked, Ok(Ok(()))) {
            tracing::debug!("a statement that nobody waits for was not cancelled");
        }
    });
}

/// Lets the server notice that a client is gone, on every new connection. Not among the options of its start: a server
/// that does not know the setting would refuse the connection.
pub(super) fn notice_clients_that_are_gone(limit: Duration) -> Hook {
    const NOTICE: &str = "
        select set_config('client_connection_check_interval', '5s', false)
         where current_setting('server_version_num')::integer >= 140000";
    Hook::async_fn(move |client: &mut ClientWrapper, _| {
        Box::pin(async move {
            let asked = within(limit, "set up a connection", client.batch_execute(NOTICE)).await;
            match asked.map_err(|elapsed| HookError::message(elapsed.to_string()))? {
                // Not every system can look.
                Err(error) if error.as_db_error().is_none() => Err(HookError::Backend(error)),
                _ => Ok(()),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use crate::postgres::{Postgres, PostgresConfig};

    use super::*;

    #[tokio::test]
    async fn a_server_that_falls_silent_after_the_login_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://ltv@{}/ltv", silent.local_addr().unwrap());
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut client, _)) = silent.accept().await {
                // You are welcome; I am ready.
                client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
                open.push(client);
            }
        });
        let hurried =
            PostgresConfig { connect_limit: Duration::from_millis(100), ..PostgresConfig::new(url, "test") };
        let store = Postgres::new(hurried).unwrap();

        let answer = timeout(Duration::from_secs(30), store.check()).await.expect("it is limited");

        let error = answer.expect_err("nobody answers").to_string();
        assert!(error.contains("set up a connection: no answer within 100 ms"), "{error}");
    }
}
