//! Fills the customer's own relations, `source.customers` and `source.transactions`, where they are tables.
//!
//! Two ways in, both one database transaction for both relations:
//!
//! * **Staged** ([`SourceWriter::stage_customers`], [`SourceWriter::stage_transactions`]): for rows that
//!   nobody vouches for. They go by COPY into temporary tables without an index, each with its line number;
//!   set-based SQL then finds those that contradict each other or what is there, and the others are inserted
//!   in the order of their lines.
//! * **Straight** ([`SourceWriter::copy_customers`], [`SourceWriter::copy_transactions`]): for generated
//!   rows, which are known to be good.
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
//! Where `source.transactions` is still empty, the index for reading histories is dropped and built again
//! before the commit, because building it once costs a fraction of growing it row by row. That too is undone
//! if anything fails.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use model::Currency;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyInSink, Transaction as DatabaseTransaction};

use super::Fault;
use super::copy::{BUFFER, HEADER, PIECE, POSTGRES_EPOCH_US, TRAILER};
use crate::{Error, Result};

/// A row of `source.customers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Customer<'a> {
    /// The customer's number.
    pub customer_id: i64,
    /// What the customer's own system calls it.
    pub external_id: &'a str,
    /// The segment it belongs to.
    pub segment: &'a str,
    /// Since when it is a customer.
    pub acquired_at: Timestamp,
}

/// A row of `source.transactions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The transaction's number.
    pub transaction_id: i64,
    /// Who bought.
    pub customer_id: i64,
    /// When.
    pub occurred_at: Timestamp,
    /// For how much, in minor units; negative for a refund.
    pub amount_minor: i64,
    /// In which currency.
    pub currency: Currency,
}

/// Rows encoded for one binary COPY, in pieces of about 60 KiB.
///
/// Rows of one batch are all of one kind; the server refuses a COPY into which another kind has strayed.
#[derive(Debug)]
pub struct Batch {
    bytes: BytesMut,
    rows: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: BytesMut::with_capacity(BUFFER), rows: 0 }
    }
}

impl Batch {
    /// Adds a customer for [`SourceWriter::copy_customers`].
    pub fn push_customer(&mut self, customer: &Customer<'_>) {
        self.begin_row(4);
        self.put_customer(customer);
    }

    /// Adds the customer of a line for [`SourceWriter::stage_customers`].
    pub fn push_staged_customer(&mut self, line: u64, customer: &Customer<'_>) {
        self.begin_row(5);
        self.put_number(line as i64);
        self.put_customer(customer);
    }

    /// Adds a transaction for [`SourceWriter::copy_transactions`].
    pub fn push_transaction(&mut self, transaction: &Transaction) {
        self.begin_row(5);
        self.put_transaction(transaction);
    }

    /// Adds the transaction of a line for [`SourceWriter::stage_transactions`].
    pub fn push_staged_transaction(&mut self, line: u64, transaction: &Transaction) {
        self.begin_row(6);
        self.put_number(line as i64);
        self.put_transaction(transaction);
    }

    /// Whether it is time to send the batch and start another.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PIECE
    }

    /// How many rows it holds.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn begin_row(&mut self, fields: i16) {
        self.bytes.put_i16(fields);
        self.rows += 1;
    }

    fn put_customer(&mut self, customer: &Customer<'_>) {
        self.put_number(customer.customer_id);
        self.put_text(customer.external_id.as_bytes());
        self.put_text(customer.segment.as_bytes());
        self.put_time(customer.acquired_at);
    }

    fn put_transaction(&mut self, transaction: &Transaction) {
        self.put_number(transaction.transaction_id);
        self.put_number(transaction.customer_id);
        self.put_time(transaction.occurred_at);
        self.put_number(transaction.amount_minor);
        self.put_text(transaction.currency.as_bytes());
    }

    fn put_number(&mut self, number: i64) {
        let mut field = [0; 12];
        field[..4].copy_from_slice(&8_i32.to_be_bytes());
        field[4..].copy_from_slice(&number.to_be_bytes());
        self.bytes.put_slice(&field);
    }

    fn put_time(&mut self, time: Timestamp) {
        self.put_number(time.as_microsecond() - POSTGRES_EPOCH_US);
    }

    fn put_text(&mut self, text: &[u8]) {
        self.bytes.put_i32(i32::try_from(text.len()).expect("a text is far shorter than 2 GiB"));
        self.bytes.put_slice(text);
    }
}

