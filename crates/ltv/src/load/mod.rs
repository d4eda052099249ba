//! `ltv load`: customers and what is known of them from CSV files into the database.
//!
//! One database transaction for all files: either every good row is loaded, or nothing is. A bad row is no
//! reason to stop; it goes into the file of rejects, with its line and the reason. A file that is no such
//! table, or that breaks off, is.
//!
//! A file is read once for its rows, on a thread of its own, and sent to the database as it is read, so that
//! memory does not grow with it. The database finds the rows that are at odds with others. If any row was
//! bad, the file is read again to write the bad ones down.

mod rejects;
mod staged;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use files::read::ROWS_BETWEEN_SIGNS;
use files::{AcquisitionCostColumns, CustomerColumns, FileOf, SubscriptionColumns, TransactionColumns};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use store::postgres::Postgres;
use store::postgres::source::{Batch, Numbering, Relation, SourceConnection, SourceWriter};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use rejects::{Rejected, RejectsFile, write_rejects};
use staged::{Staged, relation};

const NOT_LOADED: &str = "nothing was loaded";

/// What to load.
#[derive(Clone, Debug)]
pub struct LoadInput {
    /// CSV with `customer_id,external_id,segment,acquired_at`, in any order; further columns are ignored.
    pub customers: Option<PathBuf>,
    /// CSV with `transaction_id,customer_id,occurred_at,currency` and `amount` (major units, such as 29.33)
    /// or `amount_minor` (2933).
    pub transactions: Option<PathBuf>,
    /// CSV with `customer_id,plan,period_months,started_at,ended_at,currency,end_reason` and `price` or
    /// `price_minor`; the end and its reason may be empty. A row that is there already without an end gets the one
    /// that is in the file.
    pub subscriptions: Option<PathBuf>,
    /// CSV with `customer_id,currency` and `cost` or `cost_minor`.
    pub acquisition_costs: Option<PathBuf>,
    /// Where the rejected rows go. Written whenever the load succeeds, so that it is never that of another
    /// load; only where no file can be made is it needed for a bad row alone.
    pub rejects: PathBuf,
}

/// What the load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading a file.
    Reading(Relation),
    /// Reading a file once more.
    ReadingAgain(Relation),
    /// Checking and inserting its rows.
    Inserting(Relation),
    /// Writing the rejected rows down.
    WritingRejects,
    /// Building the index for reading histories, and committing.
    Committing,
    /// Bringing the statistics up to date. What was loaded is committed already.
    Tidying,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reading(relation) => return f.pad(&format!("reading {relation}")),
            Self::ReadingAgain(relation) => return f.pad(&format!("reading {relation} again")),
            Self::Inserting(relation) => return f.pad(&format!("inserting {relation}")),
            Self::WritingRejects => "writing rejects",
            Self::Committing => "committing",
            Self::Tidying => "updating statistics",
        })
    }
}

/// How far the load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Rows of the file so far, good and bad.
    pub rows: u64,
    /// Bytes of the file read so far, as it is on disk; 0 where no file is being read.
    pub bytes: u64,
    /// The size of the file on disk; 0 where no file is being read.
    pub total_bytes: u64,
}

impl From<files::read::Progress> for Progress {
    fn from(progress: files::read::Progress) -> Self {
        let files::read::Progress { kind, is_again, rows, bytes, total_bytes } = progress;
        let relation = relation(kind);
        let stage = if is_again { Stage::ReadingAgain(relation) } else { Stage::Reading(relation) };
        Self { stage, rows, bytes, total_bytes }
    }
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// Of the customers file, if there was one.
    pub customers: Option<FileReport>,
    /// Of the transactions file, if there was one.
    pub transactions: Option<FileReport>,
    /// Of the subscriptions file, if there was one.
    pub subscriptions: Option<FileReport>,
    /// Of the acquisition costs file, if there was one.
    pub acquisition_costs: Option<FileReport>,
    /// Where the rejected rows are.
    pub rejects: PathBuf,
}

/// What became of a file's rows: each was either loaded or rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Rows in the file.
    pub rows: u64,
    /// Rows that are in the database now, and were not as they are.
    pub loaded: u64,
    /// Rows that are not, by the code of the reason.
    pub rejected: BTreeMap<&'static str, u64>,
}

impl FileReport {
    /// How many rows were rejected.
    pub fn rejected_rows(&self) -> u64 {
        self.rejected.values().sum()
    }
}

impl LoadReport {
    /// How many rows of all files were rejected.
    pub fn rejected_rows(&self) -> u64 {
        self.files().map(|(_, file)| file.rejected_rows()).sum()
    }

    fn files(&self) -> impl Iterator<Item = (Relation, &FileReport)> {
        let files = [
            (Relation::Customers, &self.customers),
            (Relation::Transactions, &self.transactions),
            (Relation::Subscriptions, &self.subscriptions),
            (Relation::AcquisitionCosts, &self.acquisition_costs),
        ];
        files.into_iter().filter_map(|(relation, file)| Some((relation, file.as_ref()?)))
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, file) in self.files() {
            write!(f, "{name}: {} loaded, {} rejected", file.loaded, file.rejected_rows())?;
            for (index, (reason, rows)) in file.rejected.iter().enumerate() {
                write!(f, "{}{rows} {reason}", if index == 0 { " (" } else { ", " })?;
            }
            writeln!(f, "{}", if file.rejected.is_empty() { "" } else { ")" })?;
        }
        match self.rejected_rows() {
            0 => Ok(()),
            _ => writeln!(f, "the rejected rows are in {}", self.rejects.display()),
        }
    }
}

