//! The guard before a run is shown.

use batch::{Before, Deviation, Figures, Limits, Measure, RunId, RunState};

use super::Ground;
use super::base::{AS_OF, at};
use super::steps::{CHUNKS, LEASE, chunk, dead, done, leading, models, ok, results, run_over, terms};
use crate::guard::{Decision, DecisionKind, Hold, NewDecision};
use crate::{
    Archive, Attempts, Begin, ModelVersionId, ModelVersions, NewRun, Planning, Supervision, Term, ValueTerms,
    VisibleRuns,
};

/// The latest finished run of the same selection, whose moment comes before.
pub async fn a_settled_run_is_judged_beside_the_finished_run_before_it(ground: &impl Ground) {
    let store = ground.store();
    let version = ok(store.save_model_version(&models(), None).await);
    let term = leading(ground).await;
    let first = finished(ground, term, &guarded(1, version)).await;
    let part = NewRun { limits: None, ..run_over(None, &CHUNKS[..1], version) };
    let part = finished(ground, term, &NewRun { as_of: at(AS_OF + 2), ..part }).await;
    let later = finished(ground, term, &guarded(9, version)).await;
    let other_terms = ValueTerms::new(0.2, 0.25, 0.0, 1.0).expect("all are shares");
    let run = ok(store.create_run(&NewRun { terms: other_terms, ..guarded(3, version) }).await).run;
    done(ground, chunk(run, 1)).await;
    dead(ground, chunk(run, 2)).await;
    done(ground, chunk(run, 3)).await;

    let evidence = ok(store.evidence(run).await).expect("it has limits");

    assert_eq!(evidence.limits, limits());
    let before = Before { run: first, figures: figures(&[[101, 111]], &REASONS), is_same_money: false };
    assert_eq!(evidence.before, Some(before), "neither {part} nor {later}");
    let rejected = [("dead_chunk", 4), ("foreign_currency", 1), ("no_purchase", 1)];
    assert_eq!(evidence.now, figures(&[[101, 104], [109, 111]], &rejected));
    assert_eq!(ok(store.evidence(part).await), None, "it has no limits, and is over");
    assert_eq!(ok(store.evidence(RunId(99)).await), None);
    let same_terms = settled(ground, &guarded(4, version)).await;
    let evidence = ok(store.evidence(same_terms).await).expect("it has limits");
    assert!(evidence.before.is_some_and(|before| before.run == first && before.is_same_money));
}

/// And nobody works on it. Whoever releases it has it finished as any other run.
pub async fn a_run_that_is_held_is_seen_by_nobody_until_it_is_released(ground: &impl Ground) {
    let store = ground.store();
    let run = held(ground, 1).await;
    let term = leading(ground).await;

    assert!(!ok(store.hold_run(term, run, &hold()).await), "it is held");
    assert_eq!(ok(store.finish_run(term, run).await), None);
    assert!(!ok(store.cancel_run(run).await), "it is to be released or rejected");
    assert_eq!(ok(store.visible_runs().await), VisibleRuns::default());
    assert_eq!(ok(store.values_after(run, None, 9).await), []);
    let snapshot = ok(store.snapshot().await);
    assert_eq!((snapshot.runs, snapshot.held), (vec![], 1));
    let begin = ok(store.begin_attempt(chunk(run, 1), "worker", LEASE, false).await);
    assert_eq!(begin, Begin::NoRun);
    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!((record.state, record.finished_at, record.guard.decision), (RunState::Held, None, None));
    assert_eq!(record.guard.held.map(|(_, hold)| hold), Some(hold()));

    assert!(ok(store.decide(run, &decision(DecisionKind::Release)).await));
    assert!(!ok(store.decide(run, &decision(DecisionKind::Release)).await), "it was released");
    assert!(!ok(store.decide(run, &decision(DecisionKind::Reject)).await), "it was released");
    assert_eq!(ok(store.evidence(run).await), None, "it was judged by a person");
    let snapshot = ok(store.snapshot().await);
    let seen: Vec<RunId> = snapshot.runs.iter().map(|open| open.run).collect();
    assert_eq!((seen, snapshot.held), (vec![run], 0));
    ok(store.finish_run(term, run).await).expect("it is released");

    assert_eq!(ok(store.visible_runs().await).runs, [run]);
    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!(record.state, RunState::Finished);
    assert!(record.guard.held.is_some(), "it stays on record");
    let Some(Decision { kind, by, reason, .. }) = record.guard.decision else { panic!("a person decided") };
    assert_eq!((kind, by.as_str(), reason.as_str()), (DecisionKind::Release, "ada", "it is as it should be"));
    assert!(!ok(store.decide(run, &decision(DecisionKind::Reject)).await), "it is over");
}

