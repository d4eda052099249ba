//! One model, fitted to a file.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use documents::{FitDiagnostics, FittedModel, FittedSegment};
use jiff::Timestamp;
use model::fit::{
    self, ContractRow, FEWEST_OF_A_SEGMENT, Fit, FitError, OpportunityRow, PurchaseRow, ShrunkFit, SpendRow,
};
use model::{ContractModel, Currency};

use crate::layout::count;
use crate::model_file;
use crate::models::{Model, ModelName, PurchaseModel};
use files::summaries::{self, Customer, Donor, HistoryColumns, Reading, SpendColumns, WEIGHT, weight};
use files::{NewFile, Row, cohorts};

/// What is to be fitted to a file.
#[derive(Clone, Debug)]
pub struct FitOrder {
    /// Which model.
    pub model: ModelName,
    /// The file.
    pub input: PathBuf,
    /// A column whose texts are segments, each of which gets a fit too.
    pub segment_column: Option<String>,
    /// For transactions: nothing at or after this moment counts; all days up to the last one's unless given.
    pub as_of: Option<Timestamp>,
    /// For transactions: customers with another currency are left out.
    pub currency: Currency,
}

/// Fits a model to a file. `remark` hears what somebody should know of the data.
pub fn fit(order: &FitOrder, remark: &dyn Fn(&str)) -> Result<Fitted> {
    let of_file = OfFile { order, remark };
    let fitted = match order.model {
        ModelName::BgNbd => {
            of_file.purchases().and_then(|rows| rows.fit_together(fit::bg_nbd, fit::bg_nbd_by_segment))
        }
        ModelName::MbgNbd => {
            of_file.purchases().and_then(|rows| rows.fit_together(fit::mbg_nbd, fit::mbg_nbd_by_segment))
        }
        ModelName::ParetoNbd => {
            of_file.purchases().and_then(|rows| rows.fit(remark, fit::pareto_nbd, purchase_likelihood))
        }
        ModelName::GammaGamma => {
            of_file.spends().and_then(|rows| rows.fit_together(fit::gamma_gamma, fit::gamma_gamma_by_segment))
        }
        ModelName::BgBb => of_file.opportunities().and_then(|rows| {
            rows.fit(remark, fit::bg_bb, |model, row| model.log_likelihood(row.x, row.t_x, row.n))
        }),
        ModelName::Sbg => {
            of_file.contracts().and_then(|rows| rows.fit(remark, fit::sbg, contract_likelihood))
        }
        ModelName::Bdw => {
            of_file.contracts().and_then(|rows| rows.fit(remark, fit::bdw, contract_likelihood))
        }
    };
    fitted.with_context(|| order.input.display().to_string())
}

/// A fit of all customers, and those of the segments.
pub struct Fitted {
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
    /// How much of a segment's parameters is that of all; none for the fit of all.
    weight_of_parent: Option<f64>,
}

impl<M: Into<Model>> From<ShrunkFit<M>> for One {
    fn from(ShrunkFit { fit, weight_of_parent }: ShrunkFit<M>) -> Self {
        Self { weight_of_parent: Some(weight_of_parent), ..fit.into() }
    }
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
            weight_of_parent: None,
        }
    }
}

impl Fitted {
    /// Writes the document of the fit, whole or not at all.
    pub fn write(&self, out: NewFile) -> Result<()> {
        model_file::write(out, &self.document())
    }

    /// The document of the fit.
    pub fn document(&self) -> FittedModel {
        let FittedSegment { model, parameters, fit, weight_of_parent: _ } = self.all.document();
        let (segment_column, segments) = self.segments.as_ref().map_or((None, None), |(column, segments)| {
            let segments = segments.iter().map(|(name, fit)| (name.clone(), fit.document()));
            (Some(column.clone()), Some(segments.collect()))
        });
        FittedModel { model, parameters, fit, segment_column, segments }
    }

    /// The same for a person.
    pub fn told(&self) -> String {
        let mut text = self.all.told("");
        for (name, fit) in self.segments.iter().flat_map(|(_, segments)| segments) {
            let own = 100.0 * (1.0 - fit.weight_of_parent.unwrap_or(0.0));
            text += &fit.told(&format!(" of {name} ({own:.0} % of its own)"));
        }
        text
    }
}

