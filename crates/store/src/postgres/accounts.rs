//! What is known of a chunk's customers, out by COPY: transactions, subscriptions, costs of acquisition.
//!
//! The three are read at once on one connection, each in the order of the customers, and folded as their rows
//! stream past. Nothing is allocated for a row or a customer. In the end the three lists are merged.
//!
//! Together they are one read-only transaction over one snapshot: a customer whose first subscription begins while
//! his chunk is read has it with its cost, or neither. Its beginning and its end travel with what is waited for
//! anyway; so does the time zone, which makes a moment without one a moment of UTC. A read that fails over a row is
//! ended like any other, by the same message, so that its connection can be used for the next; whatever else does not
//! end well leaves the transaction open, and `Session` throws the connection away.
//!
//! # Row by row
//!
//! * **A null, or a text that is none, where a view should have a value.** A row that cannot be, and so a rejection
//!   of its customer. That goes for a moment, too: what is not known to lie after the run's is read. Rows without a
//!   customer are passed over: they are nobody's.
//! * **A column of another type.** Read as the type that it should have, if PostgreSQL knows how: `smallint`,
//!   `integer` and `numeric` (rounded to the minor unit) as `bigint`, a `date` or a `timestamp` as a moment of UTC. A
//!   value that does not fit, a NaN, or a text that is no number, is a rejection of its customer, whom `unreadable.rs`
//!   finds; a type that can never become the other is [`Broken`](crate::Error::Broken), and no chunk's fault.
//! * **A view that fails over a customer's rows**: an exception of its own, a division by zero. The same.
//! * **A moment at infinity.** What happens at `infinity` has not happened yet, and is passed over like all that comes
//!   later than the run's moment; `-infinity` is a rejection.
//! * **No purchase.** A rejection only if there is no subscription either.
//! * **A bad history and a bad subscription.** The history's reason is the one that is told, then the
//!   subscription's, then the cost's.
//! * **Several costs of one customer** add up, as the parts that a view may show. One in another currency than the
//!   run's is `foreign_currency`; one below nothing, or that nobody would believe, is `spend_out_of_range`.
//! * **Subscriptions that begin at the same instant** come in any order. A customer's contracts are sorted by the fold,
//!   since a value must not depend on it.

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::mem;

use batch::CustomerId;
use deadpool_postgres::ClientWrapper;
use futures_util::future::{join4, try_join4};
use jiff::Timestamp;
use model::{
    Account, ContractModels, Currency, HistoryFold, Observation, Rejection, Subscribed, Subscription,
    SubscriptionFold,
};
use tokio_postgres::{Client, Statement};

use super::Fault;
use super::copy::{Fields, Malformed, POSTGRES_EPOCH_US, read_rows};
use super::unreadable::{Relation, Unreadable};
use crate::record::{History, Reading};

/// The largest cost that is believed, in minor units, as with all other sums.
const LARGEST_COST_MINOR: i64 = 1 << 53;

/// The COPYs that read all that is known of a chunk's customers, each in their order.
///
/// The casts cost nothing where a column has the type that it should have. Two things have none: a currency is sent as
/// the same letters whatever kind of text it is, and cutting off a `char`'s blanks would cost a call a row; and the
/// conditions that find customers by an index, which compares them with any integer as they are.
#[derive(Clone, Debug)]
pub(super) struct Queries {
    pub(super) transactions: String,
    pub(super) subscriptions: String,
    pub(super) costs: String,
}

impl Queries {
    /// COPY takes no parameters, so numbers and a moment are written into it, and nothing else.
    pub(super) fn of(customers: &[CustomerId], is_whole: bool, as_of: Timestamp) -> Self {
        let those = those(customers, is_whole);
        Self {
            transactions: format!(
                "copy (select t.customer_id::bigint, t.occurred_at::timestamptz, t.amount_minor::bigint, t.currency
                         from source.transactions t
                        where {those} and (t.occurred_at::timestamptz >= '{as_of}') is not true
                        order by t.customer_id, t.occurred_at)
                   to stdout (format binary)"
            ),
            subscriptions: format!(
                "copy (select s.customer_id::bigint, s.plan::text, s.period_months::integer,
                              s.started_at::timestamptz, s.ended_at::timestamptz, s.price_minor::bigint, s.currency
                         from source.subscriptions s
                        where {those} and (s.started_at::timestamptz >= '{as_of}') is not true
                        order by s.customer_id, s.started_at)
                   to stdout (format binary)"
            ),
            costs: format!(
                "copy (select c.customer_id::bigint, c.cost_minor::bigint, c.currency
                         from source.acquisition_costs c
                        where {those}
                        order by c.customer_id)
                   to stdout (format binary)"
            ),
        }
    }

    /// Begins a transaction over one snapshot and prepares the three in it, in one round trip. How it begins is told.
    pub(super) async fn begin(
        &self,
        client: &Client,
        beginning: &str,
    ) -> Result<(Statement, Statement, Statement), tokio_postgres::Error> {
        let ((), transactions, subscriptions, costs) = try_join4(
            client.batch_execute(beginning),
            client.prepare(&self.transactions),
            client.prepare(&self.subscriptions),
            client.prepare(&self.costs),
        )
        .await?;
        Ok((transactions, subscriptions, costs))
    }
}

