//! Listings that are read a page at a time: runs, the most valuable customers of a run, and how the business knows them.

use std::collections::HashMap;

use batch::{CustomerId, Progress, RunId};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::archive::run_record;
use super::elsewhere::Needed;
use super::row::get;
use super::supervision::{SUMS, sums};
use super::value_row::read_values;
use super::{Fault, Postgres};
use crate::Result;
use crate::archive::{Named, Rank};
use crate::record::{RunRecord, Valued};

impl Postgres {
    /// In two statements, however many the runs are.
    pub(super) async fn list_runs(&self, before: Option<RunId>, limit: u32) -> Result<Vec<RunRecord>> {
        const LIST: &str = "
            select *
              from fleet.runs
             where run_id < $1
             order by run_id desc
             limit $2";
        let before = before.map_or(i64::MAX, |run| run.0);
        self.short("list runs", async |client| {
            let rows = client.query(LIST, &[&before, &i64::from(limit)]).await?;
            let runs = rows.iter().map(|row| get(row, "run_id")).collect::<Result<Vec<i64>, _>>()?;
            let mut progress = progress_of(client, &runs).await?;
            let record = |(row, run)| run_record(row, progress.remove(run).unwrap_or_default());
            rows.iter().zip(&runs).map(record).collect()
        })
        .await
    }

    pub(super) async fn rank_after(
        &self,
        run: RunId,
        after: Option<Rank>,
        limit: u32,
    ) -> Result<Vec<Valued>> {
        let below = after.map(|Rank { value_minor, customer }| {
            format!("and (value_minor < {value_minor} or value_minor = {value_minor} and customer_id > {customer})")
        });
        let page = format!(
            "where run_id = {run} and grade is not null {} order by value_minor desc, customer_id limit {limit}",
            below.unwrap_or_default()
        );
        self.call("rank the customers of a run", self.config.bulk_limit, async |client| {
            read_values(client, &page).await
        })
        .await
    }

    pub(super) async fn names_of(&self, customers: &[CustomerId]) -> Result<Vec<Named>> {
        const NAMES: &str = "
            select customer_id::bigint, external_id::text, segment::text
              from source.customers
             where customer_id = any($1::bigint[])
             order by customer_id";
        let customers: Vec<i64> = customers.iter().map(|customer| customer.0).collect();
        self.read_source("read the names", Needed::Nothing, || {
            async |client: &ClientWrapper| {
                client.query(NAMES, &[&customers]).await?.iter().map(named).collect()
            }
        })
        .await
    }
}

fn named(row: &Row) -> Result<Named, Fault> {
    let text = |column| Ok::<_, Fault>(get::<Option<String>>(row, column)?.unwrap_or_default());
    Ok(Named {
        customer: CustomerId(get(row, "customer_id")?),
        external_id: text("external_id")?,
        segment: text("segment")?,
    })
}

/// The sums over the chunks of runs.
async fn progress_of(client: &ClientWrapper, runs: &[i64]) -> Result<HashMap<i64, Progress>, Fault> {
    let each = format!("select run_id, {SUMS} from fleet.chunks where run_id = any($1) group by run_id");
    let rows = client.query(&each, &[&runs]).await?;
    rows.iter().map(|row| Ok((get(row, "run_id")?, sums(row)?))).collect()
}
