//! Fills the customer's own relations, those of the schema `source`, where they are tables.
//!
//! Two ways in, both one database transaction for all relations:
//!
//! * **Staged** ([`SourceWriter::stage`], [`SourceWriter::check`], [`SourceWriter::insert`]): for rows that
//!   nobody vouches for. They go by COPY into temporary tables without an index, each with its line number;
//!   set-based SQL then finds those that contradict each other or what is there, and the others are inserted
//!   in the order of their lines. A subscription that is there without an end is given the one that its line tells.
//! * **Straight** ([`SourceWriter::copy`]): for generated rows, which are known to be good.
//!
//! # Failure by failure
//!
//! * **Anything fails, or the writer is dropped.** The transaction rolls back: nothing is half loaded.
//! * **Somebody else writes at the same time.** The relations are locked against writers, so that what was
//!   checked stays true until the commit. Readers, a night's workers among them, go on reading. The lock is
//!   waited for half a minute, then the call fails.
//! * **The relations are views.** Refused before anything is sent: whoever made them fills what is behind
//!   them.
//!
//! Where a table of histories is still empty, its index for reading histories is dropped and built again
//! before the commit, because building it once costs a fraction of growing it row by row. That too is undone
//! if anything fails.

mod batch;
mod conflicts;

use std::fmt;

use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyInSink, Transaction as DatabaseTransaction};

use super::copy::{HEADER, TRAILER};
use super::pooling::FORGET;
use super::{Fault, Postgres};
use crate::{Error, Result};

pub use batch::{AcquisitionCost, Batch, Customer, Subscription, Transaction};
pub use conflicts::{Conflict, ConflictingRow};

/// In which order the staged rows carry their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Each number is larger than the one before, so that no two can be equal.
    Ascending,
    /// Any order; equal ones must be looked for.
    Arbitrary,
}

/// One of the relations that are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `source.customers`.
    Customers,
    /// `source.transactions`.
    Transactions,
    /// `source.subscriptions`.
    Subscriptions,
    /// `source.acquisition_costs`.
    AcquisitionCosts,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AcquisitionCosts => "acquisition costs",
            other => other.name(),
        })
    }
}

impl Relation {
    /// Its name in the schema `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Transactions => "transactions",
            Self::Subscriptions => "subscriptions",
            Self::AcquisitionCosts => "acquisition_costs",
        }
    }

    fn columns(self) -> &'static str {
        match self {
            Self::Customers => "customer_id, external_id, segment, acquired_at",
            Self::Transactions => "transaction_id, customer_id, occurred_at, amount_minor, currency",
            Self::Subscriptions => {
                "customer_id, plan, period_months, started_at, ended_at, price_minor, currency, end_reason"
            }
            Self::AcquisitionCosts => "customer_id, cost_minor, currency",
        }
    }

    /// The columns of a staged row, behind its line.
    fn staged_columns(self) -> &'static str {
        match self {
            Self::Customers => {
                "customer_id bigint not null, external_id text collate \"C\" not null, segment text not null,
                 acquired_at timestamptz not null"
            }
            Self::Transactions => {
                "transaction_id bigint not null, customer_id bigint not null, occurred_at timestamptz not null,
                 amount_minor bigint not null, currency char(3) not null"
            }
            Self::Subscriptions => {
                "customer_id bigint not null, plan text not null, period_months integer not null,
                 started_at timestamptz not null, ended_at timestamptz, price_minor bigint not null,
                 currency char(3) not null, end_reason text"
            }
            Self::AcquisitionCosts => {
                "customer_id bigint not null, cost_minor bigint not null, currency char(3) not null"
            }
        }
    }

    /// The index for reading it that need not grow row by row.
    fn history_index(self) -> Option<&'static str> {
        match self {
            Self::Customers | Self::AcquisitionCosts => None,
            Self::Transactions => Some("transactions_history"),
            Self::Subscriptions => Some("subscriptions_history"),
        }
    }
}

/// A connection of its own, outside the pool, for as long as filling the source takes.
#[derive(Debug)]
pub struct SourceConnection(Client);

impl Postgres {
    /// Opens a connection for filling the source.
    pub async fn source_connection(&self) -> Result<SourceConnection> {
        self.connect_alone().await.map(SourceConnection)
    }
}

impl SourceConnection {
    /// Begins to write: checks that the relations to be written are tables, and locks them against other writers. So
    /// are the customers in any case, since all that others say of them is checked.
    pub async fn begin(&mut self, relations: &[Relation]) -> Result<SourceWriter<'_>> {
        SourceWriter::begin(&mut self.0, relations).await
    }

    /// Brings the statistics up to date and marks the pages all-visible, without which the index for reading
    /// histories has to look at the table after all. To be called after a commit: it needs no transaction of its
    /// own.
    pub async fn tidy(&self, relations: &[Relation]) -> Result<()> {
        let statements =
            relations.iter().map(|relation| format!("vacuum (analyze) source.{}", relation.name()));
        for sql in statements {
            self.0.batch_execute(&sql).await.map_err(during(&sql))?;
        }
        Ok(())
    }
}

