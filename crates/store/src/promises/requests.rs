//! Requests, from the question to the attempt.

use std::time::Duration;

use batch::{Attempt, CustomerId, RequestAttempt, RequestId, RequestState, RetryPolicy, RunId, Verdict};
use futures_util::future::join_all;
use jiff::Timestamp;
use model::ValueTerms;

use super::Ground;
use super::steps::{
    CHUNKS, LEASE, chunk, customers, done, leading, models, ok, refusal, results, run_over, terms,
};
use crate::{
    Asked, CommitOutcome, Error, ModelVersionId, ModelVersions, NewPromotion, NewRequest, NewRun, Pinned,
    Planning, RequestAssignment, RequestBegin, RequestClaim, RequestRecord, Requests, Standing, Supervision,
};

pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// Longer than a lease, so that a worker can be lost in time.
pub(super) const LASTS: Duration = Duration::from_mins(10);

pub(super) fn question(key: Option<&str>, ends: [i64; 2]) -> NewRequest {
    NewRequest {
        asked_by: "an analyst".into(),
        key: key.map(str::to_owned),
        fingerprint: vec![1, 2, 255],
        customers: customers(ends),
        lasts: LASTS,
        trace: vec![("traceparent".into(), "00-3-4-01".into())],
        is_waited_for: true,
    }
}

pub(super) fn claim(worker: &str) -> RequestClaim<'_> {
    let terms = ValueTerms::default();
    RequestClaim { worker, lease: LEASE, is_repeat: false, max_failures: 3, terms }
}

fn policy() -> RetryPolicy {
    RetryPolicy { max_failures: 3, ..RetryPolicy::default() }
}

pub(super) async fn asked<G: Ground>(ground: &G, ends: [i64; 2]) -> RequestId {
    match ok(ground.store().ask(&question(None, ends)).await) {
        Asked::New(request) => request,
        other => panic!("nobody asked before, and not {other:?}"),
    }
}

/// Begins a request that there is to begin.
pub(super) async fn assigned<G: Ground>(ground: &G, request: RequestId, worker: &str) -> RequestAssignment {
    match ok(ground.store().begin_request(request, &claim(worker)).await) {
        RequestBegin::Assigned(assignment) => *assignment,
        other => panic!("request {request} is there to be begun, and not {other:?}"),
    }
}

/// Answers a request from begin to commit.
pub(super) async fn answered<G: Ground>(ground: &G, ends: [i64; 2]) -> RequestAttempt {
    let request = asked(ground, ends).await;
    let assignment = assigned(ground, request, "worker").await;
    let rows = results(&assignment.customers);
    let outcome = ok(ground.store().answer_request(assignment.attempt, &rows).await);
    assert_eq!(outcome, CommitOutcome::Committed);
    assignment.attempt
}

pub(super) async fn looked_at<G: Ground>(ground: &G, request: RequestId) -> RequestRecord {
    ok(ground.store().look(&[request]).await).pop().expect("it was asked")
}

pub(super) async fn promoted<G: Ground>(ground: &G) -> ModelVersionId {
    ok(ground.store().save_model_version(&models(), Some(&NewPromotion::default())).await)
}

/// A run for a moment whose values have become visible.
pub(super) async fn finished<G: Ground>(ground: &G, chunks: &[[i64; 2]], as_of: Timestamp) -> RunId {
    let store = ground.store();
    let version = ok(store.model_version_to_pin(None).await).expect("there is one");
    let new = NewRun { as_of, ..run_over(None, chunks, version) };
    let run = ok(store.create_run(&new).await).run;
    for number in 1..=chunks.len() as i32 {
        done(ground, chunk(run, number)).await;
    }
    let term = leading(ground).await;
    ok(store.finish_run(term, run).await).expect("it is settled");
    run
}

