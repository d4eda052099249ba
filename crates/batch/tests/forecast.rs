//! What is said about any run's end.

use std::time::Duration;

use batch::{DeadlinePolicy, Outlook, Progress, forecast};
use jiff::Timestamp;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("it is a moment")
}

/// Numbers that make sense, and all the others.
fn works() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..1e6_f64, 1 => prop::num::f64::ANY]
}

fn moments() -> impl Strategy<Value = Timestamp> {
    let any = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    prop_oneof![4 => 0..10_000_i64, 1 => any].prop_map(at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_share_is_from_zero_to_one(work in works(), work_settled in works()) {
        let share = Progress { work, work_settled, ..Progress::default() }.share();

        prop_assert!((0.0..=1.0).contains(&share), "{share}");
    }

    #[test]
    fn a_finish_is_never_in_the_past_and_never_promised_without_committed_work(
        work in works(),
        work_settled in works(),
        [planned_at, deadline_at, now] in [moments(), moments(), moments()],
    ) {
        let progress = Progress { work, work_settled, ..Progress::default() };

        let found = forecast(&progress, planned_at, deadline_at, now, &DeadlinePolicy::default());

        prop_assert_eq!(found.outlook == Outlook::Missed, now > deadline_at);
        if let Some(finish_at) = found.finish_at {
            prop_assert!(finish_at >= now && progress.share() > 0.0);
        }
    }

    #[test]
    fn a_steady_pace_is_forecast_to_the_second_and_judged_by_its_end(
        took in 60..10_000_i64,
        allowed in 60..10_000_i64,
        share in 0.01..1.0_f64,
    ) {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs_f64(took as f64 * share);
        let progress = Progress { work: 500.0, work_settled: 500.0 * share, ..Progress::default() };
        prop_assume!(now < at(allowed));

        let found = forecast(&progress, at(0), at(allowed), now, &DeadlinePolicy::default());

        let off = found.finish_at.unwrap().duration_since(at(took)).as_secs_f64().abs();
        prop_assert!(off < 1.0, "{off} s off");
        if found.outlook == Outlook::OnTrack {
            prop_assert!(took <= allowed + 1);
        }
        if found.outlook == Outlook::Infeasible {
            prop_assert!(took >= allowed - 1);
        }
    }

    #[test]
    fn more_committed_work_never_makes_the_outlook_worse(
        now in 0..3_600_i64,
        allowed in 1..3_600_i64,
        [less, more] in [0.0..=1.0_f64, 0.0..=1.0_f64],
    ) {
        let (less, more) = (less.min(more), less.max(more));
        prop_assume!(less > 0.0);
        let badness = |share: f64| {
            let progress = Progress { work: 1.0, work_settled: share, ..Progress::default() };
            match forecast(&progress, at(0), at(allowed), at(now), &DeadlinePolicy::default()).outlook {
                Outlook::OnTrack => 0,
                Outlook::AtRisk => 1,
                Outlook::Infeasible => 2,
                Outlook::Missed => 3,
            }
        };

        prop_assert!(badness(more) <= badness(less));
    }
}
