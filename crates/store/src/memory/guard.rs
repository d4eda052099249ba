//! The guard before a run is shown: by the names that the PostgreSQL backend has for it. The source is the base, which
//! nobody changes: its rows are not counted.

use std::collections::BTreeMap;

use batch::{Before, ChunkState, Evidence, Figures, RunEvent, RunId, RunState};
use jiff::Timestamp;

use super::rows::{Rows, Run};
use crate::guard::{Decision, DecisionKind, Hold, NewDecision};
use crate::record::{DEAD_CHUNK, Term};

/// Whom a decision is by that names nobody.
const NOBODY: &str = "the database's user";

pub(super) fn evidence(rows: &Rows, id: RunId) -> Option<Evidence> {
    let run = rows.run(id).filter(|run| run.state.is_open() && run.guard.decision.is_none())?;
    let limits = rows.mutations.limits(run.guard.limits)?;
    Some(Evidence { limits, now: figures(run), before: before(rows, id, run), source: None })
}

pub(super) fn hold(rows: &mut Rows, term: Term, id: RunId, hold: &Hold, now: Timestamp) -> bool {
    if !rows.leads(term, now) {
        return false;
    }
    let Some(run) = rows.run(id) else { return false };
    let Ok(state) = run.state.after(RunEvent::Held(rows.progress(id, run))) else { return false };
    let run = rows.run_mut(id).expect("it was there a moment ago");
    run.state = state;
    run.guard.held = Some((now, hold.clone()));
    true
}

pub(super) fn decide(rows: &mut Rows, id: RunId, new: &NewDecision, now: Timestamp) -> bool {
    let Some(run) = rows.run_mut(id) else { return false };
    let event = match new.kind {
        DecisionKind::Release => RunEvent::Released,
        DecisionKind::Reject => RunEvent::Rejected,
    };
    let Ok(state) = run.state.after(event) else { return false };
    run.state = state;
    let by = new.by.clone().unwrap_or_else(|| NOBODY.into());
    run.guard.decision = Some(Decision { kind: new.kind, at: now, by, reason: new.reason.clone() });
    if new.kind == DecisionKind::Reject {
        drop_values(rows, id, "rejected", now);
    }
    true
}

/// Drops what a run holds that will never be visible, and frees its night.
pub(super) fn drop_values(rows: &mut Rows, id: RunId, became: &str, now: Timestamp) {
    let run = rows.run_mut(id).expect("whoever ends a run has found it");
    run.finished_at = Some(now);
    run.values = Vec::new();
    run.accounts = BTreeMap::new();
    if let Some(night) = run.night.take() {
        let renamed = format!("{night} ({became} run {id})");
        run.night = Some(renamed.clone());
        rows.nights.remove(&night);
        rows.nights.insert(renamed, id);
    }
}

/// The run before: the latest finished one of the same selection whose moment comes before.
fn before(rows: &Rows, id: RunId, run: &Run) -> Option<Before> {
    let is_like = |(other_id, other): &(RunId, &Run)| {
        other.state == RunState::Finished
            && other.selection == run.selection
            && (other.as_of, *other_id) < (run.as_of, id)
    };
    let (before_id, before) =
        rows.runs().filter(is_like).max_by_key(|(other_id, other)| (other.as_of, *other_id))?;
    let currency = |run: &Run| rows.model_version(run.model_version).map(|version| version.currency);
    let is_same_money = before.terms == run.terms && currency(before) == currency(run);
    Some(Before { run: before_id, figures: figures(before), is_same_money })
}

/// What a run comes to. The customers of dead chunks are rejections, though they become so when it is finished.
fn figures(run: &Run) -> Figures {
    let mut figures = Figures { customers: run.customers, ..Figures::default() };
    for (_, reason) in run.rejections.values() {
        *figures.rejections.entry((*reason).to_owned()).or_default() += 1;
    }
    let (mut transactions, mut value_minor) = (0, 0_i64);
    for (_, chunk) in run.chunks() {
        if chunk.snapshot.state == ChunkState::Dead && chunk.rejection_count == 0 {
            *figures.rejections.entry(DEAD_CHUNK.into()).or_default() += u64::from(chunk.customers);
        }
        transactions += chunk.transactions;
        value_minor = value_minor.saturating_add(chunk.value_minor);
    }
    (figures.transactions, figures.value_minor) = (Some(transactions), Some(value_minor));
    figures
}
