//! The plan of a run.

use std::pin::pin;

use batch::{ChunkId, CustomerId, PlannedChunk, RunId, SourceCounts, WorkSample};
use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use futures_util::SinkExt;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::copy::{RowWriter, read_rows};
use super::elsewhere::Needed;
use super::row::{get, word};
use super::{Fault, Postgres};
use crate::encoding::members;
use crate::record::{CreatedRun, ModelVersionId, NewRun, Selection};
use crate::{Error, Planning, Result};

/// Transactions to sample: enough to know each of a thousand chunks' work to within a tenth.
const SAMPLED_TRANSACTIONS: f64 = 100_000.0;

impl Planning for Postgres {
    async fn now(&self) -> Result<Timestamp> {
        self.short("read the clock", async |client| {
            Ok(client.query_one("select clock_timestamp()", &[]).await?.try_get(0)?)
        })
        .await
    }

    async fn selected(&self, selection: &Selection, as_of: Timestamp) -> Result<Vec<CustomerId>> {
        let customers = self.select(selection, as_of).await?;
        // A view may join a customer to itself.
        if let Some([twice, _]) = customers.array_windows().find(|[left, right]| left == right) {
            return Err(Error::Broken {
                what: "select the customers".into(),
                reason: format!("source.customers holds customer {twice} more than once"),
            });
        }
        Ok(customers)
    }

    async fn work_sample(&self) -> Result<WorkSample> {
        const SIZE: &str = "
            select c.relkind in ('r', 'm'), c.reltuples::float8
              from pg_class c
             where c.oid = 'source.transactions'::regclass";
        self.read_source("sample the transactions", Needed::Nothing, || {
            async |client: &ClientWrapper| {
                let size = client.query_one(SIZE, &[]).await?;
                let (is_table, rows): (bool, f64) = (size.try_get(0)?, size.try_get(1)?);
                if !is_table || rows < 0.0 {
                    // A view cannot be sampled, and the size of a table that was never analyzed is not known.
                    return Ok(WorkSample::none());
                }
                let fraction = (SAMPLED_TRANSACTIONS / rows.max(1.0)).clamp(1e-4, 1.0);
                // The seed makes the same table give the same plan.
                let sample = format!(
                    "copy (select customer_id::bigint from source.transactions
                         tablesample system ({}) repeatable (1))
                   to stdout (format binary)",
                    100.0 * fraction
                );
                let mut customers = read_ids(client, &sample).await?;
                customers.sort_unstable();
                Ok(WorkSample { customers, fraction })
            }
        })
        .await
    }

    async fn model_version_to_pin(&self, named: Option<ModelVersionId>) -> Result<Option<ModelVersionId>> {
        const NAMED: &str = "select model_version from fleet.model_versions where model_version = $1";
        const PROMOTED: &str = "
            select coalesce((select model_version from fleet.promotions order by promotion desc limit 1),
                            (select max(model_version) from fleet.model_versions)) as model_version";
        self.short("find the model version", async |client| {
            let found: Option<i64> = match named {
                Some(named) => match client.query_opt(NAMED, &[&named.0]).await? {
                    Some(row) => get(&row, "model_version")?,
                    None => None,
                },
                None => get(&client.query_one(PROMOTED, &[]).await?, "model_version")?,
            };
            Ok(found.map(ModelVersionId))
        })
        .await
    }

    async fn run_of_night(&self, night: &str) -> Result<Option<CreatedRun>> {
        self.short("find the run of the night", async |client| found(client, night).await).await
    }

    async fn create_run(&self, new: &NewRun) -> Result<CreatedRun> {
        let source = if new.limits.is_some() { self.source_counts_if_any().await } else { None };
        let created = self.transact("record the run", self.config.bulk_limit, "begin", async |client| {
            let Some(run) = insert_run(client, new, source).await? else {
                // Somebody else planned this night between our look and our plan.
                client.batch_execute("rollback").await?;
                return Ok(None);
            };
            insert_chunks(client, run, &new.plan.chunks).await?;
            client.batch_execute(&values_table(run)).await?;
            give_away(client, run).await?;
            self.keep_in(client, &new.dispatched(run)).await?;
            client.batch_execute("commit").await?;
            let unpublished = (1..=new.plan.chunks.len() as i32).map(ChunkId).collect();
            Ok(Some(CreatedRun { run, is_new: true, unpublished, priority: new.priority }))
        });
        if let Some(created) = created.await? {
            return Ok(created);
        }
        let night = new.night.as_deref().expect("only a night can be taken");
        self.run_of_night(night).await?.ok_or_else(|| {
            Fault::nonsense(format!("night {night} was taken, and then it was not there"))
                .into_error("record the run")
        })
    }
}

impl Postgres {
    async fn select(&self, selection: &Selection, as_of: Timestamp) -> Result<Vec<CustomerId>> {
        const SEGMENT: &str = "
            select customer_id::bigint from source.customers
             where segment::text = $1 and acquired_at::timestamptz <= $2
             order by customer_id";
        const NAMED: &str = "
            select customer_id::bigint from source.customers
             where customer_id = any($1::bigint[]) and acquired_at::timestamptz <= $2
             order by customer_id";
        self.read_source("select the customers", Needed::Now, || {
            async |client: &ClientWrapper| match selection {
                Selection::All => all(client, as_of).await,
                Selection::Segment(segment) => ids(&client.query(SEGMENT, &[segment, &as_of]).await?),
                Selection::Customers(named) => {
                    let named: Vec<i64> = named.iter().map(|customer| customer.0).collect();
                    ids(&client.query(NAMED, &[&named, &as_of]).await?)
                }
            }
        })
        .await
    }
}

