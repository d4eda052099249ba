//! `ltv fit --input`: one model to a file, without a server.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use model::fit::{self, ContractRow, Fit, FitError, OpportunityRow, PurchaseRow, SpendRow};
use serde_json::{Value as Json, json};

use crate::cli::FitArgs;
use crate::files::customers::{self, Customer, Donor, HistoryColumns, Reading, SpendColumns, WEIGHT, weight};
use crate::files::{Row, Table, cohorts, model_file};
use crate::models::{Model, ModelName};
use crate::output::count;

pub(crate) fn run(args: &FitArgs, model: ModelName, input: &Path, out: &Path) -> Result<()> {
    let fitted = match model {
        ModelName::BgNbd => purchases(args, input, |rows| Ok(fit::bg_nbd(rows)?.into())),
        ModelName::MbgNbd => purchases(args, input, |rows| Ok(fit::mbg_nbd(rows)?.into())),
        ModelName::ParetoNbd => purchases(args, input, |rows| Ok(fit::pareto_nbd(rows)?.into())),
        ModelName::GammaGamma => spends(args, input),
        ModelName::BgBb => opportunities(args, input),
        ModelName::Sbg => contracts(args, input, |rows| Ok(fit::sbg(rows)?.into())),
        ModelName::Bdw => contracts(args, input, |rows| Ok(fit::bdw(rows)?.into())),
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
        let parameter =
            |((name, value), error): ((&&str, f64), &f64)| format!("{name} {value:.4} ± {error:.4}");
        let parameters: Vec<String> = name
            .parameters()
            .iter()
            .zip(self.model.parameters())
            .zip(&self.standard_errors)
            .map(parameter)
            .collect();
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
        let mut rows = Vec::new();
        while let Some(record) = table.next()? {
            let row = record.under(&header);
            let segment = segment.map(|column| row.text(column).to_owned());
            rows.extend(read(row)?.map(|read| (segment, read)));
        }
        Ok(Self::of(rows, segment_column))
    }

    fn of(rows: Vec<(Option<String>, R)>, segment_column: Option<&str>) -> Self {
        let all = rows.iter().map(|&(_, row)| row).collect();
        let mut segments: BTreeMap<String, Vec<R>> = BTreeMap::new();
        for (segment, row) in rows {
            if let Some(segment) = segment {
                segments.entry(segment).or_default().push(row);
            }
        }
        Self { all, segments: segment_column.map(|name| (name.to_owned(), segments)) }
    }

    /// Fits all rows, and each segment's. A segment that has no fit of its own is left to that of all.
    fn fit(self, fit: impl Fn(&[R]) -> Result<One, FitError>) -> Result<Fitted> {
        let all = fit(&self.all)?;
        let Some((column, rows)) = self.segments else { return Ok(Fitted { all, segments: None }) };
        let mut segments = BTreeMap::new();
        for (name, rows) in rows {
            match fit(&rows) {
                Ok(one) => {
                    segments.insert(name, one);
                }
                Err(error) => eprintln!("segment {name} is left to the fit of all: {error}"),
            }
        }
        Ok(Fitted { all, segments: Some((column, segments)) })
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
        let Customer { x, t_x, age } = history.customer(row)?;
        let customers = weight(row, weights)?;
        Ok((customers > 0).then_some(PurchaseRow { x, t_x, age, customers }))
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
        Ok((x > 0 && zbar > 0.0 && customers > 0).then_some(SpendRow { x, zbar, customers }))
    })?;
    rows.fit(|rows| {
        let order = |a: &SpendRow, b: &SpendRow| a.x.cmp(&b.x).then(a.zbar.total_cmp(&b.zbar));
        Ok(fit::gamma_gamma(&compressed(rows, order, |row| &mut row.customers))?.into())
    })
}

fn opportunities(args: &FitArgs, input: &Path) -> Result<Fitted> {
    let table = Table::open(input)?;
    let history = HistoryColumns::of_donors(table.header())?;
    let weights = table.header().optional(&WEIGHT)?;
    let rows = Rows::read(table, args.segment_column.as_deref(), |row| {
        let Donor { x, t_x, n } = history.donor(row)?;
        let customers = weight(row, weights)?;
        Ok((customers > 0).then_some(OpportunityRow { x, t_x, n, customers }))
    })?;
    rows.fit(|rows| {
        let order = |a: &OpportunityRow, b: &OpportunityRow| (a.x, a.t_x, a.n).cmp(&(b.x, b.t_x, b.n));
        Ok(fit::bg_bb(&compressed(rows, order, |row| &mut row.customers))?.into())
    })
}

fn contracts(
    args: &FitArgs,
    input: &Path,
    fit: impl Fn(&[ContractRow]) -> Result<One, FitError>,
) -> Result<Fitted> {
    let segment_column = args.segment_column.as_deref();
    let contracts = cohorts::read(Table::open(input)?, segment_column)?;
    Rows::of(contracts, segment_column).fit(|rows| {
        let order = |a: &ContractRow, b: &ContractRow| a.tenure.cmp(&b.tenure);
        fit(&compressed(rows, order, |row| &mut row.customers))
    })
}

fn open(args: &FitArgs, input: &Path) -> Result<Table> {
    let reading =
        Reading { as_of: args.as_of, currency: args.currency, segment_column: args.segment_column.clone() };
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
