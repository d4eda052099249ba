//! Reads stored rows into types that cannot be wrong.

use std::fmt::Display;
use std::str::FromStr;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::Fault;

/// Reads a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, Fault> {
    Ok(row.try_get(column)?)
}

/// Reads a column of words.
pub(super) fn word<T: FromStr<Err: Display>>(row: &Row, column: &str) -> Result<T, Fault> {
    let text: &str = get(row, column)?;
    text.trim_end().parse().map_err(|error| Fault::nonsense(format!("column {column}: {error}")))
}

/// Reads a column of JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &str) -> Result<T, Fault> {
    let value: serde_json::Value = get(row, column)?;
    serde_json::from_value(value).map_err(|error| Fault::nonsense(format!("column {column}: {error}")))
}
