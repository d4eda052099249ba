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
    parsed(get(row, column)?, column)
}

/// Reads a column of words of which some are missing.
pub(super) fn word_if_any<T: FromStr<Err: Display>>(row: &Row, column: &str) -> Result<Option<T>, Fault> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| parsed(text, column)).transpose()
}

fn parsed<T: FromStr<Err: Display>>(text: &str, column: &str) -> Result<T, Fault> {
    text.trim_end().parse().map_err(|error| Fault::nonsense(format!("column {column}: {error}")))
}

/// Reads a column of JSON of which some are missing, or null.
pub(super) fn json_if_any<T: serde::de::DeserializeOwned>(
    row: &Row,
    column: &str,
) -> Result<Option<T>, Fault> {
    let value: Option<serde_json::Value> = get(row, column)?;
    let parse = |value| serde_json::from_value(value);
    value
        .filter(|value| !value.is_null())
        .map(parse)
        .transpose()
        .map_err(|error| Fault::nonsense(format!("column {column}: {error}")))
}

/// Reads a column of JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &str) -> Result<T, Fault> {
    let value: serde_json::Value = get(row, column)?;
    serde_json::from_value(value).map_err(|error| Fault::nonsense(format!("column {column}: {error}")))
}
