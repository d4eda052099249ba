//! Pareto/NBD against values computed with 40 digits, against the papers, and against itself.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

#[path = "../csv/mod.rs"]
mod csv;
mod fits;
mod properties;
mod reference;
