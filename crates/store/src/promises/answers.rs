//! Answers: in behind the fence, out as the newest that is known, and away.

use std::time::Duration;

use batch::{CustomerId, RequestAttempt, RequestId, RequestState};

use super::requests::{LASTS, MINUTE, answered, asked, assigned, finished, looked_at, promoted, question};
use super::steps::{CHUNKS, LEASE, chunk, customers, done, ok, refusal, results, run_over};
use super::{Deed, Ground, Happening};
use crate::{Absorbed, Asked, CommitOutcome, Error, Known, NewRun, Origin, Planning, Requests, ResultRows};

const RETENTION: Duration = Duration::from_hours(72);

async fn origins<G: Ground>(ground: &G, ends: [i64; 2]) -> Vec<(i64, Origin)> {
    let known = ok(ground.store().latest(&customers(ends)).await);
    known.iter().map(|known| (known.customer.0, known.origin)).collect()
}

/// Values with all that they were computed from, rejections with their reason.
pub async fn an_answer_is_read_back_to_the_bit(ground: &impl Ground) {
    let store = ground.store();
    let version = promoted(ground).await;
    let attempt = answered(ground, [101, 108]).await;

    let answer = ok(store.answer_of(attempt.request).await).expect("it was asked");

    let record = &answer.record;
    assert_eq!((record.state, record.values, record.rejections), (RequestState::Answered, 5, 3));
    assert!(record.settled_at.is_some() && record.leased_for.is_none());
    let rows = results(&customers([101, 108]));
    let values = rows.values.iter().map(|valued| (valued.customer, Ok(valued.clone())));
    let reasons = rows.rejections.iter().map(|row| (row.customer, Err(row.reason.code().to_owned())));
    let mut expected: Vec<Known> = values
        .chain(reasons)
        .map(|(customer, outcome)| Known {
            customer,
            outcome,
            origin: Origin::Request(attempt.request),
            as_of: attempt.as_of,
            model_version: version,
        })
        .collect();
    expected.sort_by_key(|known| known.customer);
    assert_eq!(answer.rows, expected);
    assert_eq!(ok(store.latest(&customers([99, 120])).await), expected);
    assert_eq!(ok(store.answer_of(RequestId(9_999)).await), None);
    let waiting = asked(ground, [101, 104]).await;
    assert_eq!(ok(store.answer_of(waiting).await).expect("it was asked").rows, []);
    let found = ok(store.look(&[waiting, attempt.request, RequestId(9_999)]).await);
    assert_eq!(found.iter().map(|record| record.request).collect::<Vec<_>>(), [attempt.request, waiting]);
}

/// Only the latest attempt answers, once, and nothing remains of another's.
pub async fn a_late_answer_is_refused_and_leaves_nothing_behind(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let request = asked(ground, [101, 104]).await;
    let late = assigned(ground, request, "worker").await;
    ground.pass(LEASE).await;
    let latest = assigned(ground, request, "another").await;
    let rows = results(&late.customers);
    let another_moment = RequestAttempt { as_of: late.attempt.as_of + MINUTE, ..latest.attempt };
    let answer = async |attempt| ok(store.answer_request(attempt, &rows).await);

    let before = answer(late.attempt).await;
    let elsewhere = answer(another_moment).await;
    let nothing = ok(store.latest(&late.customers).await);
    let committed = answer(latest.attempt).await;
    let after = [answer(late.attempt).await, answer(latest.attempt).await];

    assert_eq!([before, elsewhere], [CommitOutcome::Refused; 2]);
    assert_eq!(nothing, []);
    assert_eq!(committed, CommitOutcome::Committed);
    assert_eq!(after, [CommitOutcome::Refused; 2]);
    assert_eq!(ok(store.answer_of(request).await).expect("it was asked").rows.len(), 4);
}