/// However many ask at once; and a key is its owner's.
pub async fn a_question_is_recorded_once_under_its_key(ground: &impl Ground) {
    let store = ground.store();
    let new = question(Some("key"), [101, 104]);

    let all = join_all((0..20).map(|_| store.ask(&new))).await;
    let another_s = NewRequest { asked_by: "another".into(), ..new.clone() };
    let something_else = NewRequest { fingerprint: vec![7], ..new.clone() };

    let mut first = None;
    let mut known = Vec::new();
    for asked in all {
        match ok(asked) {
            Asked::New(request) => assert_eq!(first.replace(request), None, "it was recorded once"),
            Asked::Known(record) => known.push(*record),
            Asked::KeyReused => panic!("the same was asked"),
        }
    }
    let first = first.expect("somebody was the first");
    assert_eq!(known.len(), 19);
    for record in known {
        assert_eq!((record.request, record.state, record.customers), (first, RequestState::Waiting, 4));
        assert_eq!((&*record.asked_by, record.key.as_deref()), ("an analyst", Some("key")));
        assert!(record.left > LASTS / 2 && record.left <= LASTS);
    }
    assert_eq!(ok(store.ask(&something_else).await), Asked::KeyReused);
    assert!(matches!(ok(store.ask(&another_s).await), Asked::New(request) if request != first));
    assert!(asked(ground, [101, 104]).await != asked(ground, [101, 104]).await, "there was no key");
}

/// The same request, for another moment; whoever was at work on it is too late.
pub async fn a_question_that_was_abandoned_or_has_expired_can_be_asked_again(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let new = question(Some("key"), [101, 104]);
    let Asked::New(request) = ok(store.ask(&new).await) else { panic!("nobody asked before") };

    assert!(ok(store.abandon(request).await));
    assert!(!ok(store.abandon(request).await));
    assert_eq!(looked_at(ground, request).await.state, RequestState::Abandoned);
    let again = ok(store.ask(&new).await);
    let Asked::Known(again) = again else { panic!("it was asked before: {again:?}") };
    assert_eq!((again.request, again.state), (request, RequestState::Waiting));

    let late = assigned(ground, request, "worker").await;
    assert!(!ok(store.abandon(request).await), "somebody is at work on it");
    ground.pass(LASTS).await;
    assert_eq!(looked_at(ground, request).await.state, RequestState::Expired);
    let again = ok(store.ask(&new).await);
    let Asked::Known(again) = again else { panic!("it was asked before: {again:?}") };
    assert_eq!((again.request, again.state), (request, RequestState::Waiting));
    assert_eq!((again.pinned, again.failures), (None, 0));
    let latest = assigned(ground, request, "another").await;

    assert!(latest.attempt.attempt > late.attempt.attempt, "the fence does not go back");
    assert!(latest.attempt.as_of > late.attempt.as_of);
    assert_eq!(latest.losses, 0);
    let rows = results(&late.customers);
    assert_eq!(ok(store.answer_request(late.attempt, &rows).await), CommitOutcome::Refused);
    assert_eq!(ok(store.answer_request(latest.attempt, &rows).await), CommitOutcome::Committed);
    let Asked::Known(answered) = ok(store.ask(&new).await) else { panic!("it was asked before") };
    assert_eq!((answered.state, answered.values), (RequestState::Answered, 2));
}

/// What has to be so for an answer to be whole.
pub async fn a_question_about_nobody_or_in_no_order_is_refused(ground: &impl Ground) {
    for customers in [vec![], vec![102, 101], vec![101, 101]] {
        let customers: Vec<CustomerId> = customers.into_iter().map(CustomerId).collect();
        let new = NewRequest { customers, ..question(None, [101, 102]) };
        assert!(matches!(refusal(ground.store().ask(&new).await), Error::Invalid { .. }));
    }
}

