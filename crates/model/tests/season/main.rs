//! The seasonal clock: exact where it is defined, found again from what it generated, and worth having.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]
#![expect(clippy::print_stdout, reason = "the measured errors are what a reader of the test wants to see")]

mod clock;
mod customers;
mod estimate;
mod forecasts;
mod weddings;
