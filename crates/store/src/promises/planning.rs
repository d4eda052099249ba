//! The plan of a run, and the model version that it pins.

use batch::{ChunkId, CustomerId, Priority};

use super::Ground;
use super::base::{AS_OF, as_of, at};
use super::steps::{CHUNKS, customers, models, ok, refusal, run_over, terms};
use crate::{Archive, ModelVersionId, ModelVersions, NewPromotion, Planning, Selection};

/// Everybody who was there at the moment, or those of them who are meant.
pub async fn a_selection_is_whoever_was_there_in_ascending_order(ground: &impl Ground) {
    let select = async |selection, as_of| ok(ground.store().selected(&selection, as_of).await);
    let named = || Selection::Customers([1, 105, 109, 112].map(CustomerId).to_vec());

    assert_eq!(select(Selection::All, as_of()).await, customers([101, 111]));
    assert_eq!(select(Selection::All, at(AS_OF + 1)).await, customers([101, 112]));
    assert_eq!(select(Selection::Segment("florists".into()), as_of()).await, customers([109, 111]));
    assert_eq!(select(Selection::Segment("nobody".into()), as_of()).await, []);
    assert_eq!(select(named(), as_of()).await, [CustomerId(105), CustomerId(109)]);
}

/// The second dispatcher of a night finds the first one's run, and what is left to publish of it.
pub async fn a_night_is_planned_once(ground: &impl Ground) {
    let store = ground.store();
    let version = ok(store.save_model_version(&models(), None).await);
    let new = run_over(Some("tonight"), &CHUNKS, version);
    assert_eq!(ok(store.run_of_night("tonight").await), None);

    let first = ok(store.create_run(&new).await);
    let second = ok(store.create_run(&new).await);
    let found = ok(store.run_of_night("tonight").await);
    let other = ok(store.create_run(&run_over(None, &CHUNKS, version)).await);
    let another = ok(store.create_run(&run_over(None, &CHUNKS, version)).await);

    assert!(first.is_new && !second.is_new);
    assert_eq!(first.unpublished, [1, 2, 3].map(ChunkId));
    assert_eq!((second.run, &second.unpublished), (first.run, &first.unpublished));
    assert_eq!(found.as_ref(), Some(&second));
    assert_eq!(first.priority, Priority::High);
    assert!(other.is_new && another.is_new && first.run < other.run && other.run < another.run);
    let record = ok(store.run(first.run).await).expect("it was recorded");
    assert_eq!((record.state, record.is_whole), (batch::RunState::Planned, true));
    assert_eq!((record.progress.customers, record.progress.chunks), (11, 3));
    assert_eq!((record.as_of, record.model_version, record.terms), (as_of(), version, terms()));
}

/// Which model version a run pins.
pub async fn a_run_pins_what_is_named_else_what_is_promoted_else_the_latest(ground: &impl Ground) {
    let store = ground.store();
    let pinned = async |named: Option<i64>| ok(store.model_version_to_pin(named.map(ModelVersionId)).await);
    assert_eq!(pinned(None).await, None);

    let first = ok(store.save_model_version(&models(), None).await);
    let second = ok(store.save_model_version(&models(), None).await);
    assert_eq!(pinned(None).await, Some(second));
    let promotion = NewPromotion { by: Some("ada".into()), reason: Some("it is better".into()) };
    let promoted = ok(store.promote(first, &promotion).await).expect("it was not in force");

    assert_eq!(pinned(None).await, Some(first));
    assert_eq!(pinned(Some(second.0)).await, Some(second));
    assert_eq!(pinned(Some(99)).await, None);
    assert_eq!(ok(store.promote(first, &promotion).await), None);
    let history = ok(store.promotions_of(first, 9).await);
    assert_eq!(history, std::slice::from_ref(&promoted));
    assert_eq!((promoted.promoted_by.as_str(), promoted.reason), ("ada", promotion.reason));
    refusal(store.promote(ModelVersionId(99), &NewPromotion::default()).await);
}

/// Nothing is recorded of it.
pub async fn a_run_over_a_model_version_that_is_not_there_is_refused(ground: &impl Ground) {
    let store = ground.store();

    refusal(store.create_run(&run_over(Some("tonight"), &CHUNKS, ModelVersionId(99))).await);

    assert_eq!(ok(store.runs(9).await), []);
    assert_eq!(ok(store.run_of_night("tonight").await), None);
}
