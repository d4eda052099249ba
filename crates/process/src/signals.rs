//! SIGTERM and SIGINT. A role is asked to stop by the first and ended by the second; a command is ended by the first.
//!
//! Both are listened for, because the kernel does nothing by itself with a signal to a container's first process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Asks the process to stop at the first signal and ends it at the second.
pub fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        stop.cancel();
        tracing::info!("asked to stop");
        next().await;
        tracing::warn!("asked to stop again: not draining");
        std::process::exit(1);
    });
    Ok(())
}

/// A command was ended by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ended by {name}")]
pub struct Interrupted {
    name: &'static str,
    number: u8,
}

impl Interrupted {
    /// What a shell says of a program that the signal has ended: 128 and the signal's number.
    pub fn exit_code(self) -> u8 {
        128 + self.number
    }
}

/// Resolves at the first SIGINT or SIGTERM.
pub async fn interrupted() -> io::Result<Interrupted> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => Interrupted { name: "SIGINT", number: 2 },
        _ = terminate.recv() => Interrupted { name: "SIGTERM", number: 15 },
    })
}
