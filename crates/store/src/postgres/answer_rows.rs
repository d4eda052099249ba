//! Rows of `fleet.answers`, all of an answer by one statement, in and out.
//!
//! A COPY would cost two round trips more than the statement that is the fence, and an answer is mostly one row. So the
//! rows go in as columns, each an array: the bytes of a field are the same in a COPY, in an array and in a row, and
//! `value_row.rs` remains the one place that knows the columns.

use std::error::Error;

use batch::{CustomerId, RequestId, RunId};
use bytes::{BufMut, BytesMut};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::Fault;
use super::copy::{Fields, RowReader, RowWriter};
use super::row::get;
use super::value_row::{FIGURE_TYPES, read_figures, write_figures};
use crate::record::{ModelVersionId, ResultRows, Valued};
use crate::request::{Known, Origin};

/// How many columns go in: the customer, the reason, the figures.
pub(super) const COLUMNS_IN: usize = 2 + FIGURE_TYPES.len();

/// Turns the rows of an answer into columns.
pub(super) fn columns(answer: &ResultRows) -> Result<Vec<Column>, Fault> {
    let mut rows = RowWriter::new();
    for valued in &answer.values {
        rows.row(COLUMNS_IN as i16).int8(valued.customer.0).nulls(1);
        write_figures(&mut rows, valued);
    }
    for rejected in &answer.rejections {
        rows.row(COLUMNS_IN as i16).int8(rejected.customer.0).bytes(rejected.reason.code().as_bytes());
        rows.nulls(FIGURE_TYPES.len());
    }
    let mut columns = vec![Column::default(); COLUMNS_IN];
    let stream = rows.finish();
    let fed = RowReader::default().feed(&stream, |fields| {
        columns.iter_mut().try_for_each(|column| {
            column.push(fields.next()?);
            Ok(())
        })
    });
    fed.map_err(Fault::nonsense)?;
    Ok(columns)
}

/// The columns as `unnest` takes them, from the parameter of this number on.
pub(super) fn unnested(first: usize) -> String {
    let types = ["bigint", "text"].into_iter().chain(FIGURE_TYPES);
    let arrays = (first..).zip(types).map(|(number, kind)| format!("${number}::{kind}[]"));
    arrays.collect::<Vec<_>>().join(", ")
}

/// A column, as an array of PostgreSQL's.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    count: i32,
    has_nulls: bool,
    elements: BytesMut,
}

impl Column {
    fn push(&mut self, field: Option<&[u8]>) {
        self.count += 1;
        self.has_nulls |= field.is_none();
        put(field, &mut self.elements);
    }
}

/// Writes a field as it stands in a row, and as an element in an array.
fn put(field: Option<&[u8]>, bytes: &mut BytesMut) {
    bytes.put_i32(field.map_or(-1, |field| field.len() as i32));
    bytes.put_slice(field.unwrap_or_default());
}

impl ToSql for Column {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Kind::Array(element) = kind.kind() else { return Err("a column goes into an array".into()) };
        out.put_i32(1); // dimensions
        out.put_i32(i32::from(self.has_nulls));
        out.put_u32(element.oid());
        out.put_i32(self.count);
        out.put_i32(1); // the number of the first element
        out.put_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(kind.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

/// Reads what is known of a customer: `customer_id`, `run_id`, `request_id`, `as_of`, `model_version`, `reason`, and
/// then the figures.
pub(super) fn known(row: &Row) -> Result<Known, Fault> {
    let customer = CustomerId(get(row, "customer_id")?);
    let run: Option<i64> = get(row, "run_id")?;
    let reason: Option<String> = get(row, "reason")?;
    let outcome = reason.map_or_else(|| figures_of(row, customer).map(Ok), |reason| Ok(Err(reason)))?;
    Ok(Known {
        customer,
        outcome,
        origin: match run {
            Some(run) => Origin::Run(RunId(run)),
            None => Origin::Request(RequestId(get(row, "request_id")?)),
        },
        as_of: get(row, "as_of")?,
        model_version: ModelVersionId(get(row, "model_version")?),
    })
}

fn figures_of(row: &Row, customer: CustomerId) -> Result<Valued, Fault> {
    let mut bytes = BytesMut::new();
    for figure in row.len() - FIGURE_TYPES.len()..row.len() {
        let field: Option<Field<'_>> = row.try_get(figure)?;
        put(field.map(|Field(field)| field), &mut bytes);
    }
    read_figures(customer, &mut Fields::whole(&bytes)).map_err(Fault::nonsense)
}

/// A field of any type, as it arrived.
struct Field<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Field<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::value_row::figures;
    use super::*;

    #[test]
    fn each_figure_has_a_name_and_a_type() {
        assert_eq!(figures().split(", ").count(), FIGURE_TYPES.len());
    }

    #[test]
    fn a_column_is_an_array_whose_nulls_are_told() {
        let mut column = Column::default();
        column.push(Some(&7_i64.to_be_bytes()));
        column.push(None);

        let mut out = BytesMut::new();
        column.to_sql(&Type::INT8_ARRAY, &mut out).unwrap();

        let read: Vec<Option<i64>> = FromSql::from_sql(&Type::INT8_ARRAY, &out).unwrap();
        assert_eq!(read, [Some(7), None]);
    }
}
