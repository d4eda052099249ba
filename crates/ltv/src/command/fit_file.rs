//! `ltv fit --input`: one model to a file, without a server.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use model::fit::{self, Fit, FitError, PurchaseRow, SpendRow};
use serde_json::{Value as Json, json};

use crate::cli::FitArgs;
use crate::files::customers::{self, HistoryColumns, Reading, SpendColumns, WEIGHT, weight};
use crate::files::{Row, Table, model_file};
use crate::models::{Model, ModelName};
use crate::output::count;

pub(crate) fn run(args: &FitArgs, model: ModelName, input: &Path, out: &Path) -> Result<()> {
    let fitted = match model {
        ModelName::BgNbd => purchases(args, input, |rows| Ok(fit::bg_nbd(rows)?.into())),
        ModelName::MbgNbd => purchases(args, input, |rows| Ok(fit::bg_nbd(rows)?.into())),
        ModelName::ParetoNbd => purchases(args, input, |rows| Ok(fit::pareto_nbd(rows)?.into())),
        ModelName::GammaGamma => spends(args, input),
    };
    let fitted = fitted.with_context(|| input.display().to_string())?;
    let document = fitted.document();
    model_file::write(out, &document)?;
    if args.json {
        println!("{document}");
    } else {
        print!("{}", fitted.told());
    }
    Ok(())
}

/// A fit of all customers, and those of the segments.
struct Fitted {
    all: One,
    segments: Option<(String, BTreeMap<String, One>)>,
}

/// A fit, whichever model it is of.
struct One {
    model: Model,
    log_likelihood: f64,
    gradient_norm: f64,
    standard_errors: Vec<f64>,
    customers: u64,
    converged: bool,
    evaluations: u32,
}

impl<M: Into<Model>> From<Fit<M>> for One {
    fn from(fit: Fit<M>) -> Self {
        Self {
            model: fit.model.into(),
            log_likelihood: fit.log_likelihood,
            gradient_norm: fit.gradient_norm,
            standard_errors: fit.standard_errors,
            customers: fit.customers,
            converged: fit.converged,
            evaluations: fit.evaluations,
        }
    }
}

impl Fitted {
    fn document(&self) -> Json {
        let mut document = self.all.document();
        if let Some((column, segments)) = &self.segments {
            document["segment_column"] = json!(column);
            document["segments"] =
                segments.iter().map(|(name, fit)| (name.clone(), fit.document())).collect();
        }
        document
    }

    fn told(&self) -> String {
        let mut text = self.all.told("");
        for (name, fit) in self.segments.iter().flat_map(|(_, segments)| segments) {
            text += &fit.told(&format!(" of {name}"));
        }
        text
    }
}

impl One {
    fn document(&self) -> Json {
        let name = self.model.name();
        json!({
            "model": name.as_str(),
            "parameters": model_file::by_name(name, &self.model.parameters()),
            "standard_errors": model_file::by_name(name, &self.standard_errors),
            "log_likelihood": self.log_likelihood,
            "gradient_norm": self.gradient_norm,
            "customers": self.customers,
            "converged": self.converged,
            "evaluations": self.evaluations,
        })
    }

    fn told(&self, whose: &str) -> String {
        let name = self.model.name();
        let parameter = |((name, value), error): ((&&str, f64), &f64)| format!("{name} {value:.4} ± {error:.4}");
        let parameters: Vec<String> =
            name.parameters().iter().zip(self.model.parameters()).zip(&self.standard_errors).map(parameter).collect();
        format!(
            "{}, fitted on {} customers{whose}: {}; log-likelihood {:.4}\n",
            name.as_str(),
            count(self.customers),
            parameters.join(", "),
            self.log_likelihood
        )
    }
}

/// Rows of all customers, and the same by segment.
struct Rows<R> {
    all: Vec<R>,
    segments: Option<(String, BTreeMap<String, Vec<R>>)>,
}