/// Why a row that can be read still cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conflict {
    /// Another customer has this number.
    DuplicateCustomerId,
    /// Another customer has this external id.
    DuplicateExternalId,
    /// Another transaction has this number.
    DuplicateTransactionId,
    /// There is no customer of this number.
    UnknownCustomer,
}

impl Conflict {
    const ALL: [Self; 4] = [
        Self::DuplicateCustomerId,
        Self::DuplicateExternalId,
        Self::DuplicateTransactionId,
        Self::UnknownCustomer,
    ];

    /// The name under which the conflict is reported and counted.
    pub fn code(self) -> &'static str {
        match self {
            Self::DuplicateCustomerId => "duplicate_customer_id",
            Self::DuplicateExternalId => "duplicate_external_id",
            Self::DuplicateTransactionId => "duplicate_transaction_id",
            Self::UnknownCustomer => "unknown_customer",
        }
    }

    fn from_code(code: &str) -> Result<Self, Fault> {
        let known = Self::ALL.into_iter().find(|conflict| conflict.code() == code);
        known.ok_or_else(|| Fault::Nonsense(format!("{code:?} is no conflict")))
    }
}

/// A staged row that was not inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictingRow {
    /// Its line.
    pub line: u64,
    /// What is wrong with it.
    pub conflict: Conflict,
    /// The same for a person to read, with the value and where else it stands.
    pub detail: String,
}

/// In which order the staged rows carry their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Each number is larger than the one before, so that no two can be equal.
    Ascending,
    /// Any order; equal ones must be looked for.
    Arbitrary,
}

/// One of the two relations, for what is done to both alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `source.customers`.
    Customers,
    /// `source.transactions`.
    Transactions,
}

/// Writes customers and transactions in one database transaction, which only [`commit`](Self::commit) makes
/// last.
///
/// The connection is its own for as long as it takes.
pub struct SourceWriter<'c> {
    transaction: DatabaseTransaction<'c>,
    now: Timestamp,
    /// The statement that builds the index for reading histories again, where it was dropped.
    index_to_build: Option<String>,
}