/// Writes source relations in one database transaction, which only [`commit`](Self::commit) makes last.
pub struct SourceWriter<'c> {
    transaction: DatabaseTransaction<'c>,
    now: Timestamp,
    /// The statements that build the indexes for reading histories again, where they were dropped.
    indexes_to_build: Vec<String>,
}

impl fmt::Debug for SourceWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceWriter").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<'c> SourceWriter<'c> {
    async fn begin(client: &'c mut Client, relations: &[Relation]) -> Result<Self> {
        let transaction = client.transaction().await.map_err(during("begin a transaction"))?;
        // The limits of the connection are meant for short statements.
        let settings = "
            set local timezone = 'UTC';
            set local statement_timeout = 0;
            set local idle_in_transaction_session_timeout = 0;
            set local lock_timeout = '30s';
            set local work_mem = '128MB';
            set local maintenance_work_mem = '512MB'";
        let settings = format!("{FORGET}; {settings}");
        transaction.batch_execute(&settings).await.map_err(during("prepare the connection for writing"))?;
        // Always in the same order, so that two writers wait for each other and not both for ever.
        let all = [
            Relation::Customers,
            Relation::Transactions,
            Relation::Subscriptions,
            Relation::AcquisitionCosts,
        ];
        let is_needed =
            |relation: &Relation| *relation == Relation::Customers || relations.contains(relation);
        for relation in all.into_iter().filter(is_needed) {
            require_table(&transaction, relation).await?;
            lock(&transaction, relation).await?;
        }
        let now = read_clock(&transaction).await?;
        let mut indexes_to_build = Vec::new();
        for &relation in relations {
            indexes_to_build.extend(drop_history_index(&transaction, relation).await?);
        }
        Ok(Self { transaction, now, indexes_to_build })
    }

    /// The database's clock, when the writer began.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Copies rows straight into their relation; returns how many.
    pub async fn copy(&self, relation: Relation, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let (name, columns) = (relation.name(), relation.columns());
        let sql = format!("copy source.{name} ({columns}) from stdin (format binary)");
        self.send(&format!("copy into source.{name}"), &sql, batches).await
    }

    /// Copies rows aside; returns how many. Once a transaction, the customers before what is said of them.
    pub async fn stage(&self, relation: Relation, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let what = format!("stage the {relation}");
        let (name, columns) = (relation.name(), relation.staged_columns());
        let sql = format!(
            "create temporary table staged_{name} (line bigint not null, {columns}) on commit drop;
             create temporary table conflicting_{name} (
                 line     bigint not null,
                 conflict text not null,
                 detail   text not null
             ) on commit drop"
        );
        self.transaction.batch_execute(&sql).await.map_err(during(&what))?;
        let copy = format!("copy pg_temp.staged_{name} from stdin (format binary)");
        let rows = self.send(&what, &copy, batches).await?;
        self.execute(&what, &format!("analyze pg_temp.staged_{name}"), &[]).await?;
        Ok(rows)
    }

    /// Finds the staged rows that cannot be inserted; returns how many.
    pub async fn check(&self, relation: Relation, numbering: Numbering) -> Result<u64> {
        let what = format!("check the {relation}");
        let may_repeat = numbering == Numbering::Arbitrary;
        let conflicts = match relation {
            Relation::Customers => self.execute(&what, conflicts::OF_CUSTOMERS, &[]).await?,
            Relation::Transactions => self.execute(&what, conflicts::OF_TRANSACTIONS, &[&may_repeat]).await?,
            Relation::Subscriptions => self.execute(&what, conflicts::OF_SUBSCRIPTIONS, &[]).await?,
            Relation::AcquisitionCosts => self.execute(&what, conflicts::OF_ACQUISITION_COSTS, &[]).await?,
        };
        let analyze = format!("analyze pg_temp.conflicting_{}", relation.name());
        self.execute(&what, &analyze, &[]).await?;
        Ok(conflicts)
    }

    /// Inserts the staged rows that are without conflict, in the order of their lines, and enters the ends of
    /// subscriptions that are there; returns how many rows it was together.
    pub async fn insert(&self, relation: Relation) -> Result<u64> {
        let ended = match relation {
            Relation::Subscriptions => {
                self.execute("enter the ends of subscriptions", conflicts::ENDS_OF_SUBSCRIPTIONS, &[]).await?
            }
            _ => 0,
        };
        let (name, columns) = (relation.name(), relation.columns());
        let sql = format!(
            "insert into source.{name} ({columns})
             select {columns}
               from pg_temp.staged_{name} staged
              where not exists (
                  select from pg_temp.conflicting_{name} conflicting where conflicting.line = staged.line
              )
              order by line"
        );
        let rows = self.execute(&format!("insert into source.{name}"), &sql, &[]).await?;
        if relation == Relation::Customers {
            // The checks of the others that follow are planned by what this says.
            self.execute("analyze source.customers", "analyze source.customers", &[]).await?;
        }
        Ok(ended + rows)
    }

    /// Streams the conflicts of a relation that was staged and checked, in the order of their lines.
    pub async fn conflicts(
        &self,
        relation: Relation,
    ) -> Result<impl Stream<Item = Result<ConflictingRow>> + use<>> {
        let what = "read the conflicts";
        let name = relation.name();
        let sql = format!("select line, conflict, detail from pg_temp.conflicting_{name} order by line");
        let none: [&(dyn ToSql + Sync); 0] = [];
        let rows = self.transaction.query_raw(&sql, none).await.map_err(during(what))?;
        Ok(rows.map(|row| conflicting_row(&row?)).map_err(|fault: Fault| fault.into_error(what)))
    }

    /// Makes everything last, indexed for reading histories.
    pub async fn commit(self) -> Result<()> {
        for sql in &self.indexes_to_build {
            self.execute("build the index for reading histories again", sql, &[]).await?;
        }
        self.transaction.commit().await.map_err(during("commit the rows"))
    }

    /// Streams batches into a COPY. Unless it reaches its end, the server throws away what it was sent.
    async fn send(&self, what: &str, sql: &str, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let sink = self.transaction.copy_in(sql).await.map_err(during(what))?;
        send(sink, batches).await.map_err(during(what))
    }

    async fn execute(&self, what: &str, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        self.transaction.execute(sql, parameters).await.map_err(during(what))
    }
}

