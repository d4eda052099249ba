//! The models of contracts.

use anyhow::Result;
use model::{PeriodRate, Sbg};

use super::{Parameters, or_infinite, owned};
use crate::models::{Model, ModelName};
use files::{Cell, Column, Header, Row, Widening};

const SBG_QUANTITIES: [&str; 8] = [
    "survival_n",
    "retention_n",
    "pmf_n",
    "del_d",
    "derl_n_d",
    "derl12_n_d",
    "post_mean_churn",
    "post_sd_churn",
];

const BDW_QUANTITIES: [&str; 2] = ["bdw_survival_n", "bdw_retention_n"];

/// The renewals after which `derl12_n_d` ends.
const HORIZON: u32 = 12;

/// Evaluates sBG or BdW.
pub(super) struct Evaluation {
    parameters: Parameters,
    renewal: Column,
    /// Only sBG has quantities with a discount.
    rate: Option<Column>,
    columns: Vec<String>,
}

impl Evaluation {
    pub(super) fn find(model: ModelName, header: &Header) -> Result<Self> {
        let names: [&[&str]; 3] = [&["alpha"], &["beta"], &["bdw_c", "c"]];
        let is_bdw = model == ModelName::Bdw;
        Ok(Self {
            parameters: Parameters::find(model, header, &names[..model.parameters().len()])?,
            renewal: header.column(&["n"])?,
            rate: if is_bdw { None } else { Some(header.column(&["d"])?) },
            columns: if is_bdw { owned(&BDW_QUANTITIES) } else { owned(&SBG_QUANTITIES) },
        })
    }
}

impl Widening for Evaluation {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let Some(model) = self.parameters.read(row)? else { return Ok(None) };
        let n = row.count(self.renewal)?;
        Ok(match (model, self.rate) {
            (Model::Sbg(model), Some(column)) => {
                if n == 0 {
                    return Err(row.bad(self.renewal, "the first renewal is 1"));
                }
                let rate = PeriodRate::new(row.number(column)?).map_err(|error| row.bad(column, error))?;
                Some(sbg(&model, n, rate))
            }
            (Model::Bdw(model), _) => Some(vec![model.survival(n).into(), model.retention(n).into()]),
            _ => None,
        })
    }
}

/// What holds just before the `n`-th renewal, and of the churn probability just after it.
fn sbg(model: &Sbg, n: u32, rate: PeriodRate) -> Vec<Cell> {
    let churn = model.churn_posterior(n);
    vec![
        model.survival(n).into(),
        model.retention(n).into(),
        model.pmf(n).into(),
        or_infinite(model.discounted_lifetime(rate)),
        or_infinite(model.residual_lifetime(n - 1, rate)),
        model.residual_lifetime_within(n - 1, HORIZON, rate).into(),
        churn.mean().into(),
        churn.standard_deviation().into(),
    ]
}
