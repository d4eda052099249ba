//! A made-up customer base that behaves as the models say customers behave.
//!
//! Each customer is drawn from the generative process of BG/NBD and Gamma-Gamma, so that a fit finds again
//! what was put in, less what is lost when the purchases of a day are counted as one:
//!
//! * acquired at a moment uniform over the weeks before `as_of`, with the first purchase at that moment;
//! * while alive, buys at a rate `lambda ~ Gamma(r, alpha)` a week, with exponential waiting times;
//! * after each repeat purchase, leaves for good with probability `p ~ Beta(a, b)`;
//! * each purchase costs `z ~ Gamma(p, nu)`, where `nu ~ Gamma(q, v)`.
//!
//! The parameters are those of the CDNOW sample (Fader, Hardie & Lee 2005; Fader & Hardie 2013), by the week
//! and in US dollars: `r = 0.243, alpha = 4.414, a = 0.793, b = 2.426; p = 6.25, q = 3.74, v = 15.44`.
//! Segments buy a little more or less often, and spend a little more or less, than that; on average they do
//! neither.
//!
//! **A wanted mean number of transactions** `m` is reached by making everybody buy `k` times as often, at
//! `alpha / k`. If `k > 1`, leaving becomes `k` times less likely after each purchase: `b' = k (a + b) - a`.
//! So customers stay for about as many weeks as before; the rate alone could not do it, because CDNOW's
//! customers leave long before their tenth purchase. `k` is found by bisection on the expected number of
//! purchases.
//!
//! Most customers have subscriptions besides, and an acquisition cost: see `generate/subscriptions.rs`.
//!
//! **Deterministic.** The same specification gives the same base on every machine and with any number of
//! threads: each customer has a random stream of its own (ChaCha8), all elementary functions come from
//! `libm`, and the order is total. Customer `i` is the same however many others there are.
//!
//! **Memory** is 12 bytes for each transaction, 20 for each subscription and 12 for each customer, once.

mod subscriptions;

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use jiff::Timestamp;
use model::Currency;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;
use store::postgres::Postgres;
use store::postgres::source::{AcquisitionCost, Batch, Customer, Relation, Subscription, Transaction};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use subscriptions::{Cost, Subscribed, cost_row};

/// Which base to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateSpec {
    /// How many customers.
    pub customers: u32,
    /// How many transactions they have on average, the first purchase included; `None` for what follows from
    /// the CDNOW parameters as they are.
    pub transactions_per_customer: Option<f64>,
    /// The number of the first customer; the others follow.
    pub first_customer_id: i64,
    /// The number of the first transaction; the others follow in the order of time.
    pub first_transaction_id: i64,
    /// The same seed gives the same base.
    pub seed: u64,
    /// Everything happens before this moment.
    pub as_of: Timestamp,
    /// Over how many weeks before `as_of` customers are acquired.
    pub weeks: u32,
    /// Whether there are subscriptions and acquisition costs. Customers and transactions are the same without.
    pub subscriptions: bool,
}

/// A specification that cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadSpec(String);

const LONGEST_WEEKS: u32 = 2_600;
const MOST_TRANSACTIONS_PER_CUSTOMER: f64 = 10_000.0;
const SECONDS_PER_WEEK: u32 = 7 * 24 * 3600;

impl GenerateSpec {
    fn check(&self) -> Result<(), BadSpec> {
        let bad = |text: String| Err(BadSpec(text));
        if !(1..=LONGEST_WEEKS).contains(&self.weeks) {
            return bad(format!("weeks must be from 1 to {LONGEST_WEEKS}, not {}", self.weeks));
        }
        if self.start_second() < 0 {
            return bad(format!("{} weeks before {} is before 1970", self.weeks, self.as_of));
        }
        match self.transactions_per_customer {
            Some(mean) if !(mean > 1.0 && mean <= MOST_TRANSACTIONS_PER_CUSTOMER) => bad(format!(
                "transactions per customer must be more than 1, the first purchase, and at most \
                 {MOST_TRANSACTIONS_PER_CUSTOMER}, not {mean}"
            )),
            _ => Ok(()),
        }
    }

