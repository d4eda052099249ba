//! `ltv backtest`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::BacktestArgs;
use crate::stdout::{note, put, say};
use files::NewFile;
use offline::backtest::{self, Question, Report};

pub(crate) async fn run(args: BacktestArgs) -> anyhow::Result<()> {
    let mut models = args.models.clone();
    models.sort_unstable();
    models.dedup();
    let question = Question {
        origins: args.origins,
        horizon_weeks: args.horizon,
        models,
        champion: args.champion,
        currency: args.currency,
        as_of: args.as_of,
        seed: args.seed,
    };
    backtest::check(&question)?;
    tokio::task::spawn_blocking(move || answer(&args, &question)).await.context("the backtest panicked")?
}

fn answer(args: &BacktestArgs, question: &Question) -> anyhow::Result<()> {
    let read: Vec<&Path> = [Some(&args.transactions), args.customers.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let create = |path: &Path| NewFile::create(path, &read);
    // A name under which nothing can be written is better known now than after the backtest.
    let html = args.html.as_deref().map(create).transpose()?;
    let to_file = args.json.as_deref().filter(|path| *path != Path::new("-"));
    let to_file = to_file.map(create).transpose()?;

    let base = backtest::Base::read(&args.transactions, args.customers.as_deref())?;
    if let Some(warning) = base.warning() {
        note!("  {warning}");
    }
    let report = backtest::backtest(&base, question, |step| note!("  {step}"))?;
    if let Some(file) = html {
        write(file, &backtest::html(&report))?;
    }
    let is_document = args.json.is_some() && to_file.is_none();
    if let Some(file) = to_file {
        write(file, &json(&report)?)?;
    }
    if is_document {
        say!("{}", json(&report)?)?;
    } else {
        put(backtest::text(&report))?;
    }
    Ok(())
}

fn json(report: &Report) -> anyhow::Result<String> {
    serde_json::to_string(report).context("write the report as JSON")
}

fn write(mut file: NewFile, content: &str) -> anyhow::Result<()> {
    file.write_all(content.as_bytes()).with_context(|| format!("write {}", file.name().display()))?;
    file.finish()
}
