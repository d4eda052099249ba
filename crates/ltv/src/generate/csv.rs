//! A generated base as CSV files, for `ltv load`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use store::postgres::source::{AcquisitionCost, Subscription, Transaction};

use super::{CURRENCY, Generated, GeneratedCustomer};

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

impl Generated {
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
