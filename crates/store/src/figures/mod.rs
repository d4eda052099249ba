//! What the segments of a run come to, and who was in which of them then.
//!
//! Both are worked out once readers see the run, and kept: customers move, and a trend that asked where they are today
//! would tell another past each day. To be noted so is to be **pinned**. A run may be over some customers only; its
//! figures are about those.
//!
//! Only PostgreSQL keeps figures.

mod tally;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use batch::{CustomerId, RunId};
use jiff::Timestamp;
use model::Currency;

use crate::Result;
use crate::record::ModelVersionId;

pub(crate) use tally::{Membership, Roll, Tally, Worth};

/// The most segments of a run that are told apart. Where there are more, the column holds something else.
pub const MOST_SEGMENTS: usize = 10_000;

/// For how long figures are fresh: until the next night has its own.
pub const FRESH_FOR: Duration = Duration::from_hours(24);

/// Figures of runs that are visible. The coordinator's side, once a run is finished.
pub trait Figuring: Clone + Send + Sync + 'static {
    /// The finished runs of which nothing is on record, those that became visible last first.
    fn runs_without_figures(&self, limit: u32) -> impl Future<Output = Result<Vec<RunId>>> + Send;

    /// Works out the figures of a finished run and pins its customers' segments: all of it, or nothing. A run of which
    /// that can never be done is put on record with the reason.
    fn compute_figures(&self, run: RunId) -> impl Future<Output = Result<Figured>> + Send;
}

/// Figures as people ask for them. The side of the commands and of whatever else answers people.
pub trait Summaries: Clone + Send + Sync + 'static {
    /// The figures of a run, or why there are none; none if it is not finished, or no such run is known.
    fn figures(&self, run: RunId) -> impl Future<Output = Result<Option<RunFigures>>> + Send;

    /// The figures of the newest run over the whole base that has any; of the newest one if none has.
    fn latest_figures(&self) -> impl Future<Output = Result<Option<RunFigures>>> + Send;

    /// What some customers came to in each of the latest runs, the newest first; runs over the whole base, or all.
    fn past_figures(
        &self,
        of: &Figure,
        limit: u32,
        with_partial: bool,
    ) -> impl Future<Output = Result<Vec<PastFigures>>> + Send;
}

/// What came of the figures of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figured {
    /// They are on record, of so many segments.
    Computed {
        /// Its segments.
        segments: usize,
        /// Its customers, with a value or without.
        customers: u64,
    },
    /// There are none and never will be, for this reason.
    Never(String),
    /// Another coordinator has done it, or the run is no more.
    Done,
}

/// Some customers of a run in figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Those with a value.
    pub customers: u64,
    /// The sum of their values over 12 months, in minor units.
    pub value_minor: i64,
    /// Of that what is expected from contracts.
    pub contract_minor: i64,
    /// What they have contributed so far, in minor units.
    pub historic_minor: i64,
    /// How the values lie; none where nobody has one.
    pub percentiles: Option<Percentiles>,
    /// Of those who ever bought anything, the share that is expected to buy again; none where nobody ever did.
    pub share_alive: Option<f64>,
    /// How many have no value, by the reason's code.
    pub rejections: BTreeMap<String, u64>,
}

impl Figures {
    /// The mean value, to the nearest minor unit.
    pub fn mean_minor(&self) -> Option<i64> {
        let (sum, customers) = (i128::from(self.value_minor), i128::from(self.customers));
        let half = if sum < 0 { -customers } else { customers };
        (customers > 0).then(|| ((2 * sum + half) / (2 * customers)) as i64)
    }

    /// How many have no value.
    pub fn rejected(&self) -> u64 {
        self.rejections.values().sum()
    }
}

/// Values that so many of the customers do not exceed, in minor units: each is a value that one of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the percentile of its name")]
pub struct Percentiles {
    pub p10_minor: i64,
    pub p50_minor: i64,
    pub p90_minor: i64,
}

/// What has to be known of a run to read its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiguredRun {
    /// The run.
    pub run: RunId,
    /// Which customers it covers, in words.
    pub selection: String,
    /// Whether that is the whole base.
    pub is_whole: bool,
    /// The moment that it values the customers for.
    pub as_of: Timestamp,
    /// The model version that it pins.
    pub model_version: ModelVersionId,
    /// What its money is in.
    pub currency: Currency,
    /// When it became visible.
    pub finished_at: Timestamp,
}

/// A run and its figures, as far as there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFigures {
    /// The run.
    pub run: FiguredRun,
    /// Its figures.
    pub standing: FiguresStanding,
    /// The newest run over the whole base, where that is a newer one and has no figures.
    pub newer: Option<RunId>,
}

/// How the figures of a run stand.
#[derive(Clone, Debug, PartialEq)]
pub enum FiguresStanding {
    /// They are yet to be worked out, which takes seconds.
    Due,
    /// There will be none, for this reason.
    Never(String),
    /// They are there.
    Computed(ComputedFigures),
}

/// The figures of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct ComputedFigures {
    /// When they were worked out, and segments were pinned.
    pub computed_at: Timestamp,
    /// Whether that is no longer ago than [`FRESH_FOR`], by the store's clock.
    pub is_fresh: bool,
    /// Of all customers of the run.
    pub all: Figures,
    /// By segment, the most valuable first. A segment without a name holds those who had none.
    pub segments: Vec<(Option<String>, Figures)>,
}

/// Whose figures are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure {
    /// All customers.
    All,
    /// Those in no segment.
    WithoutSegment,
    /// Those in a segment.
    Segment(String),
}

/// What the customers of a segment came to in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct PastFigures {
    /// The run.
    pub run: FiguredRun,
    /// When its figures were worked out.
    pub computed_at: Timestamp,
    /// What they came to.
    pub figures: Figures,
}

/// In which segment each customer of a run was when it became visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedSegments {
    /// All customers of the run, ascending, with a value or without.
    pub customers: Vec<CustomerId>,
    /// The number of each one's segment.
    pub numbers: Vec<u32>,
    /// Segments by their number; number 0 has no name, and holds those who were in none.
    pub names: Vec<Option<String>>,
}

impl PinnedSegments {
    /// The number of a customer's segment; none if he is not in the run.
    pub fn of(&self, customer: CustomerId) -> Option<u32> {
        let place = self.customers.binary_search(&customer).ok()?;
        self.numbers.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_rounded_to_the_nearest_and_halves_away_from_zero() {
        let check = |value_minor: i64, customers: u64, expected: Option<i64>| {
            let figures = Figures { customers, value_minor, ..Figures::default() };
            assert_eq!(figures.mean_minor(), expected, "{value_minor} of {customers}");
        };

        check(0, 0, None);
        check(7, 2, Some(4));
        check(-7, 2, Some(-4));
        check(10, 3, Some(3));
        check(11, 3, Some(4));
        check(i64::MAX, 1, Some(i64::MAX));
        check(i64::MIN, 1, Some(i64::MIN));
    }
}
