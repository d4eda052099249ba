//! What a pass looks at, and what it does.

use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkId, ChunkState, Outcome, Priority, RunId, RunState, Verdict};

use super::Ground;
use super::base::{AS_OF, at};
use super::steps::{
    CHUNKS, LEASE, begun, chunk, customers, dead, done, leading, models, ok, policy, published, refusal,
    results, run_over, story, with_a_customer_twice,
};
use crate::{
    Archive, Attempts, Begin, Error, Explained, ModelVersions, NewRun, Planning, Supervision, Valued,
    VisibleRuns,
};

/// A term is never issued twice.
pub async fn terms_grow_and_one_leads(ground: &impl Ground) {
    let store = ground.store();
    let lead = async |leader: &str| ok(store.lead(leader, LEASE).await);

    let first = lead("one").await.expect("nobody leads");
    let renewed = lead("one").await;
    let other = lead("another").await;
    ground.pass(LEASE).await;
    let second = lead("another").await.expect("the lease is over");
    ok(store.abdicate("another", first).await);
    ok(store.abdicate("one", second).await);
    let still = lead("one").await;
    ok(store.abdicate("another", second).await);
    let third = lead("another").await.expect("nobody leads");

    assert_eq!(renewed, Some(first));
    assert_eq!((other, still), (None, None));
    assert!(first < second && second < third, "{first:?}, {second:?}, {third:?}");
}

/// Since a leader that died before the clock was set back renews no more, and the end of its lease is far.
pub async fn a_leadership_that_ends_later_than_one_can_is_not_believed(ground: &impl Ground) {
    let store = ground.store();

    let first = ok(store.lead("one", 3 * LEASE).await).expect("nobody leads");
    let who = ok(store.leader().await);
    let second = ok(store.lead("another", LEASE).await).expect("that lease is no lease");
    let now = ok(store.leader().await);
    let back = ok(store.lead("one", 3 * LEASE).await);
    ground.pass(LEASE).await;
    let nobody = ok(store.leader().await);

    assert!(first < second, "{first:?}, {second:?}");
    assert_eq!((who.as_deref(), now.as_deref()), (Some("one"), Some("another")));
    assert_eq!((back, nobody), (None, None), "whose lease is shorter leads on");
}

/// Since a worker that died before renews no more, and the end of its lease is far. One that lives may have been given
/// longer leases than the coordinator was told of.
pub async fn a_lease_from_before_the_clock_was_set_back_is_shortened_by_who_leads(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let attempt = begun(ground, chunk(run, 1), "worker").await.attempt;
    ok(store.renew_leases(&[attempt], 3 * LEASE).await);
    let old = leading(ground).await;
    ok(store.abdicate("coordinator", old).await);
    let term = leading(ground).await;
    let shorten = async |term| ok(store.shorten_lease(term, attempt, LEASE).await);

    assert!(!shorten(term).await, "it is longer than the coordinator's, and no clock was set back");
    ground.set_back(100 * LEASE).await;
    assert!(!shorten(old).await, "the term is over");
    assert!(shorten(term).await);
    assert!(!shorten(term).await, "it counts from now");

    let due = ok(store.now().await);
    let rescue = async || ok(store.rescue(term, attempt, Verdict::RetryAt(due)).await);
    ground.pass(2 * LEASE).await;
    assert!(!rescue().await, "it lasts as long as it was given for");
    ground.pass(LEASE).await;
    assert!(rescue().await);
}

/// So that two coordinators, or one that was stopped and came back, take nothing from anybody.
pub async fn a_rescue_needs_the_term_an_expired_lease_and_the_latest_attempt(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let attempt = begun(ground, chunk(run, 1), "worker").await.attempt;
    let old = leading(ground).await;
    ok(store.abdicate("coordinator", old).await);
    let term = leading(ground).await;
    let wrong = AttemptId { attempt: Attempt(attempt.attempt.0 + 1), ..attempt };
    let due = ok(store.now().await);
    let rescue = async |term, attempt| ok(store.rescue(term, attempt, Verdict::RetryAt(due)).await);

    assert!(!rescue(term, attempt).await, "the lease is not over");
    ground.pass(LEASE).await;
    assert!(!rescue(old, attempt).await, "the term is over");
    assert!(!rescue(term, wrong).await, "it is not the latest attempt");
    assert!(rescue(term, attempt).await);
    assert!(!rescue(term, attempt).await, "it was taken already");

    assert_eq!(story(ground, run).await, [(1, 1, Some(Outcome::Lost))]);
    ground.pass(Duration::from_secs(1)).await;
    let next = begun(ground, chunk(run, 1), "another").await;
    assert_eq!((next.attempt.attempt, next.losses), (Attempt(2), 1));
}

