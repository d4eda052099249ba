//! What people ask about runs, and what they decide about one.

use batch::{Attempt, CustomerId, Outcome, RunId, RunState};

use super::Ground;
use super::steps::{
    CHUNKS, LEASE, begun, chunk, customers, dead, done, leading, models, ok, policy, published, results,
    run_over, story, value,
};
use crate::{
    Archive, Attempts, Begin, CommitOutcome, Explained, ModelVersions, Named, Planning, Rank, Staffing,
    Standing, Supervision, Values,
};

/// Its workers find out when they come, and nothing of it is ever shown.
pub async fn a_cancelled_run_is_over_and_its_night_is_free(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    done(ground, chunk(run, 1)).await;
    let held = begun(ground, chunk(run, 2), "worker").await;

    assert!(ok(store.cancel_run(run).await));
    assert!(!ok(store.cancel_run(run).await), "it is over");
    assert!(!ok(store.cancel_run(RunId(99)).await), "it was never there");

    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!(record.state, RunState::Cancelled);
    assert!(record.finished_at.is_some() && record.night.as_deref() != Some("tonight"));
    assert_eq!(ok(store.resume_attempt(held.attempt, LEASE).await), Standing::Superseded);
    let committed = store.commit_attempt(held.attempt, &results(&held.customers)).await;
    assert!(!matches!(committed, Ok(CommitOutcome::Committed)));
    let begin = ok(store.begin_attempt(chunk(run, 3), "worker", LEASE, false).await);
    assert_eq!(begin, Begin::NoRun);
    assert_eq!(ok(store.finish_run(term, run).await), None);
    assert_eq!(ok(store.values_after(run, None, 9).await), []);
    assert_eq!(ok(store.run_of_night("tonight").await), None);
    let again = ok(store.create_run(&run_over(Some("tonight"), &CHUNKS, record.model_version)).await);
    assert!(again.is_new && again.run != run);
    let listed: Vec<_> = ok(store.runs(9).await).into_iter().map(|record| record.run).collect();
    assert_eq!(listed, [again.run, run]);
}

/// For whoever waits for a run.
pub async fn it_is_told_who_is_at_work_on_a_run(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;

    let nobody = ok(store.staffing(run).await);
    leading(ground).await;
    begun(ground, chunk(run, 1), "worker").await;
    done(ground, chunk(run, 2)).await;
    let both = ok(store.staffing(run).await);

    assert_eq!(nobody, Staffing::default());
    assert_eq!(both, Staffing { leader: Some("coordinator".into()), held: 1 });
}

/// While the run goes on.
pub async fn a_redrive_forgives_and_puts_back_to_work(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    dead(ground, chunk(run, 2)).await;

    let redriven = ok(store.redrive(run).await);
    let again = ok(store.redrive(run).await);
    let next = begun(ground, chunk(run, 2), "worker").await;
    let verdict = ok(store.fail_attempt(next.attempt, "it is bad still", &policy()).await);

    assert_eq!((redriven, again), (1, 0));
    assert_eq!(next.attempt.attempt, Attempt(3));
    assert!(matches!(verdict, Some(batch::Verdict::RetryAt(_))), "it is the first that counts: {verdict:?}");
    let attempts = ok(store.troubled_attempts(run, 9).await);
    let told: Vec<_> = attempts.iter().map(|(_, record)| record.outcome).collect();
    assert_eq!(told, [Some(Outcome::Excused), Some(Outcome::Excused), Some(Outcome::Failed)]);
    assert_eq!(attempts[0].1.reason.as_deref(), Some("redriven after: it is bad"));
}

/// By segment, by rank, by reason, by name.
pub async fn a_run_is_summed_up_and_each_customer_explained(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    for number in 1..=3 {
        done(ground, chunk(run, number)).await;
    }
    ok(store.finish_run(term, run).await).expect("it is settled");

    let summary = ok(store.summary(run, 2).await);
    let named = ok(store.customer_named("c-106").await).expect("he is in the base");

    let segments: Vec<_> =
        summary.segments.iter().map(|sum| (sum.segment.as_str(), sum.customers, sum.value_minor)).collect();
    let sum = |ids: &[i64]| ids.iter().map(|&id| value(CustomerId(id)).value_minor()).sum::<i64>();
    let venues = sum(&[101, 102, 106, 107, 108]);
    assert_eq!(segments, [("venues", 5, venues), ("florists", 3, sum(&[109, 110, 111]))]);
    let top: Vec<_> =
        summary.top.iter().map(|top| (top.external_id.as_str(), top.segment.as_str())).collect();
    assert_eq!(top, [("c-111", "florists"), ("c-110", "florists")]);
    assert_eq!(summary.top[0].valued, results(&customers([111, 111])).values[0]);
    let reasons = ["foreign_currency", "no_purchase", "refund_before_purchase"];
    assert_eq!(summary.rejections, reasons.map(|reason| (reason.to_owned(), 1)));

    assert_eq!(named, CustomerId(106));
    let expected = results(&[named]).values.remove(0);
    assert!(matches!(ok(store.explain(run, named).await), Explained::Valued(valued) if valued == expected));
    let rejected = ok(store.explain(run, CustomerId(103)).await);
    assert_eq!(rejected, Explained::Rejected("no_purchase".into()));
    assert_eq!(ok(store.explain(run, CustomerId(112)).await), Explained::Absent);
    assert_eq!(ok(store.customer_named("nobody").await), None);
}

