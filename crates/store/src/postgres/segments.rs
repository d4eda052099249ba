//! The summary of a run whose customers are on another server: their names and segments, joined here.

use std::collections::{BTreeMap, HashMap};

use batch::{CustomerId, RunId};
use deadpool_postgres::ClientWrapper;

use super::Postgres;
use super::copy::read_rows;
use super::elsewhere::Needed;
use super::row::get;
use super::value_row::read_values;
use crate::Result;
use crate::archive::{SegmentValue, TopCustomer};

/// What a value adds to its segment.
#[derive(Clone, Copy)]
struct Parts {
    value: i64,
    contracts: i64,
    historic: Option<i64>,
}

impl Postgres {
    /// Sums up a run by segment, the most valuable first. A million customers are some ten million bytes.
    pub(super) async fn segments_elsewhere(&self, run: RunId) -> Result<Vec<SegmentValue>> {
        const CUSTOMERS: &str = "
            copy (select customer_id::bigint, segment::text from source.customers) to stdout (format binary)";
        let values = self.parts(run).await?;
        let mut segments = self
            .read_source("read the segments", Needed::Nothing, || {
                async |client: &ClientWrapper| {
                    let mut segments: BTreeMap<String, SegmentValue> = BTreeMap::new();
                    read_rows(client, CUSTOMERS, |fields| {
                        let customer = fields.int8()?;
                        let segment = fields.text()?.unwrap_or_default();
                        if let Some(parts) = customer.and_then(|customer| values.get(&customer)) {
                            add(&mut segments, segment, *parts);
                        }
                        Ok(())
                    })
                    .await?;
                    Ok(segments.into_values().collect::<Vec<_>>())
                }
            })
            .await?;
        // They are in the order of their names, which stays among those of one value.
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.value_minor));
        Ok(segments)
    }

    async fn parts(&self, run: RunId) -> Result<HashMap<i64, Parts>> {
        let copy = format!(
            "copy (select customer_id, value_minor::bigint, contract_12_minor::bigint,
                          historic_minor::bigint
                     from fleet.values
                    where run_id = {run})
               to stdout (format binary)"
        );
        self.call("read the values of a run", self.config.bulk_limit, async |client| {
            let mut values = HashMap::new();
            read_rows(client, &copy, |fields| {
                let customer = fields.int8()?.expect("a customer is never null");
                let value = fields.int8()?.expect("the table lets no value be null");
                let contracts = fields.int8()?.unwrap_or(0);
                values.insert(customer, Parts { value, contracts, historic: fields.int8()? });
                Ok(())
            })
            .await?;
            Ok(values)
        })
        .await
    }

    /// The most valuable customers of a run, by the names that the business knows.
    pub(super) async fn top_elsewhere(&self, run: RunId, top: u32) -> Result<Vec<TopCustomer>> {
        const NAMES: &str = "
            select customer_id::bigint, external_id::text, segment::text
              from source.customers
             where customer_id = any($1::bigint[])";
        let page = format!(
            "where run_id = {run} and grade is not null order by value_minor desc, customer_id limit {top}"
        );
        let values = self
            .call("read the top of a run", self.config.bulk_limit, async |client| {
                read_values(client, &page).await
            })
            .await?;
        let customers: Vec<i64> = values.iter().map(|valued| valued.customer.0).collect();
        let mut names: HashMap<CustomerId, [Option<String>; 2]> = self
            .read_source("read the names", Needed::Nothing, || {
                async |client: &ClientWrapper| {
                    let rows = client.query(NAMES, &[&customers]).await?;
                    let name = |row: &tokio_postgres::Row| {
                        let customer = CustomerId(get(row, "customer_id")?);
                        Ok((customer, [get(row, "external_id")?, get(row, "segment")?]))
                    };
                    rows.iter().map(name).collect()
                }
            })
            .await?;
        let named = values.into_iter().filter_map(|valued| {
            let [external_id, segment] = names.remove(&valued.customer)?.map(Option::unwrap_or_default);
            Some(TopCustomer { external_id, segment, valued })
        });
        Ok(named.collect())
    }
}

fn add(segments: &mut BTreeMap<String, SegmentValue>, segment: &str, parts: Parts) {
    let Parts { value, contracts, historic } = parts;
    if let Some(sum) = segments.get_mut(segment) {
        sum.customers += 1;
        sum.value_minor += value;
        sum.contract_minor += contracts;
        sum.historic_minor = match (sum.historic_minor, historic) {
            (Some(sum), Some(historic)) => Some(sum + historic),
            (sum, historic) => sum.or(historic),
        };
        return;
    }
    let first = SegmentValue {
        segment: segment.to_owned(),
        customers: 1,
        value_minor: value,
        contract_minor: contracts,
        historic_minor: historic,
    };
    segments.insert(segment.to_owned(), first);
}
