//! Attempts at chunks.

use std::time::Duration;

use batch::{Attempt, AttemptId, Outcome, RetryPolicy, RunId, Verdict};

use super::Ground;
use super::base::as_of;
use super::steps::{
    LEASE, begun, chunk, customers, done, leading, ok, policy, published, results, story, terms,
};
use crate::{Archive, Assignment, Attempts, Begin, CommitOutcome, Planning, Standing, Supervision, Values};

/// Before any work.
pub async fn a_begin_counts_the_attempt_and_tells_all_that_it_needs(ground: &impl Ground) {
    let run = published(ground).await;
    let version = ok(ground.store().model_version_to_pin(None).await).expect("there is one");

    let assignment = begun(ground, chunk(run, 2), "worker").await;

    let expected = Assignment {
        attempt: AttemptId { chunk: chunk(run, 2), attempt: Attempt(1) },
        customers: customers([105, 108]),
        losses: 0,
        is_whole: true,
        as_of: as_of(),
        model_version: version,
        terms: terms(),
    };
    assert_eq!(assignment, expected);
}

/// And the answer says why.
pub async fn what_is_leased_settled_not_due_or_of_no_run_is_not_begun(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let begin = async |chunk| ok(store.begin_attempt(chunk, "another", LEASE, false).await);

    begun(ground, chunk(run, 1), "worker").await;
    done(ground, chunk(run, 2)).await;
    let failed = begun(ground, chunk(run, 3), "worker").await;
    ok(store.fail_attempt(failed.attempt, "it is bad", &policy()).await);

    assert_eq!(begin(chunk(run, 1)).await, Begin::Leased);
    assert_eq!(begin(chunk(run, 2)).await, Begin::Settled);
    assert_eq!(begin(chunk(run, 3)).await, Begin::NotDue);
    assert_eq!(begin(chunk(run, 4)).await, Begin::NoRun);
    assert_eq!(begin(chunk(RunId(99), 1)).await, Begin::NoRun);
    ground.pass(policy().max_delay).await;
    assert!(matches!(begin(chunk(run, 3)).await, Begin::Assigned(_)));
    // A lease that has expired is the coordinator's to take.
    assert_eq!(begin(chunk(run, 1)).await, Begin::Leased);
}

/// Its worker gets a new attempt, and the old one costs nothing.
pub async fn a_repeated_begin_excuses_the_one_that_nobody_heard_of(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let unheard = begun(ground, chunk(run, 1), "worker").await;

    let again = ok(store.begin_attempt(chunk(run, 1), "worker", LEASE, true).await);

    let Begin::Assigned(again) = again else { panic!("its own chunk is there to be begun: {again:?}") };
    assert_eq!(again.attempt.attempt, Attempt(2));
    let rows = results(&again.customers);
    assert_eq!(ok(store.commit_attempt(unheard.attempt, &rows).await), CommitOutcome::Refused);
    assert_eq!(ok(store.commit_attempt(again.attempt, &rows).await), CommitOutcome::Committed);
    assert_eq!(story(ground, run).await, [(1, 1, Some(Outcome::Excused)), (1, 2, Some(Outcome::Done))]);
}

/// It came back, though there is nothing for it to do yet, or any more.
pub async fn a_repeated_begin_excuses_its_workers_loss_where_nothing_is_begun(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    for id in [1, 2] {
        let unheard = begun(ground, chunk(run, id), "worker").await.attempt;
        ground.pass(LEASE).await;
        let due = ok(store.now().await) + LEASE;
        assert!(ok(store.rescue(term, unheard, Verdict::RetryAt(due)).await));
    }
    ground.pass(LEASE).await;
    done(ground, chunk(run, 1)).await;
    let lost = begun(ground, chunk(run, 2), "another").await.attempt;
    ground.pass(LEASE).await;
    let due = ok(store.now().await) + LEASE;
    assert!(ok(store.rescue(term, lost, Verdict::RetryAt(due)).await));

    let again = async |id| ok(store.begin_attempt(chunk(run, id), "worker", LEASE, true).await);

    assert_eq!((again(1).await, again(2).await), (Begin::Settled, Begin::NotDue));
    let expected = [
        (1, 1, Some(Outcome::Excused)),
        (1, 2, Some(Outcome::Done)),
        (2, 1, Some(Outcome::Excused)),
        (2, 2, Some(Outcome::Lost)),
    ];
    assert_eq!(story(ground, run).await, expected);
}

/// The chunk stays with whoever has it.
pub async fn a_repeated_begin_takes_nothing_from_another_worker(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let held = begun(ground, chunk(run, 1), "worker").await;

    let begin = ok(store.begin_attempt(chunk(run, 1), "another", LEASE, true).await);

    assert_eq!(begin, Begin::Leased);
    assert_eq!(ok(store.resume_attempt(held.attempt, LEASE).await), Standing::Held);
}

