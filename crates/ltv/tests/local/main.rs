//! A night on files, as a person runs it.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

#[path = "../folder/mod.rs"]
mod folder;
mod season;
mod told;
mod values;

use std::collections::BTreeMap;
use std::process::{Command, Output};

const CDNOW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/cdnow");

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ltv"));
    command.arg("local").args(arguments);
    command
}

fn ltv(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What it says on standard output and on standard error.
#[track_caller]
fn succeeds(arguments: &[&str]) -> (String, String) {
    let output = ltv(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {err}");
    (out, err)
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, reason: &str) {
    let output = ltv(arguments);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
    assert!(err.contains(reason), "{reason} in {err}");
}

/// The rows of a file of values, by column.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

fn cdnow(name: &str) -> String {
    format!("{CDNOW}/{name}.csv")
}

const TRANSACTIONS: &str = "\
transaction_id,customer_id,occurred_at,amount,currency
1,7,2026-01-05,10.00,EUR
2,7,2026-02-05T08:00:00Z,12.50,EUR
3,8,2026-02-07,5.00,EUR
4,9,2026-02-08,5.00,USD
5,8,yesterday,5.00,EUR
3,8,2026-03-07,5.00,EUR
6,99,2026-03-08,5.00,EUR
7,8,2026-04-01,5.00,EUR
";

const CUSTOMERS: &str = "\
customer_id,external_id,segment,acquired_at
11,late,shops,2026-08-01
9,nine,shops,2026-01-01
8,eight,\"arts, crafts\",2026-01-01
7,seven,shops,2026-01-01
10,ten,shops,2026-01-01
8,again,shops,2026-01-01
12,seven,shops,2026-01-01
";

const MODELS: &str = r#"{"version": 3, "currency": "EUR", "parameters": {
    "bg_nbd": {"r": "0.243", "alpha": "4.414", "a": "0.793", "b": "2.426"},
    "gamma_gamma": {"p": "6.25", "q": "3.74", "v": "1544"},
    "contracts": {"plans": [], "others": {"sbg": {"alpha": "0.7", "beta": "1.2"}}}}}"#;
