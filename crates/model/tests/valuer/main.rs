//! The value of an account: its parts against the models themselves, its intervals against customers whose future is
//! drawn, and what must always hold.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod accounts;
mod confidence;
mod domain;
mod drawn;
#[path = "../draws/mod.rs"]
mod draws;
mod intervals;
mod parts;
mod payback;
