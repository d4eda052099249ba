//! A fitted model on the customers of a file: rows widened by what it predicts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use model::{Currency, GammaGamma, PeriodRate, Terms, WEEKS_PER_YEAR};

use crate::model_file::ModelFile;
use crate::models::{Curves, Expected, Model, ModelName, PurchaseModel};
use files::summaries::{self, HistoryColumns, Reading, SpendColumns};
use files::{Cell, Column, Header, NewFile, Row, Rows, Widening, widen};

/// What is to be predicted, and from what.
#[derive(Clone, Debug)]
pub struct PredictOrder {
    /// The fitted model.
    pub model: PathBuf,
    /// A fitted Gamma-Gamma beside a model of purchases, which adds the spend.
    pub spend_model: Option<PathBuf>,
    /// The customers.
    pub input: PathBuf,
    /// How much of the future counts.
    pub horizon: Horizon,
    /// By the year.
    pub annual_discount_rate: f64,
    /// Opportunities or renewals in a year, for the models that count them.
    pub periods_per_year: f64,
    /// For transactions: nothing at or after this moment counts; all days up to the last one's unless given.
    pub as_of: Option<Timestamp>,
    /// For transactions: customers with another currency are left out.
    pub currency: Currency,
}

/// How much of the future counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Horizon {
    /// A time, in weeks.
    Weeks(f64),
    /// As many of the model's periods.
    Periods(f64),
}

/// A prediction that is ready to be made: models and customers are read.
pub struct Prediction {
    rows: Rows,
    widening: Box<dyn Widening>,
}

impl PredictOrder {
    /// The files that are read.
    pub fn paths(&self) -> Vec<&Path> {
        let read = [Some(&self.input), Some(&self.model), self.spend_model.as_ref()];
        read.into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// Reads the models and the customers. `left_out` hears how many customers cannot be summed up, if any.
    pub fn prepare(&self, left_out: impl FnOnce(u64)) -> Result<Prediction> {
        let fitted = ModelFile::read(&self.model)?;
        let spend = self.spend_model.as_deref().map(spend_model).transpose()?;
        let segment_column = [Some(&fitted), spend.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|fitted| fitted.segments.as_ref().map(|(column, _)| column.clone()));
        let reading = Reading { as_of: self.as_of, currency: self.currency, segment_column };
        let (rows, unsummed) = summaries::open(&self.input, &reading)?;
        if unsummed > 0 {
            left_out(unsummed);
        }
        let widening = widening(self, fitted, spend, rows.header())?;
        Ok(Prediction { rows, widening })
    }
}

impl Prediction {
    /// Writes the rows, with what is predicted behind their columns.
    pub fn write(self, out: NewFile) -> Result<()> {
        widen(self.rows, &*self.widening, out).map(|_| ())
    }
}

fn spend_model(path: &Path) -> Result<ModelFile> {
    let fitted = ModelFile::read(path)?;
    let name = fitted.model.name();
    ensure!(
        name == ModelName::GammaGamma,
        "{}: --spend-model must be a gamma_gamma, this is a {}",
        path.display(),
        name.as_str()
    );
    Ok(fitted)
}

fn widening(
    order: &PredictOrder,
    fitted: ModelFile,
    spend: Option<ModelFile>,
    header: &Header,
) -> Result<Box<dyn Widening>> {
    let name = fitted.model.name();
    let models = BySegment::new(fitted, header)?;
    let spend = spend.map(|spend| BySegment::new(spend, header)).transpose()?;
    ensure!(
        spend.is_none() || models.all.as_purchase_model().is_some(),
        "--spend-model goes with a model of purchases, not with {}",
        name.as_str()
    );
    Ok(match name {
        ModelName::BgNbd | ModelName::MbgNbd | ModelName::ParetoNbd => {
            Box::new(Purchases::new(order, models, spend, header)?)
        }
        ModelName::GammaGamma => Box::new(Spend::new(models, header)?),
        ModelName::BgBb => Box::new(Opportunities::new(order, models, header)?),
        ModelName::Sbg | ModelName::Bdw => Box::new(Contracts::new(order, name, models, header)?),
    })
}

/// A model for each segment, and one for whoever is in none of them.
struct BySegment {
    all: Model,
    segments: Option<(Column, BTreeMap<String, Model>)>,
}

impl BySegment {
    fn new(fitted: ModelFile, header: &Header) -> Result<Self> {
        let find =
            |(column, models): (String, _)| Ok::<_, anyhow::Error>((header.column(&[&column])?, models));
        Ok(Self { all: fitted.model, segments: fitted.segments.map(find).transpose()? })
    }