    /// When the first customer may have been acquired, in seconds since 1970.
    fn start_second(&self) -> i64 {
        self.as_of.as_second() - i64::from(self.weeks) * i64::from(SECONDS_PER_WEEK)
    }
}

/// A generated customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedCustomer {
    /// Its number.
    pub customer_id: i64,
    /// What its own system calls it.
    pub external_id: String,
    /// Its segment.
    pub segment: &'static str,
    /// The moment of its first purchase.
    pub acquired_at: Timestamp,
}

impl GeneratedCustomer {
    /// The row of it.
    pub fn row(&self) -> Customer<'_> {
        Customer {
            customer_id: self.customer_id,
            external_id: &self.external_id,
            segment: self.segment,
            acquired_at: self.acquired_at,
        }
    }
}

/// A generated base.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    spec: GenerateSpec,
    customers: Vec<Acquired>,
    purchases: Vec<Purchase>,
    subscriptions: Vec<Subscribed>,
    /// Of each customer; empty in a base without.
    costs: Vec<Cost>,
}

/// A customer, without what follows from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Acquired {
    /// Seconds since the start.
    second: u32,
    /// Its place among the segments.
    segment: u8,
}

/// A transaction, without what follows from its place. Ordered by time, then by customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Purchase {
    /// Seconds since the start.
    second: u32,
    /// The customer's place.
    customer: u32,
    amount_minor: u32,
}

/// Generates a base, on all threads of the current `rayon` pool.
pub fn generate(spec: &GenerateSpec) -> Result<Generated, BadSpec> {
    const CUSTOMERS_PER_BLOCK: u32 = 8_192;

    spec.check()?;
    let process = Process::new(spec);
    let blocks: Vec<Block> = (0..spec.customers.div_ceil(CUSTOMERS_PER_BLOCK))
        .into_par_iter()
        .map(|block| {
            let first = block * CUSTOMERS_PER_BLOCK;
            let last = first.saturating_add(CUSTOMERS_PER_BLOCK).min(spec.customers);
            process.block(first..last)
        })
        .collect();

    let mut customers = Vec::with_capacity(spec.customers as usize);
    let mut purchases = Vec::with_capacity(blocks.iter().map(|block| block.purchases.len()).sum());
    let mut subscriptions = Vec::with_capacity(blocks.iter().map(|block| block.subscriptions.len()).sum());
    let mut costs = Vec::with_capacity(blocks.iter().map(|block| block.costs.len()).sum());
    // Each block is freed as soon as it is copied, so that nothing is held twice for long.
    for block in blocks {
        customers.extend(block.customers);
        purchases.extend(block.purchases);
        subscriptions.extend(block.subscriptions);
        costs.extend(block.costs);
    }
    purchases.par_sort_unstable();
    subscriptions.par_sort_unstable();
    Ok(Generated { spec: spec.clone(), customers, purchases, subscriptions, costs })
}

impl Generated {
    /// How many customers there are.
    pub fn customer_count(&self) -> u64 {
        self.customers.len() as u64
    }

    /// How many transactions there are.
    pub fn transaction_count(&self) -> u64 {
        self.purchases.len() as u64
    }

    /// How many subscriptions there are.
    pub fn subscription_count(&self) -> u64 {
        self.subscriptions.len() as u64
    }

    /// Of how many customers it is known what it cost to win them.
    pub fn acquisition_cost_count(&self) -> u64 {
        self.costs.iter().flatten().count() as u64
    }

