//! How a misbehaving dependency is treated: not called, called again later, or not waited for.
//!
//! # What is this for?
//!
//! Postgres, RabbitMQ and Redis fail in three ways, and each has one answer here:
//!
//! | the dependency | the answer | type |
//! |---|---|---|
//! | keeps failing, or became slow | stop calling it, ask carefully whether it is back | [`Breaker`] |
//! | failed once, and would probably succeed now | call again, later each time | [`retry()`], [`Delays`] |
//! | does not answer | stop waiting | [`within`] |
//!
//! What fails however often it is tried is told once, and kept for whoever asks: [`Trouble`].
//!
//! Around one call they stand in this order, from the outside in: **retry, breaker, limit**. The limit is
//! innermost because a call that never ends gives the breaker no verdict; retry is outermost so that each try
//! asks the breaker for permission. Retries multiply with the retries of every layer above them, so at most one
//! layer of a call path retries.
//!
//! # What does it not know?
//!
//! Which dependency it is talking to, what an error means, chunks and attempts. A seam tells it, with a
//! closure, whether an error is the dependency's fault ([`Blame`]) and whether it may be retried ([`Class`]).
//! It reads no clock but tokio's, so a test that pauses time sees every wait and every state.
//!
//! # Which type to look at first?
//!
//! [`Breaker`]: `call` runs a future behind it, `ready` is where a worker waits while a dependency is sick.
//!
//! # What do the seams' configurations share?
//!
//! They have one shape: the server's [`ServerUrl`], the role that asks, named limits, and the [`BreakerConfig`]; one
//! error, [`InvalidConfig`], refuses what cannot work.

pub mod breaker;
pub mod limit;
pub mod retry;
pub mod trouble;
pub mod url;

mod config;
mod jitter;
mod parameters;

pub use breaker::metrics;
pub use breaker::{Blame, Breaker, BreakerConfig, Mode, Name, Open, Permit, State};
pub use config::InvalidConfig;
pub use jitter::Jitter;
pub use limit::{Elapsed, within};
pub use parameters::{Password, Rule};
pub use retry::{Class, Delays, GaveUp, RetryPolicy, retry};
pub use trouble::Trouble;
pub use url::ServerUrl;