/// Whatever the order in which they are asked for, and however often.
pub async fn customers_are_found_by_name_and_by_number(ground: &impl Ground) {
    let store = ground.store();
    let names = ["c-106", "nobody", "c-101", "C-102", ""].map(str::to_owned);

    let mut named = ok(store.customers_named(&names).await);
    let there = ok(store.customers_there(&[106, 4_000, 101, 106, 112, -1].map(CustomerId)).await);
    let nobody = ok(store.customers_there(&[]).await);

    named.sort_unstable();
    assert_eq!(named, [("c-101".into(), CustomerId(101)), ("c-106".into(), CustomerId(106))]);
    assert_eq!((there, nobody), ([101, 106, 112].map(CustomerId).into(), Vec::new()));
}

/// In order, and none of those that did.
pub async fn the_story_tells_of_chunks_that_did_not_go_through_at_once(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    done(ground, chunk(run, 1)).await;
    begun(ground, chunk(run, 2), "worker").await;
    let given = begun(ground, chunk(run, 3), "worker").await.attempt;
    ok(store.give_back(given).await);
    begun(ground, chunk(run, 3), "another").await;

    let attempts = ok(store.troubled_attempts(run, 9).await);

    assert_eq!(story(ground, run).await, [(3, 1, Some(Outcome::GivenBack)), (3, 2, None)]);
    assert_eq!((attempts[0].1.worker.as_str(), attempts[1].1.worker.as_str()), ("worker", "another"));
    assert!(attempts[0].1.ended_at >= Some(attempts[0].1.began_at));
    assert!(attempts[1].1.ended_at.is_none() && attempts[1].1.reason.is_none());
    assert_eq!(ok(store.troubled_attempts(run, 1).await).len(), 1);
}

/// The newest first, each with its own sums.
pub async fn runs_are_listed_a_page_at_a_time(ground: &impl Ground) {
    let store = ground.store();
    let first = published(ground).await;
    done(ground, chunk(first, 1)).await;
    let version = ok(store.save_model_version(&models(), None).await);
    let mut runs = vec![first];
    for _ in 0..3 {
        runs.push(ok(store.create_run(&run_over(None, &CHUNKS[..1], version)).await).run);
    }

    let page = ok(store.runs(2).await);
    let next = ok(store.runs_before(runs[2], 9).await);

    let numbers = |page: &[crate::RunRecord]| page.iter().map(|record| record.run).collect::<Vec<_>>();
    assert_eq!(numbers(&page), [runs[3], runs[2]]);
    assert_eq!(numbers(&next), [runs[1], runs[0]]);
    assert_eq!(next[0].progress.customers, 4);
    assert_eq!(Some(&next[1]), ok(store.run(first).await).as_ref());
    assert_eq!(ok(store.runs_before(first, 9).await), []);
}

/// Those of equal value by their number. Of a run that is not finished nothing is told.
pub async fn customers_are_ranked_by_their_value_after_one(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    for number in 1..=3 {
        done(ground, chunk(run, number)).await;
    }
    assert_eq!(ok(store.ranked(run, None, 9).await), []);
    ok(store.finish_run(term, run).await).expect("it is settled");

    let all = ok(store.ranked(run, None, 99).await);
    let best = ok(store.ranked(run, None, 3).await);
    let last = &best[2];
    let rank = Rank { value_minor: last.value.value_minor(), customer: last.customer };
    let next = ok(store.ranked(run, Some(rank), 2).await);
    let names = ok(store.names(&[CustomerId(111), CustomerId(9), CustomerId(106)]).await);

    let order: Vec<_> = all.iter().map(|valued| valued.customer.0).collect();
    assert_eq!(order, [111, 110, 109, 108, 107, 106, 102, 101]);
    assert_eq!((&best[..], &next[..]), (&all[..3], &all[3..5]));
    assert_eq!(best[0], results(&customers([111, 111])).values[0]);
    let behind_equal = Rank { customer: CustomerId(110), ..rank };
    assert_eq!(ok(store.ranked(run, Some(behind_equal), 1).await)[0].customer, CustomerId(108));
    let named = |customer, external_id: &str, segment: &str| Named {
        customer: CustomerId(customer),
        external_id: external_id.into(),
        segment: segment.into(),
    };
    assert_eq!(names, [named(106, "c-106", "venues"), named(111, "c-111", "florists")]);
}
