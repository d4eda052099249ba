//! Histories out, values in.

use std::collections::BTreeMap;

use batch::{AttemptId, ChunkEvent, CustomerId};
use jiff::Timestamp;
use model::{Account, Observation, Rejection, Value};
use tokio::task::consume_budget;

use super::packed::Packed;
use super::rows::{Rows, Run};
use super::{Base, Memory, invalid};
use crate::record::{CommitOutcome, History, ModelVersion, ModelVersionId, Reading, ResultRows, Valued};
use crate::{Result, Values};

impl Values for Memory {
    async fn read_histories(&self, reading: &Reading<'_>) -> Result<Vec<History>> {
        consume_budget().await;
        histories(self.base(), reading)
    }

    async fn commit_attempt(&self, attempt: AttemptId, rows: &ResultRows) -> Result<CommitOutcome> {
        // Outside the lock: it is most of the work.
        let new = NewValues::of(self.base(), &rows.values);
        self.call(|all, now| commit(all, attempt, rows, new, now)).await
    }

    async fn model_version(&self, version: ModelVersionId) -> Result<Option<ModelVersion>> {
        self.call(|rows, _| Ok(rows.model_version(version).cloned())).await
    }
}

fn histories(base: &dyn Base, reading: &Reading<'_>) -> Result<Vec<History>> {
    let asked = Observation::new(reading.as_of.as_microsecond(), reading.currency);
    if let Some(folded) = base.observation().filter(|&folded| folded != asked) {
        return Err(invalid(
            "read histories",
            format_args!("the accounts were folded for {folded:?}, and {asked:?} is asked for"),
        ));
    }
    let mut places = Places::new(base);
    let history = |&customer: &CustomerId| {
        // Nobody has rows of one who is not there.
        let account = places.find(customer).map_or(Err(Rejection::NoPurchase), |place| base.account(place));
        // Of the rows that were folded, those of purchases on different days are left.
        let purchases = account.as_ref().ok().and_then(|account| account.purchases);
        let transactions = purchases.map_or(0, |summary| summary.frequency.saturating_add(1));
        History { customer, account, transactions }
    };
    Ok(reading.customers.iter().map(history).collect())
}

/// Finds the places of customers who ascend, most of them neighbours.
struct Places<'b> {
    base: &'b dyn Base,
    next: usize,
}

impl<'b> Places<'b> {
    fn new(base: &'b dyn Base) -> Self {
        Self { base, next: 0 }
    }

    fn find(&mut self, customer: CustomerId) -> Option<usize> {
        let is_next = self.next < self.base.len() && self.base.id(self.next) == customer;
        let place = if is_next { Some(self.next) } else { self.base.place(customer) };
        self.next = place.map_or(self.next, |place| place + 1);
        place
    }
}

/// The values of a commit, ready to be kept.
struct NewValues {
    packed: Option<Packed>,
    /// The accounts that are not those of the base.
    accounts: BTreeMap<CustomerId, Account>,
}

impl NewValues {
    fn of(base: &dyn Base, values: &[Valued]) -> Self {
        let mut places = Places::new(base);
        let mut is_told = |valued: &&Valued| {
            let place = places.find(valued.customer);
            place.is_none_or(|place| base.account(place).as_ref() != Ok(&valued.account))
        };
        let told = values.iter().filter(&mut is_told);
        let accounts = told.map(|valued| (valued.customer, valued.account.clone())).collect();
        let row = |valued: &&Valued| valued.customer;
        let packed = if values.is_sorted_by_key(|valued| valued.customer) {
            Packed::pack(values.iter().map(|valued| (valued.customer, &valued.value)))
        } else {
            let mut sorted: Vec<&Valued> = values.iter().collect();
            sorted.sort_by_key(row);
            Packed::pack(sorted.into_iter().map(|valued| (valued.customer, &valued.value)))
        };
        Self { packed, accounts }
    }
}

fn commit(
    rows: &mut Rows,
    attempt: AttemptId,
    result: &ResultRows,
    new: NewValues,
    now: Timestamp,
) -> Result<CommitOutcome> {
    let (values, rejections) = (result.values.len() as u64, result.rejections.len() as u64);
    let (id, event) = (attempt.chunk, ChunkEvent::Committed(attempt.attempt));
    let Some(chunk) = rows.chunk(id) else { return Ok(CommitOutcome::Refused) };
    let (customers, work) = (u64::from(chunk.customers), chunk.work);
    rows.mutations.hear_of_commit(id.run, values, rejections, work);
    if rows.after(id, event, now).is_err() || customers != values + rejections {
        return Ok(CommitOutcome::Refused);
    }
    let run = rows.run_mut(id.run).expect("a chunk has a run");
    let rejected =
        result.rejections.iter().map(|rejected| (rejected.customer, (id.chunk, rejected.reason.code())));
    let rejected: BTreeMap<_, _> = rejected.collect();
    let is_twice = rejected.len() as u64 != rejections
        || rejected.keys().any(|customer| run.rejections.contains_key(customer));
    if is_twice {
        return Err(invalid("commit an attempt", "a customer would have two rejections"));
    }

    // From here on nothing stands in the way.
    run.rejections.extend(rejected);
    run.values.extend(new.packed);
    run.accounts.extend(new.accounts);
    let chunk = rows.take(id, event, now, None).expect("it was allowed a moment ago");
    (chunk.value_count, chunk.rejection_count) = (values, rejections);
    (chunk.transactions, chunk.value_minor) = (result.transactions, result.value_minor());
    Ok(CommitOutcome::Committed)
}

/// A value as it was committed, with what it was computed from.
pub(super) fn valued(base: &dyn Base, run: &Run, customer: CustomerId, value: Value) -> Valued {
    let of_base = || base.place(customer).and_then(|place| base.account(place).ok());
    let account = run.accounts.get(&customer).cloned().or_else(of_base);
    Valued { customer, value, account: account.expect("an account that is not the base's is kept") }
}

/// The values of a run in the order of the customers, each customer once; or one who has two.
pub(super) fn in_order(mut values: Vec<Packed>) -> Result<Vec<Packed>, CustomerId> {
    values.sort_by_key(|packed| packed.first);
    let are_apart = values.array_windows().all(|[left, right]| left.last < right.first);
    if are_apart && values.iter().all(|packed| packed.is_unique) {
        return Ok(values);
    }
    let mut all: Vec<(CustomerId, Value)> = values.iter().flat_map(Packed::iter).collect();
    all.sort_by_key(|(customer, _)| *customer);
    if let Some([(twice, _), _]) = all.array_windows().find(|[left, right]| left.0 == right.0) {
        return Err(*twice);
    }
    Ok(Packed::pack(all.iter().map(|(customer, value)| (*customer, value))).into_iter().collect())
}

/// The values of a finished run after a customer, in order.
pub(super) fn after(run: &Run, after: CustomerId) -> impl Iterator<Item = (CustomerId, Value)> {
    let passed = run.values.partition_point(|packed| packed.last <= after);
    run.values[passed..].iter().flat_map(Packed::iter).skip_while(move |(customer, _)| *customer <= after)
}
