//! A table with more columns than it had: every row and column of the input, and what was computed from them.

use std::borrow::Cow;

use anyhow::{Context, Result, ensure};
use csv::StringRecord;
use rayon::prelude::*;

use crate::header::Header;
use crate::new_file::NewFile;
use crate::number;
use crate::row::{Record, Row};
use crate::table::Rows;

/// Rows that are at work at a time; memory does not grow with the file.
const ROWS_AT_A_TIME: usize = 4096;

/// What is computed from a row.
pub trait Widening: Sync {
    /// The columns that it fills. Those that the input has keep their place, the others follow at the end.
    fn columns(&self) -> &[String];

    /// Computes a row's cells, one for each column; `None` leaves them empty, because the row is none of its own.
    fn cells(&self, row: Row<'_>) -> Result<Option<Vec<Cell>>>;
}

/// A computed field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// A number, infinite where the quantity is.
    Number(f64),
    /// A whole number.
    Count(u32),
}

/// How many rows were read, and how many of them were none of the widening's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Widened {
    /// All rows.
    pub rows: u64,
    /// Those that were left as they are.
    pub left_empty: u64,
}

/// Writes the rows of a table, in their order, with the cells that are computed from them.
pub fn widen(mut table: Rows, widening: &dyn Widening, out: NewFile) -> Result<Widened> {
    let header = table.header().clone();
    let layout = Layout::of(&header, widening.columns());
    let name = out.name().to_owned();
    let write_error = || format!("write {}", name.display());
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(&layout.names).with_context(write_error)?;

    let mut widened = Widened::default();
    loop {
        let records = table.next_rows(ROWS_AT_A_TIME)?;
        if records.is_empty() {
            break;
        }
        let rows: Vec<_> = records.par_iter().map(|record| layout.row(widening, record, &header)).collect();
        for row in rows {
            let (row, is_empty) = row?;
            writer.write_record(&row).with_context(write_error)?;
            widened.rows += 1;
            widened.left_empty += u64::from(is_empty);
        }
    }
    let file = writer.into_inner().map_err(csv::IntoInnerError::into_error).with_context(write_error)?;
    file.finish()?;
    Ok(widened)
}

/// Where the columns of the output come from.
struct Layout {
    names: Vec<String>,
    /// The place in the output of each computed column.
    places: Vec<usize>,
}

impl Layout {
    fn of(header: &Header, computed: &[String]) -> Self {
        let mut names = header.names().to_vec();
        let place = |name: &String| {
            names.iter().position(|present| present == name).unwrap_or_else(|| {
                names.push(name.clone());
                names.len() - 1
            })
        };
        let places = computed.iter().map(place).collect();
        Self { names, places }
    }

    fn row(&self, widening: &dyn Widening, record: &Record, header: &Header) -> Result<(StringRecord, bool)> {
        let row = record.under(header);
        let cells = widening.cells(row)?;
        for (&place, cell) in self.places.iter().zip(cells.iter().flatten()) {
            // A model that fails to answer is a fault of ours, and no number that somebody should go on with.
            ensure!(!cell.is_nan(), row.at(&self.names[place], "there is no value; please report this row"));
        }
        let mut fields: Vec<Cow<'_, str>> = row.texts().collect();
        fields.resize(self.names.len(), Cow::Borrowed(""));
        let texts: Vec<String> = match &cells {
            Some(cells) => cells.iter().map(Cell::text).collect(),
            None => vec![String::new(); self.places.len()],
        };
        for (&place, text) in self.places.iter().zip(texts) {
            fields[place] = Cow::Owned(text);
        }
        Ok((fields.iter().map(|field| &**field).collect(), cells.is_none()))
    }
}

impl Cell {
    fn is_nan(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_nan())
    }

    fn text(&self) -> String {
        match *self {
            Self::Number(number) => number::text(number),
            Self::Count(count) => count.to_string(),
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}