    /// The customers, by their number.
    pub fn customers(&self) -> impl ExactSizeIterator<Item = GeneratedCustomer> + '_ {
        self.customers.iter().enumerate().map(|(place, acquired)| {
            let customer_id = self.spec.first_customer_id + place as i64;
            GeneratedCustomer {
                customer_id,
                external_id: format!("supplier-{customer_id}"),
                segment: SEGMENTS[usize::from(acquired.segment)].name,
                acquired_at: self.moment(acquired.second),
            }
        })
    }

    /// The transactions in the order of time, as a table that has grown would hold them: those of one
    /// customer lie scattered over it.
    pub fn transactions(&self) -> impl ExactSizeIterator<Item = Transaction> + '_ {
        let currency = currency();
        self.purchases.iter().enumerate().map(move |(place, purchase)| Transaction {
            transaction_id: self.spec.first_transaction_id + place as i64,
            customer_id: self.spec.first_customer_id + i64::from(purchase.customer),
            occurred_at: self.moment(purchase.second),
            amount_minor: i64::from(purchase.amount_minor),
            currency,
        })
    }

    /// The subscriptions in the order of their starts.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = Subscription<'static>> + '_ {
        let (first, currency) = (self.spec.first_customer_id, currency());
        self.subscriptions.iter().map(move |line| line.row(first, |second| self.moment(second), currency))
    }

    /// What it cost to win customers, by their number.
    pub fn acquisition_costs(&self) -> impl Iterator<Item = AcquisitionCost> + '_ {
        let (first, currency) = (self.spec.first_customer_id, currency());
        let places = self.costs.iter().enumerate();
        places.filter_map(move |(place, cost)| Some(cost_row(first + place as i64, (*cost)?, currency)))
    }

    fn moment(&self, second: u32) -> Timestamp {
        Timestamp::from_second(self.spec.start_second() + i64::from(second))
            .expect("every moment lies between 1970 and `as_of`")
    }

    /// Writes `customers.csv`, `transactions.csv`, and unless the base has none `subscriptions.csv` and
    /// `acquisition_costs.csv` into a folder, for `ltv load`.
    pub fn write_csv(&self, folder: &Path, packing: Packing) -> Result<CsvFiles> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let write = |stem: &str, content: fn(&Self, &mut dyn Write) -> io::Result<()>| {
            let path = folder.join(packing.file_name(stem));
            let written = packing.write(&path, |out| content(self, out));
            written.with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        let with = self.spec.subscriptions;
        Ok(CsvFiles {
            customers: write("customers", Self::write_customers)?,
            transactions: write("transactions", Self::write_transactions)?,
            subscriptions: with.then(|| write("subscriptions", Self::write_subscriptions)).transpose()?,
            acquisition_costs: with
                .then(|| write("acquisition_costs", Self::write_acquisition_costs))
                .transpose()?,
        })
    }

    fn write_customers(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "customer_id,external_id,segment,acquired_at")?;
        for GeneratedCustomer { customer_id, external_id, segment, acquired_at } in self.customers() {
            writeln!(out, "{customer_id},{external_id},{segment},{acquired_at}")?;
        }
        Ok(())
    }

    fn write_transactions(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "transaction_id,customer_id,occurred_at,amount,currency")?;
        let mut line = String::new();
        for transaction in self.transactions() {
            let Transaction { transaction_id, customer_id, occurred_at, amount_minor, .. } = transaction;
            let (dollars, cents) = (amount_minor / 100, amount_minor % 100);
            line.clear();
            writeln!(line, "{transaction_id},{customer_id},{occurred_at},{dollars}.{cents:02},{CURRENCY}")
                .expect("a String takes everything");
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn write_subscriptions(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "customer_id,plan,period_months,started_at,ended_at,price,currency,end_reason")?;
        for subscription in self.subscriptions() {
            let Subscription { customer_id, plan, period_months, started_at, price_minor, .. } = subscription;
            let (dollars, cents) = (price_minor / 100, price_minor % 100);
            write!(out, "{customer_id},{plan},{period_months},{started_at},")?;
            if let Some(ended_at) = subscription.ended_at {
                write!(out, "{ended_at}")?;
            }
            let end_reason = subscription.end_reason.unwrap_or_default();
            writeln!(out, ",{dollars}.{cents:02},{CURRENCY},{end_reason}")?;
        }
        Ok(())
    }

    fn write_acquisition_costs(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "customer_id,cost,currency")?;
        for AcquisitionCost { customer_id, cost_minor, .. } in self.acquisition_costs() {
            let (dollars, cents) = (cost_minor / 100, cost_minor % 100);
            writeln!(out, "{customer_id},{dollars}.{cents:02},{CURRENCY}")?;
        }
        Ok(())
    }
}

