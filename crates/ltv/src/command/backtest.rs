//! `ltv backtest`

use std::path::Path;

use anyhow::Context;

use crate::backtest::{self, Question, Report};
use crate::cli::BacktestArgs;

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
    let base = backtest::Base::read(&args.transactions, args.customers.as_deref())?;
    if let Some(warning) = base.warning() {
        eprintln!("  {warning}");
    }
    let report = backtest::backtest(&base, question, |step| eprintln!("  {step}"))?;
    if let Some(path) = &args.html {
        write(path, &backtest::html(&report))?;
    }
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => println!("{}", json(&report)?),
        Some(path) => {
            write(path, &json(&report)?)?;
            print!("{}", backtest::text(&report));
        }
        None => print!("{}", backtest::text(&report)),
    }
    Ok(())
}

fn json(report: &Report) -> anyhow::Result<String> {
    serde_json::to_string(report).context("write the report as JSON")
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    std::fs::write(path, content).with_context(|| format!("write {}", path.display()))
}
