//! Whose turn it is, for whatever waits.

use std::collections::BTreeSet;
use std::time::Duration;

use batch::{PerPriority, Priority, TurnPolicy, Waits};
use proptest::prelude::*;

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

prop_compose! {
    fn waits()(priority in priority(), since in 0..60_000_u64, valued in 0..20_000_u64) -> Waits {
        Waits { priority, since: Duration::from_millis(since), valued }
    }
}

prop_compose! {
    fn policies()(high in 0..5_000_u64, beyond in 0..20_000_u64, per_customer in 0..5_000_u64) -> TurnPolicy {
        let handicap = PerPriority::from_fn(|priority| match priority {
            Priority::Critical => Duration::ZERO,
            Priority::High => Duration::from_millis(high),
            Priority::Normal => Duration::from_millis(high + beyond),
        });
        TurnPolicy { handicap, per_customer: Duration::from_micros(per_customer) }
    }
}

/// What comes and when, in milliseconds, each as a question of one part.
fn comings() -> impl Strategy<Value = Vec<(u64, Priority)>> {
    prop::collection::vec((0..30_000_u64, priority()), 1..80)
}

proptest! {
    #[test]
    fn nobody_is_overtaken_by_who_comes_later_than_allowed(policy in policies(), early in waits(), late in waits()) {
        let allowed = policy.overtaken_for(early.priority, early.valued);

        if late.since > early.since + allowed {
            prop_assert!(policy.turn(&early) < policy.turn(&late));
        }
    }

    #[test]
    fn the_more_urgent_of_two_that_came_at_once_goes_first(policy in policies(), one in waits(), than in priority()) {
        let other = Waits { priority: than, ..one };

        if one.priority < than {
            prop_assert!(policy.turn(&one) <= policy.turn(&other));
        }
    }

    #[test]
    fn of_the_equally_urgent_who_came_first_goes_first_and_who_has_had_less(
        policy in policies(), one in waits(), since in 0..60_000_u64, valued in 0..20_000_u64,
    ) {
        let later = Waits { since: one.since + Duration::from_millis(since), ..one };
        let larger = Waits { valued: one.valued + valued, ..one };

        prop_assert!(policy.turn(&one) <= policy.turn(&later));
        prop_assert!(policy.turn(&one) <= policy.turn(&larger));
    }

    /// One place, a part each 100 ms, and as much that is critical as the place can do, for ever: whatever else comes has
    /// its turn once it was overtaken for as long as it may be and who waits before it then has had theirs.
    #[test]
    fn a_flood_of_what_is_critical_starves_nobody(policy in policies(), others in comings()) {
        const PART: u64 = 100;
        let longest = policy.overtaken_for(Priority::Normal, 0);
        let flood = (0..700).map(|number| (number * PART, Priority::Critical));
        let mut comes: Vec<(u64, Priority)> = others.iter().copied().chain(flood).collect();
        comes.sort_unstable();
        let (mut waiting, mut now, mut next) = (BTreeSet::new(), 0, 0);
        while next < comes.len() || !waiting.is_empty() {
            while next < comes.len() && comes[next].0 <= now {
                let (at, priority) = comes[next];
                let since = Duration::from_millis(at);
                waiting.insert((policy.turn(&Waits { priority, since, valued: 0 }), next));
                next += 1;
            }
            if let Some((_, taken)) = waiting.pop_first() {
                let (at, priority) = comes[taken];
                let waited = Duration::from_millis(now - at);
                let latest = u64::try_from(longest.as_millis()).unwrap() + at;
                let before = comes.partition_point(|(came, _)| *came <= latest) as u64;
                let backlog = Duration::from_millis(PART * before);
                prop_assert!(waited <= longest + backlog, "{priority} waited {waited:?}");
            }
            now += PART;
        }
    }
}

#[test]
fn a_question_for_one_customer_goes_before_the_rest_of_a_large_one() {
    let policy = TurnPolicy::default();
    let large = Waits { priority: Priority::Critical, since: Duration::from_mins(1), valued: 500 };

    let small = Waits { since: Duration::from_millis(60_400), valued: 0, ..large };

    assert!(policy.turn(&small) < policy.turn(&large));
}
