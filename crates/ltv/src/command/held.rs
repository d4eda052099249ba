//! `ltv runs release` and `ltv runs reject`, and what a person reads of a run that is held.

use anyhow::{Context, bail};
use batch::{Deviation, Measure, RowCount, RunId, RunState};
use documents::Decided;
use store::{Archive, DecisionKind, NewDecision, RunRecord};

use super::runs::unless_blocked;
use crate::cli::DecideArgs;
use crate::config;
use crate::output::{count, money, table};
use crate::stdout::{put, say};

pub(crate) async fn release(args: DecideArgs) -> anyhow::Result<()> {
    decide(args, DecisionKind::Release).await
}

pub(crate) async fn reject(args: DecideArgs) -> anyhow::Result<()> {
    decide(args, DecisionKind::Reject).await
}

async fn decide(args: DecideArgs, kind: DecisionKind) -> anyhow::Result<()> {
    let DecideArgs { database, run, reason, by, json } = args;
    let store = config::store_now(&database, "command").await?;
    existing(&store, run).await?;
    let new = NewDecision { kind, by, reason };
    let is_new = unless_blocked(run, past(kind), async || store.decide(run, &new).await).await?;
    if !is_new {
        // Said twice, it has happened once.
        was_decided(&existing(&store, run).await?, kind)?;
    }
    if json {
        say!("{}", documents::line(&Decided { run, decision: kind, is_new }))?;
    } else {
        say!("{}", told(run, kind, is_new))?;
    }
    Ok(())
}

async fn existing(store: &impl Archive, run: RunId) -> anyhow::Result<RunRecord> {
    store.run(run).await?.with_context(|| format!("there is no run {run}"))
}

/// Fails unless the same has been decided before.
fn was_decided(record: &RunRecord, kind: DecisionKind) -> anyhow::Result<()> {
    let run = record.run;
    match &record.guard.decision {
        Some(decision) if decision.kind == kind => Ok(()),
        Some(decision) => {
            bail!("run {run} is {}, by {}: {}", past(decision.kind), decision.by, decision.reason)
        }
        None => bail!("run {run} is {}, and not held", record.state),
    }
}

fn told(run: RunId, kind: DecisionKind, is_new: bool) -> String {
    match (kind, is_new) {
        (DecisionKind::Release, true) => {
            format!("run {run} is released: the coordinator that leads shows it with its next pass")
        }
        (DecisionKind::Reject, true) => {
            format!("run {run} is rejected: its values are dropped, and its night can be dispatched again")
        }
        (_, false) => format!("run {run} is {} already", past(kind)),
    }
}

fn past(kind: DecisionKind) -> &'static str {
    match kind {
        DecisionKind::Release => "released",
        DecisionKind::Reject => "rejected",
    }
}

/// Fails if a run that was waited for has come to a halt without being shown.
pub(crate) fn is_shown(record: &RunRecord) -> anyhow::Result<()> {
    let run = record.run;
    match record.state {
        RunState::Cancelled => bail!("run {run} was cancelled"),
        RunState::Rejected => bail!("run {run} was rejected"),
        RunState::Held => {
            let why = record.guard.held.as_ref().map(|(_, hold)| hold.to_string()).unwrap_or_default();
            bail!(
                "run {run} is held, and readers keep the run before: {why}; `ltv runs show {run}` tells more, \
                 `ltv runs release {run} --reason WHY` has it shown, `ltv runs reject {run} --reason WHY` drops it"
            )
        }
        RunState::Planned | RunState::Running | RunState::Finished => Ok(()),
    }
}

/// Tells why a run is held or was, what a person said, and what the source did while it went on.
pub(crate) fn tell(record: &RunRecord) -> anyhow::Result<()> {
    let guard = &record.guard;
    if let Some((since, hold)) = &guard.held {
        let beside = hold.compared_with.map(|run| format!(", compared with run {run}")).unwrap_or_default();
        say!("\nHeld since {since}{beside}\n")?;
        let rows: Vec<_> = hold.deviations.iter().map(deviation).collect();
        put(table(&["what", "before", "now"], &[0], &rows))?;
    }
    match &guard.decision {
        Some(decision) => {
            let (kind, by) = (past(decision.kind), &decision.by);
            say!("\n  {kind} by {by} at {}: {}", decision.at, decision.reason)?;
        }
        None if record.state == RunState::Held => {
            let run = record.run;
            say!(
                "\n  `ltv runs release {run} --reason WHY` has it shown, `ltv runs reject {run} --reason WHY` drops it"
            )?;
        }
        None => {}
    }
    if let Some((at_plan, at_end)) = Option::zip(guard.source_at_plan, guard.source_at_end)
        && at_plan != at_end
    {
        say!("\nRows of the source, which changed while the run went on\n")?;
        let row = |name: &str, plan, end| vec![name.to_owned(), rows(plan), rows(end)];
        let subscriptions = Option::zip(at_plan.subscriptions, at_end.subscriptions);
        let rows: Vec<_> = [
            Some(row("source.customers", at_plan.customers, at_end.customers)),
            Some(row("source.transactions", at_plan.transactions, at_end.transactions)),
            subscriptions.map(|(at_plan, at_end)| row("source.subscriptions", at_plan, at_end)),
        ]
        .into_iter()
        .flatten()
        .collect();
        put(table(&["relation", "at the plan", "at the end"], &[0], &rows))?;
    }
    Ok(())
}

fn deviation(deviation: &Deviation) -> Vec<String> {
    let Deviation { what, before, now } = deviation;
    let figure = |figure: i64| match what {
        Measure::Value => money(figure),
        _ => count(figure.unsigned_abs()),
    };
    vec![what.to_string(), figure(*before), figure(*now)]
}

fn rows(counted: RowCount) -> String {
    let about = if counted.is_exact { "" } else { "about " };
    format!("{about}{}", count(counted.rows))
}
