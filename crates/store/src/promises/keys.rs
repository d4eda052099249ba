//! Keys: who is at work under one, what came of it, and that nothing happens twice.

use batch::RunId;

use super::Ground;
use super::guard::held;
use super::steps::{CHUNKS, LEASE, chunk, dead, models, ok, published, run_over};
use crate::{
    Archive, Claim, Claimed, DecisionKind, Effect, Error, KEPT, KeyedCall, Keys, ModelVersions, NewDecision,
    NewPromotion, Planning, Result,
};

const CALL: KeyedCall<'_> = KeyedCall { principal: "ada", key: "a key", fingerprint: b"POST runs" };

async fn claimed(store: &impl Keys, key: &str) -> Claim {
    match ok(store.claim(&KeyedCall { key, ..CALL }, LEASE).await) {
        Claimed::Ours(claim) => claim,
        other => panic!("{key} is nobody's, and not {other:?}"),
    }
}

#[track_caller]
fn superseded<T>(result: Result<T>) {
    let error = result.err().expect("another has the claim");
    assert!(matches!(error, Error::Superseded { .. }), "{error:?}");
}

/// By its owner, for the same call.
pub async fn a_key_is_claimed_by_one_at_a_time(ground: &impl Ground) {
    let store = ground.store();

    let claim = claimed(store, CALL.key).await;

    assert_eq!(ok(store.claim(&CALL, LEASE).await), Claimed::AtWork);
    let other = KeyedCall { fingerprint: b"POST something else", ..CALL };
    assert_eq!(ok(store.claim(&other, LEASE).await), Claimed::KeyReused);
    let anothers = KeyedCall { principal: "bob", ..CALL };
    assert!(matches!(ok(store.claim(&anothers, LEASE).await), Claimed::Ours(_)));
    ground.pass(LEASE / 2).await;
    assert!(ok(store.renew_claim(&claim, LEASE).await));
    ground.pass(LEASE / 2).await;
    assert_eq!(ok(store.claim(&CALL, LEASE).await), Claimed::AtWork);
}

/// Whoever was taken for dead does nothing any more, and leaves nothing behind.
pub async fn a_claim_that_lapsed_is_taken_over_and_what_it_would_do_is_refused(ground: &impl Ground) {
    let store = ground.store();
    let version = ok(store.save_model_version(&models(), None).await);
    let new = run_over(Some("tonight"), &CHUNKS, version);
    let late = claimed(store, CALL.key).await;
    ground.pass(LEASE).await;
    let other = KeyedCall { fingerprint: b"POST something else", ..CALL };
    assert_eq!(ok(store.claim(&other, LEASE).await), Claimed::KeyReused);
    let next = claimed(store, CALL.key).await;

    superseded(store.under(&late).create_run(&new).await);
    superseded(store.under(&late).promote(version, &NewPromotion::default()).await);

    assert_eq!(ok(store.runs(9).await), []);
    assert_eq!(ok(store.promotions_of(version, 9).await), []);
    assert!(!ok(store.renew_claim(&late, LEASE).await));
    assert!(!ok(store.keep(&late, &Effect::RolledBack { version: None }).await));
    ok(store.let_go(&late).await);
    assert_eq!(ok(store.claim(&CALL, LEASE).await), Claimed::AtWork);
    let created = ok(store.under(&next).create_run(&new).await);
    let effect = Effect::Dispatched { run: created.run, is_new: true, customers: 11, chunks: 3 };
    assert_eq!(ok(store.claim(&CALL, LEASE).await), Claimed::Done(effect));
    superseded(store.under(&next).create_run(&run_over(None, &CHUNKS, version)).await);
    assert_eq!(ok(store.runs(9).await).len(), 1, "a claim is for one effect");
}

/// If something did happen there is nothing to let go of.
pub async fn what_did_not_happen_can_be_claimed_anew_at_once(ground: &impl Ground) {
    let store = ground.store();
    let first = claimed(store, CALL.key).await;

    ok(store.let_go(&first).await);
    let second = claimed(store, CALL.key).await;
    ok(store.let_go(&first).await);
    let effect = Effect::Dispatched { run: RunId(7), is_new: false, customers: 0, chunks: 0 };
    assert!(ok(store.keep(&second, &effect).await));
    ok(store.let_go(&second).await);

    assert_eq!(ok(store.claim(&CALL, LEASE).await), Claimed::Done(effect.clone()));
    assert!(!ok(store.keep(&second, &effect).await), "it was kept");
    ground.pass(KEPT / 2).await;
    assert_eq!(ok(store.claim(&CALL, LEASE).await), Claimed::Done(effect));
    ground.pass(KEPT / 2).await;
    let other = KeyedCall { fingerprint: b"POST something else", ..CALL };
    assert!(matches!(ok(store.claim(&other, LEASE).await), Claimed::Ours(_)), "a day is over");
}

/// Where there was nothing to do the caller says what is kept.
pub async fn what_came_of_a_call_is_kept_with_it(ground: &impl Ground) {
    let store = ground.store();
    let run = held(ground, 1).await;
    let first = ok(store.save_model_version(&models(), None).await);
    let second = ok(store.save_model_version(&models(), None).await);
    let told = async |key: &str| ok(store.claim(&KeyedCall { key, ..CALL }, LEASE).await);

    let cancel = claimed(store, "cancel").await;
    assert!(!ok(store.under(&cancel).cancel_run(run).await), "it is held");
    let reject = claimed(store, "reject").await;
    let decision = NewDecision { kind: DecisionKind::Reject, by: None, reason: "it is too small".into() };
    assert!(ok(store.under(&reject).decide(run, &decision).await));
    let promotion = NewPromotion::default();
    for (key, version) in [("promote", first), ("again", first), ("another", second)] {
        let promote = claimed(store, key).await;
        ok(store.under(&promote).promote(version, &promotion).await);
    }
    let roll_back = claimed(store, "roll back").await;
    ok(store.under(&roll_back).roll_back(&promotion).await);
    let too_far = claimed(store, "too far").await;
    assert_eq!(ok(store.under(&too_far).roll_back(&promotion).await), None);

    assert_eq!(told("cancel").await, Claimed::AtWork);
    let decided = Effect::Decided { run, kind: DecisionKind::Reject, is_new: true };
    assert_eq!(told("reject").await, Claimed::Done(decided));
    let promoted = Effect::Promoted { version: first, is_new: true };
    assert_eq!(told("promote").await, Claimed::Done(promoted));
    assert_eq!(told("again").await, Claimed::AtWork);
    let back = Effect::RolledBack { version: Some(first) };
    assert_eq!(told("roll back").await, Claimed::Done(back));
    assert_eq!(told("too far").await, Claimed::AtWork);
    let cancelled = Effect::Cancelled { run, is_new: false };
    assert!(ok(store.keep(&cancel, &cancelled).await));
    assert_eq!(told("cancel").await, Claimed::Done(cancelled));
}

/// Twice with one key is once.
pub async fn dead_chunks_are_redriven_once_under_a_key(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    dead(ground, chunk(run, 2)).await;
    let redrive = claimed(store, CALL.key).await;

    let redriven = ok(store.under(&redrive).redrive(run).await);
    dead(ground, chunk(run, 2)).await;
    superseded(store.under(&redrive).redrive(run).await);

    assert_eq!(redriven, 1);
    assert_eq!(ok(store.run(run).await).expect("it was recorded").progress.dead, 1);
    assert_eq!(ok(store.claim(&CALL, LEASE).await), Claimed::Done(Effect::Redriven { run, chunks: 1 }));
}
