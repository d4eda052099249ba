//! A fleet in one process on a paused clock, and a thousand nights in which everything goes wrong.
//!
//! The roles are the product's own: [`worker::Worker`], [`coordinator::Coordinator`], [`dispatcher::Dispatcher`].
//! Under them are the memory backends, and between the two a world (`world.rs`) that draws, from one seed, who dies, who
//! hangs, what is lost, late, doubled or garbled, and which server is away. Nothing in a night looks at a clock but at
//! tokio's, which is paused, and all runs on one thread: **the same seed gives the same story**, to the last line.
//!
//! | file | what it tells |
//! |---|---|
//! | `world` | network, weather, and the night's story |
//! | `process` | the life of one process |
//! | `fault` | what goes wrong, by kind |
//! | `call` | by which calls a process does anything to it, and how much goes wrong with each |
//! | `remote_*` | a server as a process reaches it |
//! | `night` | how a night goes |
//! | `scene` | who takes part in it, and what is ordered |
//! | `hands` | the product's roles, as a process of the night starts them |
//! | `yesterday` | the run of the night before, which readers see when a night begins |
//! | `asker` | who asks urgent questions meanwhile, and what must hold of what he is told |
//! | `checks`, `readers` | what must hold meanwhile and at the end |
//! | `panics` | who panicked, though nobody waited for it |
//! | `rule` | what every night is held to |
//! | `ledger` | what became of each attempt, kept by somebody who does not ask the store |
//! | `source` | what histories are read from, and the guard against one that was emptied |
//! | `mutation` | the protocol broken on purpose, which the checks must see |
//!
//! # What is not simulated
//!
//! The servers themselves: what PostgreSQL, RabbitMQ and Redis do when they are killed is for `tests/faults`. Time limits
//! of calls and breakers belong to the real backends. A panic is no fault that is drawn: whoever panics, but for a
//! poisoned customer's mathematics, is a bug, and the night went wrong.

mod asker;
mod base;
mod call;
mod chance;
mod checks;
mod fault;
mod hands;
mod ledger;
mod mutation;
mod night;
mod panics;
mod process;
mod readers;
mod remote_cache;
mod remote_queue;
mod remote_requests;
mod remote_store;
mod rule;
mod scene;
mod source;
mod world;
mod yesterday;

pub use call::Call;
pub use fault::{Deaths, Fault, Faults};
pub use mutation::Mutation;
pub use night::{Report, night, nights};
pub use rule::{Rule, Violation};