/// Whether generated files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As text.
    Plain,
    /// With gzip.
    Gzip,
}

/// Where generated files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CsvFiles {
    /// The customers.
    pub customers: PathBuf,
    /// The transactions.
    pub transactions: PathBuf,
    /// The subscriptions, if the base has any.
    pub subscriptions: Option<PathBuf>,
    /// The acquisition costs, if the base has any.
    pub acquisition_costs: Option<PathBuf>,
}

impl Packing {
    fn file_name(self, stem: &str) -> String {
        match self {
            Self::Plain => format!("{stem}.csv"),
            Self::Gzip => format!("{stem}.csv.gz"),
        }
    }

    fn write(self, path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(256 * 1024, File::create(path)?);
        match self {
            Self::Plain => content(&mut file)?,
            Self::Gzip => {
                let mut encoder = GzEncoder::new(&mut file, Compression::fast());
                content(&mut encoder)?;
                encoder.finish()?;
            }
        }
        file.flush()
    }
}

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

const CURRENCY: &str = "USD";

fn currency() -> Currency {
    Currency::parse(CURRENCY).expect("the currency is three capital letters")
}

/// BG/NBD on the CDNOW sample, by the week: Fader, Hardie & Lee (2005), table 2.
const R: f64 = 0.243;
const ALPHA: f64 = 4.414;
const A: f64 = 0.793;
const B: f64 = 2.426;

/// Gamma-Gamma on the CDNOW sample: Fader & Hardie (2013); `V` in cents.
const P: f64 = 6.25;
const Q: f64 = 3.74;
const V: f64 = 1_544.0;

/// A kind of supplier: how many of a hundred are of it, and how it differs from the average.
struct Segment {
    name: &'static str,
    percent: u8,
    /// How many times as often it buys.
    rate: f64,
    /// How many times as much it spends.
    spend: f64,
}

/// Over all customers, both factors have the mean 1 (a test holds them to it).
const SEGMENTS: [Segment; 6] = [
    Segment { name: "photographer", percent: 30, rate: 1.05, spend: 1.00 },
    Segment { name: "venue", percent: 12, rate: 0.85, spend: 1.25 },
    Segment { name: "florist", percent: 18, rate: 1.10, spend: 0.90 },
    Segment { name: "caterer", percent: 15, rate: 1.00, spend: 1.05 },
    Segment { name: "musician", percent: 15, rate: 0.90, spend: 0.85 },
    Segment { name: "planner", percent: 10, rate: 1.00, spend: 1.03 },
];

/// Some customers in the order of their places, and their purchases in any order.
struct Block {
    customers: Vec<Acquired>,
    purchases: Vec<Purchase>,
    subscriptions: Vec<Subscribed>,
    costs: Vec<Cost>,
}

/// The generative process of a base.
struct Process {
    seed: [u8; 32],
    window_seconds: u32,
    alpha: f64,
    b: f64,
    /// None in a base without subscriptions.
    subscriptions: Option<subscriptions::Process>,
}

impl Process {
    fn new(spec: &GenerateSpec) -> Self {
        let intensity = match spec.transactions_per_customer {
            None => 1.0,
            Some(mean) => intensity_for(mean, f64::from(spec.weeks)),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&spec.seed.to_le_bytes());
        Self {
            seed,
            window_seconds: spec.weeks * SECONDS_PER_WEEK,
            alpha: ALPHA / intensity,
            b: b_at(intensity),
            subscriptions: spec.subscriptions.then(|| subscriptions::Process::new(spec, seed)),
        }
    }

