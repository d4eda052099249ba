//! Tables on disk, for the commands that ask no server: read row by row, widened by columns, written whole or not
//! at all.
//!
//! A row that cannot be understood stops the command, and its message names file, line and column. A new file is
//! made beside its name and renamed when it is complete, so that nobody ever reads half of one; a pipe, which cannot be
//! replaced, is written to as it comes.

pub(crate) mod cohorts;
pub(crate) mod customers;
pub(crate) mod model_file;
mod new_file;
mod number;
mod table;
#[cfg(test)]
mod tests;
mod transactions;
mod widened;

pub(crate) use new_file::NewFile;
pub(crate) use table::{Column, Header, Record, Row, Table};
pub(crate) use widened::{Cell, Widening, widen};