async fn send(
    sink: CopyInSink<Bytes>,
    batches: impl Stream<Item = Batch>,
) -> Result<u64, tokio_postgres::Error> {
    let mut sink = std::pin::pin!(sink);
    let mut batches = std::pin::pin!(batches);
    sink.send(Bytes::from_static(&HEADER)).await?;
    while let Some(batch) = batches.next().await {
        sink.send(batch.bytes.freeze()).await?;
    }
    sink.send(Bytes::from_static(&TRAILER)).await?;
    sink.finish().await
}

async fn require_table(transaction: &DatabaseTransaction<'_>, relation: Relation) -> Result<()> {
    let name = format!("source.{}", relation.name());
    let what = format!("write to {name}");
    let sql = "
        select relkind in ('r', 'p')
        from pg_class
        where oid = to_regclass($1)";
    let row = transaction.query_opt(sql, &[&name]).await.map_err(during(&what))?;
    let reason = match row.map(|row| row.get(0)) {
        Some(true) => return Ok(()),
        Some(false) => {
            "it is not a table but a view over data that is kept elsewhere; add the rows there, from where \
             they are read"
        }
        None => "it does not exist; create it with `ltv migrate`",
    };
    Err(Error::Invalid { what, reason: reason.into() })
}

async fn lock(transaction: &DatabaseTransaction<'_>, relation: Relation) -> Result<()> {
    let name = relation.name();
    let sql = format!("lock table source.{name} in share row exclusive mode");
    let what = format!("lock source.{name} against other writers");
    transaction.batch_execute(&sql).await.map_err(during(&what))
}

async fn read_clock(transaction: &DatabaseTransaction<'_>) -> Result<Timestamp> {
    let what = "read the database's clock";
    let row = transaction.query_one("select clock_timestamp()", &[]).await.map_err(during(what))?;
    row.try_get(0).map_err(during(what))
}

/// Drops the index for reading histories if there is no row in it yet and the table is ours to change;
/// returns the statement that builds it again.
async fn drop_history_index(
    transaction: &DatabaseTransaction<'_>,
    relation: Relation,
) -> Result<Option<String>> {
    let Some(index) = relation.history_index() else { return Ok(None) };
    let what = format!("drop the index source.{index}");
    let name = relation.name();
    let sql = format!(
        "select pg_get_indexdef(to_regclass('source.{index}'))
           from pg_class
          where oid = to_regclass('source.{name}')
            and to_regclass('source.{index}') is not null
            and pg_has_role(relowner, 'usage')
            and not exists (select from source.{name})"
    );
    let Some(row) = transaction.query_opt(&sql, &[]).await.map_err(during(&what))? else { return Ok(None) };
    let definition = row.try_get(0).map_err(during(&what))?;
    transaction.batch_execute(&format!("drop index source.{index}")).await.map_err(during(&what))?;
    Ok(Some(definition))
}

fn conflicting_row(row: &tokio_postgres::Row) -> Result<ConflictingRow, Fault> {
    Ok(ConflictingRow {
        line: row.try_get::<_, i64>(0)? as u64,
        conflict: Conflict::from_code(row.try_get(1)?)?,
        detail: row.try_get(2)?,
    })
}

/// Names what was being done when the driver reported an error.
fn during(what: &str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |error| Fault::from(error).into_error(what)
}