/// Who leads no more holds nothing, nor is a run held that is not settled or was never there.
pub async fn a_run_is_held_by_who_leads_once_it_is_settled(ground: &impl Ground) {
    let store = ground.store();
    let version = ok(store.save_model_version(&models(), None).await);
    let run = ok(store.create_run(&guarded(1, version)).await).run;
    let old = leading(ground).await;
    ok(store.abdicate("coordinator", old).await);
    let term = leading(ground).await;

    let too_early = ok(store.hold_run(term, run, &hold()).await);
    for number in 1..=3 {
        done(ground, chunk(run, number)).await;
    }
    let by_another = ok(store.hold_run(old, run, &hold()).await);
    let unknown = ok(store.hold_run(term, RunId(99), &hold()).await);
    let not_held = ok(store.decide(run, &decision(DecisionKind::Release)).await);

    assert_eq!([too_early, by_another, unknown, not_held], [false; 4]);
    assert!(ok(store.hold_run(term, run, &hold()).await));
}

/// Its values are dropped, and why stays on record.
pub async fn a_run_that_is_rejected_is_over_and_its_night_is_free(ground: &impl Ground) {
    let store = ground.store();
    let run = held(ground, 1).await;
    let term = leading(ground).await;

    assert!(ok(store.decide(run, &NewDecision { by: None, ..decision(DecisionKind::Reject) }).await));
    assert!(!ok(store.decide(run, &decision(DecisionKind::Reject)).await), "it is over");
    assert!(!ok(store.decide(run, &decision(DecisionKind::Release)).await), "it is over");

    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!(record.state, RunState::Rejected);
    assert!(record.state.is_over() && record.finished_at.is_some());
    let decision = record.guard.decision.expect("a person decided");
    assert!(decision.kind == DecisionKind::Reject && !decision.by.is_empty());
    assert_eq!(ok(store.finish_run(term, run).await), None);
    assert_eq!(ok(store.visible_runs().await), VisibleRuns::default());
    assert_eq!(ok(store.run_of_night("tonight").await), None);
    let again = ok(store.create_run(&guarded(1, record.model_version)).await);
    assert!(again.is_new && again.run != run);
}

/// By the runs' moments, as ever.
pub async fn a_run_that_is_released_late_stays_behind_a_newer_one(ground: &impl Ground) {
    let store = ground.store();
    let late = held(ground, 1).await;
    let term = leading(ground).await;
    let version = ok(store.run(late).await).expect("it was recorded").model_version;
    let newer = finished(ground, term, &NewRun { night: None, ..guarded(2, version) }).await;
    let before = ok(store.visible_runs().await);

    assert!(ok(store.decide(late, &decision(DecisionKind::Release)).await));
    ok(store.finish_run(term, late).await).expect("it is released");

    let after = ok(store.visible_runs().await);
    assert_eq!((before.runs.as_slice(), after.runs.as_slice()), (&[newer][..], &[newer][..]));
    assert!(before.version < after.version);
}

/// Whatever was found is found again, or not.
pub async fn a_redrive_of_a_run_that_is_held_has_it_judged_anew(ground: &impl Ground) {
    let store = ground.store();
    let whole = held(ground, 1).await;
    let version = ok(store.run(whole).await).expect("it was recorded").model_version;
    let run = ok(store.create_run(&NewRun { night: None, ..guarded(2, version) }).await).run;
    let term = leading(ground).await;
    done(ground, chunk(run, 1)).await;
    dead(ground, chunk(run, 2)).await;
    done(ground, chunk(run, 3)).await;
    assert!(ok(store.hold_run(term, run, &hold()).await));
    assert!(ok(store.dead_chunks(9).await)[0].is_open, "it can be put back to work");

    assert_eq!(ok(store.redrive(whole).await), 0);
    assert_eq!(ok(store.redrive(run).await), 1);

    let state = async |run| ok(store.run(run).await).expect("it was recorded").state;
    assert_eq!((state(whole).await, state(run).await), (RunState::Held, RunState::Running));
    done(ground, chunk(run, 2)).await;
    let evidence = ok(store.evidence(run).await).expect("nobody has released it");
    assert_eq!(evidence.now, figures(&[[101, 111]], &REASONS));
    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!((record.guard.held, record.guard.decision), (None, None));
}