/// Ends what [`Queries::begin`] has begun.
pub(super) const COMMIT: &str = "commit";

/// The condition that picks the customers.
pub(super) fn those(customers: &[CustomerId], is_whole: bool) -> String {
    let (first, last) = (customers[0], customers[customers.len() - 1]);
    if is_whole {
        return format!("customer_id between {first} and {last}");
    }
    let mut named = String::from("customer_id = any ('{");
    for (index, customer) in customers.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(named, "{comma}{customer}").expect("writing to a string cannot fail");
    }
    named.push_str("}'::bigint[])");
    named
}

/// Reads what is known of the customers, in their order; or says over which relation's rows that failed. They are observed
/// until a moment that may be later than the reading's: as if nothing had happened between the two.
pub(super) async fn read_accounts(
    client: &ClientWrapper,
    beginning: &str,
    reading: &Reading<'_>,
    observed_until: Timestamp,
) -> Result<Result<Vec<History>, Unreadable>, Fault> {
    let queries = Queries::of(reading.customers, reading.is_whole, reading.as_of);
    let observation = Observation::new(observed_until.as_microsecond(), reading.currency);
    let mut purchases = Purchases::new(reading.customers, observation);
    let mut subscriptions = Subscriptions::new(reading.contracts, observation, reading.as_of);
    let mut costs = Costs::new(reading.currency);
    let (transactions, subscribed, paid) = queries.begin(client, beginning).await?;
    // Joined futures are sent in their order, so the commit is behind what it ends, and waits for nobody. None is
    // dropped if another fails: after all four the connection is as it was before.
    let (transactions, subscribed, paid, ended) = join4(
        read_rows(client, &transactions, |fields| purchases.row(fields)),
        read_rows(client, &subscribed, |fields| subscriptions.row(fields)),
        read_rows(client, &paid, |fields| costs.row(fields)),
        client.batch_execute(COMMIT),
    )
    .await;
    let read = [
        (Relation::Transactions, transactions),
        (Relation::Subscriptions, subscribed),
        (Relation::Costs, paid),
    ];
    // The first in the server's order is the one to hear: of those behind it the server only says that they are.
    let failed = read.into_iter().find_map(|(relation, read)| Some((relation, read.err()?)));
    let unreadable = failed.map(|(relation, fault)| Unreadable::of(relation, fault)).transpose()?;
    ended?;
    Ok(match unreadable {
        None => Ok(merge(purchases.finish(), subscriptions.finish(), costs.costs)),
        Some(unreadable) => Err(unreadable),
    })
}

/// Folds transactions into one history for each planned customer.
struct Purchases<'a> {
    observation: Observation,
    /// The planned customers whose history is not complete; the first is the one being read.
    waiting: &'a [CustomerId],
    fold: HistoryFold,
    /// Rows of the one being read.
    transactions: u32,
    histories: Vec<History>,
}

impl<'a> Purchases<'a> {
    fn new(customers: &'a [CustomerId], observation: Observation) -> Self {
        Self {
            observation,
            waiting: customers,
            fold: HistoryFold::new(),
            transactions: 0,
            histories: Vec::with_capacity(customers.len()),
        }
    }

    #[inline]
    fn row(&mut self, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let Some(customer) = fields.int8()?.map(CustomerId) else { return Ok(()) };
        while self.waiting.first().is_some_and(|&waiting| waiting < customer) {
            self.complete();
        }
        if self.waiting.first() != Some(&customer) {
            return Ok(()); // It came into the base after the run was planned.
        }
        let occurred_at_us = time_us(fields)?.unwrap_or(i64::MAX);
        let amount = fields.int8()?.unwrap_or(i64::MAX);
        self.fold.push(occurred_at_us, amount, currency(fields)?);
        self.transactions += 1;
        Ok(())
    }

    fn complete(&mut self) {
        let (&customer, waiting) = self.waiting.split_first().expect("somebody is waiting");
        self.waiting = waiting;
        let account = Account::of_purchases(self.fold.finish_with_spend(&self.observation));
        self.histories.push(History { customer, account, transactions: mem::take(&mut self.transactions) });
    }

    fn finish(mut self) -> Vec<History> {
        while !self.waiting.is_empty() {
            self.complete();
        }
        self.histories
    }
}