/// That somebody was missed says nothing of when it lived.
pub async fn who_worked_on_a_run_is_told_by_what_each_said_itself(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let beginning = ok(store.now().await);
    let lost = begun(ground, chunk(run, 1), "one").await.attempt;
    let given_back = begun(ground, chunk(run, 2), "another").await.attempt;
    ground.pass(LEASE).await;
    let term = leading(ground).await;
    let due = ok(store.now().await);
    assert!(ok(store.rescue(term, lost, Verdict::RetryAt(due)).await));
    ok(store.give_back(given_back).await);

    let presences = ok(store.presences(&[run]).await);
    let of_none = ok(store.presences(&[]).await);

    let names: Vec<&str> = presences.iter().map(|presence| &*presence.name).collect();
    assert_eq!(names, ["another", "one"]);
    let [another, one] = &presences[..] else { unreachable!("there are two names") };
    assert!(beginning <= one.from && one.from == one.to, "{one:?}");
    assert!(beginning <= another.from && another.from < another.to, "{another:?}");
    assert_eq!(of_none, []);
}

/// Sums over rows, and nothing of runs that are over.
pub async fn a_snapshot_shows_open_runs_by_sums_and_their_open_chunks(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let version = ok(store.model_version_to_pin(None).await).expect("there is one");
    let cancelled = ok(store.create_run(&run_over(None, &CHUNKS, version)).await).run;
    ok(store.cancel_run(cancelled).await);
    done(ground, chunk(run, 1)).await;
    let failed = begun(ground, chunk(run, 2), "worker").await.attempt;
    ok(store.fail_attempt(failed, "it is bad", &policy()).await);
    ground.pass(policy().max_delay).await;
    begun(ground, chunk(run, 2), "worker").await;

    let snapshot = ok(store.snapshot().await);
    ground.pass(LEASE).await;
    let later = ok(store.snapshot().await);

    assert!(snapshot.store_well_since <= snapshot.taken_at);
    let [seen] = &snapshot.runs[..] else { panic!("one run is open: {:?}", snapshot.runs) };
    assert_eq!((seen.run, seen.state, seen.priority), (run, RunState::Running, Priority::High));
    assert_eq!(seen.deadline_at.duration_since(seen.planned_at).as_mins(), 30);
    let progress = seen.progress;
    assert_eq!((progress.chunks, progress.done, progress.dead), (3, 1, 0));
    assert_eq!((progress.customers, progress.values, progress.rejections), (11, 2, 2));
    assert_eq!((progress.work, progress.work_settled), (11.0, 4.0));
    let [leased, waits] = &seen.open_chunks[..] else { panic!("two are open: {:?}", seen.open_chunks) };
    assert_eq!((leased.chunk, leased.state, leased.attempt), (ChunkId(2), ChunkState::Leased, Attempt(2)));
    assert!(leased.leased_until.is_some_and(|until| until > snapshot.taken_at));
    assert_eq!(leased.retry_at, None);
    assert_eq!((waits.chunk, waits.state, waits.attempt), (ChunkId(3), ChunkState::Published, Attempt(0)));
    assert!(waits.published_at.is_some() && waits.leased_until.is_none());
    // Failures are told once they are needed for a verdict.
    assert_eq!(later.runs[0].open_chunks[0].failures, 1);
}

/// And not while a chunk is open.
pub async fn a_settled_run_is_finished_once_by_who_leads(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let old = leading(ground).await;
    ok(store.abdicate("coordinator", old).await);
    let term = leading(ground).await;
    done(ground, chunk(run, 1)).await;
    done(ground, chunk(run, 2)).await;

    let too_early = ok(store.finish_run(term, run).await);
    done(ground, chunk(run, 3)).await;
    let by_another = ok(store.finish_run(old, run).await);
    let finished = ok(store.finish_run(term, run).await).expect("it is settled");
    let again = ok(store.finish_run(term, run).await);
    let unknown = ok(store.finish_run(term, RunId(99)).await);

    assert_eq!((too_early, by_another, again, unknown), (None, None, None, None));
    assert_eq!((finished.run, finished.progress.values, finished.progress.rejections), (run, 8, 3));
    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!((record.state, record.progress), (RunState::Finished, finished.progress));
    assert!(record.finished_at.is_some());
    let begin = ok(store.begin_attempt(chunk(run, 1), "worker", LEASE, false).await);
    assert_eq!(begin, Begin::NoRun);
}