/// Loads the files that are named, over a connection of its own.
pub async fn load(store: &Postgres, input: &LoadInput, progress: impl Fn(Progress)) -> Result<LoadReport> {
    let mut connection = store.source_connection().await?;
    let relations = input.relations();
    if relations.is_empty() {
        bail!(
            "there is nothing to load; name a file of customers, of transactions, or of what else there is"
        );
    }
    // All headers are read before anything is begun: a wrong file should not cost the time of a right one.
    let customers = open::<CustomerColumns>(input.customers.as_deref()).await?;
    let transactions = open::<TransactionColumns>(input.transactions.as_deref()).await?;
    let subscriptions = open::<SubscriptionColumns>(input.subscriptions.as_deref()).await?;
    let costs = open::<AcquisitionCostColumns>(input.acquisition_costs.as_deref()).await?;
    let rejects = RejectsFile::create(&input.rejects, &input.paths())?;

    let writer = connection.begin(&relations).await?;
    let loading = Loading { writer: &writer, progress: &progress };
    let customers = loading.insert(customers).await?;
    let transactions = loading.insert(transactions).await?;
    let subscriptions = loading.insert(subscriptions).await?;
    let costs = loading.insert(costs).await?;
    let (customers, rejects) = loading.report::<CustomerColumns>(customers, rejects).await?;
    let (transactions, rejects) = loading.report::<TransactionColumns>(transactions, rejects).await?;
    let (subscriptions, rejects) = loading.report::<SubscriptionColumns>(subscriptions, rejects).await?;
    let (acquisition_costs, mut rejects) = loading.report::<AcquisitionCostColumns>(costs, rejects).await?;
    loading.report_stage(Stage::Committing);
    rejects.flush()?;
    writer.commit().await.context(NOT_LOADED)?;

    rejects.finish()?;
    progress(Progress { stage: Stage::Tidying, rows: 0, bytes: 0, total_bytes: 0 });
    tidy(&connection, &relations).await;
    let rejects = input.rejects.clone();
    Ok(LoadReport { customers, transactions, subscriptions, acquisition_costs, rejects })
}

impl LoadInput {
    fn paths(&self) -> Vec<&Path> {
        let files = [&self.customers, &self.transactions, &self.subscriptions, &self.acquisition_costs];
        files.into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// What the files fill, in the order in which it is filled.
    fn relations(&self) -> Vec<Relation> {
        let files = [
            (Relation::Customers, &self.customers),
            (Relation::Transactions, &self.transactions),
            (Relation::Subscriptions, &self.subscriptions),
            (Relation::AcquisitionCosts, &self.acquisition_costs),
        ];
        files.into_iter().filter(|(_, file)| file.is_some()).map(|(relation, _)| relation).collect()
    }
}

/// Vacuums and analyses after a commit. That it fails makes reading slower, not wrong.
pub(crate) async fn tidy(connection: &SourceConnection, relations: &[Relation]) {
    if let Err(error) = connection.tidy(relations).await {
        tracing::warn!(%error, "the rows are loaded, but reading them is slow until the tables are vacuumed");
    }
}

async fn open<C: Staged>(path: Option<&Path>) -> Result<Option<FileOf<C>>> {
    let Some(path) = path.map(Path::to_owned) else { return Ok(None) };
    run_blocking(move || FileOf::open(&path)).await.map(Some)
}

/// Runs what reads or writes files off the asynchronous threads.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.context("a thread that reads or writes files has panicked")?
}

/// A load under way.
struct Loading<'a, 'c, P> {
    writer: &'a SourceWriter<'c>,
    progress: &'a P,
}

/// A file whose good rows are inserted.
struct Inserted {
    path: PathBuf,
    scan: Scan,
    conflicts: u64,
    rows: u64,
}

/// What was seen while a file was read for the first time.
#[derive(Clone, Copy, Debug)]
struct Scan {
    rows: u64,
    unreadable: u64,
    numbering: Numbering,
}

impl<P: Fn(Progress)> Loading<'_, '_, P> {
    /// Inserts the good rows of a file.
    async fn insert<C: Staged>(&self, file: Option<FileOf<C>>) -> Result<Option<Inserted>> {
        let Some(file) = file else { return Ok(None) };
        let (path, relation) = (file.table().path().to_owned(), relation(C::KIND));
        let (batches, reading) = self.read(file, Stage::Reading(relation));
        let staged = self.writer.stage(relation, batches).await;
        let scan = reading.await?.context(NOT_LOADED)?;
        staged.with_context(|| not_loaded(&path))?;
        self.report_stage(Stage::Inserting(relation));
        let conflicts = self.writer.check(relation, scan.numbering).await?;
        let rows = self.writer.insert(relation).await?;
        Inserted { path, scan, conflicts, rows }.checked().map(Some)
    }