    fn block(&self, places: std::ops::Range<u32>) -> Block {
        let mut customers = Vec::with_capacity(places.len());
        let mut purchases = Vec::with_capacity(places.len() * 4);
        let (mut subscriptions, mut costs) = (Vec::new(), Vec::new());
        for place in places {
            let acquired = self.customer(place, &mut purchases);
            customers.push(acquired);
            if let Some(process) = &self.subscriptions {
                costs.push(process.customer(place, acquired.second, &mut subscriptions));
            }
        }
        Block { customers, purchases, subscriptions, costs }
    }

    /// Draws a customer and its purchases. The order of the draws is part of what a seed means.
    fn customer(&self, place: u32, purchases: &mut Vec<Purchase>) -> Acquired {
        let mut dice = Dice::new(self.seed, u64::from(place));
        let acquired_at = dice.uniform() * f64::from(self.window_seconds);
        let segment = dice.segment();
        let Segment { rate, spend, .. } = SEGMENTS[usize::from(segment)];
        let lambda = dice.gamma(R) * rate / self.alpha;
        let dropout = dice.beta(A, self.b);
        let nu = dice.gamma(Q) / (V * spend);

        let mut time = acquired_at;
        loop {
            let amount_minor = round_to_minor(dice.gamma(P) / nu);
            purchases.push(Purchase { second: time as u32, customer: place, amount_minor });
            let has_left = time > acquired_at && dice.uniform() < dropout;
            time += dice.exponential() / lambda * f64::from(SECONDS_PER_WEEK);
            if has_left || time >= f64::from(self.window_seconds) {
                return Acquired { second: acquired_at as u32, segment };
            }
        }
    }
}

/// Nobody pays less than a cent; the cast stops at the largest `u32`, 43 million dollars.
fn round_to_minor(amount: f64) -> u32 {
    libm::round(amount).max(1.0) as u32
}

/// The random numbers of one customer.
struct Dice {
    random: ChaCha8Rng,
    /// The polar method draws normal numbers in pairs.
    spare_normal: Option<f64>,
}

impl Dice {
    fn new(seed: [u8; 32], stream: u64) -> Self {
        let mut random = ChaCha8Rng::from_seed(seed);
        random.set_stream(stream);
        Self { random, spare_normal: None }
    }

    /// Uniform in (0, 1), both ends excluded.
    fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        ((self.random.next_u64() >> 12) as f64 * 2.0 + 1.0) * STEP
    }

    fn segment(&mut self) -> u8 {
        let percent = (self.uniform() * 100.0) as u8;
        let mut below = 0;
        let found = SEGMENTS.iter().position(|segment| {
            below += segment.percent;
            percent < below
        });
        found.expect("the segments add up to a hundred percent") as u8
    }

    /// Exponential with mean 1.
    fn exponential(&mut self) -> f64 {
        -libm::log(self.uniform())
    }

    /// Normal with mean 0 and variance 1, by the polar method (Marsaglia & Bray 1964).
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let scale = libm::sqrt(-2.0 * libm::log(square) / square);
                self.spare_normal = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// Gamma with rate 1 (Marsaglia & Tsang 2000). Below shape 1 it is a power of a uniform number times a
    /// gamma of one shape more.
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let power = libm::pow(self.uniform(), 1.0 / shape);
            return self.gamma(shape + 1.0) * power;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            let uniform = self.uniform();
            let is_surely_in = uniform < 1.0 - 0.0331 * (x * x) * (x * x);
            if is_surely_in || libm::log(uniform) < 0.5 * x * x + d * (1.0 - v + libm::log(v)) {
                return d * v;
            }
        }
    }

    fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        x / (x + y)
    }
}

/// `b` for customers who buy `intensity` times as often: see the top of the module.
fn b_at(intensity: f64) -> f64 {
    intensity.max(1.0) * (A + B) - A
}

/// Finds how many times as often customers must buy to have `mean` transactions each, the first one included.
fn intensity_for(mean: f64, weeks: f64) -> f64 {
    // Bisection of the logarithm: 60 halvings leave nothing of the interval that a float could tell.
    let (mut low, mut high) = (-14.0, 14.0 * std::f64::consts::LN_10);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if 1.0 + expected_repeats(libm::exp(middle), weeks) < mean { low = middle } else { high = middle }
    }
    libm::exp(0.5 * (low + high))
}

