//! The same rows through this crate and through the Python package `lifetimes`, in one run.
//!
//!     cargo bench -p model --bench compared -- PYTHON      `scripts/bench models` brings the Python
//!
//! Ours on one thread, as theirs is. What is timed is the fit of BG/NBD on 100,000 customers and the values of a
//! million; theirs are the three calls that make a value: P(alive), expected purchases, mean spend.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; nothing here pauses it")]

mod customers;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use model::{Scorer, Summary, Terms, fit};

const TO_FIT: usize = 100_000;
const TO_SCORE: usize = 1_000_000;

fn main() {
    let Some(python) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        println!("lifetimes: not compared, for no Python was named: `scripts/bench models` brings one");
        return;
    };
    let base = customers::summaries(TO_SCORE, 104.0, 3);
    let rows = Path::new(env!("CARGO_TARGET_TMPDIR")).join("customers.csv");
    write_rows(&rows, &base).expect("the target folder can be written to");

    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread is left");
    one.install(|| ours(&base));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compared.py");
    let theirs = Command::new(&python).arg(script).arg(&rows).arg(TO_FIT.to_string()).status();
    assert!(theirs.is_ok_and(|status| status.success()), "{python} {script} failed");
}

fn ours(base: &[Summary]) {
    let began = Instant::now();
    let (purchases, _) = fit::rows(base[..TO_FIT].iter().copied());
    let fitted = fit::bg_nbd(&purchases).expect("a generated base has a maximum");
    let took = began.elapsed().as_secs_f64();
    let model = fitted.model;
    println!(
        "ours       fit of {TO_FIT}: {took:.3} s at r {:.6} alpha {:.6} a {:.6} b {:.6}, log-likelihood {:.4}, {} evaluations",
        model.r(),
        model.alpha(),
        model.a(),
        model.b(),
        fitted.log_likelihood,
        fitted.evaluations
    );
    let (parameters, _) = fit::parameters(base[..TO_FIT].iter().copied()).expect("as above");
    let began = Instant::now();
    let scorer = Scorer::new(parameters, Terms::default());
    let total: i64 =
        base.iter().filter_map(|summary| scorer.value(summary).ok()).map(|value| value.value_minor).sum();
    let took = began.elapsed().as_secs_f64();
    println!("ours       {TO_SCORE} values: {took:.3} s, {:.0}/s, total {total}", TO_SCORE as f64 / took);
}

fn write_rows(path: &Path, base: &[Summary]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "frequency,recency,T,monetary_value")?;
    for summary in base {
        let (recency, age) = (summary.recency(), summary.age());
        writeln!(file, "{},{recency},{age},{}", summary.frequency, summary.mean_spend_minor() / 100.0)?;
    }
    file.flush()
}
