//! Whether a run will make its deadline, judged by the work that is committed.
//!
//! Terms: the *pace* is how fast work has been committed on the mean since the plan; the *forecast* is the end to which
//! that pace leads; the *outlook* is how this end stands against the deadline. A pass puts each run's forecast into its
//! snapshot, where [`supervise`](crate::supervise()) sees it.
//!
//! # Failure by failure
//!
//! * **Nothing is committed yet.** There is no pace. The outlook is judged by the time that has gone by, never by an
//!   estimate of zero.
//! * **Work stops being committed** (no workers, the store is away). The mean pace falls from pass to pass, so that the
//!   outlook becomes worse with the time that is lost.
//! * **The deadline is over.** It is missed, and no end is promised any more.

mod forecast;
mod pace;

pub use forecast::{Forecast, Outlook, forecast};

/// From where on a run is no longer on track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadlinePolicy {
    /// A run of which nothing is committed is at risk once this share of its time has gone by.
    pub silent_share: f64,
    /// A run is at risk if the rest takes more than this share of the time that is left.
    pub at_risk_above: f64,
    /// It is infeasible if the rest takes more than this share.
    pub infeasible_above: f64,
}

impl Default for DeadlinePolicy {
    fn default() -> Self {
        Self { silent_share: 0.5, at_risk_above: 0.9, infeasible_above: 1.5 }
    }
}