    fn of(&self, row: Row<'_>) -> &Model {
        self.find(row).0
    }

    /// The model, and the segment if it is that of one.
    fn find(&self, row: Row<'_>) -> (&Model, Option<&str>) {
        let segment =
            self.segments.as_ref().and_then(|(column, models)| models.get_key_value(&*row.text(*column)));
        segment.map_or((&self.all, None), |(name, model)| (model, Some(name)))
    }
}

/// What customers will buy over the horizon, and spend if there is a model of it.
///
/// Whatever does not depend on `t_x` is tabulated: a curve for each `x` that is met, over every age.
struct Purchases {
    models: BySegment,
    /// The curves of the model of all, and those of the segments.
    curves: (CurvesByX, BTreeMap<String, CurvesByX>),
    history: HistoryColumns,
    spend: Option<(BySegment, SpendColumns)>,
    terms: Terms,
    columns: Vec<String>,
}

impl Purchases {
    fn new(
        order: &PredictOrder,
        models: BySegment,
        spend: Option<BySegment>,
        header: &Header,
    ) -> Result<Self> {
        let (Horizon::Weeks(weeks) | Horizon::Periods(weeks)) = order.horizon;
        let mut columns = vec!["p_alive", "cet", "det", "dert", "var_y", "p_zero"];
        if spend.is_some() {
            columns.extend(["mean_spend", "expected_spend", "value"]);
        }
        let segments = models.segments.iter().flat_map(|(_, models)| models.keys());
        let curves = (CurvesByX::new(), segments.map(|name| (name.clone(), CurvesByX::new())).collect());
        let with_columns = |spend| Ok::<_, anyhow::Error>((spend, SpendColumns::find(header)?));
        Ok(Self {
            models,
            curves,
            history: HistoryColumns::of_customers(header)?,
            spend: spend.map(with_columns).transpose()?,
            terms: Terms::new(weeks, order.annual_discount_rate).context("--horizon")?,
            columns: columns.into_iter().map(str::to_owned).collect(),
        })
    }
}

impl Purchases {
    fn model(&self, row: Row<'_>) -> (&dyn PurchaseModel, &CurvesByX) {
        let (model, segment) = self.models.find(row);
        let curves = segment.map_or(&self.curves.0, |segment| &self.curves.1[segment]);
        (model.as_purchase_model().expect("checked when the model was read"), curves)
    }
}

/// Curves are kept for `x` below this: a purchase a day for eleven years.
const CURVES: usize = 4096;

/// The curves of one model, laid out when an `x` is first met.
struct CurvesByX(Box<[OnceLock<Option<Box<Curves>>>]>);

impl CurvesByX {
    fn new() -> Self {
        Self((0..CURVES).map(|_| OnceLock::new()).collect())
    }

    fn expected(&self, model: &dyn PurchaseModel, x: u32, t_x: f64, age: f64, terms: &Terms) -> Expected {
        let kept = self.0.get(x as usize);
        match kept.and_then(|kept| kept.get_or_init(|| model.curves(x, terms).map(Box::new)).as_deref()) {
            Some(curves) => Expected::from_curves(model, curves, x, t_x, age),
            None => Expected::alone(model, x, t_x, age, terms),
        }
    }
}

impl Widening for Purchases {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let summaries::Customer { x, t_x, age } = self.history.customer(row)?;
        let (model, curves) = self.model(row);
        let expected = curves.expected(model, x, t_x, age, &self.terms);
        let Expected { p_alive, purchases: cet, discounted: det, for_ever: dert, variance, p_zero } =
            expected;
        let mut cells = vec![p_alive, cet, det, dert, variance, p_zero];
        if let Some((models, columns)) = &self.spend {
            let mean_spend = mean_spend(gamma_gamma(models.of(row)), columns.spend(row)?);
            cells.extend([mean_spend, times(cet, mean_spend), times(det, mean_spend)]);
        }
        Ok(Some(cells.into_iter().map(Cell::Number).collect()))
    }
}

/// What customers spend on a purchase.
struct Spend {
    models: BySegment,
    history: SpendColumns,
    columns: Vec<String>,
}

impl Spend {
    fn new(models: BySegment, header: &Header) -> Result<Self> {
        let columns = ["mean_spend", "var_mean_spend"].map(str::to_owned).to_vec();
        Ok(Self { models, history: SpendColumns::find(header)?, columns })
    }
}