/// Whatever happens in between.
pub async fn the_first_attempt_at_a_request_pins_what_all_of_them_value(ground: &impl Ground) {
    let store = ground.store();
    let (plain, told) = (asked(ground, [101, 104]).await, asked(ground, [105, 105]).await);
    let none = ok(store.begin_request(plain, &claim("worker")).await);
    let version = promoted(ground).await;

    let before = ok(store.now().await);
    let first = assigned(ground, plain, "worker").await;
    let after = ok(store.now().await);
    ok(store.give_back_request(first.attempt).await);
    finished(ground, &CHUNKS, before).await;
    let newer = promoted(ground).await;
    ground.pass(MINUTE).await;
    let second = assigned(ground, plain, "another").await;
    let told = assigned(ground, told, "worker").await;

    assert_eq!(none, RequestBegin::NoModel);
    let expected = RequestAssignment {
        attempt: RequestAttempt { request: plain, attempt: Attempt(1), as_of: first.attempt.as_of },
        customers: customers([101, 104]),
        losses: 0,
        left: first.left,
        model_version: version,
        terms: ValueTerms::default(),
        trace: vec![("traceparent".into(), "00-3-4-01".into())],
    };
    assert_eq!(first, expected);
    assert!((before..=after).contains(&first.attempt.as_of));
    assert!(first.left > LASTS / 2 && first.left <= LASTS);
    let attempt = RequestAttempt { attempt: Attempt(2), ..first.attempt };
    assert_eq!(second, RequestAssignment { attempt, left: second.left, ..first });
    assert!(second.left < LASTS);
    // The terms are those of the newest run over the whole base, so that the two can be compared.
    assert_eq!((told.model_version, told.terms), (newer, terms()));
    let pinned = Pinned { as_of: told.attempt.as_of, model_version: newer, terms: terms() };
    assert_eq!(looked_at(ground, told.attempt.request).await.pinned, Some(pinned));
}

/// And the answer says why, and for how long.
pub async fn a_request_that_is_over_or_at_work_or_not_due_is_not_begun(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let begin = async |request| ok(store.begin_request(request, &claim("another")).await);
    let held = asked(ground, [101, 104]).await;
    let [failing, failed, left, late] = [(); 4].map(|()| asked(ground, [105, 108]));
    let (failing, failed, left, late) = (failing.await, failed.await, left.await, late.await);

    assigned(ground, held, "worker").await;
    let is_answered = answered(ground, [105, 108]).await.request;
    let attempt = assigned(ground, failing, "worker").await.attempt;
    ok(store.fail_request(attempt, "it is bad", &policy()).await);
    let attempt = assigned(ground, failed, "worker").await.attempt;
    let once = RetryPolicy { max_failures: 1, ..policy() };
    ok(store.fail_request(attempt, "it is bad", &once).await);
    assert!(ok(store.abandon(left).await));

    let at_work = begin(held).await;
    assert!(
        matches!(at_work, RequestBegin::AtWork(left) if left > LEASE / 2 && left <= LEASE),
        "{at_work:?}"
    );
    let not_due = begin(failing).await;
    let is_so =
        matches!(not_due, RequestBegin::NotDue(left) if !left.is_zero() && left <= policy().max_delay);
    assert!(is_so, "{not_due:?}");
    assert_eq!(begin(is_answered).await, RequestBegin::Over(RequestState::Answered));
    assert_eq!(begin(failed).await, RequestBegin::Over(RequestState::Failed));
    assert_eq!(begin(left).await, RequestBegin::Over(RequestState::Abandoned));
    assert_eq!(begin(RequestId(9_999)).await, RequestBegin::NotThere);
    ground.pass(policy().max_delay).await;
    assert!(matches!(begin(failing).await, RequestBegin::Assigned(_)));
    ground.pass(LASTS).await;
    assert_eq!(begin(late).await, RequestBegin::Over(RequestState::Expired));
    assert_eq!(begin(held).await, RequestBegin::Over(RequestState::Expired));
    assert_eq!(looked_at(ground, held).await.left, Duration::ZERO);
}

