//! All values of a run, by COPY over a connection of its own.
//!
//! The driver reads no further than it is asked to, so that a slow reader stops the server, and nothing piles up here. The
//! statement reads the table from its beginning, whatever others read at the time, so that two streams of a run are alike.

use std::pin::Pin;
use std::time::Duration;

use batch::RunId;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::try_unfold;
use resilience::within;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, CopyOutStream};

use super::copy::{Malformed, PIECE, RowReader};
use super::row::get;
use super::value_row::{self, read_value};
use super::{Fault, Postgres};
use crate::exports::{COLUMNS, Export};
use crate::record::Valued;
use crate::{Error, Exports, Result};

const WHAT: &str = "export a run";

/// How many values make a piece.
const VALUES: usize = 256;

/// Ends a statement whose reader goes on for ever, and what a host that vanished has left behind.
const LIMITS: &str = "-c statement_timeout=1800000 -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 \
                      -c tcp_keepalives_count=3";

/// The columns of a file, as they are read from the table.
fn file_columns(run: RunId) -> String {
    let read = COLUMNS.map(|column| match column {
        "currency" => format!(
            "(select m.currency
                from fleet.runs r
                join fleet.model_versions m using (model_version)
               where r.run_id = {run}) as currency"
        ),
        "contract_12_minor" | "contract_24_minor" | "contract_36_minor" => {
            format!("coalesce({column}, 0) as {column}")
        }
        "contract_for_ever_minor" => {
            format!("case when contract_12_minor is null then 0 else {column} end as {column}")
        }
        column => column.to_owned(),
    });
    read.join(", ")
}

impl Exports for Postgres {
    async fn export_values(&self, run: RunId) -> Result<Option<Export<Vec<Valued>>>> {
        let Some(customers) = self.shown(run).await? else { return Ok(None) };
        let copy = format!(
            "copy (select {} from fleet.values where run_id = {run}) to stdout (format binary)",
            value_row::COLUMNS
        );
        let rows = Rows::begin(self, &copy, customers).await?;
        let pieces = try_unfold((rows, RowReader::default()), |(mut rows, mut reader)| async move {
            let values = rows.values(&mut reader).await?;
            Ok((!values.is_empty()).then_some((values, (rows, reader))))
        });
        Ok(Some(Export { customers, pieces: Box::pin(pieces) }))
    }

    async fn export_csv(&self, run: RunId) -> Result<Option<Export<Bytes>>> {
        let Some(customers) = self.shown(run).await? else { return Ok(None) };
        let columns = file_columns(run);
        let copy = format!(
            "copy (select {columns} from fleet.values where run_id = {run}) to stdout (format csv, header)"
        );
        // The names of the columns are a line too.
        let rows = Rows::begin(self, &copy, customers + 1).await?;
        let pieces = try_unfold(rows, |mut rows| async move {
            let lines = rows.lines().await?;
            Ok((!lines.is_empty()).then_some((lines, rows)))
        });
        Ok(Some(Export { customers, pieces: Box::pin(pieces) }))
    }
}

impl Postgres {
    /// How many values a run holds that is finished.
    async fn shown(&self, run: RunId) -> Result<Option<u64>> {
        const SHOWN: &str = "
            select coalesce(sum(c.value_count), 0)::bigint as values
              from fleet.runs r
              left join fleet.chunks c using (run_id)
             where r.run_id = $1
               and r.state = 'finished'
             group by r.run_id";
        self.short("look whether a run is shown", async |client| {
            let row = client.query_opt(SHOWN, &[&run.0]).await?;
            row.map(|row| Ok(get::<i64>(&row, "values")? as u64)).transpose()
        })
        .await
    }
}

/// A connection that ends when it is dropped, whatever it is at.
struct Alone {
    client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Else it would be read to the end of the statement.
        self.connection.abort();
    }
}

/// The rows of a COPY, as the server sends them: one to a message.
struct Rows {
    /// None of them is left once it has ended: what comes then is not of the COPY.
    stream: Option<Pin<Box<CopyOutStream>>>,
    /// How many are still to come.
    left: u64,
    /// How long the server may take for the next.
    limit: Duration,
    _alone: Alone,
}

impl Rows {
    async fn begin(store: &Postgres, copy: &str, expected: u64) -> Result<Self> {
        // Nothing is said of the session that a pooler could take for another's.
        let begin = store.beginning(
            "begin isolation level repeatable read read only;
             set local synchronize_seqscans = off;
             set local extra_float_digits = 1",
        );
        let connections = store.connections.with_limits(LIMITS);
        let limit = store.config.call_limit.max(connections.limit());
        let opened = within(limit, WHAT, async {
            let (client, connection) = connections.connect().await?;
            let alone = Alone { client, connection };
            alone.client.batch_execute(&begin).await?;
            let stream = alone.client.copy_out(copy).await?;
            Ok::<_, Fault>((stream, alone))
        })
        .await;
        let (stream, alone) = opened
            .map_err(|elapsed| Error::Unavailable { what: WHAT.into(), reason: elapsed.to_string() })?
            .map_err(|fault| fault.into_error(WHAT))?;
        Ok(Self {
            stream: Some(Box::pin(stream)),
            left: expected,
            limit: store.config.bulk_limit,
            _alone: alone,
        })
    }

    /// The next message.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let next = within(self.limit, WHAT, stream.try_next())
            .await
            .map_err(|elapsed| Error::Unavailable { what: WHAT.into(), reason: elapsed.to_string() })?
            .map_err(|error| Fault::Driver(error).into_error(WHAT))?;
        if next.is_none() {
            self.stream = None;
        }
        Ok(next)
    }

    /// The next lines of a file; none at its end.
    async fn lines(&mut self) -> Result<Bytes> {
        let mut lines = BytesMut::new();
        while lines.len() < PIECE {
            let Some(message) = self.next().await? else { break };
            lines.extend_from_slice(&message);
        }
        // No field holds a line's end: they are numbers, a letter and a currency.
        let came = lines[..].split(|byte| *byte == b'\n').count() - 1;
        self.came(came, lines.is_empty())?;
        Ok(lines.freeze())
    }

    /// The next values; none at the end.
    async fn values(&mut self, reader: &mut RowReader) -> Result<Vec<Valued>> {
        let mut values = Vec::with_capacity(VALUES);
        while values.len() < VALUES {
            let Some(message) = self.next().await? else { break };
            let read = reader.feed(&message, |fields| {
                values.push(read_value(fields)?);
                Ok::<_, Malformed>(())
            });
            read.map_err(|malformed| Fault::nonsense(malformed).into_error(WHAT))?;
        }
        self.came(values.len(), values.is_empty())?;
        Ok(values)
    }

    /// Counts what came, and fails where it is not as many as the run says.
    fn came(&mut self, rows: usize, is_end: bool) -> Result<()> {
        let left = self.left.checked_sub(rows as u64).filter(|left| !is_end || *left == 0);
        self.left = left.ok_or_else(|| {
            Fault::nonsense("the run holds another number of values than it counted").into_error(WHAT)
        })?;
        Ok(())
    }
}
