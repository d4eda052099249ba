//! All values of a run, a line for each.

use batch::RunId;
use serde::Serialize;
use store::Valued;
use utoipa::ToSchema;

use crate::{Digits, Value};

/// One line of an export: a customer's value.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExportedValue {
    /// His number.
    #[schema(value_type = Digits)]
    #[serde(serialize_with = "in_digits")]
    pub customer: i64,
    /// What he is worth.
    #[serde(flatten)]
    pub value: Value,
}

/// The last line of an export. A reader who misses it knows that the stream was cut.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ExportEnd {
    /// Always true.
    pub end: bool,
    /// How many lines came before.
    pub customers: u64,
    /// The run.
    #[schema(value_type = Digits)]
    #[serde(serialize_with = "in_digits")]
    pub run_id: i64,
}

impl ExportedValue {
    /// Writes the line of a customer, with its end.
    pub fn write(valued: &Valued, into: &mut Vec<u8>) {
        let value = Value::new(&valued.value, &valued.account);
        write(&Self { customer: valued.customer.0, value }, into);
    }
}

impl ExportEnd {
    /// Writes the last line.
    pub fn write(run: RunId, customers: u64, into: &mut Vec<u8>) {
        write(&Self { end: true, customers, run_id: run.0 }, into);
    }
}

/// Straight into the buffer: a million lines through a tree of values would take ten times as long.
fn write(line: &impl Serialize, into: &mut Vec<u8>) {
    serde_json::to_writer(&mut *into, line).expect("names are text, and what is no number is null");
    into.push(b'\n');
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde passes a field")]
fn in_digits<S: serde::Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