/// And no later call can: who waits for it is told so, and not that the store is away.
pub async fn a_settled_run_that_makes_no_sense_is_not_finished(ground: &impl Ground) {
    let store = ground.store();
    let run = with_a_customer_twice(ground).await;
    let term = leading(ground).await;

    for _ in 0..2 {
        let error = refusal(store.finish_run(term, run).await);
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    }

    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!((record.state.is_over(), record.progress.is_settled()), (false, true));
    assert_eq!(ok(store.visible_runs().await), VisibleRuns::default());
}

/// Nothing before the run is finished, everything after, by pages in the order of the customers.
pub async fn values_become_visible_all_at_once(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    // Not in the order of the customers.
    for number in [2, 3, 1] {
        done(ground, chunk(run, number)).await;
    }
    let before = (ok(store.values_after(run, None, 100).await), ok(store.visible_runs().await));

    ok(store.finish_run(term, run).await).expect("it is settled");

    assert_eq!(before, (Vec::new(), VisibleRuns::default()));
    let visible = ok(store.visible_runs().await);
    assert_eq!((visible.runs, visible.version > 0), (vec![run], true));
    let all = ok(store.values_after(run, None, 100).await);
    assert_eq!(all, results(&customers([101, 111])).values);
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|valued: &Valued| valued.customer);
        let page = ok(store.values_after(run, after, 3).await);
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

/// So that every planned customer is accounted for.
pub async fn customers_of_dead_chunks_become_rejections(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    done(ground, chunk(run, 1)).await;
    done(ground, chunk(run, 3)).await;
    dead(ground, chunk(run, 2)).await;
    let term = leading(ground).await;

    let finished = ok(store.finish_run(term, run).await).expect("it is settled");

    let progress = finished.progress;
    assert_eq!((progress.done, progress.dead), (2, 1));
    assert_eq!((progress.values, progress.rejections), (5, 6));
    for customer in customers([105, 108]) {
        assert_eq!(ok(store.explain(run, customer).await), Explained::Rejected("dead_chunk".into()));
    }
    assert_eq!(ok(store.redrive(run).await), 0, "the run is over");
    assert!(!ok(store.dead_chunks(9).await)[0].is_open);
}

/// The newest moment first, whatever the order in which they were finished.
pub async fn readers_see_the_last_whole_run_and_the_partial_ones_after_it(ground: &impl Ground) {
    let store = ground.store();
    let version = ok(store.save_model_version(&models(), None).await);
    let term = leading(ground).await;
    let finish = async |moment: i64, chunks: &[[i64; 2]]| {
        let new = NewRun { as_of: at(AS_OF + moment), ..run_over(None, chunks, version) };
        let run = ok(store.create_run(&new).await).run;
        for number in 1..=chunks.len() as i32 {
            done(ground, chunk(run, number)).await;
        }
        ok(store.finish_run(term, run).await).expect("it is settled");
        run
    };
    let visible = async || ok(store.visible_runs().await);

    let old_part = finish(1, &CHUNKS[..1]).await;
    let whole = finish(2, &CHUNKS).await;
    let after_whole = visible().await;
    let new_part = finish(4, &CHUNKS[1..]).await;
    let between = finish(3, &CHUNKS[..1]).await;
    let at_once = finish(2, &CHUNKS[..1]).await;
    let after_parts = visible().await;
    let older_whole = finish(1, &CHUNKS).await;
    let after_older = visible().await;
    let newest = finish(5, &CHUNKS).await;

    assert_eq!(after_whole.runs, [whole], "{old_part} is behind it");
    assert_eq!(after_parts.runs, [new_part, between, at_once, whole]);
    assert_eq!(after_older.runs, after_parts.runs, "{older_whole} is behind them");
    assert_eq!(visible().await.runs, [newest]);
    let versions = [after_whole.version, after_parts.version, after_older.version, visible().await.version];
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
}
