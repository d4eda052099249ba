//! A model at given points: rows that bring their own parameters, with the quantities that follow from them.
//!
//! For whoever holds the models against reference values. The columns are those of such a file; what is computed
//! stands under the name that it has there.

mod contracts;
mod opportunities;
mod purchases;
mod spend;

use anyhow::Result;
use model::ParameterError;

use crate::models::{Model, ModelName};
use files::{Cell, Column, Header, Row, Widening};

/// Prepares the evaluation of a model at the points of a file with this header.
pub fn of(model: ModelName, header: &Header) -> Result<Box<dyn Widening>> {
    Ok(match model {
        ModelName::BgNbd | ModelName::MbgNbd | ModelName::ParetoNbd => {
            Box::new(purchases::Evaluation::find(model, header)?)
        }
        ModelName::GammaGamma => Box::new(spend::Evaluation::find(header)?),
        ModelName::BgBb => Box::new(opportunities::Evaluation::find(header)?),
        ModelName::Sbg | ModelName::Bdw => Box::new(contracts::Evaluation::find(model, header)?),
    })
}

/// Where a row has the parameters of its model.
struct Parameters {
    model: ModelName,
    columns: Vec<Column>,
    /// Which model the row is of, in a file that has several.
    named_in: Option<Column>,
}

impl Parameters {
    /// Finds the columns, each by one of its names, in the order of the model's parameters.
    fn find(model: ModelName, header: &Header, names: &[&[&str]]) -> Result<Self> {
        let columns = names.iter().map(|any_of| header.column(any_of)).collect::<Result<_>>()?;
        Ok(Self { model, columns, named_in: header.optional(&["model"])? })
    }

    /// Reads them from rows of every model, because they are those of another one beside it.
    fn whatever_the_model(self) -> Self {
        Self { named_in: None, ..self }
    }

    /// Reads the model of a row; `None` if the row is of another one.
    fn read(&self, row: Row<'_>) -> Result<Option<Model>> {
        if self.named_in.is_some_and(|column| !self.model.is_meant_by(&row.text(column))) {
            return Ok(None);
        }
        let values: Vec<f64> =
            self.columns.iter().map(|&column| row.number(column)).collect::<Result<_>>()?;
        Model::new(self.model, &values).map(Some).map_err(|error| self.blame(row, &error))
    }

    fn blame(&self, row: Row<'_>, error: &ParameterError) -> anyhow::Error {
        let place = self.model.parameters().iter().position(|name| *name == error.name);
        row.bad(self.columns[place.unwrap_or(0)], error)
    }
}

/// A quantity that may be infinite.
fn or_infinite<E>(quantity: Result<f64, E>) -> Cell {
    Cell::Number(quantity.unwrap_or(f64::INFINITY))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().copied().map(str::to_owned).collect()
}
