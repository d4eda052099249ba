//! What moved since the run before, and why: a segment's value, split by cause to the minor unit.
//!
//! The two runs are over the same selection. Whoever is in one of them alone moves his segment by all that he is worth.
//! Who has a value in both is taken from the older to the newer in **steps**, each of which changes one thing:
//!
//! | step | what changes |
//! |---|---|
//! | moved in, moved out | his segment; with the value that he had |
//! | model | the models and the terms; what is known of him stays as it was |
//! | corrected | what the source says today about the time before the older run |
//! | time | the moment, as if nothing had happened meanwhile |
//! | events | what did happen: purchases, refunds, subscriptions that began and ended |
//!
//! The order is a convention: what two changes bring together is counted with the later step. The steps go from one value
//! to the other whatever lies between them, so the causes of a segment add up to the difference of its two sums exactly.
//! A step after which a customer cannot be valued counts nothing, and the next one counts it too.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a segment's value is another one than in the run before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Customers who were not in the run before.
    Entered,
    /// Customers who are not in the run any more.
    Left,
    /// Customers who had a value, and are rejected.
    Rejected,
    /// Customers who were rejected, and have a value.
    Recovered,
    /// Customers who came from another segment.
    MovedIn,
    /// Customers who went to another segment.
    MovedOut,
    /// Other models, or other terms.
    Model,
    /// Rows from before the older run that were added, changed or deleted since it read them.
    Corrected,
    /// Time went by.
    Time,
    /// What happened between the two moments.
    Events,
}

impl Cause {
    /// Every cause, in the order of the steps.
    pub const ALL: [Self; 10] = [
        Self::Entered,
        Self::Left,
        Self::Rejected,
        Self::Recovered,
        Self::MovedIn,
        Self::MovedOut,
        Self::Model,
        Self::Corrected,
        Self::Time,
        Self::Events,
    ];

    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entered => "entered",
            Self::Left => "left",
            Self::Rejected => "rejected",
            Self::Recovered => "recovered",
            Self::MovedIn => "moved_in",
            Self::MovedOut => "moved_out",
            Self::Model => "model",
            Self::Corrected => "corrected",
            Self::Time => "time",
            Self::Events => "events",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Cause {
    type Err = UnknownCause;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|cause| cause.as_str() == text)
            .ok_or_else(|| UnknownCause(text.to_owned()))
    }
}

/// A word that is no cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown cause {0:?}")]
pub struct UnknownCause(String);

/// What a run says of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Nothing: he is not in it.
    Absent,
    /// That he could not be valued.
    Rejected,
    /// So many minor units.
    Valued(i64),
}

/// A customer in one of the two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InRun<'a> {
    /// His segment then, if he had one.
    pub segment: Option<&'a str>,
    /// What he was worth.
    pub worth: Worth,
}

/// What somebody who has a value in both runs is worth after each step but the last, in minor units; none where he could
/// not be valued, or there was nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Under the newer run's models and terms, as he was known to the older one.
    pub model: Option<i64>,
    /// The same, as the source knows him today.
    pub corrected: Option<i64>,
    /// At the newer run's moment, without what happened since the older one's.
    pub time: Option<i64>,
}

/// What a cause moved in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many customers. Who is worth the same before and after a step is not counted there.
    pub customers: u64,
    /// By how much in all, in minor units.
    pub value_minor: i128,
}

/// What moved in each segment, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Movements {
    segments: BTreeMap<Option<String>, [Moved; Cause::ALL.len()]>,
}

impl Movements {
    /// Adds a customer. The steps are looked at only where he has a value in both runs.
    pub fn add(&mut self, before: InRun<'_>, now: InRun<'_>, steps: &Steps) {
        match (before.worth, now.worth) {
            (Worth::Valued(before_minor), Worth::Valued(now_minor)) => {
                if before.segment != now.segment {
                    self.count(before.segment, Cause::MovedOut, -i128::from(before_minor));
                    self.count(now.segment, Cause::MovedIn, before_minor.into());
                }
                self.step_by_step(now.segment, before_minor, steps, now_minor);
            }
            (Worth::Valued(minor), Worth::Rejected) => {
                self.count(before.segment, Cause::Rejected, -i128::from(minor));
            }
            (Worth::Valued(minor), Worth::Absent) => {
                self.count(before.segment, Cause::Left, -i128::from(minor));
            }
            (Worth::Absent, Worth::Valued(minor)) => self.count(now.segment, Cause::Entered, minor.into()),
            (Worth::Rejected, Worth::Valued(minor)) => {
                self.count(now.segment, Cause::Recovered, minor.into());
            }
            (Worth::Absent | Worth::Rejected, Worth::Absent | Worth::Rejected) => {}
        }
    }

