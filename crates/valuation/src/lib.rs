//! Valuing: from customers and a moment to their values and rejections.
//!
//! It does not know chunks, attempts or messages: it takes whom to value, and gives rows. Everything is read in one
//! look, then computed a part at a time, so that a more urgent question may step in.
//!
//! * **The store fails.** Its error, as it is: whoever asked knows whether to wait.
//! * **The model version is missing, or the mathematics panic.** An error that asking again does not mend.
//! * **A single customer cannot be valued.** A rejection with its reason, which fails nobody else.
//!
//! Whoever values anybody does it here, so that the same customer at the same moment has the same value to the bit,
//! whichever process worked it out. Look first at [`Valuation::rows`].

mod compute;
mod urgency;
mod valuers;

use std::sync::Arc;
use std::time::Duration;

use batch::{CustomerId, RunId};
use jiff::Timestamp;
use model::{ValueTerms, Valuer};
use store::{History, ModelVersionId, Reading, Rejected, ResultRows, Valued, Values};
use tokio::time::Instant;

pub use compute::{ComputeOn, Panicked};
pub use urgency::Urgency;

use compute::Compute;
use valuers::{Pinned, Valuers};

/// Customers computed before a more urgent question may step in.
const SUB_BATCH: usize = 500;

/// Whom to value, for when, and how.
pub struct Question<'a> {
    /// The customers, ascending.
    pub customers: &'a [CustomerId],
    /// The run that they are valued for; none if it is for a request.
    pub run: Option<RunId>,
    /// Whether nobody else lives between the first and the last.
    pub is_whole: bool,
    /// The moment.
    pub as_of: Timestamp,
    /// The models.
    pub model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin.
    pub terms: ValueTerms,
    /// When it is its turn among what is computed.
    pub urgency: Urgency,
}

/// The values and rejections of those who were asked for, and how long it took to get them.
#[derive(Debug)]
pub struct Worked {
    /// A value or a rejection for each, in the order of the question.
    pub rows: ResultRows,
    /// How long it took to read their histories.
    pub read: Duration,
    /// How long it took to compute, with the wait for a turn.
    pub computed: Duration,
}

/// Why there are no values.
#[derive(Debug, thiserror::Error)]
pub enum Unvalued {
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
pub struct Valuation {
    valuers: Valuers,
    compute: Compute,
    before_each: Option<BeforeEach>,
}

/// Something that happens before a customer is computed.
pub type BeforeEach = Arc<dyn Fn(CustomerId) + Send + Sync>;

impl Valuation {
    /// Starts the threads that compute. What happens before each customer is for tests that want one to break down.
    pub fn start(compute_on: ComputeOn, before_each: Option<BeforeEach>) -> Self {
        Self { valuers: Valuers::default(), compute: Compute::start(compute_on), before_each }
    }

    /// Values everybody who was asked for: a value or a rejection for each, in the order given.
    pub async fn rows<S: Values>(&self, store: &S, question: &Question<'_>) -> Result<Worked, Unvalued> {
        let Question { model_version, as_of, terms, .. } = *question;
        let pinned = self.valuers.get(store, model_version, as_of, terms).await?;
        let pinned = pinned.ok_or(Unvalued::NoModel(model_version))?;
        let began = Instant::now();
        let histories = read(store, question, &pinned).await?;
        let read = began.elapsed();
        let rows = self.compute(histories, pinned.valuer, question).await?;
        Ok(Worked { rows, read, computed: began.elapsed().saturating_sub(read) })
    }

    async fn compute(
        &self,
        histories: Vec<History>,
        valuer: Arc<Valuer>,
        question: &Question<'_>,
    ) -> Result<ResultRows, Panicked> {
        let mut urgency = question.urgency;
        let mut valuing = Valuing::new(histories, valuer, self.before_each.clone());
        while !valuing.is_complete() {
            let part = move || {
                valuing.advance(SUB_BATCH);
                valuing
            };
            valuing = self.compute.run(urgency, part).await?;
            urgency.valued += SUB_BATCH;
        }
        Ok(valuing.rows)
    }
}

async fn read<S: Values>(store: &S, question: &Question<'_>, pinned: &Pinned) -> store::Result<Vec<History>> {
    let reading = Reading {
        customers: question.customers,
        run: question.run,
        is_whole: question.is_whole,
        as_of: question.as_of,
        currency: pinned.currency,
        contracts: &pinned.valuer.models().contracts,
    };
    store.read_histories(&reading).await
}

/// Histories being valued: customer by customer, a part at a time.
struct Valuing {
    histories: std::vec::IntoIter<History>,
    valuer: Arc<Valuer>,
    rows: ResultRows,
    before_each: Option<BeforeEach>,
}

impl Valuing {
    fn new(histories: Vec<History>, valuer: Arc<Valuer>, before_each: Option<BeforeEach>) -> Self {
        let rows = ResultRows { values: Vec::with_capacity(histories.len()), ..ResultRows::default() };
        Self { histories: histories.into_iter(), valuer, rows, before_each }
    }

    fn is_complete(&self) -> bool {
        self.histories.as_slice().is_empty()
    }

    fn advance(&mut self, customers: usize) {
        for History { customer, account, transactions } in self.histories.by_ref().take(customers) {
            self.rows.transactions += u64::from(transactions);
            if let Some(before) = &self.before_each {
                before(customer);
            }
            match account.and_then(|account| Ok((self.valuer.value(&account)?, account))) {
                Ok((value, account)) => self.rows.values.push(Valued { customer, value, account }),
                Err(reason) => self.rows.rejections.push(Rejected { customer, reason }),
            }
        }
    }
}
