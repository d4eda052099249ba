//! What moved, in full.

use batch::Cause;
use store::{Both, ComparisonStanding, RunMovements, SegmentMovements, SegmentWorth};

use super::*;

#[test]
fn what_moved_between_two_runs() {
    let worth = |customers, value_minor| SegmentWorth { customers, value_minor };
    let none = SegmentMovements {
        segment: None,
        worth: Both { before: worth(1, 400), now: worth(0, 0) },
        causes: vec![(Cause::MovedOut, 1, -400)],
    };
    let florists = SegmentMovements {
        segment: Some("florists".into()),
        worth: Both { before: worth(1, 600), now: worth(3, 1_670) },
        causes: vec![(Cause::Entered, 1, 700), (Cause::MovedIn, 1, 400), (Cause::Time, 2, -30)],
    };
    let complete = RunMovements {
        run: RunId(7),
        before: Some(RunId(6)),
        currency: Currency::parse("EUR").unwrap(),
        standing: ComparisonStanding::Complete(moment("2026-11-23T02:01:00Z")),
        segments: vec![none, florists],
    };
    let of = |standing| Movements::from(&RunMovements { standing, segments: Vec::new(), ..complete.clone() });

    check(&Movements::from(&complete), include_str!("../../golden/movements.json"));
    let due = of(ComparisonStanding::Due { customers: 5 });
    assert_eq!((due.state, due.compared, due.all.is_none()), (MovementsState::Due, Some(5), true));
    let never = of(ComparisonStanding::Never("there is no run before it".into()));
    assert_eq!((never.state, never.reason.is_some()), (MovementsState::Never, true));
}
