//! A generated base straight into the database, by COPY.

use std::fmt;

use anyhow::{Context, Result};
use futures_util::stream;
use serde::Serialize;
use store::postgres::Postgres;
use store::postgres::source::{Batch, Relation};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{GenerateSpec, Generated, generate};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Drawing the customers and their purchases.
    Generating,
    /// Copying rows into the database.
    Copying(Relation),
    /// Building the index for reading histories, and committing.
    Committing,
    /// Bringing the statistics up to date. Everything is committed already.
    Tidying,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Generating => "generating",
            Self::Copying(relation) => return f.pad(&format!("copying {relation}")),
            Self::Committing => "committing",
            Self::Tidying => "updating statistics",
        })
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Rows done in this stage.
    pub rows: u64,
    /// Rows to be done in this stage; 0 where that is not known.
    pub total_rows: u64,
}

/// What is in the database now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GenerateReport {
    /// Customers that were added.
    pub customers: u64,
    /// Transactions that were added.
    pub transactions: u64,
    /// Subscriptions that were added.
    pub subscriptions: u64,
    /// Acquisition costs that were added.
    pub acquisition_costs: u64,
}

/// Generates a base and copies it into the database, in one transaction over a connection of its own. The numbers of
/// the specification must be free.
pub async fn generate_into(
    store: &Postgres,
    spec: &GenerateSpec,
    progress: impl Fn(Progress),
) -> Result<GenerateReport> {
    let report = |stage, rows, total_rows| progress(Progress { stage, rows, total_rows });
    report(Stage::Generating, 0, 0);
    let relations = relations_of(spec);
    let mut connection = store.source_connection().await?;
    let writer = connection.begin(relations).await?;
    let spec = spec.clone();
    let generated = spawn_blocking(move || generate(&spec)).await.context("generating panicked")??;
    let expected = GenerateReport {
        customers: generated.customer_count(),
        transactions: generated.transaction_count(),
        subscriptions: generated.subscription_count(),
        acquisition_costs: generated.acquisition_cost_count(),
    };

    let (senders, receivers): (Vec<_>, Vec<_>) = relations.iter().map(|_| mpsc::channel(8)).unzip();
    let encoding = spawn_blocking(move || {
        for (&relation, sender) in relations.iter().zip(senders) {
            generated.send(relation, &sender);
        }
    });
    let mut copied = GenerateReport::default();
    for (&relation, batches) in relations.iter().zip(receivers) {
        let total_rows = *expected.clone().rows_of(relation);
        let batches = received(batches, |rows| report(Stage::Copying(relation), rows, total_rows));
        *copied.rows_of(relation) = writer.copy(relation, batches).await?;
    }
    encoding.await.context("encoding panicked")?;
    anyhow::ensure!(
        copied == expected,
        "of {expected:?} only {copied:?} arrived; does a trigger on the table keep rows away? Nothing was added"
    );
    report(Stage::Committing, 0, 0);
    writer.commit().await?;
    report(Stage::Tidying, 0, 0);
    crate::load::tidy(&connection, relations).await;
    Ok(copied)
}

/// The relations that a base fills, in the order in which it does.
fn relations_of(spec: &GenerateSpec) -> &'static [Relation] {
    const ALL: [Relation; 4] =
        [Relation::Customers, Relation::Transactions, Relation::Subscriptions, Relation::AcquisitionCosts];
    if spec.subscriptions { &ALL } else { &ALL[..2] }
}

impl GenerateReport {
    fn rows_of(&mut self, relation: Relation) -> &mut u64 {
        match relation {
            Relation::Customers => &mut self.customers,
            Relation::Transactions => &mut self.transactions,
            Relation::Subscriptions => &mut self.subscriptions,
            Relation::AcquisitionCosts => &mut self.acquisition_costs,
        }
    }
}

impl Generated {
    /// Encodes the rows of a relation and sends them away.
    fn send(&self, relation: Relation, sender: &mpsc::Sender<Batch>) {
        match relation {
            Relation::Customers => {
                send_batches(self.customers(), |batch, row| batch.push_customer(&row.row()), sender);
            }
            Relation::Transactions => {
                send_batches(self.transactions(), |batch, row| batch.push_transaction(&row), sender);
            }
            Relation::Subscriptions => {
                send_batches(self.subscriptions(), |batch, row| batch.push_subscription(&row), sender);
            }
            Relation::AcquisitionCosts => {
                send_batches(
                    self.acquisition_costs(),
                    |batch, row| batch.push_acquisition_cost(&row),
                    sender,
                );
            }
        }
    }
}

/// Encodes rows and sends them away, until nobody listens any more.
fn send_batches<T>(
    rows: impl Iterator<Item = T>,
    push: impl Fn(&mut Batch, T),
    sender: &mpsc::Sender<Batch>,
) {
    let mut batch = Batch::default();
    for row in rows {
        push(&mut batch, row);
        if batch.is_full() && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
            return;
        }
    }
    // Nobody listens when the database has failed, and that is reported there.
    let _ = sender.blocking_send(batch);
}

/// The batches as a stream that tells how many rows have passed.
fn received(
    mut batches: mpsc::Receiver<Batch>,
    passed: impl Fn(u64),
) -> impl futures_util::Stream<Item = Batch> {
    let mut rows = 0;
    stream::poll_fn(move |context| {
        let batch = batches.poll_recv(context);
        if let std::task::Poll::Ready(Some(batch)) = &batch {
            rows += batch.rows();
            passed(rows);
        }
        batch
    })
}