impl<R: Copy> Rows<R> {
    /// Reads the rows that the model looks at.
    fn read(
        mut table: Table,
        segment_column: Option<&str>,
        read: impl Fn(Row<'_>) -> Result<Option<R>>,
    ) -> Result<Self> {
        let header = table.header().clone();
        let segment = segment_column.map(|name| header.column(&[name])).transpose()?;
        let mut all = Vec::new();
        let mut segments: BTreeMap<String, Vec<R>> = BTreeMap::new();
        while let Some(record) = table.next()? {
            let row = record.under(&header);
            let Some(found) = read(row)? else { continue };
            all.push(found);
            if let Some(segment) = segment {
                segments.entry(row.text(segment).to_owned()).or_default().push(found);
            }
        }
        Ok(Self { all, segments: segment_column.map(|name| (name.to_owned(), segments)) })
    }

    /// Fits all rows, and each segment's.
    fn fit(self, fit: impl Fn(&[R]) -> Result<One, FitError>) -> Result<Fitted> {
        let all = fit(&self.all)?;
        let Some((column, rows)) = self.segments else { return Ok(Fitted { all, segments: None }) };
        let one = |(name, rows): (String, Vec<R>)| {
            let fitted = fit(&rows).with_context(|| format!("segment {name}"))?;
            Ok((name, fitted))
        };
        Ok(Fitted { all, segments: Some((column, rows.into_iter().map(one).collect::<Result<_>>()?)) })
    }
}

fn purchases(
    args: &FitArgs,
    input: &Path,
    fit: impl Fn(&[PurchaseRow]) -> Result<One, FitError>,
) -> Result<Fitted> {
    let table = open(args, input)?;
    let history = HistoryColumns::of_customers(table.header())?;
    let weights = table.header().optional(&WEIGHT)?;
    let rows = Rows::read(table, args.segment_column.as_deref(), |row| {
        let customer = history.customer(row)?;
        let customers = weight(row, weights)?;
        Ok(Some(PurchaseRow { x: customer.x, t_x: customer.t_x, age: customer.age, customers }))
    })?;
    rows.fit(|rows| {
        let order = |a: &PurchaseRow, b: &PurchaseRow| {
            a.x.cmp(&b.x).then(a.t_x.total_cmp(&b.t_x)).then(a.age.total_cmp(&b.age))
        };
        fit(&compressed(rows, order, |row| &mut row.customers))
    })
}

fn spends(args: &FitArgs, input: &Path) -> Result<Fitted> {
    let table = open(args, input)?;
    let columns = SpendColumns::find(table.header())?;
    let weights = table.header().optional(&WEIGHT)?;
    let rows = Rows::read(table, args.segment_column.as_deref(), |row| {
        let (x, zbar) = columns.spend(row)?;
        let customers = weight(row, weights)?;
        // Who never bought again, or only what costs nothing, says nothing about the spend.
        Ok((x > 0 && zbar > 0.0).then_some(SpendRow { x, zbar, customers }))
    })?;
    rows.fit(|rows| {
        let order = |a: &SpendRow, b: &SpendRow| a.x.cmp(&b.x).then(a.zbar.total_cmp(&b.zbar));
        Ok(fit::gamma_gamma(&compressed(rows, order, |row| &mut row.customers))?.into())
    })
}

fn open(args: &FitArgs, input: &Path) -> Result<Table> {
    let reading = Reading {
        as_of: args.as_of,
        currency: args.currency,
        segment_column: args.segment_column.clone(),
    };
    let (table, left_out) = customers::open(input, &reading)?;
    if left_out > 0 {
        eprintln!("{} customers were left out: their histories cannot be summed up", count(left_out));
    }
    Ok(table)
}

/// Counts equal rows once, and puts them in an order of their own: a fit does not depend on that of the file.
fn compressed<R: Copy>(
    rows: &[R],
    order: impl Fn(&R, &R) -> Ordering,
    customers: impl Fn(&mut R) -> &mut u64,
) -> Vec<R> {
    let mut rows = rows.to_vec();
    rows.sort_unstable_by(&order);
    rows.dedup_by(|next, kept| {
        let same = order(next, kept) == Ordering::Equal;
        if same {
            *customers(kept) += *customers(next);
        }
        same
    });
    rows
}