/// The expected number of repeat purchases of a customer acquired at a moment uniform over the weeks.
fn expected_repeats(intensity: f64, weeks: f64) -> f64 {
    let of_segment = |segment: &Segment| {
        let alpha = ALPHA / (intensity * segment.rate);
        f64::from(segment.percent) / 100.0 * expected_repeats_of(alpha, b_at(intensity), weeks)
    };
    SEGMENTS.iter().map(of_segment).sum()
}

/// The same for one `alpha`. Given `p`, a customer of age `t` has made `(1 - (alpha / (alpha + p t))^r) / p`
/// repeat purchases on average; this integrates it over `t` in closed form and over `p ~ Beta(a, b)` by the
/// midpoint rule, where `p = u^(1/a)` takes the pole of the density away.
fn expected_repeats_of(alpha: f64, b: f64, weeks: f64) -> f64 {
    const POINTS: u32 = 512;

    let (mut sum, mut weight_sum) = (0.0, 0.0);
    for point in 0..POINTS {
        let u = (f64::from(point) + 0.5) / f64::from(POINTS);
        let p = libm::pow(u, 1.0 / A);
        let weight = libm::pow(1.0 - p, b - 1.0);
        sum += weight * mean_repeats_given(p, alpha, weeks);
        weight_sum += weight;
    }
    sum / weight_sum
}