/// What a person said was about other rows.
pub async fn a_redrive_of_a_run_that_was_released_has_it_judged_anew(ground: &impl Ground) {
    let store = ground.store();
    let version = ok(store.save_model_version(&models(), None).await);
    let run = ok(store.create_run(&guarded(1, version)).await).run;
    let term = leading(ground).await;
    done(ground, chunk(run, 1)).await;
    dead(ground, chunk(run, 2)).await;
    done(ground, chunk(run, 3)).await;
    assert!(ok(store.hold_run(term, run, &hold()).await));
    assert!(ok(store.decide(run, &decision(DecisionKind::Release)).await));

    assert_eq!(ok(store.redrive(run).await), 1);
    let story = ok(store.troubled_attempts(run, 9).await);
    let reasons: Vec<_> = story.iter().filter_map(|(_, attempt)| attempt.reason.as_deref()).collect();
    let is_told = |reason: &&str| {
        reason.contains("(the run was released by ada at ") && reason.ends_with(": it is as it should be)")
    };
    assert!(!reasons.is_empty() && reasons.iter().all(is_told), "who had released it stays: {reasons:?}");
    done(ground, chunk(run, 2)).await;

    let evidence = ok(store.evidence(run).await).expect("nobody has released these rows");
    assert_eq!(evidence.now, figures(&[[101, 111]], &REASONS));
    let record = ok(store.run(run).await).expect("it was recorded");
    assert_eq!((record.guard.held, record.guard.decision), (None, None));
    assert!(ok(store.hold_run(term, run, &hold()).await));
    assert_eq!(ok(store.redrive(run).await), 0, "nothing of it is dead");
    assert!(ok(store.run(run).await).is_some_and(|record| record.guard.held.is_some()));
}

/// Why customers of the base are rejected, and how many.
const REASONS: [(&str, u64); 3] =
    [("foreign_currency", 1), ("no_purchase", 1), ("refund_before_purchase", 1)];

fn limits() -> Limits {
    Limits { floor: 1, ..Limits::default() }
}

/// A run over everybody with limits, for a moment so many seconds after that of the suite.
fn guarded(second: i64, version: ModelVersionId) -> NewRun {
    let night = (second == 1).then_some("tonight");
    NewRun {
        as_of: at(AS_OF + second),
        limits: Some(limits()),
        terms: terms(),
        ..run_over(night, &CHUNKS, version)
    }
}

async fn settled<G: Ground>(ground: &G, new: &NewRun) -> RunId {
    let run = ok(ground.store().create_run(new).await).run;
    for number in 1..=new.plan.chunks.len() as i32 {
        done(ground, chunk(run, number)).await;
    }
    run
}

async fn finished<G: Ground>(ground: &G, term: Term, new: &NewRun) -> RunId {
    let run = settled(ground, new).await;
    ok(ground.store().finish_run(term, run).await).expect("it is settled");
    run
}

/// A run that is held.
pub(super) async fn held<G: Ground>(ground: &G, second: i64) -> RunId {
    let version = ok(ground.store().save_model_version(&models(), None).await);
    let run = settled(ground, &guarded(second, version)).await;
    let term = leading(ground).await;
    assert!(ok(ground.store().hold_run(term, run, &hold()).await));
    run
}

fn hold() -> Hold {
    let deviations = vec![
        Deviation { what: Measure::RejectedAs("no_purchase".into()), before: 12, now: 4_384 },
        Deviation { what: Measure::Value, before: 500, now: -3 },
    ];
    Hold { compared_with: Some(RunId(77)), deviations }
}

fn decision(kind: DecisionKind) -> NewDecision {
    NewDecision { kind, by: Some("ada".into()), reason: "it is as it should be".into() }
}

/// The figures of the customers from each first to each last, with these rejected in all.
fn figures(done: &[[i64; 2]], rejections: &[(&str, u64)]) -> Figures {
    let rows: Vec<_> = done.iter().map(|&ends| results(&super::steps::customers(ends))).collect();
    Figures {
        customers: 11,
        rejections: rejections.iter().map(|&(reason, count)| (reason.to_owned(), count)).collect(),
        transactions: Some(rows.iter().map(|rows| rows.transactions).sum()),
        value_minor: Some(rows.iter().map(crate::ResultRows::value_minor).sum()),
    }
}