impl std::fmt::Debug for SourceWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceWriter").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<'c> SourceWriter<'c> {
    /// Begins: checks that both relations are tables, and locks them against other writers.
    pub async fn begin(client: &'c mut Client) -> Result<Self> {
        let transaction = client.transaction().await.map_err(during("begin a transaction"))?;
        // The limits of the connection are meant for short statements.
        let settings = "
            set local statement_timeout = 0;
            set local idle_in_transaction_session_timeout = 0;
            set local lock_timeout = '30s';
            set local work_mem = '128MB';
            set local maintenance_work_mem = '512MB'";
        transaction.batch_execute(settings).await.map_err(during("prepare the connection for writing"))?;
        require_table(&transaction, "source.customers").await?;
        require_table(&transaction, "source.transactions").await?;
        lock(&transaction).await?;
        let now = read_clock(&transaction).await?;
        let index_to_build = drop_history_index(&transaction).await?;
        Ok(Self { transaction, now, index_to_build })
    }

    /// The database's clock, when the writer began.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Copies customers into `source.customers`; returns how many.
    pub async fn copy_customers(&self, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let sql = "
            copy source.customers (customer_id, external_id, segment, acquired_at)
            from stdin (format binary)";
        self.copy("copy into source.customers", sql, batches).await
    }

    /// Copies transactions into `source.transactions`; returns how many.
    pub async fn copy_transactions(&self, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let sql = "
            copy source.transactions (transaction_id, customer_id, occurred_at, amount_minor, currency)
            from stdin (format binary)";
        self.copy("copy into source.transactions", sql, batches).await
    }

    /// Copies customers aside; returns how many. Once a transaction.
    pub async fn stage_customers(&self, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let what = "stage the customers";
        let sql = "
            create temporary table staged_customers (
                line        bigint not null,
                customer_id bigint not null,
                external_id text collate \"C\" not null,
                segment     text not null,
                acquired_at timestamptz not null
            ) on commit drop;
            create temporary table conflicting_customers (
                line     bigint not null,
                conflict text not null,
                detail   text not null
            ) on commit drop";
        self.transaction.batch_execute(sql).await.map_err(during(what))?;
        let copy = "copy pg_temp.staged_customers from stdin (format binary)";
        let rows = self.copy(what, copy, batches).await?;
        self.execute(what, "analyze pg_temp.staged_customers", &[]).await?;
        Ok(rows)
    }

    /// Copies transactions aside; returns how many. Once a transaction, after the customers.
    pub async fn stage_transactions(&self, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let what = "stage the transactions";
        let sql = "
            create temporary table staged_transactions (
                line           bigint not null,
                transaction_id bigint not null,
                customer_id    bigint not null,
                occurred_at    timestamptz not null,
                amount_minor   bigint not null,
                currency       char(3) not null
            ) on commit drop;
            create temporary table conflicting_transactions (
                line     bigint not null,
                conflict text not null,
                detail   text not null
            ) on commit drop";
        self.transaction.batch_execute(sql).await.map_err(during(what))?;
        let copy = "copy pg_temp.staged_transactions from stdin (format binary)";
        let rows = self.copy(what, copy, batches).await?;
        self.execute(what, "analyze pg_temp.staged_transactions", &[]).await?;
        Ok(rows)
    }

    /// Finds the staged customers that cannot be inserted; returns how many.
    ///
    /// A number or external id belongs to whoever has it in the database, else to the first line that names
    /// it.
    pub async fn check_customers(&self) -> Result<u64> {
        let sql = "
            insert into pg_temp.conflicting_customers (line, conflict, detail)
            select distinct on (line) line, conflict, detail
            from (
                select staged.line, 1 as rank, 'duplicate_customer_id' as conflict,
                       format('customer_id %s is in the database already', staged.customer_id) as detail
                from pg_temp.staged_customers staged
                join source.customers present using (customer_id)
                union all
                select staged.line, 2, 'duplicate_external_id',
                       format('external_id %s belongs to customer %s in the database',
                              staged.external_id, present.customer_id)
                from pg_temp.staged_customers staged
                join source.customers present on present.external_id = staged.external_id
                union all
                select line, 3, 'duplicate_customer_id',
                       format('customer_id %s is in line %s already', customer_id, first_line)
                from (
                    select line, customer_id, min(line) over (partition by customer_id) as first_line
                    from pg_temp.staged_customers
                ) numbered
                where line > first_line
                union all
                select line, 4, 'duplicate_external_id',
                       format('external_id %s is in line %s already', external_id, first_line)
                from (
                    select line, external_id, min(line) over (partition by external_id) as first_line
                    from pg_temp.staged_customers
                ) numbered
                where line > first_line
            ) found
            order by line, rank";
        let conflicts = self.execute("check the customers", sql, &[]).await?;
        self.execute("check the customers", "analyze pg_temp.conflicting_customers", &[]).await?;
        Ok(conflicts)
    }

    /// Finds the staged transactions that cannot be inserted; returns how many.
    ///
    /// A number belongs to whoever has it in the database, else to the first line that names it.
    pub async fn check_transactions(&self, numbering: Numbering) -> Result<u64> {
        let sql = "
            insert into pg_temp.conflicting_transactions (line, conflict, detail)
            select distinct on (line) line, conflict, detail
            from (
                select staged.line, 1 as rank, 'unknown_customer' as conflict,
                       format('customer_id %s is not among the customers', staged.customer_id) as detail
                from pg_temp.staged_transactions staged
                where not exists (
                    select from source.customers present where present.customer_id = staged.customer_id
                )
                union all
                select staged.line, 2, 'duplicate_transaction_id',
                       format('transaction_id %s is in the database already', staged.transaction_id)
                from pg_temp.staged_transactions staged
                join source.transactions present using (transaction_id)
                union all
                select line, 3, 'duplicate_transaction_id',
                       format('transaction_id %s is in line %s already', transaction_id, first_line)
                from (
                    select line, transaction_id, min(line) over (partition by transaction_id) as first_line
                    from pg_temp.staged_transactions
                    where $1
                ) numbered
                where line > first_line
            ) found
            order by line, rank";
        let may_repeat = numbering == Numbering::Arbitrary;
        let conflicts = self.execute("check the transactions", sql, &[&may_repeat]).await?;
        self.execute("check the transactions", "analyze pg_temp.conflicting_transactions", &[]).await?;
        Ok(conflicts)
    }

    /// Inserts the staged customers that are without conflict, in the order of their lines; returns how many.
    pub async fn insert_customers(&self) -> Result<u64> {
        let sql = "
            insert into source.customers (customer_id, external_id, segment, acquired_at)
            select customer_id, external_id, segment, acquired_at
            from pg_temp.staged_customers staged
            where not exists (
                select from pg_temp.conflicting_customers conflicting where conflicting.line = staged.line
            )
            order by line";
        let rows = self.execute("insert into source.customers", sql, &[]).await?;
        // The check of the transactions that follows is planned by what this says.
        self.execute("analyze source.customers", "analyze source.customers", &[]).await?;
        Ok(rows)
    }

    /// Inserts the staged transactions that are without conflict, in the order of their lines; returns how
    /// many.
    pub async fn insert_transactions(&self) -> Result<u64> {
        let sql = "
            insert into source.transactions (transaction_id, customer_id, occurred_at, amount_minor, currency)
            select transaction_id, customer_id, occurred_at, amount_minor, currency
            from pg_temp.staged_transactions staged
            where not exists (
                select from pg_temp.conflicting_transactions conflicting where conflicting.line = staged.line
            )
            order by line";
        self.execute("insert into source.transactions", sql, &[]).await
    }

    /// Streams the conflicts of a relation that was staged and checked, in the order of their lines.
    pub async fn conflicts(
        &self,
        relation: Relation,
    ) -> Result<impl Stream<Item = Result<ConflictingRow>> + use<>> {
        let what = "read the conflicts";
        let sql = match relation {
            Relation::Customers => {
                "select line, conflict, detail from pg_temp.conflicting_customers order by line"
            }
            Relation::Transactions => {
                "select line, conflict, detail from pg_temp.conflicting_transactions order by line"
            }
        };
        let none: [&(dyn ToSql + Sync); 0] = [];
        let rows = self.transaction.query_raw(sql, none).await.map_err(during(what))?;
        Ok(rows.map(|row| conflicting_row(&row?)).map_err(|fault: Fault| fault.into_error(what)))
    }

    /// Makes everything last, indexed for reading histories.
    pub async fn commit(self) -> Result<()> {
        if let Some(sql) = &self.index_to_build {
            self.execute("build the index source.transactions_history again", sql, &[]).await?;
        }
        self.transaction.commit().await.map_err(during("commit the customers and transactions"))
    }

    /// Streams batches into a COPY. Unless it reaches its end, the server throws away what it was sent.
    async fn copy(&self, what: &str, sql: &str, batches: impl Stream<Item = Batch>) -> Result<u64> {
        let sink = self.transaction.copy_in(sql).await.map_err(during(what))?;
        send(sink, batches).await.map_err(during(what))
    }

    async fn execute(&self, what: &str, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        self.transaction.execute(sql, parameters).await.map_err(during(what))
    }
}

