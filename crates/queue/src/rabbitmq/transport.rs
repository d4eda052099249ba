//! How bytes reach lapin: over a socket of ours, secured where the URL asks for it.
//!
//! lapin's own TLS trusts every public authority beside the one that it is told, and talks in the clear where a feature
//! of its build is missing. So it gets a stream that is secured already, and from which only what passed the
//! [`sieve`](super::sieve) is read. It takes any stream that belongs to a *reactor*; so there is one here whose streams
//! are ours. Everything else is tokio's.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::stream::Stream;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tls::Tls;
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use super::sieve::{Sieve, USUAL_FRAME_MAX};

/// As much as is read from the socket at once.
const READ_AT_ONCE: usize = 16 * 1024;

/// Connects, and secures the way first if there is something to secure it with.
pub(super) async fn connect(
    uri: AMQPUri,
    tls: Option<&Tls>,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let host = &uri.authority.host;
    let socket = TcpStream::connect((host.as_str(), uri.authority.port)).await?;
    socket.set_nodelay(true)?;
    let way: Box<dyn Way> = match tls {
        Some(tls) => Box::new(tls.connect(host, socket).await?),
        None => Box::new(socket),
    };

    let tokio = Tokio::current();
    let runtime = Runtime::new(RuntimeParts::new(tokio.clone(), OurReactor(tokio)));
    let frame_max = uri.query.frame_max.unwrap_or(USUAL_FRAME_MAX);
    let way = Mutex::new(Some(Sieved::new(way, frame_max)));
    // lapin asks once, since it is not to recover.
    let connected = async move |_, _| {
        let way = way.lock().ok().and_then(|mut way| way.take());
        Ok(AsyncTcpStream::Plain(way.ok_or_else(|| io::Error::other("the connection was used before"))?))
    };
    Connection::connector(uri, runtime, connected, properties).await
}

/// A stream, secured or not.
trait Way: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin {}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Sync + Unpin> Way for S {}

/// Is tokio's reactor, but for the streams.
#[derive(Clone, Debug)]
struct OurReactor(Tokio);

impl Reactor for OurReactor {
    type TcpStream = Sieved;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, pause: Duration) -> Self::Sleep {
        self.0.sleep(pause)
    }

    fn interval(&self, pause: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(pause)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        connect_in_the_clear(address)
    }
}

async fn connect_in_the_clear(address: SocketAddr) -> io::Result<Sieved> {
    Ok(Sieved::new(Box::new(TcpStream::connect(address).await?), USUAL_FRAME_MAX))
}

/// Is a stream from which only what passed the sieve is read.
struct Sieved {
    way: Compat<Box<dyn Way>>,
    sieve: Sieve,
    buffer: Box<[u8]>,
}

impl Sieved {
    fn new(way: Box<dyn Way>, frame_max: u32) -> Self {
        let buffer = vec![0; READ_AT_ONCE].into_boxed_slice();
        Self { way: way.compat(), sieve: Sieve::new(frame_max), buffer }
    }
}

impl AsyncRead for Sieved {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let given = this.sieve.give(into);
            if given > 0 || into.is_empty() {
                return Poll::Ready(Ok(given));
            }
            let count = ready!(Pin::new(&mut this.way).poll_read(cx, &mut this.buffer))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            this.sieve.put(&this.buffer[..count]);
        }
    }
}

impl AsyncWrite for Sieved {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().way).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().way).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().way).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().way).poll_close(cx)
    }
}
