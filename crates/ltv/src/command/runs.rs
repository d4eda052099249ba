//! `ltv runs`

use std::time::Duration;

use anyhow::{Context, bail};
use batch::{AttemptId, Outcome, RunId, RunState};
use jiff::Timestamp;
use store::{
    Archive, AttemptRecord, ModelVersion, Planning as _, RunRecord, RunSummary, SegmentValue, TopCustomer,
    Values,
};
use tokio::time::{Instant, sleep};

use super::explain::explain;
use super::follow::{Following, follow};
use super::held;
use super::meaning::meaning;
use crate::cli::{ListArgs, RunArgs, ShowArgs, WatchArgs};
use crate::config;
use crate::output::{count, duration, money, table};
use crate::stdout::{Unsaid, note, put, say};

/// How long a run is tried to be cancelled while somebody reads its table, and how soon after each try.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// Attempts that are told of.
pub(crate) const TOLD_ATTEMPTS: u32 = 40;

pub(crate) async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let runs = store.runs(args.limit).await?;
    if args.json {
        say!("{}", documents::line(&runs.iter().map(documents::Run::from).collect::<Vec<_>>()))?;
        return Ok(());
    }
    if runs.is_empty() {
        say!("there are no runs yet: `ltv dispatch --all` makes one")?;
        return Ok(());
    }
    put(listing(&runs, store.now().await?))?;
    Ok(())
}

pub(crate) async fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let run = named_or_latest(&store, args.run).await?;
    let model = store
        .model_version(run.model_version)
        .await?
        .with_context(|| format!("model version {} of run {} is missing", run.model_version, run.run))?;
    if let Some(customer) = &args.customer {
        return explain(&store, &run, &model, customer, args.json).await;
    }
    let summary = store.summary(run.run, args.top).await?;
    let story = store.troubled_attempts(run.run, TOLD_ATTEMPTS).await?;
    if args.json {
        say!("{}", documents::line(&documents::RunSummary::new(&run, &model, &summary)))?;
        return Ok(());
    }
    tell(&run, &model, &summary, meaning)?;
    held::tell(&run)?;
    tell_story(&story)?;
    Ok(())
}

/// A run that was named, or the latest finished one.
pub(super) async fn named_or_latest(store: &impl Archive, named: Option<RunId>) -> anyhow::Result<RunRecord> {
    let Some(run) = named else {
        let latest = store.runs(50).await?.into_iter().find(|run| run.state == RunState::Finished);
        return latest.context("no run is finished yet; `ltv runs list` lists those that are not");
    };
    store.run(run).await?.with_context(|| format!("there is no run {run}"))
}

pub(crate) async fn watch(args: &WatchArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let run = match args.run {
        Some(run) => run,
        None => store.runs(1).await?.first().context("there are no runs yet")?.run,
    };
    follow(&store, run, Following { shows_progress: true, past_deadline: Some(args.give_up) }).await
}

pub(crate) async fn cancel(args: &RunArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let run = args.run;
    let record = store.run(run).await?.with_context(|| format!("there is no run {run}"))?;
    if record.state == RunState::Held {
        bail!("run {run} is held: `ltv runs reject {run}` drops it");
    }
    if !unless_blocked(run, "cancelled", async || store.cancel_run(run).await).await? {
        bail!("run {run} is over already");
    }
    say!("run {run} is cancelled")?;
    Ok(())
}

/// Ends a run. Says once of each reader of its table that it stands in the way, and tries again for a while.
pub(super) async fn unless_blocked(
    run: RunId,
    becomes: &str,
    end: impl AsyncFn() -> store::Result<bool>,
) -> anyhow::Result<bool> {
    let (began, mut told) = (Instant::now(), String::new());
    loop {
        let error = match end().await {
            Err(error @ store::Error::Blocked { .. }) => error,
            other => return Ok(other?),
        };
        if began.elapsed() >= CANCEL_PATIENCE {
            let advice =
                format!("run {run} is not {becomes}: end that session, or try again when it has ended");
            return Err(anyhow::Error::new(error).context(advice));
        }
        let now = error.to_string();
        if now != told {
            note!("{now}; trying again");
            told = now;
        }
        sleep(CANCEL_AGAIN).await;
    }
}

/// Lays runs out as a table.
pub(crate) fn listing(runs: &[RunRecord], now: Timestamp) -> String {
    let rows: Vec<_> = runs.iter().map(|run| row(run, now)).collect();
    let heads =
        ["run", "what", "as of", "state", "priority", "done", "customers", "rejected", "dead", "took"];
    table(&heads, &[1, 2, 3, 4], &rows)
}

/// How long a run took, or has taken by now.
pub(super) fn took(run: &RunRecord, now: Timestamp) -> Duration {
    run.finished_at.unwrap_or(now).duration_since(run.planned_at).unsigned_abs()
}