/// Its worker gets a new attempt; nobody else gets anything from a repeat.
pub async fn a_repeated_begin_of_a_request_costs_nothing(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let request = asked(ground, [101, 104]).await;
    let repeat = |worker| RequestClaim { is_repeat: true, ..claim(worker) };
    let unheard = assigned(ground, request, "worker").await;

    let another_s = ok(store.begin_request(request, &repeat("another")).await);
    let unasked = ok(store.begin_request(request, &claim("worker")).await);
    let again = ok(store.begin_request(request, &repeat("worker")).await);

    assert!(matches!(another_s, RequestBegin::AtWork(_)), "{another_s:?}");
    assert!(matches!(unasked, RequestBegin::AtWork(_)), "it is at work on it: {unasked:?}");
    let RequestBegin::Assigned(again) = again else { panic!("it is there to be begun: {again:?}") };
    assert_eq!((again.attempt.attempt, again.losses), (Attempt(2), 0));
    assert_eq!(looked_at(ground, request).await.failures, 0);
    let rows = results(&again.customers);
    assert_eq!(ok(store.answer_request(unheard.attempt, &rows).await), CommitOutcome::Refused);
    assert_eq!(ok(store.answer_request(again.attempt, &rows).await), CommitOutcome::Committed);
}

/// One that kills its workers comes to an end.
pub async fn a_request_is_taken_over_from_a_lost_worker_but_not_too_often(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let request = asked(ground, [101, 104]).await;

    let first = assigned(ground, request, "first").await;
    ground.pass(LEASE).await;
    assert_eq!(looked_at(ground, request).await.leased_for, None);
    let second = assigned(ground, request, "second").await;
    ground.pass(LEASE).await;
    let third = assigned(ground, request, "third").await;
    ground.pass(LEASE).await;
    let fourth = ok(store.begin_request(request, &claim("fourth")).await);

    assert_eq!([first.losses, second.losses, third.losses], [0, 1, 2]);
    assert_eq!(fourth, RequestBegin::Over(RequestState::Failed));
    let record = looked_at(ground, request).await;
    assert_eq!((record.state, record.failures), (RequestState::Failed, 3));
    assert_eq!(record.reason.as_deref(), Some("its workers never came back"));
    assert!(record.settled_at.is_some());
    let rows = results(&third.customers);
    assert_eq!(ok(store.answer_request(third.attempt, &rows).await), CommitOutcome::Refused);
}

/// Held, committed or superseded; and a store that was away has used up no attempt.
pub async fn a_worker_that_comes_back_to_a_request_is_excused_and_told_where_it_stands(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let held = assigned(ground, asked(ground, [101, 104]).await, "worker").await.attempt;
    let committed = answered(ground, [105, 108]).await;
    let lost = assigned(ground, asked(ground, [109, 111]).await, "worker").await.attempt;
    ground.pass(LEASE).await;
    assigned(ground, lost.request, "another").await;
    let unknown = RequestAttempt { request: RequestId(9_999), ..held };
    let elsewhere = RequestAttempt { as_of: held.as_of - MINUTE, ..held };

    assert_eq!(looked_at(ground, lost.request).await.failures, 1);
    let all = [lost, held, committed, unknown, elsewhere];
    let standings = ok(store.renew_requests("worker", &all, LEASE).await);

    let expected = [
        Standing::Superseded,
        Standing::Held,
        Standing::Committed,
        Standing::Superseded,
        Standing::Superseded,
    ];
    assert_eq!(standings, expected);
    assert_eq!(looked_at(ground, lost.request).await.failures, 0);
    let again = ok(store.begin_request(held.request, &claim("another")).await);
    assert!(matches!(again, RequestBegin::AtWork(_)), "its lease was renewed: {again:?}");
    // What its worker has lost is forgiven too where it is its next begin that shows that it is there.
    ground.pass(LEASE).await;
    assigned(ground, held.request, "another").await;
    ground.pass(LEASE).await;
    assert_eq!(assigned(ground, held.request, "worker").await.losses, 1);
    assert_eq!(ok(store.renew_requests("worker", &[], LEASE).await), []);
}

