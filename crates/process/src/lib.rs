//! What every process of the fleet has, whatever its role: a name, logs, traces and metrics, an operations port, and an
//! orderly end.
//!
//! It knows none of our crates: who describes the metrics, what the dependencies are and how they are asked comes in as
//! arguments. Nor does it read configuration: that is `ltv`'s.
//!
//! Look first at [`surround`], which a role calls before its work, then at [`operations`] and [`telemetry`], whose tops
//! tell failure by failure what happens.

pub mod operations;
pub mod stderr;
pub mod telemetry;

mod descriptors;
mod instance;
mod signals;
mod surroundings;

pub use descriptors::check_descriptors;
pub use instance::{GivenName, InvalidName, instance};
pub use signals::{Interrupted, interrupted, stop_on_signal};
pub use surroundings::{Surroundings, surround};
