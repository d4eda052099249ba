//! The models of purchases at any time, and the spend that follows from one of them with a spend model.

use anyhow::Result;
use model::{GammaGamma, Level, SpendDistribution};

use super::{Parameters, or_infinite, owned};
use crate::models::{Model, ModelName, PurchaseModel};
use files::summaries::{Customer, HistoryColumns, SpendColumns};
use files::{Cell, Column, Header, Row, Widening};

/// What a row of customer and horizon gives.
const QUANTITIES: [&str; 9] =
    ["log_lik", "p_alive", "ln_p_alive", "ln_p_dead", "cet", "det", "dert", "var_y", "p_zero"];

/// What the same gives together with a spend model.
const SPEND_QUANTITIES: [&str; 7] =
    ["pmf0", "pmf1", "pmf2", "mean_y", "var_y", "mean_spend_total", "var_spend_total"];

/// The levels whose quantiles are computed, whether the input has a column for them or not.
const LEVELS: [&str; 3] = ["05", "50", "95"];

/// Evaluates BG/NBD, MBG/NBD or Pareto/NBD.
pub(super) struct Evaluation {
    parameters: Parameters,
    history: HistoryColumns,
    horizon: Column,
    /// A file without a discount rate is one of spends.
    delta: Option<Column>,
    spend: Option<SpendModel>,
    columns: Vec<String>,
}

/// Where the spend model of a row is, and the levels of its quantiles.
struct SpendModel {
    parameters: Parameters,
    columns: SpendColumns,
    levels: Vec<Level>,
}

impl Evaluation {
    pub(super) fn find(model: ModelName, header: &Header) -> Result<Self> {
        let names: [&[&str]; 4] = match model {
            ModelName::ParetoNbd => [&["r"], &["alpha"], &["a_or_s", "s"], &["b_or_beta", "beta"]],
            _ => [&["r"], &["alpha"], &["a_or_s", "a"], &["b_or_beta", "b"]],
        };
        let has_spend = ["p", "q", "v", "zbar"].iter().all(|name| header.has(name));
        let delta = if has_spend { header.optional(&["delta"])? } else { Some(header.column(&["delta"])?) };
        let mut columns = Vec::new();
        if delta.is_some() {
            columns.extend(owned(&QUANTITIES));
        }
        let spend = if has_spend { Some(SpendModel::find(header, &mut columns)?) } else { None };
        Ok(Self {
            parameters: Parameters::find(model, header, &names)?,
            history: HistoryColumns::of_customers(header)?,
            horizon: header.column(&["t"])?,
            delta,
            spend,
            columns,
        })
    }
}

impl Widening for Evaluation {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let Some(model) = self.parameters.read(row)? else { return Ok(None) };
        let model = model.as_purchase_model().expect("no other model is evaluated here");
        let customer = self.history.customer(row)?;
        let horizon = row.not_negative(self.horizon)?;
        let mut cells = Vec::with_capacity(self.columns.len());
        if let Some(delta) = self.delta {
            cells.extend(quantities(model, customer, horizon, row.not_negative(delta)?));
        }
        if let Some(spend) = &self.spend {
            cells.extend(spend.cells(row, model, customer, horizon)?);
        }
        Ok(Some(cells))
    }
}

fn quantities(model: &dyn PurchaseModel, customer: Customer, horizon: f64, delta: f64) -> [Cell; 9] {
    let Customer { x, t_x, age } = customer;
    [
        model.log_likelihood(x, t_x, age).into(),
        model.p_alive(x, t_x, age).into(),
        model.ln_p_alive(x, t_x, age).into(),
        model.ln_p_dead(x, t_x, age).into(),
        model.expected_purchases(x, t_x, age, horizon).into(),
        model.discounted_purchases(x, t_x, age, horizon, delta).into(),
        or_infinite(model.discounted_purchases_for_ever(x, t_x, age, delta)),
        model.variance(x, t_x, age, horizon).into(),
        model.p_zero(x, t_x, age, horizon).into(),
    ]
}

impl SpendModel {
    fn find(header: &Header, columns: &mut Vec<String>) -> Result<Self> {
        columns.extend(owned(&SPEND_QUANTITIES));
        let mut levels = Vec::new();
        for (text, level) in levels_of(header) {
            columns.extend([format!("y_q{text}"), format!("v_q{text}")]);
            levels.push(level);
        }
        Ok(Self {
            parameters: Parameters::find(ModelName::GammaGamma, header, &[&["p"], &["q"], &["v"]])?
                .whatever_the_model(),
            columns: SpendColumns::find(header)?,
            levels,
        })
    }

    fn cells(
        &self,
        row: Row<'_>,
        model: &dyn PurchaseModel,
        customer: Customer,
        horizon: f64,
    ) -> Result<Vec<Cell>> {
        let Customer { x, t_x, age } = customer;
        let (_, zbar) = self.columns.spend(row)?;
        let purchases = model.purchase_distribution(x, t_x, age, horizon);
        let spend = SpendDistribution::new(&self.read(row)?, x, zbar, &purchases);
        let mut cells = vec![
            purchases.pmf(0).into(),
            purchases.pmf(1).into(),
            purchases.pmf(2).into(),
            model.expected_purchases(x, t_x, age, horizon).into(),
            model.variance(x, t_x, age, horizon).into(),
            or_infinite(spend.mean()),
            or_infinite(spend.variance()),
        ];
        for &level in &self.levels {
            cells.extend([Cell::Count(purchases.quantile(level.get())), spend.quantile(level).into()]);
        }
        Ok(cells)
    }

    fn read(&self, row: Row<'_>) -> Result<GammaGamma> {
        match self.parameters.read(row)? {
            Some(Model::GammaGamma(model)) => Ok(model),
            _ => unreachable!("every row has the parameters of Gamma-Gamma"),
        }
    }
}

/// The levels of the quantiles: the usual ones, and each that the header names, such as 0.995 by `y_q995`.
fn levels_of(header: &Header) -> Vec<(String, Level)> {
    let named =
        header.names().iter().filter_map(|name| name.strip_prefix("y_q").or(name.strip_prefix("v_q")));
    let mut levels: Vec<(String, Level)> = Vec::new();
    for text in LEVELS.into_iter().chain(named) {
        let level = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("0.{text}").parse().ok());
        let level = level.flatten().and_then(|level| Level::new(level).ok());
        if let Some(level) = level.filter(|_| levels.iter().all(|(known, _)| known != text)) {
            levels.push((text.to_owned(), level));
        }
    }
    levels
}