/// Brings the statistics up to date and marks the pages all-visible, without which the index for reading
/// histories has to look at the table after all. To be called after a commit: it needs no transaction of its
/// own.
pub async fn tidy(client: &Client) -> Result<()> {
    for sql in [
        "set statement_timeout = 0",
        "vacuum (analyze) source.customers",
        "vacuum (analyze) source.transactions",
        "reset statement_timeout",
    ] {
        client.batch_execute(sql).await.map_err(during(sql))?;
    }
    Ok(())
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

async fn require_table(transaction: &DatabaseTransaction<'_>, name: &str) -> Result<()> {
    let what = format!("write to {name}");
    let sql = "
        select relkind in ('r', 'p')
        from pg_class
        where oid = to_regclass($1)";
    let row = transaction.query_opt(sql, &[&name]).await.map_err(during(&what))?;
    let why = match row.map(|row| row.get(0)) {
        Some(true) => return Ok(()),
        Some(false) => {
            "it is not a table but a view over data that is kept elsewhere; add the rows there, from where \
             they are read"
        }
        None => "it does not exist; create it with `ltv migrate`",
    };
    Err(Error::Invalid { what, why: why.into() })
}

async fn lock(transaction: &DatabaseTransaction<'_>) -> Result<()> {
    let sql = "lock table source.customers, source.transactions in share row exclusive mode";
    let what = "lock source.customers and source.transactions against other writers";
    transaction.batch_execute(sql).await.map_err(during(what))
}

async fn read_clock(transaction: &DatabaseTransaction<'_>) -> Result<Timestamp> {
    let what = "read the database's clock";
    let row = transaction.query_one("select clock_timestamp()", &[]).await.map_err(during(what))?;
    row.try_get(0).map_err(during(what))
}

/// Drops the index for reading histories if there is no row in it yet and the table is ours to change;
/// returns the statement that builds it again.
async fn drop_history_index(transaction: &DatabaseTransaction<'_>) -> Result<Option<String>> {
    let what = "drop the index source.transactions_history";
    let sql = "
        select pg_get_indexdef(to_regclass('source.transactions_history'))
        from pg_class
        where oid = to_regclass('source.transactions')
          and to_regclass('source.transactions_history') is not null
          and pg_has_role(relowner, 'usage')
          and not exists (select from source.transactions)";
    let Some(row) = transaction.query_opt(sql, &[]).await.map_err(during(what))? else { return Ok(None) };
    let definition = row.try_get(0).map_err(during(what))?;
    transaction.batch_execute("drop index source.transactions_history").await.map_err(during(what))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_encoded_as_postgres_writes_it() {
        let mut batch = Batch::default();

        batch.push_staged_transaction(
            7,
            &Transaction {
                transaction_id: -1,
                customer_id: 258,
                occurred_at: "2000-01-01T00:00:01Z".parse().unwrap(),
                amount_minor: 2933,
                currency: Currency::parse("USD").unwrap(),
            },
        );

        let number = |number: i64| [&8_i32.to_be_bytes()[..], &number.to_be_bytes()].concat();
        let fields = [number(7), number(-1), number(258), number(1_000_000), number(2933)].concat();
        assert_eq!(batch.bytes, [b"\0\x06", &fields[..], b"\0\0\0\x03USD"].concat());
        assert_eq!(batch.rows(), 1);
    }

    #[test]
    fn every_conflict_is_found_by_its_code() {
        for conflict in Conflict::ALL {
            assert_eq!(Conflict::from_code(conflict.code()).unwrap(), conflict);
        }
    }
}
