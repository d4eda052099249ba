//! All subscriptions, out by COPY, for the contract models.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use model::{Currency, Observation};

use super::Postgres;
use super::accounts::subscription;
use super::copy::read_rows;
use super::elsewhere::Needed;
use crate::{PlanTenures, Result, TenureCounts};

impl Postgres {
    /// Reads how far all subscriptions in a currency had come at `as_of`, by plan and period. One that began at
    /// `as_of` or later is not seen; one of which the start or the currency is null is, as a line that cannot be.
    pub async fn contract_tenures(&self, as_of: Timestamp, currency: Currency) -> Result<Vec<PlanTenures>> {
        let copy = format!(
            "copy (select plan::text, period_months::integer, started_at::timestamptz, ended_at::timestamptz,
                          price_minor::bigint, currency, end_reason::text
                     from source.subscriptions
                    where (started_at::timestamptz >= '{as_of}') is not true
                      and (currency <> '{currency}') is not true)
               to stdout (format binary)"
        );
        let observation = Observation::new(as_of.as_microsecond(), currency);
        self.read_source("read the subscriptions", Needed::Now, || {
            async |client: &ClientWrapper| {
                let mut counting = TenureCounts::default();
                read_rows(client, &copy, |fields| {
                    counting.line(&subscription(fields)?, fields.text()?, &observation);
                    Ok(())
                })
                .await?;
                Ok(counting.finish())
            }
        })
        .await
    }
}
