//! What a night costs at least: the same ranges read, the same bytes written, and nothing else done. For
//! benchmarks, which compare a night with it; nothing else uses it.

use std::pin::pin;

use batch::RunId;
use bytes::Bytes;
use futures_util::future::try_join4;
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::{Client, Statement};

use super::accounts::{COMMIT, Queries};
use super::attempts::customers;
use super::connect::BEGIN_IN_UTC;
use super::copy::RowWriter;
use super::row::get;
use super::value_row::{copy_into, write_value};
use super::{Fault, Postgres};
use crate::record::Valued;
use crate::{Error, Result, Supervision};

/// A chunk of a finished run, ready to be done again without thinking.
#[derive(Clone, Debug)]
pub struct FloorChunk {
    /// Its values, for whoever writes them elsewhere too.
    pub values: Vec<Valued>,
    read: Queries,
    rows: Vec<Bytes>,
}

/// How many rows the source relations hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the relation of its name")]
pub struct SourceSize {
    pub customers: u64,
    pub transactions: u64,
    pub subscriptions: u64,
    pub acquisition_costs: u64,
}

/// A connection that reads and writes chunks and does nothing else.
#[derive(Debug)]
pub struct FloorLane {
    client: Client,
    write: Statement,
}

impl Postgres {
    /// Reads the chunks of a finished run, in the order in which they were published.
    pub async fn floor_chunks(&self, run: RunId) -> Result<Vec<FloorChunk>> {
        const CHUNKS: &str = "
            select c.first_customer, c.last_customer, c.customers, c.members, r.as_of, r.is_whole
              from fleet.chunks c
              join fleet.runs r using (run_id)
             where c.run_id = $1
             order by c.chunk_id";
        let rows = self
            .call("read the chunks of a run", self.config.bulk_limit, async |client| {
                Ok(client.query(CHUNKS, &[&run.0]).await?)
            })
            .await?;
        let name = |fault: Fault| fault.into_error("read the chunks of a run");
        let mut chunks = Vec::with_capacity(rows.len());
        for row in &rows {
            let members = customers(row).map_err(name)?;
            let is_whole = get(row, "is_whole").map_err(name)?;
            let read = Queries::of(&members, is_whole, get(row, "as_of").map_err(name)?);
            let before = batch::CustomerId(members[0].0 - 1);
            let mut values = self.values_after(run, Some(before), members.len() as u32).await?;
            values.retain(|valued| valued.customer <= members[members.len() - 1]);
            chunks.push(FloorChunk { read, rows: encode(run, &values), values });
        }
        Ok(chunks)
    }

    /// Makes the table that the floor writes into, anew.
    pub async fn floor_begin(&self, run: RunId) -> Result<()> {
        let table = format!(
            "drop table if exists fleet.floor;
             create table fleet.floor
                 (like fleet.values including defaults including constraints, check (run_id = {run}))
                 with (autovacuum_enabled = false)"
        );
        self.short("begin the floor", async |client| Ok(client.batch_execute(&table).await?)).await
    }

    /// Opens a lane of its own.
    pub async fn floor_lane(&self) -> Result<FloorLane> {
        self.needs_its_session("open a lane")?;
        let client = self.connect_alone().await?;
        let write = client.prepare(&copy_into("fleet.floor")).await;
        let write = write.map_err(|error| Fault::Driver(error).into_error("open a lane"))?;
        Ok(FloorLane { client, write })
    }

    /// Builds the primary key, as the end of a run does.
    pub async fn floor_end(&self) -> Result<()> {
        self.call("end the floor", self.config.finish_limit, async |client| {
            Ok(client.batch_execute("alter table fleet.floor add primary key (customer_id)").await?)
        })
        .await
    }

    /// Does at once what the server does by itself within a minute of a run's end: looks through the new table.
    ///
    /// A night has that minute behind it. Where one measurement follows the other, it would fall into the next.
    pub async fn tidy_up(&self, run: RunId) -> Result<()> {
        let vacuum = format!("vacuum (analyze) fleet.values_{run}");
        self.converse("tidy up behind a run", self.config.finish_limit, async |client| {
            Ok(client.batch_execute(&vacuum).await?)
        })
        .await
    }

    /// Throws the floor's table away.
    pub async fn floor_drop(&self) -> Result<()> {
        self.short("drop the floor", async |client| {
            Ok(client.batch_execute("drop table if exists fleet.floor").await?)
        })
        .await
    }

    /// How many rows the source relations hold.
    pub async fn source_size(&self) -> Result<SourceSize> {
        const SIZE: &str = "
            select (select count(*) from source.customers) as customers,
                   (select count(*) from source.transactions) as transactions,
                   (select count(*) from source.subscriptions) as subscriptions,
                   (select count(*) from source.acquisition_costs) as acquisition_costs";
        self.call("count the source", self.config.bulk_limit, async |client| {
            let row = client.query_one(SIZE, &[]).await?;
            let count = |column| get::<i64>(&row, column).map(|count| count as u64);
            Ok(SourceSize {
                customers: count("customers")?,
                transactions: count("transactions")?,
                subscriptions: count("subscriptions")?,
                acquisition_costs: count("acquisition_costs")?,
            })
        })
        .await
    }
}

impl FloorLane {
    /// Reads what is known of a chunk's customers as an attempt does and forgets it, then writes its values. Returns the bytes read.
    pub async fn read_and_write(&self, chunk: &FloorChunk) -> Result<u64> {
        let name = |error: tokio_postgres::Error| -> Error { Fault::Driver(error).into_error("the floor") };
        let (transactions, subscriptions, costs) =
            chunk.read.begin(&self.client, BEGIN_IN_UTC).await.map_err(name)?;
        let read = try_join4(
            self.read(&transactions),
            self.read(&subscriptions),
            self.read(&costs),
            self.client.batch_execute(COMMIT),
        )
        .await
        .map_err(name)?;
        let mut sink = pin!(self.client.copy_in::<_, Bytes>(&self.write).await.map_err(name)?);
        for rows in &chunk.rows {
            sink.send(rows.clone()).await.map_err(name)?;
        }
        sink.finish().await.map_err(name)?;
        Ok(read.0 + read.1 + read.2)
    }

    /// Reads a COPY to its end; returns its bytes.
    async fn read(&self, copy: &Statement) -> Result<u64, tokio_postgres::Error> {
        let mut stream = pin!(self.client.copy_out(copy).await?);
        let mut bytes = 0;
        while let Some(piece) = stream.try_next().await? {
            bytes += piece.len() as u64;
        }
        Ok(bytes)
    }
}

fn encode(run: RunId, values: &[Valued]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut rows = RowWriter::new();
    for valued in values {
        write_value(&mut rows, run, valued);
        pieces.extend(rows.full_piece());
    }
    pieces.push(rows.finish());
    pieces
}