fn mean_repeats_given(p: f64, alpha: f64, weeks: f64) -> f64 {
    let x = p * weeks / alpha;
    if x < 1e-4 {
        // The first terms of the series: the closed form would cancel.
        return R * weeks / alpha * (0.5 - (R + 1.0) * x / 6.0);
    }
    // expm1(log1p) keeps what (1 + x)^(1 - r) - 1 would lose.
    let grown = libm::expm1((1.0 - R) * libm::log1p(x)) / (1.0 - R);
    (1.0 - grown / x) / p
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(customers: u32, transactions_per_customer: Option<f64>) -> GenerateSpec {
        GenerateSpec {
            customers,
            transactions_per_customer,
            first_customer_id: 1,
            first_transaction_id: 1,
            seed: 7,
            as_of: "2026-11-01T00:00:00Z".parse().unwrap(),
            weeks: 104,
            subscriptions: true,
        }
    }

    #[test]
    fn the_mean_number_of_transactions_is_the_one_asked_for() {
        for mean in [1.2, 3.0, 10.0, 40.0] {
            let generated = generate(&spec(60_000, Some(mean))).unwrap();
            let found = generated.transaction_count() as f64 / 60_000.0;
            assert!((found / mean - 1.0).abs() < 0.05, "asked for {mean}, found {found}");
        }
    }

    #[test]
    fn without_a_wanted_mean_the_base_buys_like_cdnow() {
        let expected = 1.0 + expected_repeats(1.0, 104.0);

        let generated = generate(&spec(60_000, None)).unwrap();

        let found = generated.transaction_count() as f64 / 60_000.0;
        assert!((found / expected - 1.0).abs() < 0.03, "expected {expected}, found {found}");
        let spend: f64 = generated.transactions().map(|transaction| transaction.amount_minor as f64).sum();
        let mean_spend = spend / generated.transaction_count() as f64;
        let expected_spend = P * V / (Q - 1.0);
        assert!(
            (mean_spend / expected_spend - 1.0).abs() < 0.03,
            "expected {expected_spend}, found {mean_spend}"
        );
    }

    #[test]
    fn a_seed_gives_the_same_base_with_any_number_of_threads() {
        let spec = spec(20_000, Some(5.0));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();

        assert!(one.install(|| generate(&spec)) == three.install(|| generate(&spec)));
        assert_ne!(
            generate(&spec).unwrap().purchases,
            generate(&GenerateSpec { seed: 8, ..spec }).unwrap().purchases
        );
    }

    #[test]
    fn a_seed_means_the_same_base_for_ever() {
        let generated = generate(&spec(1_000, Some(5.0))).unwrap();

        let third = generated.transactions().nth(2).unwrap();
        let sum: i64 = generated.transactions().map(|transaction| transaction.amount_minor).sum();
        let found = (generated.transaction_count(), third.customer_id, third.occurred_at.to_string(), sum);
        assert_eq!(found, (5_349, 750, "2024-11-03T15:31:31Z".to_owned(), 19_162_176));
    }

    #[test]
    fn a_seed_means_the_same_subscriptions_for_ever() {
        let generated = generate(&spec(1_000, Some(5.0))).unwrap();

        let third = generated.subscriptions().nth(2).unwrap();
        let ends = generated.subscriptions().filter(|line| line.ended_at.is_some()).count();
        let costs: i64 = generated.acquisition_costs().map(|cost| cost.cost_minor).sum();
        let found = (generated.subscription_count(), third.customer_id, third.started_at.to_string());
        assert_eq!(found, (967, 935, "2024-11-13T07:39:15Z".to_owned()));
        assert_eq!((ends, generated.acquisition_cost_count(), costs), (390, 899, 11_088_729));
    }

    #[test]
    fn without_subscriptions_everybody_buys_the_same() {
        let with = generate(&spec(2_000, Some(5.0))).unwrap();
        let without = generate(&GenerateSpec { subscriptions: false, ..spec(2_000, Some(5.0)) }).unwrap();

        assert!(with.customers().eq(without.customers()));
        assert!(with.transactions().eq(without.transactions()));
        assert_eq!((without.subscription_count(), without.acquisition_cost_count()), (0, 0));
    }

    #[test]
    fn a_customer_is_the_same_however_many_others_there_are() {
        let few = generate(&spec(10, None)).unwrap();
        let many = generate(&spec(10_000, None)).unwrap();

        assert!(few.customers().eq(many.customers().take(10)));
        let of_the_first_ten = many.subscriptions().filter(|line| line.customer_id <= 10);
        assert!(few.subscriptions().eq(of_the_first_ten));
        assert!(few.acquisition_costs().eq(many.acquisition_costs().filter(|cost| cost.customer_id <= 10)));
    }

    #[test]
    fn transactions_come_in_the_order_of_time_and_start_with_the_acquisition() {
        let generated = generate(&spec(5_000, Some(4.0))).unwrap();
        let as_of = generated.spec.as_of;
        let rows: Vec<_> = generated.transactions().collect();

        assert!(rows.is_sorted_by_key(|row| row.occurred_at));
        assert!(rows.iter().all(|row| row.occurred_at < as_of && row.amount_minor > 0));
        assert!(rows.iter().map(|row| row.transaction_id).eq(1..=rows.len() as i64));
        let mut first = std::collections::HashMap::new();
        for row in &rows {
            first.entry(row.customer_id).or_insert(row.occurred_at);
        }
        assert!(generated.customers().all(|customer| first[&customer.customer_id] == customer.acquired_at));
    }

    #[test]
    fn the_segments_are_a_hundred_percent_and_average_on_average() {
        let mean = |factor: fn(&Segment) -> f64| -> f64 {
            SEGMENTS.iter().map(|segment| f64::from(segment.percent) / 100.0 * factor(segment)).sum()
        };

        assert_eq!(SEGMENTS.iter().map(|segment| segment.percent).sum::<u8>(), 100);
        assert!((mean(|segment| segment.rate) - 1.0).abs() < 1e-3);
        assert!((mean(|segment| segment.spend) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_specification_that_cannot_be_followed_is_refused() {
        let check = |change: fn(&mut GenerateSpec)| {
            let mut spec = spec(1, None);
            change(&mut spec);
            assert!(generate(&spec).is_err(), "{spec:?}");
        };
        check(|spec| spec.weeks = 0);
        check(|spec| spec.transactions_per_customer = Some(1.0));
        check(|spec| spec.transactions_per_customer = Some(f64::NAN));
        check(|spec| spec.as_of = "1971-01-01T00:00:00Z".parse().unwrap());
    }
}
