//! SIGTERM and SIGINT: the first asks the process to stop, the second ends it.

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
