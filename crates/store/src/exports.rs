//! All values of a run, for whoever wants to have them.
//!
//! They are read as a stream, over a connection of its own, so that a reader who takes his time keeps nobody waiting for
//! one of the pool. What is read ahead of him is a piece or two, however many customers there are.
//!
//! # Failure by failure
//!
//! * **The reader leaves, or is slow.** Whoever holds the stream drops it: the connection ends with it, and with that the
//!   server's statement. How slow a reader may be is not said here.
//! * **The server falls silent, or goes away.** The stream ends with an error. So it does where it held another number of
//!   customers than the run.
//! * **The run's table is dropped meanwhile.** That waits for the stream, for a moment, and is tried again by whoever drops
//!   it.

use std::future::Future;
use std::pin::Pin;

use batch::RunId;
use bytes::Bytes;
use futures_util::Stream;

use crate::Result;
use crate::record::Valued;

/// The columns of a CSV file, in their order. What is expected from the contracts of somebody who has none is 0; what cannot
/// be told is empty.
pub const COLUMNS: [&str; 30] = [
    "customer_id",
    "currency",
    "value_minor",
    "value_24_minor",
    "value_36_minor",
    "value_for_ever_minor",
    "contract_12_minor",
    "contract_24_minor",
    "contract_36_minor",
    "contract_for_ever_minor",
    "historic_minor",
    "lower_80_minor",
    "upper_80_minor",
    "lower_90_minor",
    "upper_90_minor",
    "expected_purchases",
    "p_alive",
    "grade",
    "own_rate",
    "own_spend",
    "relative_width",
    "payback_months",
    "payback_probability",
    "frequency",
    "recency_days",
    "age_days",
    "repeat_spend_minor",
    "spend_minor",
    "paid_minor",
    "acquisition_cost_minor",
];

/// What runs hold, as streams. The side of whoever hands out all of it.
pub trait Exports: Clone + Send + Sync + 'static {
    /// The values of a finished run, a few hundred to a piece, in no order; `None` if it is not finished.
    fn export_values(&self, run: RunId) -> impl Future<Output = Result<Option<Export<Vec<Valued>>>>> + Send;

    /// The same as the lines of a CSV file, the first of which names the columns, some tens of kilobytes to a piece.
    fn export_csv(&self, run: RunId) -> impl Future<Output = Result<Option<Export<Bytes>>>> + Send;
}

/// What a run holds, piece by piece.
pub struct Export<T> {
    /// How many customers' values there are in all pieces together.
    pub customers: u64,
    /// The pieces. One that is an error is the last.
    pub pieces: Pin<Box<dyn Stream<Item = Result<T>> + Send>>,
}

impl<T> std::fmt::Debug for Export<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("customers", &self.customers).finish_non_exhaustive()
    }
}
