//! `ltv local`
//!
//! Reads the files, fits the models unless they are given, lives through the night, writes the values. What it has
//! learnt is gone with the process, but for that one file.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use batch::{AttemptId, Progress, RunId};
use documents::{LocalAttempt, LocalFile, LocalNight, Problem};
use jiff::Timestamp;
use model::Currency;
use offline::local::{FileReport, Files, Given, Known, Night, STOPPED, Telemetry, Terms, ValuesFile};
use store::memory::{Accounts, Memory};
use store::{Archive, AttemptRecord, DEAD_CHUNK, NewModelVersion, Values};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::follow::{Following, follow};
use super::{meaning, runs};
use crate::cli::{LocalArgs, SeasonChoice};
use crate::output::{FileBar, count};
use crate::stdout::{note, say};

/// The currency where nobody says any; that of `ltv fit`.
const CURRENCY: &str = "USD";

pub(crate) async fn run(args: LocalArgs) -> Result<()> {
    let stop = CancellationToken::new();
    process::stop_on_signal(stop.clone())?;
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
    let (name, inputs) = (args.out.clone(), files.clone());
    let out = unless_stopped(&stop, move || {
        let inputs: Vec<&Path> = inputs.paths().chain(&args.model).map(PathBuf::as_path).collect();
        ValuesFile::create(&name, &inputs)
    })
    .await?;
    let (now, is_quiet) = (now(), args.json);
    let is_seasonal = args.season == SeasonChoice::Estimate;
    let reading = Terms { as_of: args.as_of, currency, is_seasonal, now };
    let known = unless_stopped(&stop, move || read(&files, reading, is_quiet)).await?;
    known.reports.iter().filter_map(FileReport::warning).for_each(|warning| note!("ltv: warning: {warning}"));
    let as_of = known.as_of();
    let files = known.reports.iter().map(file_document).collect::<Vec<_>>();

    let (version, base) =
        unless_stopped(&stop, move || with_models(known, given, currency, is_quiet)).await?;
    let models = version.models.clone();
    let night = Night {
        base,
        version,
        terms,
        as_of,
        deadline: args.deadline,
        chunk_customers: args.chunk_customers,
        threads: threads(args.threads)?,
        now,
        telemetry: Telemetry {
            trace_context: process::telemetry::inject_current,
            link: process::telemetry::link,
        },
    };
    let following = Following { shows_progress: !is_quiet, past_deadline: None };
    let (store, run) = night.live(&stop, async |store, run| follow(store, run, following).await).await?;
    out.write(&store, run, &models, &stop).await?;
    tell(&store, run, files, &Telling { out: args.out, top: args.top, is_document: args.json }).await
}

/// Gives the customers the models that were named, or those that are fitted to what is known of them.
fn with_models(
    known: Known,
    given: Option<Given>,
    currency: Currency,
    is_quiet: bool,
) -> Result<(NewModelVersion, Accounts)> {
    let version = if let Some(given) = given {
        given.into_version(currency)
    } else {
        if !is_quiet {
            note!("  fitting the models");
        }
        known.fitted(currency, |warning| note!("ltv: warning: {warning}"))?
    };
    let base = known.into_accounts(&version.models.contracts)?;
    Ok((version, base))
}

/// How a night is told of.
struct Telling {
    /// Where its values are.
    out: PathBuf,
    /// So many of the most valuable customers.
    top: u32,
    /// As one document and nothing else.
    is_document: bool,
}

/// Tells of a night whose values are written. Fails if not all of it went well.
async fn tell(store: &Memory, run: RunId, files: Vec<LocalFile>, telling: &Telling) -> Result<()> {
    let summary = store.summary(run, telling.top).await?;
    let story = store.troubled_attempts(run, runs::TOLD_ATTEMPTS).await?;
    let record = store.run(run).await?.context("the run is gone")?;
    let model = store.model_version(record.model_version).await?.context("the model version is gone")?;
    let name = telling.out.display();
    if telling.is_document {
        let document = LocalNight {
            summary: documents::RunSummary::new(&record, &model, &summary),
            files,
            out: name.to_string(),
            attempts: story.iter().map(attempt_document).collect(),
        };
        say!("{}", documents::line(&document))?;
    } else {
        runs::tell(&record, &model, &summary, meaning)?;
        runs::tell_story(&story)?;
        say!(
            "\nThe values are in {name}. Nothing else of this night is kept: no run, no model version, no history"
        )?;
    }
    all_settled(&record.progress, &telling.out)
}

/// Reads the files and shows how far that is.
fn read(files: &Files, terms: Terms, is_quiet: bool) -> Result<Known> {
    let bar = RefCell::new(FileBar::default());
    let known = Known::read(files, terms, &|progress| {
        if !is_quiet {
            bar.borrow_mut().show(progress.into());
        }
    });
    bar.into_inner().finish();
    known.context("nothing was written")
}

/// Fails if chunks are dead: there is nobody here who could try them again.
fn all_settled(progress: &Progress, out: &Path) -> Result<()> {
    let (dead, all) = (progress.dead, progress.chunks);
    ensure!(
        dead == 0,
        "{} of {} chunks used up their attempts, as told above; {} says {DEAD_CHUNK} of each of their customers, and \
         the other values in it are right. Run it again; if the same chunks die, please report what they say",
        count(dead),
        count(all),
        out.display()
    );
    Ok(())
}

/// What a rejection's code means, where there is no server to ask.
fn meaning(code: &str) -> String {
    match code {
        DEAD_CHUNK => "its chunk used up its attempts; what each of them met is told below".into(),
        code => meaning::meaning(code),
    }
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

fn file_document(file: &FileReport) -> LocalFile {
    let first = file.report.first_problem.as_ref();
    let rejected = file.report.rejected.iter();
    LocalFile {
        path: file.path.display().to_string(),
        rows: file.report.rows,
        rejected: rejected.map(|(code, rows)| ((*code).to_owned(), *rows)).collect(),
        first_problem: first.map(|(line, detail)| Problem { line: *line, detail: detail.clone() }),
    }
}

fn attempt_document((id, record): &(AttemptId, AttemptRecord)) -> LocalAttempt {
    LocalAttempt {
        chunk: id.chunk.chunk,
        attempt: record.attempt,
        outcome: record.outcome,
        reason: record.reason.clone(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_chunk_fails_the_command_and_nobody_is_sent_to_a_server() {
        let out = Path::new("values.csv");
        let settled = Progress { chunks: 12, done: 12, ..Progress::default() };
        let dead = Progress { chunks: 12, done: 10, dead: 2, ..Progress::default() };

        assert!(all_settled(&settled, out).is_ok());
        let reason = all_settled(&dead, out).unwrap_err().to_string();
        assert!(reason.starts_with("2 of 12 chunks used up their attempts"), "{reason}");
        assert!(reason.contains("values.csv says dead_chunk"), "{reason}");
        for said in [reason, meaning(DEAD_CHUNK)] {
            assert!(!said.contains("dead-letters"), "{said}");
        }
        assert_eq!(meaning("no_purchase"), meaning::meaning("no_purchase"));
    }
}
