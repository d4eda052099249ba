//! The model of discrete opportunities.

use anyhow::Result;
use model::PeriodRate;

use super::{Parameters, or_infinite, owned};
use crate::models::{Model, ModelName};
use files::summaries::{Donor, HistoryColumns};
use files::{Cell, Column, Header, Row, Widening};

const QUANTITIES: [&str; 5] = ["log_lik", "p_alive_n", "p_alive_n_plus_1", "cet_n_star", "dert"];

/// Evaluates BG/BB.
pub(super) struct Evaluation {
    parameters: Parameters,
    history: HistoryColumns,
    horizon: Column,
    rate: Column,
    columns: Vec<String>,
}

impl Evaluation {
    pub(super) fn find(header: &Header) -> Result<Self> {
        let names: [&[&str]; 4] = [&["alpha"], &["beta"], &["gamma"], &["delta"]];
        Ok(Self {
            parameters: Parameters::find(ModelName::BgBb, header, &names)?,
            history: HistoryColumns::of_donors(header)?,
            horizon: header.column(&["n_star"])?,
            rate: header.column(&["d"])?,
            columns: owned(&QUANTITIES),
        })
    }
}

impl Widening for Evaluation {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let Some(Model::BgBb(model)) = self.parameters.read(row)? else { return Ok(None) };
        let Donor { x, t_x, n } = self.history.donor(row)?;
        let n_star = row.count(self.horizon)?;
        let rate = PeriodRate::new(row.number(self.rate)?).map_err(|error| row.bad(self.rate, error))?;
        Ok(Some(vec![
            model.log_likelihood(x, t_x, n).into(),
            model.p_alive(x, t_x, n).into(),
            model.p_alive_at_next(x, t_x, n).into(),
            model.expected_purchases(x, t_x, n, n_star).into(),
            or_infinite(model.discounted_purchases_for_ever(x, t_x, n, rate)),
        ]))
    }
}
