//! All values of a run. As a CSV file they have the columns that PostgreSQL gives them, and the same numbers, of which some
//! very large and very small ones are written otherwise.

use std::fmt::Display;

use batch::{RunId, RunState};
use bytes::Bytes;
use futures_util::stream::iter;
use model::Horizons;

use super::packed::Packed;
use super::rows::{Rows, Run};
use super::values::valued;
use super::{Base, Memory};
use crate::exports::{COLUMNS, Export};
use crate::record::Valued;
use crate::{Exports, Result};

/// How many values make a piece.
const PIECE: usize = 256;

impl Exports for Memory {
    async fn export_values(&self, run: RunId) -> Result<Option<Export<Vec<Valued>>>> {
        let values = self.call(|rows, _| Ok(finished(rows, run).map(|run| all(self.base(), run)))).await?;
        Ok(values.map(|values| {
            let customers = values.len() as u64;
            let pieces: Vec<_> = values.chunks(PIECE).map(|piece| Ok(piece.to_vec())).collect();
            Export { customers, pieces: Box::pin(iter(pieces)) }
        }))
    }

    async fn export_csv(&self, run: RunId) -> Result<Option<Export<Bytes>>> {
        self.call(|rows, _| {
            let Some(row) = finished(rows, run) else { return Ok(None) };
            let currency = rows.model_version(row.model_version).map(|version| version.currency.to_string());
            let currency = currency.unwrap_or_default();
            let values = all(self.base(), row);
            let lines = values.chunks(PIECE).map(|piece| {
                let lines: String = piece.iter().map(|valued| line(valued, &currency)).collect();
                Ok(Bytes::from(lines))
            });
            let head = Ok(Bytes::from(format!("{}\n", COLUMNS.join(","))));
            let pieces: Vec<_> = std::iter::once(head).chain(lines).collect();
            Ok(Some(Export { customers: values.len() as u64, pieces: Box::pin(iter(pieces)) }))
        })
        .await
    }
}

fn finished(rows: &Rows, run: RunId) -> Option<&Run> {
    rows.run(run).filter(|run| run.state == RunState::Finished)
}

fn all(base: &dyn Base, run: &Run) -> Vec<Valued> {
    let values = run.values.iter().flat_map(Packed::iter);
    values.map(|(customer, value)| valued(base, run, customer, value)).collect()
}

fn line(Valued { customer, value, account }: &Valued, currency: &str) -> String {
    fn or_empty(field: Option<impl Display>) -> String {
        field.map(|field| field.to_string()).unwrap_or_default()
    }
    let months = |of: &Horizons| [of.months_12, of.months_24, of.months_36].map(|amount| amount.to_string());
    let ends = value
        .intervals
        .map(|intervals| intervals.map(|between| [between.lower_minor, between.upper_minor]).concat());
    let end = |place: usize| or_empty(ends.as_ref().map(|ends| ends[place]));
    let (future, contracts, confidence) = (value.future(), &value.contracts, &value.confidence);
    let purchases = account.purchases;
    let mut fields = vec![customer.to_string(), currency.to_owned()];
    fields.extend(months(&future));
    fields.push(or_empty(future.for_ever));
    fields.extend(months(contracts));
    fields.push(or_empty(contracts.for_ever));
    fields.push(value.historic_minor.to_string());
    fields.extend((0..4).map(end));
    fields.push(value.expected_purchases.to_string());
    fields.push(or_empty(value.p_alive));
    fields.push(char::from(confidence.grade.letter()).to_string());
    fields.extend([confidence.own_rate, confidence.own_spend].map(|share| share.to_string()));
    fields.push(or_empty(confidence.relative_width));
    fields.push(or_empty(value.payback.and_then(|payback| payback.months)));
    fields.push(or_empty(value.payback.map(|payback| payback.probability)));
    fields.push(or_empty(purchases.map(|summary| summary.frequency)));
    fields.push(or_empty(purchases.map(|summary| summary.recency_days)));
    fields.push(or_empty(purchases.map(|summary| summary.age_days)));
    fields.push(or_empty(purchases.map(|summary| summary.repeat_spend_minor)));
    fields.extend([account.spend_minor, account.paid_minor].map(|amount| amount.to_string()));
    fields.push(or_empty(account.acquisition_cost_minor));
    format!("{}\n", fields.join(","))
}