/// Values and rejections are those who were asked about, or nothing.
pub async fn an_answer_that_is_not_whole_is_refused_and_leaves_nothing_behind(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let request = asked(ground, [101, 104]).await;
    let attempt = assigned(ground, request, "worker").await.attempt;
    let rows = results(&customers([101, 104]));
    let mut too_few = rows.clone();
    too_few.values.pop();
    let mut too_many = rows.clone();
    too_many.values.extend(results(&customers([110, 110])).values);
    let mut twice = rows.clone();
    twice.values[1] = rows.values[0].clone();

    for wrong in [too_few, too_many, ResultRows::default()] {
        assert_eq!(ok(store.answer_request(attempt, &wrong).await), CommitOutcome::Refused);
    }
    assert!(matches!(refusal(store.answer_request(attempt, &twice).await), Error::Invalid { .. }));
    assert_eq!(ok(store.latest(&customers([101, 111])).await), []);
    assert_eq!(looked_at(ground, request).await.state, RequestState::Leased);
    assert_eq!(ok(store.answer_request(attempt, &rows).await), CommitOutcome::Committed);
}

/// Never the older, wherever it comes from; and at the same moment the run's.
pub async fn the_newest_of_answers_and_visible_runs_is_known(ground: &impl Ground) {
    let store = ground.store();
    let version = promoted(ground).await;
    let now = ok(store.now().await);
    let hour = Duration::from_hours(1);
    let night = finished(ground, &CHUNKS, now - hour).await;

    let first = answered(ground, [102, 105]).await;
    ground.pass(MINUTE).await;
    let second = answered(ground, [104, 104]).await;
    let (of_run, of_request) = (
        |run, id| (id, Origin::Run(run)),
        |attempt: RequestAttempt, id| (id, Origin::Request(attempt.request)),
    );
    let expected = [
        of_run(night, 101),
        of_request(first, 102),
        of_request(first, 103),
        of_request(second, 104),
        of_request(first, 105),
        of_run(night, 106),
    ];
    assert_eq!(origins(ground, [99, 106]).await, expected);

    let older = finished(ground, &[[101, 104]], now - 2 * hour).await;
    assert_eq!(origins(ground, [101, 104]).await, expected[..4], "run {older} is behind the night");
    let unfinished = NewRun { as_of: now + hour, ..run_over(None, &[[101, 104]], version) };
    let unfinished = ok(store.create_run(&unfinished).await).run;
    done(ground, chunk(unfinished, 1)).await;
    assert_eq!(origins(ground, [101, 104]).await, expected[..4], "nobody sees run {unfinished}");
    let same = finished(ground, &[[104, 104], [105, 105]], second.as_of).await;
    let seen = origins(ground, [103, 106]).await;
    assert_eq!(seen, [of_request(first, 103), of_run(same, 104), of_run(same, 105), of_run(night, 106)]);
    let next = finished(ground, &CHUNKS, now + hour).await;
    assert_eq!(origins(ground, [101, 104]).await, [101, 102, 103, 104].map(|id| of_run(next, id)));

    let known = ok(store.latest(&customers([101, 111])).await);
    let rows = results(&customers([101, 111]));
    for known in &known {
        assert_eq!((known.as_of, known.model_version), (now + hour, version));
        let value = rows.values.iter().find(|valued| valued.customer == known.customer);
        let reason = rows.rejections.iter().find(|rejected| rejected.customer == known.customer);
        assert_eq!(known.outcome.as_ref().ok(), value);
        assert_eq!(known.outcome.as_ref().err().map(|code| &**code), reason.map(|row| row.reason.code()));
    }
    assert_eq!(known.len(), 11);
}

