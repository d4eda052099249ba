//! A client of an api: HTTP/1.1 on as many connections as there are questions at a time, kept for the next ones.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, RETRY_AFTER};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What takes longer is taken for lost.
const CALL_LIMIT: Duration = Duration::from_mins(1);

/// A way to one api.
pub(super) struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// After how many seconds to come again.
    pub(super) retry_after: Option<u64>,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Asks once. A connection that was closed while it was idle is not an error: another takes its place.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        timeout(CALL_LIMIT, self.ask(path)).await.context("no answer within a minute")?
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        let mut sender = match self.idle() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let request = Request::get(path).header(HOST, self.address.to_string()).body(Empty::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok(Answer { status, retry_after, body })
    }

    /// The connection that was used last, if it is still open.
    fn idle(&self) -> Option<SendRequest<Empty<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(SendRequest::is_ready)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.address).await.context("the api cannot be reached")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with its sender, or with the other side.
        tokio::spawn(connection);
        Ok(sender)
    }
}
