//! The commands on files, run as a person runs them.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod fits;
#[path = "../folder/mod.rs"]
mod folder;
mod predictions;
mod reference;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

use folder::Folder;

impl Folder {
    fn json(&self, name: &str) -> Json {
        serde_json::from_str(&self.read(name)).unwrap()
    }
}

fn ltv(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ltv")).args(arguments).env_remove("LTV_DATABASE_URL").output().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = ltv(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stderr
}

#[track_caller]
fn fails(arguments: &[&str], code: i32) -> String {
    let output = ltv(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data").join(name);
    path.display().to_string()
}

fn table(text: &str) -> (Vec<String>, Vec<BTreeMap<String, String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().iter().map(str::to_owned).collect();
    (names, reader.deserialize().map(Result::unwrap).collect())
}

fn error(actual: &str, expected: &str) -> f64 {
    let (actual, expected): (f64, f64) = (actual.parse().unwrap(), expected.parse().unwrap());
    assert!(!actual.is_nan());
    // Below the range of full precision, and below the reference's forty digits beside 1, there is nothing to compare.
    if actual.total_cmp(&expected).is_eq() || (actual.abs() < 1e-30 && expected.abs() < 1e-30) {
        return 0.0;
    }
    (actual / expected - 1.0).abs()
}
