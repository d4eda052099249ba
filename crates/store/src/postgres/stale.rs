//! Who has done something since he was valued, as the customer's own relations tell, where they are.
//!
//! # Failure by failure
//!
//! * **The relations are on another server, which lags behind.** It is not waited for: what it does not hold yet is told
//!   of once it does.
//! * **A customer's rows cannot be read**, as `unreadable.rs` tells. He is found, and left out: nothing is known to be
//!   newer. Of more than [`MOST_UNREADABLE`] in one call, [`Error::Invalid`].

use std::collections::BTreeMap;

use batch::{CustomerId, Finding, Isolation};
use deadpool_postgres::ClientWrapper;
use futures_util::future::join3;
use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::accounts::COMMIT;
use super::connect::BEGIN_IN_UTC;
use super::elsewhere::Needed;
use super::row::get;
use super::unreadable::{MOST_UNREADABLE, Relation, Unreadable};
use super::{Fault, Postgres};
use crate::{Error, Result};

const LOOK: &str = "look for what is stale";

/// What a read leaves out because it lies at the moment or after it, and what has happened: see `accounts.rs`.
const STALE: &str = "
    select asked.customer_id
      from unnest($1::bigint[], $2::timestamptz[]) as asked (customer_id, as_of)
     where exists (select
                     from source.transactions t
                    where t.customer_id = asked.customer_id
                      and t.occurred_at::timestamptz >= asked.as_of
                      and t.occurred_at::timestamptz < now())
        or exists (select
                     from source.subscriptions s
                    where s.customer_id = asked.customer_id
                      and (   s.started_at::timestamptz >= asked.as_of and s.started_at::timestamptz < now()
                           or s.ended_at::timestamptz >= asked.as_of and s.ended_at::timestamptz < now()))
     order by asked.customer_id";

impl Postgres {
    pub(super) async fn look_for_stale(&self, valued: &[(CustomerId, Timestamp)]) -> Result<Vec<CustomerId>> {
        let moments: BTreeMap<CustomerId, Timestamp> = valued.iter().copied().collect();
        let customers: Vec<CustomerId> = moments.keys().copied().collect();
        let mut isolation = Isolation::among(&customers, MOST_UNREADABLE);
        let mut stale = Vec::new();
        while let Some(part) = isolation.next_set() {
            let asked = (part.iter().map(|id| id.0).collect(), part.iter().map(|id| moments[id]).collect());
            let beginning = self.source().beginning(BEGIN_IN_UTC);
            let read = || async |client: &ClientWrapper| look(client, &beginning, &asked).await;
            match self.read_source_by_itself(LOOK, Needed::Nothing, read).await? {
                Ok(found) => stale.extend(found),
                Err(unreadable) => match isolation.failed(part) {
                    Finding::Divided => {}
                    Finding::Culprit(customer) => {
                        tracing::debug!(%customer, ?unreadable, "whether a value is stale cannot be read");
                    }
                    Finding::GivenUp => {
                        let reason = format!("of many customers it cannot be read: {unreadable:?}");
                        return Err(Error::Invalid { what: LOOK.into(), reason });
                    }
                },
            }
        }
        Ok(stale)
    }
}

/// Looks over one snapshot and in one round trip; or says that it failed over somebody's rows. Nothing is prepared, and
/// whatever fails is ended, so that the connection is as it was before.
async fn look(
    client: &ClientWrapper,
    beginning: &str,
    (customers, moments): &(Vec<i64>, Vec<Timestamp>),
) -> Result<Result<Vec<CustomerId>, Unreadable>, Fault> {
    let (begun, found, ended) = join3(
        client.batch_execute(beginning),
        client.query_typed(STALE, &[(customers, Type::INT8_ARRAY), (moments, Type::TIMESTAMPTZ_ARRAY)]),
        client.batch_execute(COMMIT),
    )
    .await;
    begun?;
    match found {
        Ok(rows) => {
            ended?;
            let customer = |row| Ok(CustomerId(get(row, "customer_id")?));
            rows.iter().map(customer).collect::<Result<_, Fault>>().map(Ok)
        }
        Err(error) => {
            let unreadable = Unreadable::of(Relation::Transactions, error.into())?;
            ended?;
            Ok(Err(unreadable))
        }
    }
}
