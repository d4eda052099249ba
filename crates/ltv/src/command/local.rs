//! `ltv local`
//!
//! Reads the files, fits the models unless they are given, lives through the night, writes the values. What it has
//! learnt is gone with the process, but for that one file.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use model::Currency;
use serde_json::{Value as Json, json};
use store::{NewModelVersion, Values};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::fit_guard::Before;
use super::{fit_report, role, runs};
use crate::cli::LocalArgs;
use crate::local::base::{FileReport, Files, Known};
use crate::local::given::Given;
use crate::local::night::{Night, STOPPED};
use crate::local::values::ValuesFile;

/// The currency where nobody says any; that of `ltv fit`.
const CURRENCY: &str = "USD";

pub(crate) async fn run(args: LocalArgs) -> Result<()> {
    let stop = CancellationToken::new();
    role::stop_on_signal(stop.clone())?;
    let terms = args.terms.terms()?;
    let given = if args.model.is_empty() { None } else { Some(Given::read(&args.model)?) };
    let currency = match &given {
        Some(given) => given.currency(args.currency)?,
        None => args.currency,
    };
    let currency = currency.map_or_else(|| Currency::parse(CURRENCY), Ok)?;
    let files = Files {
        transactions: args.transactions,
        customers: args.customers,
        subscriptions: args.subscriptions,
        acquisition_costs: args.acquisition_costs,
    };
    // A name under which nothing can be written is better known now than after the night. A pipe is waited for.
    let (name, read) = (args.out.clone(), files.clone());
    let out = unless_stopped(&stop, move || {
        let read: Vec<&Path> = read.paths().chain(&args.model).map(PathBuf::as_path).collect();
        ValuesFile::create(&name, &read)
    })
    .await?;
    let (as_of, now) = (args.as_of, now());
    let known = unless_stopped(&stop, move || Known::read(&files, as_of, currency, now)).await?;
    known
        .reports
        .iter()
        .filter_map(FileReport::warning)
        .for_each(|warning| eprintln!("ltv: warning: {warning}"));
    let as_of = known.as_of();
    let read: Json = known.reports.iter().map(file_document).collect();

    let (version, base) = unless_stopped(&stop, move || {
        let version = match given {
            Some(given) => given.into_version(currency),
            None => fitted(&known, currency)?,
        };
        let base = known.into_accounts(&version.models.contracts)?;
        Ok((version, base))
    })
    .await?;
    let models = version.models.clone();
    let night = Night {
        base,
        version,
        terms,
        as_of,
        deadline: args.deadline,
        chunk_customers: args.chunk_customers,
        threads: threads(args.threads)?,
        is_quiet: args.json,
        now,
    };
    let (store, run) = night.live(&stop).await?;
    let summary = store.summary(run, args.top).await?;
    let story = store.troubled_attempts(run, runs::TOLD_ATTEMPTS).await?;
    let record = store.run(run).await?.context("the run is gone")?;
    let model = store.model_version(record.model_version).await?.context("the model version is gone")?;
    out.write(&store, run, &models, &stop).await?;

    let name = args.out.display();
    if args.json {
        let mut document = runs::summary_document(&record, &model, &summary);
        document["files"] = read;
        document["out"] = json!(name.to_string());
        println!("{document}");
        return Ok(());
    }
    runs::tell(&record, &model, &summary);
    runs::tell_story(&story);
    println!(
        "\nThe values are in {name}. Nothing else of this night is kept: no run, no model version, no history"
    );
    Ok(())
}

/// Does what takes a while, off the asynchronous threads. Asked to stop, it is left alone and ends with the process: it
/// may be waiting for a pipe that never says anything.
async fn unless_stopped<T: Send + 'static>(
    stop: &CancellationToken,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => bail!(STOPPED),
        done = spawn_blocking(work) => done?,
    }
}

/// Fits the models as `ltv fit` does where none is in force, and says what it thinks of them.
fn fitted(known: &Known, currency: Currency) -> Result<NewModelVersion> {
    let as_of = known.as_of();
    let data = known.fit_data();
    let fitted = data.fit(None).with_context(|| {
        let left_out = data.left_out;
        format!("the histories at {as_of} cannot be fitted, {left_out} customers left out; name models with --model")
    })?;
    let judgement = Before::none().judge(&fitted, &data.summaries, data.last_day);
    judgement.warnings().for_each(|warning| eprintln!("ltv: warning: {warning}"));
    let fit = fit_report::document(&fitted, as_of, &judgement);
    Ok(NewModelVersion {
        currency,
        models: fitted.models,
        fit,
        data_fingerprint: data.fingerprint(),
        code_version: env!("CARGO_PKG_VERSION").into(),
    })
}

fn file_document(file: &FileReport) -> Json {
    let first =
        file.report.first_problem.as_ref().map(|(line, detail)| json!({ "line": line, "detail": detail }));
    json!({
        "path": file.path.display().to_string(),
        "rows": file.report.rows,
        "rejected": file.report.rejected,
        "first_problem": first,
    })
}

fn threads(wanted: Option<u16>) -> Result<NonZeroUsize> {
    match wanted {
        Some(wanted) => NonZeroUsize::new(wanted.into()).context("--threads must be 1 at least"),
        None => {
            std::thread::available_parallelism().context("how many cores are there? say it with --threads")
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "there is no database here whose clock could be asked")]
fn now() -> Timestamp {
    Timestamp::now()
}