/// Unless it would come too late.
pub async fn a_request_is_tried_again_later_until_it_has_failed(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let request = asked(ground, [101, 104]).await;
    let late = asked(ground, [105, 108]).await;
    let fail = async |attempt, reason| ok(store.fail_request(attempt, reason, &policy()).await);

    let first = assigned(ground, request, "worker").await.attempt;
    let verdict = fail(first, "it is bad").await;
    let now = ok(store.now().await);
    assert!(matches!(verdict, Some(Verdict::RetryAt(due)) if due > now), "{verdict:?} at {now}");
    assert_eq!(fail(first, "it is bad").await, None, "it is not at work on it any more");
    let record = looked_at(ground, request).await;
    assert_eq!((record.state, record.failures), (RequestState::Waiting, 1));
    assert_eq!(record.reason.as_deref(), Some("it is bad"));
    ground.pass(policy().max_delay).await;
    assigned(ground, request, "lost").await;
    ground.pass(LEASE).await;
    let third = assigned(ground, request, "worker").await.attempt;
    assert_eq!(fail(third, "it is worse").await, Some(Verdict::DeadLetter));
    let record = looked_at(ground, request).await;
    assert_eq!((record.state, record.failures), (RequestState::Failed, 3));
    assert_eq!(record.reason.as_deref(), Some("it is worse"));

    let attempt = assigned(ground, late, "worker").await.attempt;
    ground.pass(LASTS).await;
    assert_eq!(fail(attempt, "it is bad").await, Some(Verdict::DeadLetter));
}

/// Since a worker that died before renews no more, and the end of its lease is far; one that lives renews it.
pub async fn a_request_s_lease_and_pause_from_before_the_clock_was_set_back_are_not_believed(
    ground: &impl Ground,
) {
    let store = ground.store();
    promoted(ground).await;
    let begin = async |request| ok(store.begin_request(request, &claim("another")).await);
    let [lost, living, failed] = [[101, 101], [102, 102], [103, 103]].map(|ends| asked(ground, ends));
    let (lost, living, failed) = (lost.await, living.await, failed.await);
    assigned(ground, lost, "lost").await;
    let lives = assigned(ground, living, "living").await.attempt;
    let fails = assigned(ground, failed, "living").await.attempt;
    ok(store.fail_request(fails, "it is bad", &policy()).await);

    ground.set_back(100 * LEASE).await;

    for request in [lost, living] {
        let begun = begin(request).await;
        let is_so = matches!(begun, RequestBegin::AtWork(left) if left > LEASE / 2 && left <= LEASE);
        assert!(is_so, "as long as it was given for: {begun:?}");
    }
    assert!(matches!(begin(failed).await, RequestBegin::Assigned(_)), "no pause is as long");
    ground.pass(LEASE / 2).await;
    assert_eq!(ok(store.renew_requests("living", &[lives], LEASE).await), [Standing::Held]);
    ground.pass(LEASE / 2).await;
    assert!(matches!(begin(lost).await, RequestBegin::Assigned(_)));
    assert!(matches!(begin(living).await, RequestBegin::AtWork(_)));
}

/// Not even when it is told twice, or too late.
pub async fn giving_a_request_back_costs_nothing(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let request = asked(ground, [101, 104]).await;
    let given = assigned(ground, request, "worker").await.attempt;

    ok(store.give_back_request(given).await);
    assert_eq!(looked_at(ground, request).await.state, RequestState::Waiting);
    let next = assigned(ground, request, "another").await;
    ok(store.give_back_request(given).await);

    assert_eq!((next.attempt.attempt, next.losses), (Attempt(2), 0));
    assert_eq!(ok(store.renew_requests("another", &[next.attempt], LEASE).await), [Standing::Held]);
    assert_eq!(looked_at(ground, request).await.failures, 0);
}
