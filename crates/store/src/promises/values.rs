//! Histories out, values in.

use std::time::Duration;

use batch::CustomerId;
use model::{Contract, PlanIndex, Rejection, Summary};

use super::Ground;
use super::base::{as_of, base, currency, no_contracts};
use super::steps::{LEASE, begun, chunk, customers, done, leading, models, ok, published, results};
use crate::{
    Archive, CommitOutcome, ModelVersionId, ModelVersions, Planning, Reading, ResultRows, Supervision, Values,
};

fn reading(customers: &[CustomerId], is_whole: bool) -> Reading<'_> {
    Reading {
        customers,
        run: None,
        is_whole,
        as_of: as_of(),
        currency: currency(),
        contracts: no_contracts(),
    }
}

/// Also those who have no rows, and those whom nobody knows.
pub async fn every_planned_customer_is_answered_in_order_and_nobody_else(ground: &impl Ground) {
    let read = async |customers: &[CustomerId], is_whole| {
        let histories = ok(ground.store().read_histories(&reading(customers, is_whole)).await);
        let answered: Vec<_> = histories.iter().map(|history| history.customer).collect();
        assert_eq!(answered, customers);
        histories
    };

    let whole = read(&customers([101, 111]), true).await;
    let some = read(&[99, 102, 103, 107, 200].map(CustomerId), false).await;
    let gap = read(&[101, 104].map(CustomerId), true).await;

    let known = base();
    for (history, known) in whole.iter().zip(&known) {
        assert_eq!(history.account, known.account(), "customer {}", known.id);
    }
    let summary = Summary { frequency: 2, recency_days: 20, age_days: 60, repeat_spend_minor: 20_403 };
    let account = whole[1].account.as_ref().expect("his history is good");
    assert_eq!((account.purchases, account.spend_minor), (Some(summary), 30_603));
    let subscribed = whole[5].account.as_ref().expect("his history and his subscription are good");
    let contract = Contract {
        price_minor: 900,
        renewals: 3,
        days_to_renewal: 22,
        period_months: 1,
        plan: PlanIndex::OTHER,
    };
    assert_eq!((subscribed.paid_minor, &subscribed.contracts[..]), (4 * 900, &[contract][..]));
    assert_eq!(subscribed.acquisition_cost_minor, Some(12_345));
    let reasons = [2, 3, 4].map(|place| whole[place].account.clone());
    let expected =
        [Rejection::NoPurchase, Rejection::ForeignCurrency, Rejection::RefundBeforePurchase].map(Err);
    assert_eq!(reasons, expected);
    assert_eq!([&some[0].account, &some[4].account], [&Err(Rejection::NoPurchase); 2]);
    assert_eq!([&some[1], &some[2], &some[3]], [&whole[1], &whole[2], &whole[6]]);
    assert_eq!([&gap[0], &gap[1]], [&whole[0], &whole[3]]);
}

/// Only the latest attempt commits, and nothing remains of another's.
pub async fn a_late_commit_is_refused_and_leaves_nothing_behind(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    let late = begun(ground, chunk(run, 1), "worker").await;
    let rows = results(&late.customers);
    assert!(!rows.rejections.is_empty(), "a refused commit has rejections too");
    ground.pass(LEASE).await;
    let due = ok(store.now().await);
    assert!(ok(store.rescue(term, late.attempt, batch::Verdict::RetryAt(due)).await));
    ground.pass(Duration::from_secs(1)).await;

    let before = ok(store.commit_attempt(late.attempt, &rows).await);
    let latest = done(ground, chunk(run, 1)).await;
    let after = ok(store.commit_attempt(late.attempt, &rows).await);
    let again = ok(store.commit_attempt(latest.attempt, &rows).await);

    assert_eq!([before, after, again], [CommitOutcome::Refused; 3]);
    let progress = ok(store.run(run).await).expect("it was recorded").progress;
    assert_eq!((progress.done, progress.values, progress.rejections), (1, 2, 2));
    done(ground, chunk(run, 2)).await;
    done(ground, chunk(run, 3)).await;
    let finished = ok(store.finish_run(term, run).await).expect("it is settled");
    assert_eq!((finished.progress.values, finished.progress.rejections), (8, 3));
}

/// Values and rejections are the planned customers, or nothing.
pub async fn a_commit_that_is_not_whole_is_refused_and_leaves_nothing_behind(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let assignment = begun(ground, chunk(run, 1), "worker").await;
    let rows = results(&assignment.customers);
    let mut too_few = rows.clone();
    too_few.values.pop();
    let mut too_many = rows.clone();
    too_many.values.push(results(&customers([110, 110])).values.remove(0));

    for wrong in [too_few, too_many, ResultRows::default()] {
        assert_eq!(ok(store.commit_attempt(assignment.attempt, &wrong).await), CommitOutcome::Refused);
    }
    let between = ok(store.run(run).await).expect("it was recorded").progress;
    let committed = ok(store.commit_attempt(assignment.attempt, &rows).await);

    assert_eq!((between.done, between.values, between.rejections), (0, 0, 0));
    assert_eq!(committed, CommitOutcome::Committed);
    let after = ok(store.run(run).await).expect("it was recorded").progress;
    assert_eq!((after.done, after.values, after.rejections), (1, 2, 2));
}

/// Values, and what they were computed from, though it is not what the base says today.
pub async fn what_was_committed_is_read_back_to_the_bit(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    let assignment = begun(ground, chunk(run, 3), "worker").await;
    let mut rows = results(&assignment.customers);
    rows.values[1].account.spend_minor += 1;
    rows.values[2].account.acquisition_cost_minor = Some(77);
    rows.values[2].value.p_alive = None;
    rows.values[2].value.payback = Some(model::Payback { months: Some(3), probability: 0.123_456_789 });
    ok(store.commit_attempt(assignment.attempt, &rows).await);
    done(ground, chunk(run, 1)).await;
    done(ground, chunk(run, 2)).await;
    ok(store.finish_run(term, run).await).expect("it is settled");

    let read = ok(store.values_after(run, Some(CustomerId(108)), 9).await);

    assert_eq!(read, rows.values);
}

/// Parameters and all.
pub async fn a_model_version_is_read_back_as_it_was_stored(ground: &impl Ground) {
    let store = ground.store();
    let new = models();

    let version = ok(store.save_model_version(&new, None).await);

    let read = ok(store.model_version(version).await).expect("it was stored");
    assert_eq!((read.version, read.currency), (version, new.currency));
    assert_eq!((read.models, read.fit), (new.models, new.fit));
    assert_eq!((read.data_fingerprint, read.code_version), (new.data_fingerprint, new.code_version));
    assert!(ok(store.model_version(ModelVersionId(99)).await).is_none());
}
