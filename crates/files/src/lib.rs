//! Reads customers' files, and writes files that appear when they are complete.
//!
//! A file is CSV, gzipped or not, whose first line names the columns. [`Table`] reads any of them row by row. On top of it
//! stand two readers:
//!
//! * **Files of one kind** ([`FileOf`], [`read`]) say what a base of customers is: who they are, what they bought, what
//!   they subscribed to, what it cost to win them. Nobody vouches for their rows: one that cannot be read is rejected with
//!   its [`Reason`], and the others count.
//! * **Rows that must all be understood** ([`Rows`]) are summaries of customers ([`summaries`]; a file of transactions is
//!   summed up into them), counts of contracts ([`cohorts`]), and whatever is to be [widened](widen) by computed columns. A
//!   row that cannot be understood stops the command, and its message names file, line and column.
//!
//! Where the two differ in what they take is told at the top of `table.rs`. Fields, amounts, currencies and moments are
//! read in one place for both.
//!
//! A [`NewFile`] is made beside its name and renamed when it is complete, so that nobody ever reads half of one; a pipe,
//! which cannot be replaced, is written to as it comes.
//!
//! Nothing here knows databases, runs or what a customer is worth.

pub mod cohorts;
pub mod read;
pub mod summaries;

mod acquisition_costs;
mod amount;
mod currency;
mod customers;
mod field;
mod fields;
mod header;
mod input;
mod kind;
mod new_file;
mod number;
mod reason;
mod records;
mod row;
mod subscriptions;
mod summed_up;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod transactions;
mod widened;

pub use acquisition_costs::{AcquisitionCost, AcquisitionCostColumns};
pub use customers::{Customer, CustomerColumns};
pub use fields::quoted;
pub use header::{Column, Header};
pub use kind::{Columns, FileOf, Kind};
pub use new_file::NewFile;
pub use reason::{Problem, Reason};
pub use row::{Record, Row};
pub use subscriptions::{Subscription, SubscriptionColumns};
pub use table::{Rows, Table};
pub use transactions::{Transaction, TransactionColumns};
pub use widened::{Cell, Widened, Widening, widen};
