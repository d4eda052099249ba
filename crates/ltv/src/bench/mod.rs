//! What the fleet costs and how soon it answers, measured on real servers with real processes.

mod account;
mod base;
mod fleet;
mod floor;
pub(crate) mod night;
pub(crate) mod requests;

use tokio::signal::unix::{SignalKind, signal};

use crate::stdout::note;

/// Resolves to an error at the first SIGINT or SIGTERM. Later ones are not heard: the fleet is draining.
async fn asked_to_stop() -> anyhow::Error {
    let both = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = both else {
        return anyhow::anyhow!("cannot listen for signals");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    anyhow::anyhow!("stopped before the measurement was over")
}

fn note(what: &str) {
    note!("  {what}");
}
