//! The values of a night as a CSV file: a row for each planned customer, by number.
//!
//! Floating-point numbers are the shortest texts that read back to the same bits.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use batch::{CustomerId, RunId};
use flate2::Compression;
use flate2::write::GzEncoder;
use model::{Account, Between, Confidence, Contract, Horizons, Models, Payback, Value};
use rayon::prelude::*;
use store::memory::{Base, Memory};
use store::{Archive, Supervision, Valued};
use tokio_util::sync::CancellationToken;

use super::night::STOPPED;
use files::{NewFile, quoted};

/// The columns, as far as they can be under the names that they have in `fleet.values`.
const COLUMNS: [&str; 38] = [
    "customer_id",
    "external_id",
    "segment",
    "value_minor",
    "value_24_minor",
    "value_36_minor",
    "value_for_ever_minor",
    "purchases_12_minor",
    "purchases_24_minor",
    "purchases_36_minor",
    "purchases_for_ever_minor",
    "contract_12_minor",
    "contract_24_minor",
    "contract_36_minor",
    "contract_for_ever_minor",
    "historic_minor",
    "lower_80_minor",
    "upper_80_minor",
    "lower_90_minor",
    "upper_90_minor",
    "expected_purchases",
    "p_alive",
    "grade",
    "own_rate",
    "own_spend",
    "relative_width",
    "payback_months",
    "payback_probability",
    "ltv_to_cac",
    "frequency",
    "recency_days",
    "age_days",
    "repeat_spend_minor",
    "spend_minor",
    "paid_minor",
    "acquisition_cost_minor",
    "contracts",
    "rejection",
];

/// Values that are read from the store at a time; memory does not grow with the base.
const PAGE: u32 = 16_384;

/// Rows that a thread writes down at a time.
const ROWS: usize = 1_024;

/// A file of values that is being written, and appears under its name when it is complete.
pub struct ValuesFile {
    name: String,
    writer: Writer,
}

enum Writer {
    Plain(NewFile),
    Gzip(GzEncoder<NewFile>),
}

impl ValuesFile {
    /// Begins a file, compressed if its name ends in `.gz`. `inputs` are read and must not be written over.
    pub fn create(path: &Path, inputs: &[&Path]) -> Result<Self> {
        let file = NewFile::create(path, inputs)?;
        let is_gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let writer = if is_gzip {
            Writer::Gzip(GzEncoder::new(file, Compression::fast()))
        } else {
            Writer::Plain(file)
        };
        Ok(Self { name: path.display().to_string(), writer })
    }

    /// Writes what a finished run holds of each of its customers, and gives the file its name.
    pub async fn write(
        mut self,
        store: &Memory,
        run: RunId,
        models: &Models,
        stop: &CancellationToken,
    ) -> Result<()> {
        let planned = store.run(run).await?.context("the run is gone")?.progress.customers;
        let rejected = store.rejected(run).await?;
        let mut rejected = &rejected[..];
        let (mut after, mut written) = (None, 0);
        self.put(&header())?;
        loop {
            if stop.is_cancelled() {
                bail!(STOPPED);
            }
            let page = store.values_after(run, after, PAGE).await?;
            after = page.last().map(|valued| valued.customer);
            // Behind the last value there may be rejections still.
            let upto = after.map_or(rejected.len(), |last| rejected.partition_point(|(id, _)| *id <= last));
            let (with_page, rest) = rejected.split_at(upto);
            rejected = rest;
            for text in texts(store.base(), models, &merged(&page, with_page)) {
                self.put(&text)?;
            }
            written += (page.len() + with_page.len()) as u64;
            if page.is_empty() {
                break;
            }
        }
        ensure!(written == planned, "{written} rows for {planned} customers; please report this");
        self.finish()
    }

    fn put(&mut self, text: &[u8]) -> Result<()> {
        let put = match &mut self.writer {
            Writer::Plain(file) => file.write_all(text),
            Writer::Gzip(encoder) => encoder.write_all(text),
        };
        put.with_context(|| format!("write {}", self.name))
    }

    fn finish(self) -> Result<()> {
        let Self { name, writer } = self;
        match writer {
            Writer::Plain(file) => file.finish(),
            Writer::Gzip(encoder) => encoder.finish().with_context(|| format!("write {name}"))?.finish(),
        }
    }
}

