//! The end of a settled run: it is judged, and finished or held.
//!
//! # Failure by failure
//!
//! * **The coordinator dies between judging a run and ending it.** The next one judges it anew, by the limits that the
//!   run was planned with and the same rows: nothing of a settled run changes but through a redrive.
//! * **A dead letter is put back meanwhile.** The run is neither held nor finished, and is judged again when it is
//!   settled.
//! * **A person releases a run while another coordinator still judges it.** The hold finds a run that is held, or over,
//!   and does nothing; one that was released is not judged again, unless dead chunks of it are put back to work.
//! * **The run cannot be finished at once,** and the source is loaded meanwhile. Its rows were counted by the first try.
//! * **The source's rows cannot be counted.** The store says so, and the run is judged by the rest.

use batch::{Evidence, RunId, SourceChange, judge};
use store::{FinishedRun, Hold, Supervision, Term};

use crate::metrics;

/// How a settled run ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// Its values are visible.
    Finished(FinishedRun),
    /// It waits for a person.
    Held,
}

/// Ends a settled run; `None` if another coordinator has done it, or it is not settled any more.
pub(crate) async fn end<S: Supervision>(store: &S, term: Term, run: RunId) -> store::Result<Option<End>> {
    let evidence = store.evidence(run).await?;
    let end = match evidence.as_ref().and_then(hold) {
        Some(hold) => {
            let is_held = store.hold_run(term, run, &hold).await?;
            if is_held {
                tell(run, &hold);
            }
            is_held.then_some(End::Held)
        }
        None => store.finish_run(term, run).await?.map(End::Finished),
    };
    // Not by each try.
    if end.is_some()
        && let Some(source) = evidence.and_then(|evidence| evidence.source)
    {
        tell_of_source(run, source);
    }
    Ok(end)
}

/// Why a run is to be held, if it is.
fn hold(evidence: &Evidence) -> Option<Hold> {
    let deviations = judge(evidence);
    let compared_with = evidence.before.as_ref().map(|before| before.run);
    (!deviations.is_empty()).then_some(Hold { compared_with, deviations })
}

fn tell_of_source(run: RunId, source: SourceChange) {
    if source.at_plan != source.at_end {
        tracing::info!(
            run.id = %run,
            customers_at_plan = source.at_plan.customers.rows,
            customers_at_end = source.at_end.customers.rows,
            transactions_at_plan = source.at_plan.transactions.rows,
            transactions_at_end = source.at_end.transactions.rows,
            subscriptions_at_plan = source.at_plan.subscriptions.map(|counted| counted.rows),
            subscriptions_at_end = source.at_end.subscriptions.map(|counted| counted.rows),
            "the source changed while the run went on"
        );
    }
}

fn tell(run: RunId, hold: &Hold) {
    metrics::held();
    tracing::warn!(
        run.id = %run,
        deviations = %hold,
        "a run is held, and not shown before somebody releases it"
    );
}