    /// What moved, by segment and cause, without the causes that moved nobody.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, Cause, Moved)> {
        self.segments.iter().flat_map(|(segment, causes)| {
            let moved = Cause::ALL.into_iter().zip(causes);
            moved
                .filter(|(_, moved)| moved.customers > 0)
                .map(|(cause, moved)| (segment.as_deref(), cause, *moved))
        })
    }

    fn step_by_step(&mut self, segment: Option<&str>, before_minor: i64, steps: &Steps, now_minor: i64) {
        let values = [
            (Cause::Model, steps.model),
            (Cause::Corrected, steps.corrected),
            (Cause::Time, steps.time),
            (Cause::Events, Some(now_minor)),
        ];
        let mut from = before_minor;
        for (cause, value) in values {
            let Some(to) = value.filter(|&to| to != from) else { continue };
            self.count(segment, cause, i128::from(to) - i128::from(from));
            from = to;
        }
    }

    fn count(&mut self, segment: Option<&str>, cause: Cause, value_minor: i128) {
        // Owned first: a look-up that borrows would need a key type of its own, and a segment is new only once.
        let key = segment.map(ToOwned::to_owned);
        let moved = &mut self.segments.entry(key).or_default()[cause as usize];
        moved.customers += 1;
        moved.value_minor += value_minor;
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    const FLORISTS: Option<&str> = Some("florists");
    const VENUES: Option<&str> = Some("venues");

    fn valued(segment: Option<&str>, minor: i64) -> InRun<'_> {
        InRun { segment, worth: Worth::Valued(minor) }
    }

    fn check(before: InRun<'_>, now: InRun<'_>, steps: Steps, expected: &[(Option<&str>, Cause, i128)]) {
        let mut movements = Movements::default();

        movements.add(before, now, &steps);

        let found: Vec<_> = movements
            .iter()
            .map(|(segment, cause, moved)| {
                assert_eq!(moved.customers, 1);
                (segment, cause, moved.value_minor)
            })
            .collect();
        assert_eq!(found, expected, "{before:?} {now:?} {steps:?}");
    }

    #[test]
    fn each_cause_is_told_by_itself() {
        let none = Steps::default();
        let rejected = InRun { segment: FLORISTS, worth: Worth::Rejected };
        let absent = InRun { segment: None, worth: Worth::Absent };
        let seven = valued(FLORISTS, 7);

        check(absent, seven, none, &[(FLORISTS, Cause::Entered, 7)]);
        check(seven, absent, none, &[(FLORISTS, Cause::Left, -7)]);
        check(seven, rejected, none, &[(FLORISTS, Cause::Rejected, -7)]);
        check(rejected, seven, none, &[(FLORISTS, Cause::Recovered, 7)]);
        check(
            seven,
            valued(VENUES, 7),
            none,
            &[(FLORISTS, Cause::MovedOut, -7), (VENUES, Cause::MovedIn, 7)],
        );
        let to_ten = |steps| (steps, valued(FLORISTS, 10));
        for (cause, (steps, ten)) in [
            (Cause::Model, to_ten(Steps { model: Some(10), corrected: Some(10), time: Some(10) })),
            (Cause::Corrected, to_ten(Steps { model: Some(7), corrected: Some(10), time: Some(10) })),
            (Cause::Time, to_ten(Steps { model: Some(7), corrected: Some(7), time: Some(10) })),
            (Cause::Events, to_ten(Steps { model: Some(7), corrected: Some(7), time: Some(7) })),
        ] {
            check(seven, ten, steps, &[(FLORISTS, cause, 3)]);
        }
    }

    #[test]
    fn who_is_nowhere_or_worth_the_same_moves_nothing() {
        let none = Steps::default();
        let rejected = InRun { segment: FLORISTS, worth: Worth::Rejected };
        let absent = InRun { segment: None, worth: Worth::Absent };

        check(absent, rejected, none, &[]);
        check(rejected, absent, none, &[]);
        check(rejected, rejected, none, &[]);
        check(valued(FLORISTS, 7), valued(FLORISTS, 7), none, &[]);
    }

    #[test]
    fn what_a_step_cannot_value_is_counted_by_the_next() {
        let steps = Steps { model: None, corrected: None, time: Some(9) };

        let moved = [(FLORISTS, Cause::Time, 2), (FLORISTS, Cause::Events, 1)];

        check(valued(FLORISTS, 7), valued(FLORISTS, 10), steps, &moved);
    }

    #[test]
    fn values_that_no_sum_of_64_bits_holds_add_up_too() {
        let mut movements = Movements::default();
        for _ in 0..3 {
            let absent = InRun { segment: None, worth: Worth::Absent };
            movements.add(absent, valued(None, i64::MAX), &Steps::default());
        }

        let [(segment, cause, moved)] = movements.iter().collect::<Vec<_>>()[..] else {
            panic!("one cause in one segment");
        };

        assert_eq!((segment, cause), (None, Cause::Entered));
        assert_eq!(moved, Moved { customers: 3, value_minor: 3 * i128::from(i64::MAX) });
    }

    #[test]
    fn every_cause_is_found_by_its_word() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause.as_str().parse(), Ok(cause));
            assert_eq!(cause as usize, place, "the sums of a segment are found by it");
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
        assert!("luck".parse::<Cause>().is_err());
    }

    fn in_run() -> impl Strategy<Value = (Option<&'static str>, Worth)> {
        let segment = prop::sample::select(vec![None, Some("florists"), Some("venues"), Some("")]);
        let worth = prop_oneof![
            1 => Just(Worth::Absent),
            1 => Just(Worth::Rejected),
            4 => (-50_i64..50).prop_map(Worth::Valued),
            1 => any::<i64>().prop_map(Worth::Valued),
        ];
        (segment, worth)
    }

    fn steps() -> impl Strategy<Value = Steps> {
        let value = || option::weighted(0.8, -50_i64..50);
        (value(), value(), value()).prop_map(|(model, corrected, time)| Steps { model, corrected, time })
    }

    /// What the customers of each segment are worth in a run.
    fn sums(
        customers: impl Iterator<Item = (Option<&'static str>, Worth)>,
    ) -> BTreeMap<Option<&'static str>, i128> {
        let mut sums = BTreeMap::new();
        for (segment, worth) in customers {
            if let Worth::Valued(minor) = worth {
                *sums.entry(segment).or_default() += i128::from(minor);
            }
        }
        sums
    }

    proptest! {
        #[test]
        fn the_causes_of_a_segment_add_up_to_the_difference_of_its_two_sums(
            customers in prop::collection::vec((in_run(), in_run(), steps()), 0..60),
        ) {
            let mut movements = Movements::default();
            for ((before_segment, before), (segment, now), steps) in &customers {
                let before = InRun { segment: *before_segment, worth: *before };
                movements.add(before, InRun { segment: *segment, worth: *now }, steps);
            }

            let mut moved: BTreeMap<Option<&str>, i128> = BTreeMap::new();
            let mut between_segments = 0;
            for (segment, cause, of) in movements.iter() {
                *moved.entry(segment).or_default() += of.value_minor;
                if matches!(cause, Cause::MovedIn | Cause::MovedOut) {
                    between_segments += of.value_minor;
                }
            }
            let before = sums(customers.iter().map(|(before, _, _)| *before));
            let now = sums(customers.iter().map(|(_, now, _)| *now));
            for segment in [None, Some("florists"), Some("venues"), Some("")] {
                let sum_in = |sums: &BTreeMap<_, i128>| sums.get(&segment).copied().unwrap_or(0);
                prop_assert_eq!(sum_in(&moved), sum_in(&now) - sum_in(&before), "{:?}", segment);
            }
            prop_assert_eq!(between_segments, 0);
        }
    }
}
