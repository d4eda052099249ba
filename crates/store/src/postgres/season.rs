//! When the whole base bought, counted by day: what a season is estimated from.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use model::{Currency, Observation, PurchaseCounts};

use super::Postgres;
use super::copy::read_rows;
use super::elsewhere::Needed;
use crate::Result;

impl Postgres {
    /// Counts the purchase days of all customers before `as_of` by the day on which the customer came.
    ///
    /// A purchase day is what [`model::HistoryFold`] takes for one: a UTC day with an amount that is no refund.
    /// Other currencies are not looked at. One pass over the transactions, which may take as long as reading a
    /// chunk.
    pub async fn purchase_counts(&self, as_of: Timestamp, currency: Currency) -> Result<PurchaseCounts> {
        let last_day = Observation::new(as_of.as_microsecond(), currency).last_day();
        self.read_source("count purchases by day", Needed::Now, || {
            async |client: &ClientWrapper| {
                let mut counts = None;
                read_rows(client, &counts_query(as_of, currency), |fields| {
                    let [came, day, customers] = [fields.int8()?, fields.int8()?, fields.int8()?]
                        .map(|field| field.expect("neither a group nor its count is null"));
                    let counts = counts.get_or_insert_with(|| PurchaseCounts::of_a_century(came, last_day));
                    counts.customers_on(came, day, customers as u64);
                    Ok(())
                })
                .await?;
                Ok(counts.unwrap_or_else(|| PurchaseCounts::of_a_century(last_day, last_day)))
            }
        })
        .await
    }
}

/// The days in order of the first, so that the period is known from the first row on.
fn counts_query(as_of: Timestamp, currency: Currency) -> String {
    format!(
        "copy (
             with days as (
                 select customer_id, (occurred_at at time zone 'UTC')::date - date '1970-01-01' as day
                   from source.transactions
                  where occurred_at::timestamptz < '{as_of}'
                    and occurred_at > '-infinity'
                    and currency = '{currency}'
                    and amount_minor >= 0
               group by customer_id, day
             ), since as (
                 select min(day) over (partition by customer_id) as came, day from days
             )
             select came::bigint, day::bigint, count(*) from since group by came, day order by came, day
         ) to stdout (format binary)"
    )
}