/// The others are told by not being named.
pub async fn only_the_latest_attempt_of_an_open_run_renews_its_lease(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let old = begun(ground, chunk(run, 1), "worker").await.attempt;
    ok(store.give_back(old).await);
    let latest = begun(ground, chunk(run, 1), "worker").await.attempt;
    let committed = done(ground, chunk(run, 2)).await.attempt;
    let unknown = AttemptId { chunk: chunk(RunId(99), 1), attempt: Attempt(1) };
    let held = [old, latest, committed, unknown];
    let term = leading(ground).await;

    ground.pass(LEASE / 2).await;
    let renewed = ok(store.renew_leases(&held, LEASE).await);
    ground.pass(LEASE / 2 + Duration::from_secs(1)).await;
    let rescued = ok(store.rescue(term, latest, Verdict::DeadLetter).await);
    ok(store.cancel_run(run).await);

    assert_eq!(renewed, [latest]);
    assert!(!rescued, "the lease was renewed");
    assert_eq!(ok(store.renew_leases(&held, LEASE).await), []);
}

/// Held, committed or superseded.
pub async fn an_attempt_that_comes_back_is_told_where_it_stands_and_its_loss_is_excused(
    ground: &impl Ground,
) {
    let store = ground.store();
    let run = published(ground).await;
    let held = begun(ground, chunk(run, 1), "worker").await.attempt;
    let committed = done(ground, chunk(run, 2)).await.attempt;
    let lost = begun(ground, chunk(run, 3), "worker").await.attempt;
    let term = leading(ground).await;
    ground.pass(LEASE).await;
    let due = ok(store.now().await);
    assert!(ok(store.rescue(term, lost, Verdict::RetryAt(due)).await));

    let standing = async |attempt| ok(store.resume_attempt(attempt, LEASE).await);

    assert_eq!(standing(held).await, Standing::Held);
    assert!(!ok(store.rescue(term, held, Verdict::RetryAt(due)).await), "the lease was renewed");
    assert_eq!(standing(committed).await, Standing::Committed);
    assert_eq!(story(ground, run).await, [(3, 1, Some(Outcome::Lost))]);
    assert_eq!(standing(lost).await, Standing::Superseded);
    assert_eq!(story(ground, run).await, [(3, 1, Some(Outcome::Excused))]);
    ground.pass(Duration::from_secs(1)).await;
    assert_eq!(begun(ground, chunk(run, 3), "another").await.losses, 0);
}

/// The verdict is the policy's, and failed and lost attempts count alike.
pub async fn a_chunk_is_tried_again_later_until_its_failures_are_used_up(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    let policy = RetryPolicy { max_failures: 3, ..RetryPolicy::default() };

    let first = begun(ground, chunk(run, 1), "worker").await.attempt;
    let verdict = ok(store.fail_attempt(first, "it is bad", &policy).await);
    let now = ok(store.now().await);
    assert!(matches!(verdict, Some(Verdict::RetryAt(due)) if due > now), "{verdict:?} at {now}");
    ground.pass(policy.max_delay).await;
    let second = begun(ground, chunk(run, 1), "worker").await.attempt;
    ground.pass(LEASE).await;
    assert!(ok(store.rescue(term, second, Verdict::RetryAt(now)).await));
    let third = begun(ground, chunk(run, 1), "worker").await;
    let verdict = ok(store.fail_attempt(third.attempt, "it is worse", &policy).await);

    assert_eq!(verdict, Some(Verdict::DeadLetter));
    assert_eq!((third.attempt.attempt, third.losses), (Attempt(3), 1));
    let begin = ok(store.begin_attempt(chunk(run, 1), "worker", LEASE, false).await);
    assert_eq!(begin, Begin::Settled);
    let dead = ok(store.dead_chunks(9).await);
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].chunk, dead[0].customers, dead[0].is_open), (chunk(run, 1), 4, true));
    assert_eq!(dead[0].reason.as_deref(), Some("it is worse"));
    assert!(dead[0].died_at.is_some());
    assert_eq!(ok(store.dead_customers(run).await), customers([101, 104]));
    let expected =
        [(1, 1, Some(Outcome::Failed)), (1, 2, Some(Outcome::Lost)), (1, 3, Some(Outcome::Failed))];
    assert_eq!(story(ground, run).await, expected);
}

/// What follows is no longer its own to decide.
pub async fn an_attempt_that_was_superseded_cannot_fail(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let old = begun(ground, chunk(run, 1), "worker").await.attempt;
    ok(store.give_back(old).await);
    let latest = begun(ground, chunk(run, 1), "another").await.attempt;

    let verdict = ok(store.fail_attempt(old, "it is bad", &policy()).await);

    assert_eq!(verdict, None);
    assert_eq!(ok(store.resume_attempt(latest, LEASE).await), Standing::Held);
}

/// Not even when it is told twice, or too late.
pub async fn giving_back_costs_nothing(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let given = begun(ground, chunk(run, 1), "worker").await.attempt;

    ok(store.give_back(given).await);
    ok(store.give_back(given).await);
    let next = begun(ground, chunk(run, 1), "another").await;
    ok(store.give_back(given).await);

    assert_eq!((next.attempt.attempt, next.losses), (Attempt(2), 0));
    assert_eq!(ok(store.resume_attempt(next.attempt, LEASE).await), Standing::Held);
    let policy = RetryPolicy { max_failures: 2, ..policy() };
    let verdict = ok(store.fail_attempt(next.attempt, "it is bad", &policy).await);
    assert!(matches!(verdict, Some(Verdict::RetryAt(_))), "one failure, not two: {verdict:?}");
    assert_eq!(story(ground, run).await, [(1, 1, Some(Outcome::GivenBack)), (1, 2, Some(Outcome::Failed))]);
}