/// Since that moment, at which nothing is read yet; and what is still to come has not been done.
pub async fn what_customers_have_done_since_they_were_valued_makes_that_stale(ground: &impl Ground) {
    use Deed::{End, Purchase, Subscription};
    let (store, hour) = (ground.store(), Duration::from_hours(1));
    let now = ok(store.now().await);
    let (valued_at, to_come) = (now - hour, now + hour);
    let moment = Duration::from_micros(1);
    for (customer, deed, at) in [
        (101, Purchase, now - hour / 2),
        (102, Subscription, now - hour / 2),
        (103, End, now - hour / 2),
        (104, Purchase, valued_at),
        (105, Purchase, valued_at - moment),
        (106, Purchase, to_come),
        (107, Subscription, to_come),
        (108, End, to_come),
        (109, Purchase, valued_at - hour),
        (109, Purchase, now - moment),
    ] {
        ground.happens(Happening { customer: CustomerId(customer), deed, at }).await;
    }
    let valued = |at| customers([101, 113]).into_iter().map(|id| (id, at)).collect::<Vec<_>>();

    let stale = ok(store.stale(&valued(valued_at)).await);
    let mut backwards = valued(valued_at);
    backwards.reverse();
    let each =
        [(CustomerId(101), now - moment), (CustomerId(105), valued_at - hour), (CustomerId(109), valued_at)];

    assert_eq!(stale, [101, 102, 103, 104, 109].map(CustomerId));
    assert_eq!(ok(store.stale(&backwards).await), stale);
    assert_eq!(ok(store.stale(&valued(now)).await), []);
    assert_eq!(ok(store.stale(&each).await), [105, 109].map(CustomerId), "each since his own moment");
    assert_eq!(ok(store.stale(&[]).await), []);
}

/// Where nothing newer is known an answer stays, however old it is.
pub async fn old_answers_are_absorbed_where_something_newer_is_known(ground: &impl Ground) {
    let store = ground.store();
    promoted(ground).await;
    let absorb = async || ok(store.absorb(RequestId(0), RETENTION, 100).await);
    let now = ok(store.now().await);
    let first = answered(ground, [101, 104]).await;
    ground.pass(MINUTE).await;
    let second = answered(ground, [104, 105]).await;
    let left = asked(ground, [106, 106]).await;

    finished(ground, &[[101, 102]], now + Duration::from_hours(1)).await;
    assert_eq!(absorb().await, Absorbed::default(), "it can be asked again for that long");
    ground.pass(RETENTION).await;
    assert_eq!(absorb().await.answers, 3, "of the first, those whom the run or the second holds");
    ground.pass(LASTS + MINUTE).await;
    let absorbed = absorb().await;

    assert_eq!((absorbed.answers, absorbed.requests), (0, 1), "the one that nobody answered");
    assert_eq!(ok(store.look(&[left]).await), []);
    let rows = ok(store.answer_of(first.request).await).expect("it is still there").rows;
    assert_eq!(rows.iter().map(|known| known.customer.0).collect::<Vec<_>>(), [103]);
    let kept = origins(ground, [103, 106]).await;
    assert_eq!(
        kept,
        [(103, first), (104, second), (105, second)]
            .map(|(id, attempt)| { (id, Origin::Request(attempt.request)) })
    );
    finished(ground, &CHUNKS, now + Duration::from_hours(2)).await;
    let absorbed = absorb().await;
    assert_eq!((absorbed.answers, absorbed.requests), (3, 2));
    assert_eq!(ok(store.look(&[first.request, second.request]).await), []);
}

/// So that no pass is held up by them; and a key that was cleared away is free.
pub async fn requests_are_cleared_away_a_few_at_a_time(ground: &impl Ground) {
    let store = ground.store();
    let new = question(Some("key"), [101, 101]);
    let Asked::New(first) = ok(store.ask(&new).await) else { panic!("nobody asked before") };
    for _ in 0..4 {
        asked(ground, [101, 101]).await;
    }
    ground.pass(LASTS + RETENTION).await;
    let young = asked(ground, [101, 101]).await;

    let mut sweeps = Vec::new();
    let mut after = Some(RequestId(0));
    while let Some(from) = after {
        let absorbed = ok(store.absorb(from, RETENTION, 2).await);
        sweeps.push(absorbed.requests);
        after = absorbed.after;
    }

    assert_eq!(sweeps, [2, 2, 1]);
    assert_eq!(looked_at(ground, young).await.state, RequestState::Waiting);
    assert!(matches!(ok(store.ask(&new).await), Asked::New(again) if again > first));
}
