//! The spend model.

use anyhow::Result;

use super::{Parameters, or_infinite, owned};
use crate::models::{Model, ModelName};
use files::summaries::SpendColumns;
use files::{Cell, Header, Row, Widening};

const QUANTITIES: [&str; 5] = ["mean_spend", "var_mean_spend", "log_lik", "post_shape", "post_scale"];

/// Evaluates Gamma-Gamma.
pub(super) struct Evaluation {
    parameters: Parameters,
    spend: SpendColumns,
    columns: Vec<String>,
}

impl Evaluation {
    pub(super) fn find(header: &Header) -> Result<Self> {
        Ok(Self {
            parameters: Parameters::find(ModelName::GammaGamma, header, &[&["p"], &["q"], &["v"]])?,
            spend: SpendColumns::find(header)?,
            columns: owned(&QUANTITIES),
        })
    }
}

impl Widening for Evaluation {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>> {
        let Some(Model::GammaGamma(model)) = self.parameters.read(row)? else { return Ok(None) };
        let (x, zbar) = self.spend.spend(row)?;
        if x > 0 && zbar == 0.0 {
            return Err(self.spend.bad_spend(row, "must be above 0 where there was a repeat purchase"));
        }
        let posterior = model.posterior(x, zbar);
        Ok(Some(vec![
            or_infinite(model.mean_spend(x, zbar)),
            or_infinite(model.variance(x, zbar)),
            model.log_likelihood(x, zbar).into(),
            posterior.shape().into(),
            posterior.scale().into(),
        ]))
    }
}
