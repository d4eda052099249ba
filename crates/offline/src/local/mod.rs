//! A night in one process, on files.
//!
//! | file | what it tells |
//! |---|---|
//! | `histories` | how a file of transactions becomes one summary for each customer |
//! | `numbers`, `in_order`, `season` | what that takes where lines are in disorder, and where a season is wanted |
//! | `customers` | who the customers are, where a file says so |
//! | `subscriptions`, `costs` | what else is known of them |
//! | `base` | all that together: what the models are fitted to, and what the night values |
//! | `given` | models that come from files |
//! | `night` | the roles of the fleet, on seams in memory |
//! | `values` | the file that is left |
//!
//! What `ltv load` would not take is not taken here either, and is counted under the same reasons.

mod base;
mod costs;
mod customers;
mod given;
mod histories;
mod in_order;
mod names;
mod night;
mod numbers;
mod season;
mod subscriptions;
mod values;

pub use base::{FileReport, Files, Known, Terms};
pub use given::Given;
pub use night::{Night, STOPPED, Telemetry};
pub use values::ValuesFile;
