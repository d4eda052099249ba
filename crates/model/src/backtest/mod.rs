//! How good predictions were: models that saw the past, held against what came after it.
//!
//! At an *origin* the histories are cut. What lies before is the calibration, on which models are fitted; what the same
//! customers do in the *horizon* after it is the holdout. [`schedule`] places the origins, [`cut`] cuts a history,
//! [`Contender`] is a fitted model that predicts, [`assess`] holds predictions against outcomes, [`compare`] two of them
//! against each other on the same customers, and [`judge`] says over all origins whether a challenger is promoted.
//!
//! **Individual predictions cannot be right; distributions and totals can.** Most customers buy nothing in a year, and
//! even who knew every customer's rate would miss most individual numbers. So the share of customers that were "hit" is
//! not computed here. What may be called accuracy are three figures together ([`ThreeFigures`]): the total, the total
//! of each tenth of the base, and the share of outcomes within the intervals that were promised.
//!
//! Shares and relative errors are fractions (0.15 is 15 %); money is minor units. A figure that would divide by
//! nothing is `None`, never a NaN.

mod assessment;
mod calibration;
mod comparison;
mod contender;
mod gain;
mod measures;
mod origins;
mod prediction;
mod share;
mod tracking;

pub use assessment::{Assessment, FrequencyBin, LARGE_SEGMENT, SegmentBias, ThreeFigures, assess};
pub use calibration::{Calibration, Coverage, Place};
pub use comparison::{Comparison, Difference, SegmentShift, Verdict, compare, judge};
pub use contender::{Contender, ContenderKind};
pub use gain::{GainPoint, Ranking};
pub use measures::{Decile, Measures};
pub use origins::{Line, Outcome, Schedule, TooShort, cut, longest_horizon_weeks, repeat_days, schedule};
pub use prediction::Prediction;
pub use tracking::{Cohort, Tracking, Week, track};
