//! Model versions: which one is in force, and who pinned which.

use super::Ground;
use super::steps::{CHUNKS, models, ok, run_over};
use crate::{ModelVersions, NewPromotion, Planning};

/// A promotion pushes, a roll-back pops.
pub async fn each_roll_back_goes_further_back(ground: &impl Ground) {
    let store = ground.store();
    let promotion = NewPromotion::default();
    assert_eq!(ok(store.roll_back(&promotion).await), None);
    let mut versions = Vec::new();
    for _ in 0..3 {
        versions.push(ok(store.save_model_version(&models(), Some(&promotion)).await));
    }
    let back = async || ok(store.roll_back(&promotion).await).map(|promotion| promotion.version);

    assert_eq!(back().await, Some(versions[1]));
    ok(store.promote(versions[2], &promotion).await);
    assert_eq!(back().await, Some(versions[1]));
    assert_eq!(back().await, Some(versions[0]));
    assert_eq!(back().await, None);
    assert_eq!(ok(store.model_version_to_pin(None).await), Some(versions[0]));
}

/// The newest first, no more than are asked for, and how many runs there are in all.
pub async fn model_versions_are_listed_and_the_runs_that_pin_each(ground: &impl Ground) {
    let store = ground.store();
    let mut versions = Vec::new();
    for _ in 0..3 {
        versions.push(ok(store.save_model_version(&models(), None).await));
    }
    let mut runs = Vec::new();
    for version in [versions[0], versions[1], versions[0], versions[0]] {
        runs.push(ok(store.create_run(&run_over(None, &CHUNKS, version)).await).run);
    }

    let listed = ok(store.model_versions(2).await);
    let (pinning, in_all) = ok(store.runs_pinning(versions[0], 2).await);

    let listed: Vec<_> = listed.iter().map(|model| model.version).collect();
    assert_eq!(listed, [versions[2], versions[1]]);
    let pinning: Vec<_> = pinning.iter().map(|record| record.run).collect();
    assert_eq!((pinning, in_all), (vec![runs[3], runs[2]], 3));
    assert_eq!(ok(store.runs_pinning(versions[2], 2).await), (vec![], 0));
}
