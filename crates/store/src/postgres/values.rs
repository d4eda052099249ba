//! Histories out by COPY, values in by COPY: where a night's bytes are.

use std::borrow::Cow;
use std::fmt::Write;
use std::pin::pin;

use batch::{AttemptId, CustomerId};
use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use futures_util::{SinkExt, TryStreamExt};
use model::{Currency, HistoryFold, Observation};
use tokio_postgres::Statement;

use super::copy::{Fields, Malformed, POSTGRES_EPOCH_US, RowReader, RowWriter};
use super::row::{get, json};
use super::{Fault, Postgres};
use crate::record::{
    CommitOutcome, History, ModelVersion, ModelVersionId, Reading, Rejected, ResultRows, Valued,
};
use crate::{Result, Values};

/// Prepared statements that a connection keeps: the handful of each chunk, and one for each run of late.
const MAX_PREPARED: usize = 64;

impl Values for Postgres {
    async fn read_histories(&self, reading: &Reading<'_>) -> Result<Vec<History>> {
        self.call("read histories", self.config.bulk_limit, async |client| {
            let mut stream = pin!(client.copy_out(&histories_query(reading)).await?);
            let mut rows = RowReader::default();
            let mut folding = Folding::new(reading);
            while let Some(piece) = stream.try_next().await? {
                rows.feed(&piece, |fields| folding.row(fields)).map_err(Fault::nonsense)?;
            }
            rows.finish().map_err(Fault::nonsense)?;
            Ok(folding.finish())
        })
        .await
    }

    async fn commit_attempt(&self, attempt: AttemptId, rows: &ResultRows) -> Result<CommitOutcome> {
        self.call("commit an attempt", self.config.bulk_limit, async |client| {
            client.batch_execute("begin").await?;
            insert_values(client, attempt, &rows.values).await?;
            insert_rejections(client, attempt, &rows.rejections).await?;
            let is_latest = settle_chunk(client, attempt, rows, &self.settle()).await?;
            if is_latest {
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
        parameters: json(row, "parameters")?,
        fit: get(row, "fit")?,
        data_fingerprint: get(row, "data_fingerprint")?,
        code_version: get(row, "code_version")?,
    })
}

/// The histories of a chunk in the order of its customers. COPY takes no parameters, so numbers and a moment
/// are written into it, and nothing else.
pub(super) fn histories_query(reading: &Reading<'_>) -> String {
    let (first, last) = (reading.customers[0], reading.customers[reading.customers.len() - 1]);
    let mut query = String::from(
        "copy (select customer_id, occurred_at, amount_minor, currency from source.transactions where ",
    );
    let written = if reading.is_whole {
        write!(query, "customer_id between {first} and {last}")
    } else {
        let named: Vec<_> = reading.customers.iter().map(ToString::to_string).collect();
        write!(query, "customer_id = any ('{{{}}}'::bigint[])", named.join(","))
    };
    written.expect("writing to a string cannot fail");
    write!(
        query,
        " and occurred_at < '{}' order by customer_id, occurred_at) to stdout (format binary)",
        reading.as_of
    )
    .expect("writing to a string cannot fail");
    query
}

/// Folds the rows of a chunk as they stream past into one history for each planned customer.
struct Folding<'a> {
    observation: Observation,
    /// The planned customers whose history is not complete; the first is the one being read.
    waiting: &'a [CustomerId],
    fold: HistoryFold,
    histories: Vec<History>,
}

impl<'a> Folding<'a> {
    fn new(reading: &Reading<'a>) -> Self {
        Self {
            observation: Observation::new(reading.as_of.as_microsecond(), reading.currency),
            waiting: reading.customers,
            fold: HistoryFold::new(),
            histories: Vec::with_capacity(reading.customers.len()),
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
        // A column that a view leaves null gives a row that no valid history has, and so a rejection.
        let occurred_at = fields.int8()?.unwrap_or(i64::MAX);
        let amount = fields.int8()?.unwrap_or(i64::MAX);
        let currency = fields.next()?.and_then(|code| code.try_into().ok()).unwrap_or([0; 3]);
        self.fold.push(occurred_at.saturating_add(POSTGRES_EPOCH_US), amount, currency);
        Ok(())
    }

    fn complete(&mut self) {
        let (&customer, waiting) = self.waiting.split_first().expect("somebody is waiting");
        self.waiting = waiting;
        self.histories.push(History { customer, summary: self.fold.finish(&self.observation) });
    }

    fn finish(mut self) -> Vec<History> {
        while !self.waiting.is_empty() {
            self.complete();
        }
        self.histories
    }
}

async fn insert_values(client: &ClientWrapper, attempt: AttemptId, values: &[Valued]) -> Result<(), Fault> {
    if values.is_empty() {
        return Ok(());
    }
    let run = attempt.chunk.run.0;
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
async fn prepared_copy(client: &ClientWrapper, run: i64) -> Result<Statement, Fault> {
    // Statements of runs that are long over would pile up in a connection that lives for months.
    if client.statement_cache.size() > MAX_PREPARED {
        client.statement_cache.clear();
    }
    let copy = format!("copy fleet.values_{run} from stdin (format binary)");
    Ok(client.prepare_cached(&copy).await?)
}

/// Writes a row of `fleet.values`.
pub(super) fn write_value(rows: &mut RowWriter, run: i64, valued: &Valued) {
    let Valued { customer, value, summary } = valued;
    rows.row(9)
        .int8(run)
        .int8(customer.0)
        .int8(value.value_minor)
        .float8(value.expected_purchases)
        .float8(value.p_alive)
        .int4(summary.frequency as i32)
        .int4(summary.recency_days as i32)
        .int4(summary.age_days as i32)
        .int8(summary.repeat_spend_minor);
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
                   settled_at = now(),
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
        .execute(&settle, &[&chunk.run.0, &chunk.chunk.0, &attempt.attempt.0, &values, &rejections])
        .await?;
    Ok(settled == 1)
}
