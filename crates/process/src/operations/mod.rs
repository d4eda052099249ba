//! What a process answers on its operations port: is it alive, is it ready, how is it doing.
//!
//! | path | question | answer |
//! |---|---|---|
//! | `/healthz` | should it be restarted? | 200, or 503 when its main loop stands still |
//! | `/readyz` | should it get work? | 200, or 503 while it drains or a required dependency fails |
//! | `/metrics` | how is it doing? | Prometheus's text format |
//!
//! **Failure by failure.**
//!
//! - *The main loop hangs*: [`Alive`] has not been ticked within its limit, and `/healthz` says so. It asks no
//!   dependency: a restart does not heal a sick database.
//! - *A dependency hangs*: its check is given up after one second; the others ran meanwhile.
//! - *Redis is away*: reported, but it is optional, so the process stays ready (what the cache holds may be lost).
//! - *The process drains*: not ready from the first moment, alive to the last: how long draining may take is the
//!   grace period's matter, and nobody ticks any more.
//! - *A client is slow or silent*: reading a request's head, and the connection as a whole, have limits, and the
//!   number of connections is bounded.
//! - *Shutdown with connections open*: idle ones close at once, the others after [`DRAIN_LIMIT`].

mod alive;
mod check;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use alive::{Alive, Stalled};
pub use check::{CHECK_LIMIT, Check, Probe, Readiness};
pub use routes::{HttpState, router};
pub use server::{DRAIN_LIMIT, serve};
