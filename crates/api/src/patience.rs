//! A connection whose reader may stand still for so long and no longer.
//!
//! A client that asks and then reads nothing holds a place and what was to be sent, and the HTTP library waits for it
//! without limit. So a write that cannot go on for [`STANDSTILL`] ends the connection.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a reader may take nothing.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(30);

/// A connection, and how long its reader has stood still.
pub(crate) struct Patient<Io> {
    io: Io,
    /// Runs while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<Io: AsyncWrite + Unpin> Patient<Io> {
    pub(crate) fn new(io: Io) -> Self {
        Self { io, waits: None }
    }

    /// Lets a write that waits wait no longer than it may.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Io>, &mut Context<'_>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let written = write(Pin::new(&mut self.io), context);
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(STANDSTILL)));
        ready!(waits.as_mut().poll(context));
        waits.as_mut().reset(Instant::now() + STANDSTILL);
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "its reader took nothing")))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Patient<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Patient<Io> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.bounded(context, |io, context| io.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.bounded(context, |io, context| io.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.bounded(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.bounded(context, AsyncWrite::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_off() {
        let (io, _reader) = duplex(16);
        let began = Instant::now();

        let error = Patient::new(io).write_all(&[0; 64]).await.unwrap_err();

        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::TimedOut, STANDSTILL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_little_is_waited_for() {
        let (io, mut reader) = duplex(16);
        let reads = async {
            for _ in 0..4 {
                sleep(STANDSTILL / 2).await;
                reader.read_exact(&mut [0; 16]).await.unwrap();
            }
        };

        let mut io = Patient::new(io);
        let (written, ()) = tokio::join!(io.write_all(&[0; 64]), reads);

        assert!(written.is_ok());
    }
}