fn row(run: &RunRecord, now: Timestamp) -> Vec<String> {
    let progress = &run.progress;
    vec![
        run.run.to_string(),
        run.selection.clone(),
        run.as_of.strftime("%Y-%m-%d %H:%M").to_string(),
        run.state.to_string(),
        run.priority.to_string(),
        format!("{:.0} %", 100.0 * progress.share()),
        count(progress.customers),
        count(progress.rejections),
        count(progress.dead),
        duration(took(run, now)),
    ]
}

/// Sums a run up for a person; `meaning` says what a rejection's code means.
pub(crate) fn tell(
    run: &RunRecord,
    model: &ModelVersion,
    summary: &RunSummary,
    meaning: impl Fn(&str) -> String,
) -> Result<(), Unsaid> {
    let progress = &run.progress;
    let took = took(run, run.planned_at);
    let allowed = run.deadline_at.duration_since(run.planned_at).unsigned_abs();
    let settled = progress.values + progress.rejections;
    say!("\nRun {}: {}, {}, as of {}\n", run.run, run.selection, run.state, run.as_of)?;
    if run.finished_at.is_some() {
        say!("  duration            {}", duration(took))?;
        say!("  customers a second  {}", count((settled as f64 / took.as_secs_f64()) as u64))?;
        let share = 100.0 * took.as_secs_f64() / allowed.as_secs_f64();
        say!("  deadline used       {share:.1} % of {}", duration(allowed))?;
    }
    say!("  customers           {}", count(progress.customers))?;
    say!("  values              {}", count(progress.values))?;
    say!("  rejections          {}", count(progress.rejections))?;
    say!("  chunks              {} done, {} dead, of {}", progress.done, progress.dead, progress.chunks)?;
    say!(
        "  value               contribution expected over 12 months in {}, discounted at {:.0} % a year",
        model.currency,
        100.0 * run.terms.annual_discount_rate()
    )?;
    say!("  model version       {}", model.version)?;
    tell_segments(&summary.segments)?;
    tell_top(&summary.top)?;
    tell_rejections(&summary.rejections, meaning)
}

fn tell_segments(segments: &[SegmentValue]) -> Result<(), Unsaid> {
    if segments.is_empty() {
        return Ok(());
    }
    say!("\nValue by segment\n")?;
    let rows: Vec<_> = segments
        .iter()
        .map(|segment| {
            let mean = segment.value_minor as f64 / segment.customers as f64;
            vec![
                segment.segment.clone(),
                count(segment.customers),
                money(segment.value_minor),
                money(segment.contract_minor),
                money(mean as i64),
                segment.historic_minor.map_or_else(String::new, money),
            ]
        })
        .collect();
    put(table(&["segment", "customers", "value", "of it contracts", "a customer", "so far"], &[], &rows))
}

fn tell_top(top: &[TopCustomer]) -> Result<(), Unsaid> {
    if top.is_empty() {
        return Ok(());
    }
    say!("\nThe most valuable customers\n")?;
    let rows: Vec<_> = top
        .iter()
        .map(|top| {
            let (value, account) = (&top.valued.value, &top.valued.account);
            vec![
                top.external_id.clone(),
                top.segment.clone(),
                money(value.value_minor()),
                money(value.contracts.months_12),
                char::from(value.confidence.grade.letter()).to_string(),
                money(value.historic_minor),
                format!("{:.1}", value.expected_purchases),
                value.p_alive.map_or_else(String::new, |p_alive| format!("{:.0} %", 100.0 * p_alive)),
                account.purchases.map_or_else(String::new, |summary| count(summary.frequency)),
            ]
        })
        .collect();
    let heads = [
        "customer",
        "segment",
        "value",
        "of it contracts",
        "grade",
        "so far",
        "purchases to come",
        "alive",
        "repeat purchases so far",
    ];
    put(table(&heads, &[1], &rows))
}

fn tell_rejections(rejections: &[(String, u64)], meaning: impl Fn(&str) -> String) -> Result<(), Unsaid> {
    if rejections.is_empty() {
        return Ok(());
    }
    say!("\nRejections\n")?;
    let rows: Vec<_> =
        rejections.iter().map(|(code, customers)| vec![count(*customers), meaning(code)]).collect();
    put(table(&["customers", "reason"], &[1], &rows))
}

/// Tells of the attempts that did not simply succeed, if any.
pub(crate) fn tell_story(story: &[(AttemptId, AttemptRecord)]) -> Result<(), Unsaid> {
    if story.is_empty() {
        return Ok(());
    }
    say!("\nAttempts of chunks that did not go through at once\n")?;
    let rows: Vec<_> = story
        .iter()
        .map(|(id, record)| {
            vec![
                id.chunk.chunk.to_string(),
                record.attempt.to_string(),
                record.outcome.map_or("at work", Outcome::as_str).to_owned(),
                record.worker.clone(),
                record.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    put(table(&["chunk", "attempt", "outcome", "worker", "reason"], &[2, 3, 4], &rows))
}