impl One {
    fn document(&self) -> FittedSegment {
        let name = self.model.name();
        let standard_errors = model_file::by_name(name, &self.standard_errors);
        let known = |(name, error): (String, f64)| (name, Some(error).filter(|error| error.is_finite()));
        FittedSegment {
            model: name.as_str().to_owned(),
            parameters: model_file::by_name(name, &self.model.parameters()),
            fit: Some(FitDiagnostics {
                standard_errors: standard_errors.into_iter().map(known).collect(),
                log_likelihood: self.log_likelihood,
                gradient_norm: self.gradient_norm,
                customers: self.customers,
                converged: self.converged,
                evaluations: self.evaluations,
            }),
            weight_of_parent: self.weight_of_parent,
        }
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

/// What a model looks at, once for all customers and once by segment.
struct Rows<R> {
    all: Vec<R>,
    segments: Option<(String, BTreeMap<String, Vec<R>>)>,
}

/// Rows that can be counted: `customers` of them are alike.
trait Counted: Copy + Sync {
    /// An order in which only rows that are alike are equal.
    fn order(&self, other: &Self) -> Ordering;
    fn customers(&mut self) -> &mut u64;
}

impl<R: Counted> Rows<R> {
    /// Reads the rows that the model looks at. A segment is one even if the model looks at nothing of it.
    fn read(
        mut table: files::Rows,
        segment_column: Option<&str>,
        read: impl Fn(Row<'_>) -> Result<Option<R>>,
    ) -> Result<Self> {
        let header = table.header().clone();
        let segment = segment_column.map(|name| header.column(&[name])).transpose()?;
        let mut rows = Vec::new();
        while let Some(record) = table.next_row()? {
            let row = record.under(&header);
            let segment = segment.map(|column| row.text(column).into_owned());
            rows.push((segment, read(row)?));
        }
        Ok(Self::of(rows, segment_column))
    }

    fn of(rows: Vec<(Option<String>, Option<R>)>, segment_column: Option<&str>) -> Self {
        let all = rows.iter().filter_map(|&(_, row)| row).collect();
        let mut segments: BTreeMap<String, Vec<R>> = BTreeMap::new();
        for (segment, row) in rows {
            if let Some(segment) = segment {
                segments.entry(segment).or_default().extend(row);
            }
        }
        let compressed_segments = |name: &str| {
            let segments = segments.into_iter().map(|(segment, rows)| (segment, compressed(rows)));
            (name.to_owned(), segments.collect())
        };
        Self { all: compressed(all), segments: segment_column.map(compressed_segments) }
    }

    /// Fits all rows, and the segments together: the fewer customers a segment has, the nearer it stays to that of all.
    fn fit_together<M: Clone + Into<Model>>(
        self,
        fit: impl Fn(&[R]) -> Result<Fit<M>, FitError>,
        by_segment: impl Fn(&Fit<M>, &BTreeMap<String, Vec<R>>) -> BTreeMap<String, ShrunkFit<M>>,
    ) -> Result<Fitted> {
        let all = fit(&self.all)?;
        let segments = self.segments.map(|(column, rows)| {
            let fits = by_segment(&all, &rows);
            (column, fits.into_iter().map(|(name, fit)| (name, fit.into())).collect())
        });
        Ok(Fitted { all: all.into(), segments })
    }

    /// Fits all rows, and each segment by itself if it has enough customers. The others, and those whose customers have
    /// no most likely model, have the parameters of all.
    fn fit<M: Clone + Into<Model>>(
        self,
        remark: &dyn Fn(&str),
        fit: impl Fn(&[R]) -> Result<Fit<M>, FitError>,
        log_likelihood: impl Fn(&M, &R) -> f64,
    ) -> Result<Fitted> {
        let all = fit(&self.all)?;
        let of_segment = |name: &str, mut rows: Vec<R>| {
            let customers = rows.iter_mut().map(|row| *row.customers()).sum::<u64>();
            let own = if customers < FEWEST_OF_A_SEGMENT {
                Err(format!("{customers} customers are fewer than {FEWEST_OF_A_SEGMENT}"))
            } else {
                fit(&rows).map_err(|error| error.to_string())
            };
            match own {
                Ok(fit) => ShrunkFit { fit, weight_of_parent: 0.0 },
                Err(reason) => {
                    remark(&format!("segment {name} is left to the fit of all: {reason}"));
                    let each = |row: &mut R| *row.customers() as f64 * log_likelihood(&all.model, row);
                    let log_likelihood = rows.iter_mut().map(each).sum();
                    let fit = Fit { log_likelihood, customers, evaluations: 0, ..all.clone() };
                    ShrunkFit { fit, weight_of_parent: 1.0 }
                }
            }
        };
        let segments = self.segments.map(|(column, rows)| {
            let fits = rows.into_iter().map(|(name, rows)| {
                let fit = of_segment(&name, rows);
                (name, fit.into())
            });
            (column, fits.collect())
        });
        Ok(Fitted { segments, all: all.into() })
    }
}

impl Counted for PurchaseRow {
    fn order(&self, other: &Self) -> Ordering {
        self.x.cmp(&other.x).then(self.t_x.total_cmp(&other.t_x)).then(self.age.total_cmp(&other.age))
    }

    fn customers(&mut self) -> &mut u64 {
        &mut self.customers
    }
}

impl Counted for SpendRow {
    fn order(&self, other: &Self) -> Ordering {
        self.x.cmp(&other.x).then(self.zbar.total_cmp(&other.zbar))
    }

    fn customers(&mut self) -> &mut u64 {
        &mut self.customers
    }
}

impl Counted for OpportunityRow {
    fn order(&self, other: &Self) -> Ordering {
        (self.x, self.t_x, self.n).cmp(&(other.x, other.t_x, other.n))
    }

    fn customers(&mut self) -> &mut u64 {
        &mut self.customers
    }
}

impl Counted for ContractRow {
    fn order(&self, other: &Self) -> Ordering {
        self.tenure.cmp(&other.tenure)
    }

    fn customers(&mut self) -> &mut u64 {
        &mut self.customers
    }
}

/// The file that is fitted to, as each model looks at it.
struct OfFile<'a> {
    order: &'a FitOrder,
    remark: &'a dyn Fn(&str),
}

impl OfFile<'_> {
    fn purchases(&self) -> Result<Rows<PurchaseRow>> {
        let rows = self.open()?;
        let history = HistoryColumns::of_customers(rows.header())?;
        let weights = rows.header().optional(&WEIGHT)?;
        Rows::read(rows, self.segment_column(), |row| {
            let Customer { x, t_x, age } = history.customer(row)?;
            let customers = weight(row, weights)?;
            Ok((customers > 0).then_some(PurchaseRow { x, t_x, age, customers }))
        })
    }

    fn spends(&self) -> Result<Rows<SpendRow>> {
        let rows = self.open()?;
        let columns = SpendColumns::find(rows.header())?;
        let weights = rows.header().optional(&WEIGHT)?;
        Rows::read(rows, self.segment_column(), |row| {
            let (x, zbar) = columns.spend(row)?;
            let customers = weight(row, weights)?;
            // Who never bought again, or only what costs nothing, says nothing about the spend.
            Ok((x > 0 && zbar > 0.0 && customers > 0).then_some(SpendRow { x, zbar, customers }))
        })
    }

    fn opportunities(&self) -> Result<Rows<OpportunityRow>> {
        let rows = files::Rows::open(&self.order.input)?;
        let history = HistoryColumns::of_donors(rows.header())?;
        let weights = rows.header().optional(&WEIGHT)?;
        Rows::read(rows, self.segment_column(), |row| {
            let Donor { x, t_x, n } = history.donor(row)?;
            let customers = weight(row, weights)?;
            Ok((customers > 0).then_some(OpportunityRow { x, t_x, n, customers }))
        })
    }

    fn contracts(&self) -> Result<Rows<ContractRow>> {
        let contracts = cohorts::read(files::Rows::open(&self.order.input)?, self.segment_column())?;
        let rows = contracts.into_iter().map(|(segment, row)| (segment, Some(row))).collect();
        Ok(Rows::of(rows, self.segment_column()))
    }

    fn segment_column(&self) -> Option<&str> {
        self.order.segment_column.as_deref()
    }

    fn open(&self) -> Result<files::Rows> {
        let FitOrder { as_of, currency, ref segment_column, ref input, .. } = *self.order;
        let (rows, left_out) =
            summaries::open(input, &Reading { as_of, currency, segment_column: segment_column.clone() })?;
        if left_out > 0 {
            (self.remark)(&format!(
                "{} customers were left out: their histories cannot be summed up",
                count(left_out)
            ));
        }
        Ok(rows)
    }
}

fn purchase_likelihood(model: &impl PurchaseModel, row: &PurchaseRow) -> f64 {
    model.log_likelihood(row.x, row.t_x, row.age)
}

fn contract_likelihood(model: &(impl Copy + Into<ContractModel>), row: &ContractRow) -> f64 {
    row.ln_probability(&(*model).into())
}

/// Counts equal rows once, and puts them in an order of their own: a fit does not depend on that of the file.
fn compressed<R: Counted>(mut rows: Vec<R>) -> Vec<R> {
    rows.sort_unstable_by(R::order);
    rows.dedup_by(|next, kept| {
        let same = next.order(kept) == Ordering::Equal;
        if same {
            *kept.customers() += *next.customers();
        }
        same
    });
    rows
}