/// What becomes a row.
enum Row<'a> {
    Valued(&'a Valued),
    Rejected(CustomerId, &'static str),
}

/// Puts values and rejections in one order.
fn merged<'a>(values: &'a [Valued], rejected: &[(CustomerId, &'static str)]) -> Vec<Row<'a>> {
    let mut rows = Vec::with_capacity(values.len() + rejected.len());
    let mut rejected = rejected.iter().peekable();
    for valued in values {
        while let Some((customer, reason)) = rejected.next_if(|(customer, _)| *customer < valued.customer) {
            rows.push(Row::Rejected(*customer, reason));
        }
        rows.push(Row::Valued(valued));
    }
    rows.extend(rejected.map(|(customer, reason)| Row::Rejected(*customer, reason)));
    rows
}

/// Writes rows down, on all threads.
fn texts(base: &dyn Base, models: &Models, rows: &[Row<'_>]) -> Vec<Vec<u8>> {
    let write = |rows: &[Row<'_>]| {
        let mut text = Line(Vec::with_capacity(256 * rows.len()));
        for row in rows {
            text.row(base, models, row);
        }
        text.0
    };
    rows.par_chunks(ROWS).map(write).collect()
}

fn header() -> Vec<u8> {
    let mut text = COLUMNS.join(",").into_bytes();
    text.push(b'\n');
    text
}

/// Rows as text; each field brings the comma before it.
struct Line(Vec<u8>);

impl Line {
    fn row(&mut self, base: &dyn Base, models: &Models, row: &Row<'_>) {
        let (Row::Valued(Valued { customer, .. }) | Row::Rejected(customer, _)) = row;
        let place = base.place(*customer).expect("nobody else was planned");
        let known = base.customer(place);
        self.write(format_args!("{customer}"));
        self.text(known.external_id);
        self.text(known.segment);
        match row {
            Row::Valued(Valued { value, account, .. }) => {
                self.value(value, account);
                self.account(account, models);
                self.comma();
            }
            Row::Rejected(_, reason) => {
                // All but the three before and the reason.
                (4..COLUMNS.len()).for_each(|_| self.comma());
                self.text(reason);
            }
        }
        self.0.push(b'\n');
    }

    fn value(&mut self, value: &Value, account: &Account) {
        // Taken apart, so that a new field cannot be forgotten here.
        let &Value {
            historic_minor,
            purchases,
            contracts,
            expected_purchases,
            p_alive,
            intervals,
            confidence: Confidence { grade, own_rate, own_spend, relative_width },
            payback,
        } = value;
        for horizons in [value.future(), purchases, contracts] {
            let Horizons { months_12, months_24, months_36, for_ever } = horizons;
            for sum in [months_12, months_24, months_36] {
                self.whole(sum);
            }
            self.optional(for_ever, Self::whole);
        }
        self.whole(historic_minor);
        match intervals {
            Some(intervals) => {
                for Between { lower_minor, upper_minor } in intervals {
                    self.whole(lower_minor);
                    self.whole(upper_minor);
                }
            }
            None => (0..4).for_each(|_| self.comma()),
        }
        self.number(expected_purchases);
        self.optional(p_alive, Self::number);
        self.comma();
        self.0.push(grade.letter());
        self.single(own_rate);
        self.single(own_spend);
        self.optional(relative_width, Self::single);
        self.optional(payback.and_then(|Payback { months, .. }| months), Self::whole);
        self.optional(payback.map(|Payback { probability, .. }| probability), Self::number);
        self.optional(value.ltv_to_cac(account), Self::number);
    }

    fn account(&mut self, account: &Account, models: &Models) {
        let Account { purchases, spend_minor, paid_minor, contracts, acquisition_cost_minor } = account;
        self.optional(purchases.map(|summary| summary.frequency), Self::whole);
        self.optional(purchases.map(|summary| summary.recency_days), Self::whole);
        self.optional(purchases.map(|summary| summary.age_days), Self::whole);
        self.optional(purchases.map(|summary| summary.repeat_spend_minor), Self::whole);
        self.whole(*spend_minor);
        self.whole(*paid_minor);
        self.optional(*acquisition_cost_minor, Self::whole);
        if contracts.is_empty() {
            self.comma();
        } else {
            let contract = |contract: &Contract| documents::Contract::new(contract, models);
            self.text(&documents::line(&contracts.iter().map(contract).collect::<Vec<_>>()));
        }
    }

    fn comma(&mut self) {
        self.0.push(b',');
    }

    fn whole(&mut self, number: impl Display) {
        self.comma();
        self.write(format_args!("{number}"));
    }

    /// Unlike `{}`, `{:?}` writes 1e-300 without its three hundred zeros.
    fn number(&mut self, number: f64) {
        self.comma();
        self.write(format_args!("{number:?}"));
    }

    fn single(&mut self, number: f32) {
        self.comma();
        self.write(format_args!("{number:?}"));
    }

    fn optional<T>(&mut self, known: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match known {
            Some(known) => write(self, known),
            None => self.comma(),
        }
    }

    fn text(&mut self, text: &str) {
        self.comma();
        self.0.extend_from_slice(quoted(text).as_bytes());
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.0.write_fmt(arguments).expect("writing to memory cannot fail");
    }
}