    /// Starts reading a file on a thread of its own; its batches come out as a stream, at the reader's pace.
    fn read<C: Staged>(
        &self,
        file: FileOf<C>,
        stage: Stage,
    ) -> (impl Stream<Item = Batch>, tokio::task::JoinHandle<Result<Scan>>) {
        let (sender, mut receiver) = mpsc::channel(8);
        let now = self.writer.now();
        let total_bytes = file.table().total_bytes();
        let reading = spawn_blocking(move || send_rows(file, now, &sender));
        let batches =
            stream::poll_fn(move |context| receiver.poll_recv(context)).map(move |read: ReadBatch| {
                (self.progress)(Progress { stage, rows: read.rows, bytes: read.bytes, total_bytes });
                read.batch
            });
        (batches, reading)
    }

    /// Writes down what was rejected of a file, and sums up what became of it.
    async fn report<C: Staged>(
        &self,
        inserted: Option<Inserted>,
        rejects: RejectsFile,
    ) -> Result<(Option<FileReport>, RejectsFile)> {
        let Some(inserted) = inserted else { return Ok((None, rejects)) };
        let (rejected, rejects) = if inserted.rejected() == 0 {
            (Rejected::new(), rejects)
        } else {
            self.write_rejects::<C>(&inserted, rejects).await?
        };
        ensure!(
            rejected.values().sum::<u64>() == inserted.rejected(),
            "{}: the file was changed while it was being loaded; nothing was loaded, try again",
            inserted.path.display()
        );
        let rejected = rejected.into_iter().map(|(reason, rows)| (reason.code(), rows)).collect();
        let report = FileReport { rows: inserted.scan.rows, loaded: inserted.rows, rejected };
        Ok((Some(report), rejects))
    }

    async fn write_rejects<C: Staged>(
        &self,
        inserted: &Inserted,
        mut rejects: RejectsFile,
    ) -> Result<(Rejected, RejectsFile)> {
        self.report_stage(Stage::WritingRejects);
        let (path, now) = (inserted.path.clone(), self.writer.now());
        let (sender, receiver) = mpsc::channel(1024);
        let writing = spawn_blocking(move || {
            let file = FileOf::<C>::open(&path)?;
            let rejected = write_rejects(file, now, receiver, &mut rejects)?;
            anyhow::Ok((rejected, rejects))
        });
        let mut conflicts = std::pin::pin!(self.writer.conflicts(relation(C::KIND)).await?);
        while let Some(conflict) = conflicts.try_next().await? {
            if sender.send(conflict).await.is_err() {
                break; // The writing has failed, and says why.
            }
        }
        drop(sender);
        writing.await?.context(NOT_LOADED)
    }

    fn report_stage(&self, stage: Stage) {
        (self.progress)(Progress { stage, rows: 0, bytes: 0, total_bytes: 0 });
    }
}

fn not_loaded(path: &Path) -> String {
    format!("{}: {NOT_LOADED}", path.display())
}

impl Inserted {
    fn rejected(&self) -> u64 {
        self.scan.unreadable + self.conflicts
    }

    /// Every row is either in the database or rejected.
    fn checked(self) -> Result<Self> {
        let (rows, inserted, rejected) = (self.scan.rows, self.rows, self.rejected());
        ensure!(
            rows == inserted + rejected,
            "{}: of {rows} rows {inserted} were inserted and {rejected} rejected; does a trigger or rule on \
             the table keep rows away? Nothing was loaded",
            self.path.display()
        );
        Ok(self)
    }
}

/// Encoded rows, and how far in the file they reach.
struct ReadBatch {
    batch: Batch,
    rows: u64,
    bytes: u64,
}

/// Reads a file to its end and sends its good rows away in batches.
fn send_rows<C: Staged>(
    mut file: FileOf<C>,
    now: Timestamp,
    sender: &mpsc::Sender<ReadBatch>,
) -> Result<Scan> {
    let mut scan = Scan { rows: 0, unreadable: 0, numbering: Numbering::Ascending };
    let mut last_number = None;
    let mut batch = Batch::default();
    while let Some(row) = file.next_as(|columns, row| columns.stage(row, now, &mut batch))? {
        scan.rows += 1;
        match row {
            Err(_) => scan.unreadable += 1,
            Ok(number) => {
                if last_number.is_some_and(|last| last >= number) {
                    scan.numbering = Numbering::Arbitrary;
                }
                last_number = Some(number);
            }
        }
        if batch.is_full() || scan.rows.is_multiple_of(ROWS_BETWEEN_SIGNS) {
            let batch = std::mem::take(&mut batch);
            let read = ReadBatch { batch, rows: scan.rows, bytes: file.table().bytes_read() };
            if sender.blocking_send(read).is_err() {
                return Ok(scan); // The database no longer listens, and says why.
            }
        }
    }
    let read = ReadBatch { batch, rows: scan.rows, bytes: file.table().bytes_read() };
    // Nobody listening means the same as above.
    let _ = sender.blocking_send(read);
    Ok(scan)
}