/// A million rows come much faster by COPY, which takes no parameters; sorting them here is cheaper than on the server.
async fn all(client: &ClientWrapper, as_of: Timestamp) -> Result<Vec<CustomerId>, Fault> {
    let customers = format!(
        "copy (select customer_id::bigint from source.customers where acquired_at::timestamptz <= '{as_of}')
           to stdout (format binary)"
    );
    let mut customers = read_ids(client, &customers).await?;
    customers.sort_unstable();
    Ok(customers)
}

async fn insert_run(
    client: &ClientWrapper,
    new: &NewRun,
    source: Option<SourceCounts>,
) -> Result<Option<RunId>, Fault> {
    const INSERT: &str = "
        insert into fleet.runs
               (night, selection, is_whole, priority, state, as_of, model_version, terms, deadline_at,
                customers, chunks, trace, limits, source_at_plan)
        values ($1, $2, $3, $4, 'planned', $5, $6, $7, now() + $8::float8 * interval '1 second', $9, $10, $11,
                $12, $13)
            on conflict (night) do nothing
        returning run_id";
    let customers: usize = new.plan.chunks.iter().map(|chunk| chunk.customers.len()).sum();
    let row = client
        .query_opt(
            INSERT,
            &[
                &new.night,
                &new.selection.to_string(),
                &(new.selection == Selection::All),
                &new.priority.as_str(),
                &new.as_of,
                &new.model_version.0,
                &serde_json::to_value(new.terms).map_err(Fault::nonsense)?,
                &new.deadline.as_secs_f64(),
                &(customers as i64),
                &(new.plan.chunks.len() as i32),
                &serde_json::to_value(&new.trace).map_err(Fault::nonsense)?,
                &new.limits.map(serde_json::to_value).transpose().map_err(Fault::nonsense)?,
                &source.map(serde_json::to_value).transpose().map_err(Fault::nonsense)?,
            ],
        )
        .await?;
    row.map(|row| Ok(RunId(get(&row, "run_id")?))).transpose()
}

async fn insert_chunks(client: &ClientWrapper, run: RunId, chunks: &[PlannedChunk]) -> Result<(), Fault> {
    const COPY: &str = "
        copy fleet.chunks (run_id, chunk_id, first_customer, last_customer, customers, members, work)
        from stdin (format binary)";
    let mut sink = pin!(client.copy_in::<_, Bytes>(COPY).await?);
    let mut rows = RowWriter::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let (first, last) = (chunk.customers[0], chunk.customers[chunk.customers.len() - 1]);
        rows.row(7)
            .int8(run.0)
            .int4(index as i32 + 1)
            .int8(first.0)
            .int8(last.0)
            .int4(chunk.customers.len() as i32)
            .bytes(&members::encode(&chunk.customers))
            .float8(chunk.work);
        if let Some(piece) = rows.full_piece() {
            sink.send(piece).await?;
        }
    }
    sink.send(rows.finish()).await?;
    sink.finish().await?;
    Ok(())
}

/// The table that a run fills: without an index, and not a partition of `fleet.values` before it is checked.
fn values_table(run: RunId) -> String {
    format!(
        "create table fleet.values_{run}
             (like fleet.values including defaults including constraints, check (run_id = {run}))
             with (autovacuum_enabled = false)"
    )
}

/// Gives a run's table to the owner of that of all values, if it is not the role that plans: the workers and the
/// coordinator are of that owner, and whoever owns one of the two alone cannot make it a partition of the other.
async fn give_away(client: &ClientWrapper, run: RunId) -> Result<(), Fault> {
    const OWNER: &str = "
        select quote_ident(r.rolname) as owner
          from pg_class c
          join pg_roles r on r.oid = c.relowner
         where c.oid = 'fleet.values'::regclass
           and r.rolname <> current_user";
    if let Some(owner) = client.query_opt(OWNER, &[]).await? {
        let owner: String = get(&owner, "owner")?;
        client.batch_execute(&format!("alter table fleet.values_{run} owner to {owner}")).await?;
    }
    Ok(())
}

/// The run of a night with what is left to publish.
async fn found(client: &ClientWrapper, night: &str) -> Result<Option<CreatedRun>, Fault> {
    const RUN: &str = "select run_id, priority from fleet.runs where night = $1";
    const PENDING: &str =
        "select chunk_id from fleet.chunks where run_id = $1 and state = 'pending' order by chunk_id";
    let Some(row) = client.query_opt(RUN, &[&night]).await? else { return Ok(None) };
    let run: i64 = get(&row, "run_id")?;
    let pending = client.query(PENDING, &[&run]).await?;
    let unpublished =
        pending.iter().map(|row| Ok(ChunkId(get(row, "chunk_id")?))).collect::<Result<_, Fault>>()?;
    let priority = word(&row, "priority")?;
    Ok(Some(CreatedRun { run: RunId(run), is_new: false, unpublished, priority }))
}

fn ids(rows: &[Row]) -> Result<Vec<CustomerId>, Fault> {
    rows.iter().map(|row| Ok(CustomerId(get(row, "customer_id")?))).collect()
}

/// Reads a COPY of one column of customers.
async fn read_ids(client: &ClientWrapper, copy: &str) -> Result<Vec<CustomerId>, Fault> {
    let mut customers = Vec::new();
    read_rows(client, copy, |fields| {
        customers.extend(fields.int8()?.map(CustomerId));
        Ok(())
    })
    .await?;
    Ok(customers)
}
