//! Histories out, values in: where a night's bytes are.

use std::borrow::Cow;
use std::pin::pin;

use batch::{AttemptId, RunId};
use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use futures_util::SinkExt;
use model::Currency;
use tokio_postgres::Statement;

use super::copy::RowWriter;
use super::row::{get, json};
use super::value_row::{copy_into, write_value};
use super::{Fault, Postgres};
use crate::record::{
    CommitOutcome, History, ModelVersion, ModelVersionId, Reading, Rejected, ResultRows, Valued,
};
use crate::{Result, Values};

/// Prepared statements that a connection keeps: the handful of each chunk, and one for each run of late.
const MAX_PREPARED: usize = 64;

impl Values for Postgres {
    async fn read_histories(&self, reading: &Reading<'_>) -> Result<Vec<History>> {
        self.read_or_reject(reading, reading.as_of).await
    }

    async fn commit_attempt(&self, attempt: AttemptId, rows: &ResultRows) -> Result<CommitOutcome> {
        self.transact("commit an attempt", self.config.bulk_limit, "begin", async |client| {
            insert_values(client, attempt, &rows.values).await?;
            let is_latest = settle_chunk(client, attempt, rows, &self.settle()).await?;
            if is_latest {
                // After the fence: a late attempt's rejections stand there already, and their key would refuse them
                // with an error where nothing is wrong but that it is late.
                insert_rejections(client, attempt, &rows.rejections).await?;
                client.batch_execute("commit").await?;
                Ok(CommitOutcome::Committed)
            } else {
                client.batch_execute("rollback").await?;
                Ok(CommitOutcome::Refused)
            }
        })
        .await
    }

    async fn model_version(&self, version: ModelVersionId) -> Result<Option<ModelVersion>> {
        const FIND: &str = "select * from fleet.model_versions where model_version = $1";
        self.short("read a model version", async |client| {
            let row = client.query_opt(FIND, &[&version.0]).await?;
            row.as_ref().map(model_version).transpose()
        })
        .await
    }
}

impl Postgres {
    #[cfg(not(feature = "faults"))]
    #[expect(clippy::unused_self, reason = "the same shape as with faults")]
    fn settle(&self) -> Cow<'static, str> {
        SETTLE.into()
    }

    #[cfg(feature = "faults")]
    fn settle(&self) -> Cow<'static, str> {
        if self.is_fenced { SETTLE.into() } else { settle_without_fence().into() }
    }
}

pub(super) fn model_version(row: &tokio_postgres::Row) -> Result<ModelVersion, Fault> {
    let currency: &str = get(row, "currency")?;
    Ok(ModelVersion {
        version: ModelVersionId(get(row, "model_version")?),
        created_at: get(row, "created_at")?,
        currency: Currency::parse(currency).map_err(Fault::nonsense)?,
        models: json(row, "parameters")?,
        fit: get(row, "fit")?,
        data_fingerprint: get(row, "data_fingerprint")?,
        code_version: get(row, "code_version")?,
    })
}

async fn insert_values(client: &ClientWrapper, attempt: AttemptId, values: &[Valued]) -> Result<(), Fault> {
    if values.is_empty() {
        return Ok(());
    }
    let run = attempt.chunk.run;
    let copy = prepared_copy(client, run).await?;
    let mut sink = pin!(client.copy_in::<_, Bytes>(&copy).await?);
    let mut rows = RowWriter::new();
    for valued in values {
        write_value(&mut rows, run, valued);
        if let Some(piece) = rows.full_piece() {
            sink.send(piece).await?;
        }
    }
    sink.send(rows.finish()).await?;
    sink.finish().await?;
    Ok(())
}

/// The COPY into a run's table, prepared once for a connection: preparing it for each chunk costs a round trip.
async fn prepared_copy(client: &ClientWrapper, run: RunId) -> Result<Statement, Fault> {
    forget_old_runs(client);
    Ok(client.prepare_cached(&copy_into(&format!("fleet.values_{run}"))).await?)
}

/// Statements of runs that are long over would pile up in a connection that lives for months.
pub(super) fn forget_old_runs(client: &ClientWrapper) {
    if client.statement_cache.size() > MAX_PREPARED {
        client.statement_cache.clear();
    }
}

async fn insert_rejections(
    client: &ClientWrapper,
    attempt: AttemptId,
    rejections: &[Rejected],
) -> Result<(), Fault> {
    const INSERT: &str = "
        insert into fleet.rejections (run_id, chunk_id, customer_id, reason)
        select $1, $2, customer_id, reason
          from unnest($3::bigint[], $4::text[]) as rejected (customer_id, reason)";
    if rejections.is_empty() {
        return Ok(());
    }
    let customers: Vec<i64> = rejections.iter().map(|rejected| rejected.customer.0).collect();
    let reasons: Vec<&str> = rejections.iter().map(|rejected| rejected.reason.code()).collect();
    let insert = client.prepare_cached(INSERT).await?;
    let chunk = attempt.chunk;
    client.execute(&insert, &[&chunk.run.0, &chunk.chunk.0, &customers, &reasons]).await?;
    Ok(())
}

/// Marks the chunk done if the attempt is the latest: the fence. Zero rows mean that everything rolls back.
const SETTLE: &str = "
        with done as (
            update fleet.chunks c
               set state = 'done',
                   value_count = $4,
                   rejection_count = $5,
                   transactions = $6,
                   value_minor = $7,
                   settled_at = now(),
                   leased_at = null,
                   leased_until = null
              from fleet.runs r
             where c.run_id = $1
               and c.chunk_id = $2
               and c.attempt = $3
               and c.state = 'leased'
               and c.customers = $4::integer + $5::integer
               and r.run_id = c.run_id
               and r.state in ('planned', 'running')
         returning c.run_id, c.chunk_id, c.attempt
        )
        update fleet.attempts a
           set outcome = 'done', ended_at = now()
          from done
         where a.run_id = done.run_id
           and a.chunk_id = done.chunk_id
           and a.attempt = done.attempt";

/// The same for whoever comes, in whatever state the chunk is.
#[cfg(feature = "faults")]
fn settle_without_fence() -> String {
    let fence = "and c.attempt = $3
               and c.state = 'leased'";
    assert!(SETTLE.contains(fence), "the fence is in the statement");
    SETTLE.replace(fence, "and $3::integer is not null")
}

async fn settle_chunk(
    client: &ClientWrapper,
    attempt: AttemptId,
    rows: &ResultRows,
    settle: &str,
) -> Result<bool, Fault> {
    let settle = client.prepare_cached(settle).await?;
    let (values, rejections) = (rows.values.len() as i32, rows.rejections.len() as i32);
    let chunk = attempt.chunk;
    let settled = client
        .execute(
            &settle,
            &[
                &chunk.run.0,
                &chunk.chunk.0,
                &attempt.attempt.0,
                &values,
                &rejections,
                &(rows.transactions as i64),
                &rows.value_minor(),
            ],
        )
        .await?;
    Ok(settled == 1)
}