impl Widening for Spend {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let model = gamma_gamma(self.models.of(row));
        let (x, zbar) = self.history.spend(row)?;
        let variance = model.variance(x, zbar).unwrap_or(f64::INFINITY);
        Ok(Some(vec![mean_spend(model, (x, zbar)).into(), variance.into()]))
    }
}

/// How a customer will use the coming opportunities.
struct Opportunities {
    models: BySegment,
    history: HistoryColumns,
    horizon: u32,
    rate: PeriodRate,
    columns: Vec<String>,
}

impl Opportunities {
    fn new(order: &PredictOrder, models: BySegment, header: &Header) -> Result<Self> {
        let columns = ["p_alive", "cet", "det", "dert"].map(str::to_owned).to_vec();
        let history = HistoryColumns::of_donors(header)?;
        Ok(Self { models, history, horizon: periods(order)?, rate: rate(order)?, columns })
    }
}

impl Widening for Opportunities {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let Model::BgBb(model) = self.models.of(row) else { unreachable!("chosen by the model's name") };
        let summaries::Donor { x, t_x, n } = self.history.donor(row)?;
        let dert = model.discounted_purchases_for_ever(x, t_x, n, self.rate).unwrap_or(f64::INFINITY);
        Ok(Some(vec![
            model.p_alive_at_next(x, t_x, n).into(),
            model.expected_purchases(x, t_x, n, self.horizon).into(),
            model.discounted_purchases(x, t_x, n, self.horizon, self.rate).into(),
            dert.into(),
        ]))
    }
}

/// How often a customer just before a renewal will renew.
struct Contracts {
    models: BySegment,
    renewal: Column,
    horizon: u32,
    rate: PeriodRate,
    columns: Vec<String>,
}

impl Contracts {
    fn new(order: &PredictOrder, name: ModelName, models: BySegment, header: &Header) -> Result<Self> {
        let mut columns = vec!["retention", "expected_renewals", "discounted_renewals", "derl"];
        if name == ModelName::Sbg {
            columns.push("mean_churn");
        }
        let columns = columns.into_iter().map(str::to_owned).collect();
        let renewal = header.column(&["n", "renewal", "period"])?;
        Ok(Self { models, renewal, horizon: periods(order)?, rate: rate(order)?, columns })
    }
}

impl Widening for Contracts {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let coming = row.count(self.renewal)?;
        let made = coming.checked_sub(1).ok_or_else(|| row.bad(self.renewal, "the first renewal is 1"))?;
        let (next, remaining, derl) = match self.models.of(row) {
            Model::Sbg(model) => (
                model.retention(coming),
                model.remaining(made, self.horizon),
                model.residual_lifetime(made, self.rate),
            ),
            Model::Bdw(model) => (
                model.retention(coming),
                model.remaining(made, self.horizon),
                model.residual_lifetime(made, self.rate),
            ),
            _ => unreachable!("chosen by the model's name"),
        };
        let mut cells = vec![
            next.into(),
            remaining.expected().into(),
            remaining.discounted(self.rate).into(),
            derl.unwrap_or(f64::INFINITY).into(),
        ];
        if let Model::Sbg(model) = self.models.of(row) {
            cells.push(model.churn_posterior(made).mean().into());
        }
        Ok(Some(cells))
    }
}

/// The horizon in opportunities or renewals; a year of weeks has as many as the command line says.
fn periods(order: &PredictOrder) -> Result<u32> {
    let periods = match order.horizon {
        Horizon::Periods(periods) => periods,
        Horizon::Weeks(weeks) => libm::round(weeks / WEEKS_PER_YEAR * order.periods_per_year),
    };
    ensure!(
        (1.0..=100_000.0).contains(&periods) && periods % 1.0 == 0.0,
        "--horizon must come to a whole number of periods from 1 to 100,000, this is {periods}"
    );
    Ok(periods as u32)
}

fn rate(order: &PredictOrder) -> Result<PeriodRate> {
    Ok(PeriodRate::of_annual(order.annual_discount_rate, 1.0 / order.periods_per_year)?)
}

fn gamma_gamma(model: &Model) -> &GammaGamma {
    match model {
        Model::GammaGamma(model) => model,
        _ => unreachable!("checked when the model was read"),
    }
}

fn mean_spend(model: &GammaGamma, (x, zbar): (u32, f64)) -> f64 {
    model.mean_spend(x, zbar).unwrap_or(f64::INFINITY)
}

/// A product in which nothing of something infinite is nothing.
fn times(purchases: f64, mean_spend: f64) -> f64 {
    if purchases == 0.0 { 0.0 } else { purchases * mean_spend }
}
