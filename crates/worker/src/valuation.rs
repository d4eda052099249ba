//! Valuing: from customers and a moment to their values and rejections.
//!
//! It does not know chunks, attempts or messages: it takes whom to value, and gives rows. Everything is read in one
//! look, then computed a part at a time, so that a more urgent question may step in.
//!
//! * **The store fails.** Its error, as it is: whoever asked knows whether to wait.
//! * **The model version is missing, or the mathematics panic.** An error that asking again does not mend.
//! * **A single customer cannot be valued.** A rejection with its reason, which fails nobody else.

use std::sync::Arc;

use batch::{CustomerId, RunId};
use jiff::Timestamp;
use model::{ValueTerms, Valuer};
use store::{History, ModelVersionId, Reading, Rejected, ResultRows, Valued, Values};
use tokio::time::Instant;

use crate::compute::{Compute, Panicked};
use crate::faults::FaultPlan;
use crate::metrics::{self, Work};
use crate::turns::Urgency;
use crate::valuers::{Pinned, Valuers};

/// Customers computed before a more urgent question may step in.
const SUB_BATCH: usize = 500;

/// Whom to value, for when, and how.
pub(crate) struct Question<'a> {
    /// The customers, ascending.
    pub(crate) customers: &'a [CustomerId],
    /// The run that they are valued for; none if it is for a request.
    pub(crate) run: Option<RunId>,
    /// Whether nobody else lives between the first and the last.
    pub(crate) is_whole: bool,
    /// The moment.
    pub(crate) as_of: Timestamp,
    /// The models.
    pub(crate) model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin.
    pub(crate) terms: ValueTerms,
    /// When it is its turn among what is computed.
    pub(crate) urgency: Urgency,
}

impl Question<'_> {
    fn work(&self) -> Work {
        if self.run.is_some() { Work::Chunk } else { Work::Request }
    }
}

/// Why there are no values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unvalued {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The models are not there.
    #[error("model version {0} is missing")]
    NoModel(ModelVersionId),
    /// The mathematics broke down.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// What customers are valued with.
pub(crate) struct Valuation {
    pub(crate) valuers: Valuers,
    pub(crate) compute: Compute,
    pub(crate) faults: FaultPlan,
}

impl Valuation {
    /// Values everybody who was asked for: a value or a rejection for each, in the order given.
    pub(crate) async fn rows<S: Values>(
        &self,
        store: &S,
        question: &Question<'_>,
    ) -> Result<ResultRows, Unvalued> {
        let Question { model_version, as_of, terms, .. } = *question;
        let pinned = self.valuers.get(store, model_version, as_of, terms).await?;
        let pinned = pinned.ok_or(Unvalued::NoModel(model_version))?;
        let histories = read(store, question, &pinned).await?;
        Ok(self.compute(histories, pinned.valuer, question).await?)
    }

    async fn compute(
        &self,
        histories: Vec<History>,
        valuer: Arc<Valuer>,
        question: &Question<'_>,
    ) -> Result<ResultRows, Panicked> {
        let began = Instant::now();
        let mut urgency = question.urgency;
        let mut valuing = Valuing::new(histories, valuer, self.faults);
        while !valuing.is_complete() {
            let part = move || {
                valuing.advance(SUB_BATCH);
                valuing
            };
            valuing = self.compute.run(urgency, part).await?;
            urgency.valued += SUB_BATCH;
        }
        metrics::stage(question.work(), "compute", began.elapsed());
        Ok(valuing.rows)
    }
}

async fn read<S: Values>(store: &S, question: &Question<'_>, pinned: &Pinned) -> store::Result<Vec<History>> {
    let began = Instant::now();
    let reading = Reading {
        customers: question.customers,
        run: question.run,
        is_whole: question.is_whole,
        as_of: question.as_of,
        currency: pinned.currency,
        contracts: &pinned.valuer.models().contracts,
    };
    let histories = store.read_histories(&reading).await?;
    metrics::stage(question.work(), "read", began.elapsed());
    Ok(histories)
}

/// Histories being valued: customer by customer, a part at a time.
struct Valuing {
    histories: std::vec::IntoIter<History>,
    valuer: Arc<Valuer>,
    rows: ResultRows,
    faults: FaultPlan,
}

impl Valuing {
    fn new(histories: Vec<History>, valuer: Arc<Valuer>, faults: FaultPlan) -> Self {
        let rows = ResultRows { values: Vec::with_capacity(histories.len()), ..ResultRows::default() };
        Self { histories: histories.into_iter(), valuer, rows, faults }
    }

    fn is_complete(&self) -> bool {
        self.histories.as_slice().is_empty()
    }

    fn advance(&mut self, customers: usize) {
        for History { customer, account, transactions } in self.histories.by_ref().take(customers) {
            self.rows.transactions += u64::from(transactions);
            self.faults.compute(customer);
            match account.and_then(|account| Ok((self.valuer.value(&account)?, account))) {
                Ok((value, account)) => self.rows.values.push(Valued { customer, value, account }),
                Err(reason) => self.rows.rejections.push(Rejected { customer, reason }),
            }
        }
    }
}