/// Folds subscriptions into what those of each subscriber come to.
struct Subscriptions<'a> {
    models: &'a ContractModels,
    observation: Observation,
    /// An end from this moment on is not seen.
    until_us: i64,
    /// Whose are being read.
    subscriber: Option<CustomerId>,
    fold: SubscriptionFold,
    subscribed: Vec<(CustomerId, Result<Subscribed, Rejection>)>,
}

impl<'a> Subscriptions<'a> {
    fn new(models: &'a ContractModels, observation: Observation, until: Timestamp) -> Self {
        Self {
            models,
            observation,
            until_us: until.as_microsecond(),
            subscriber: None,
            fold: SubscriptionFold::new(),
            subscribed: Vec::new(),
        }
    }

    #[inline]
    fn row(&mut self, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let Some(customer) = fields.int8()?.map(CustomerId) else { return Ok(()) };
        if self.subscriber != Some(customer) {
            self.complete();
            self.subscriber = Some(customer);
        }
        let mut line = subscription(fields)?;
        line.ended_at_us = line.ended_at_us.filter(|&ended| ended < self.until_us);
        self.fold.push(&line, self.models, &self.observation);
        Ok(())
    }

    fn complete(&mut self) {
        let Some(customer) = self.subscriber.take() else { return };
        self.subscribed.push((customer, self.fold.finish()));
    }

    fn finish(mut self) -> Vec<(CustomerId, Result<Subscribed, Rejection>)> {
        self.complete();
        self.subscribed
    }
}

/// Reads a subscription. What is null becomes what no subscription has.
#[inline]
pub(super) fn subscription<'a>(fields: &mut Fields<'a>) -> Result<Subscription<'a>, Malformed> {
    let plan = fields.text()?;
    let period_months = fields.int4()?.filter(|_| plan.is_some()).unwrap_or(0);
    Ok(Subscription {
        plan: plan.unwrap_or_default(),
        period_months: period_months.into(),
        started_at_us: time_us(fields)?.unwrap_or(i64::MAX),
        ended_at_us: time_us(fields)?,
        price_minor: fields.int8()?.unwrap_or(-1),
        currency: currency(fields)?,
    })
}

/// Adds up what it cost to win each customer.
struct Costs {
    currency: Currency,
    costs: Vec<(CustomerId, Result<i64, Rejection>)>,
}

impl Costs {
    fn new(currency: Currency) -> Self {
        Self { currency, costs: Vec::new() }
    }

    #[inline]
    fn row(&mut self, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let Some(customer) = fields.int8()?.map(CustomerId) else { return Ok(()) };
        let cost = fields.int8()?.unwrap_or(-1);
        let is_foreign = currency(fields)? != *self.currency.as_bytes();
        let cost = if is_foreign { Err(Rejection::ForeignCurrency) } else { believed(cost) };
        match self.costs.last_mut() {
            Some((last, sum)) if *last == customer => {
                *sum = sum.and_then(|sum| believed(sum + cost?));
            }
            _ => self.costs.push((customer, cost)),
        }
        Ok(())
    }
}

fn believed(cost_minor: i64) -> Result<i64, Rejection> {
    let is_sane = (0..=LARGEST_COST_MINOR).contains(&cost_minor);
    if is_sane { Ok(cost_minor) } else { Err(Rejection::SpendOutOfRange) }
}

/// Microseconds since 1970-01-01 UTC. `infinity` is the last there is, `-infinity` before all that is believed.
#[inline]
fn time_us(fields: &mut Fields<'_>) -> Result<Option<i64>, Malformed> {
    Ok(fields.int8()?.map(|time_us| time_us.saturating_add(POSTGRES_EPOCH_US)))
}

/// Three letters, or what no currency is.
#[inline]
fn currency(fields: &mut Fields<'_>) -> Result<[u8; 3], Malformed> {
    Ok(fields.next()?.and_then(|code| code.try_into().ok()).unwrap_or([0; 3]))
}

/// Merges the three lists, all of them by customer. Subscriptions and costs of customers who came into the base after
/// the run was planned are left out.
fn merge(
    mut histories: Vec<History>,
    subscribed: Vec<(CustomerId, Result<Subscribed, Rejection>)>,
    costs: Vec<(CustomerId, Result<i64, Rejection>)>,
) -> Vec<History> {
    each_pair(&mut histories, subscribed, Account::add_subscriptions);
    each_pair(&mut histories, costs, Account::add_cost);
    histories
}

/// Hands out what belongs to the same customer in two lists by customer.
fn each_pair<T>(
    histories: &mut [History],
    others: Vec<(CustomerId, T)>,
    mut each: impl FnMut(&mut Result<Account, Rejection>, T),
) {
    let mut histories = histories.iter_mut().peekable();
    for (customer, other) in others {
        while histories.next_if(|history| history.customer < customer).is_some() {}
        if let Some(history) = histories.next_if(|history| history.customer == customer) {
            each(&mut history.account, other);
        }
    }
}
