//! Model versions: which one a run pins, and that none of it is ever changed.

use batch::RunId;
use model::{BgNbd, Currency, GammaGamma, Parameters};
use serde_json::json;
use store::postgres::Postgres;
use store::{ModelVersionId, ModelVersions, NewModelVersion, NewPromotion, Planning};
use tests::{AS_OF, Database, Fleet, Program, Stack};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_pins_what_was_fitted_last_unless_that_was_not_promoted_or_it_names_another() {
    let fleet = fleet().await;

    let promoted = fleet.ltv(&["fit", "--as-of", AS_OF, "--json"]).json();
    let left = fleet.ltv(&["fit", "--as-of", AS_OF, "--no-promote", "--json"]).json();
    let run = fleet.dispatch(&["--again"]).await;
    let told = fleet.dispatch(&["--again", "--model-version", "3"]).await;

    assert_eq!((&promoted["model_version"], &promoted["promoted"]), (&json!(2), &json!(true)));
    assert_eq!((&left["model_version"], &left["promoted"]), (&json!(3), &json!(false)));
    assert_eq!(pinned(&fleet, run).await, 2);
    assert_eq!(pinned(&fleet, told).await, 3);
    let list = fleet.ltv(&["models", "list"]).out;
    let marked: Vec<_> = list.lines().filter(|line| line.contains("promoted")).collect();
    assert!(matches!(marked[..], [line] if line.trim_start().starts_with("2 ")), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_promotes_rolls_back_and_is_told_what_was_done() {
    let fleet = fleet().await;
    save(fleet.store(), None).await;

    fleet.ltv(&["models", "promote", "2", "--by", "ada", "--reason", "a better fit"]);
    let run = fleet.dispatch(&["--again"]).await;
    let shown = fleet.ltv(&["models", "show", "--json"]).json();
    let told = fleet.ltv(&["models", "show"]).out;
    let back = fleet.ltv(&["models", "roll-back", "--json"]).json();
    let after = fleet.ltv(&["models", "list", "--json"]).json();
    let nothing = fleet.answer(&["models", "roll-back"]);
    let unknown = fleet.answer(&["models", "promote", "9"]);
    let unpinned = fleet.answer(&["dispatch", "--all", "--again", "--model-version", "9"]);

    assert_eq!(pinned(&fleet, run).await, 2);
    assert_eq!((&shown["version"], &shown["is_promoted"]), (&json!(2), &json!(true)));
    let promotion = &shown["promotions"][0];
    assert_eq!(promotion["kind"], "promote");
    assert_eq!((&promotion["promoted_by"], &promotion["reason"]), (&json!("ada"), &json!("a better fit")));
    assert_eq!((&shown["runs"][0]["run"], &shown["runs_in_all"]), (&json!(run), &json!(1)));
    for part in ["Model version 2, promoted", "bg_nbd alpha", "hand", "fingerprint of 0", "a better fit"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(back["model_version"], 1);
    assert_eq!((&after[0]["version"], &after[0]["is_promoted"]), (&json!(2), &json!(false)));
    assert_eq!((&after[1]["version"], &after[1]["is_promoted"]), (&json!(1), &json!(true)));
    for (answer, reason) in [
        (nothing, "no model version was promoted before 1"),
        (unknown, "there is no model version 9"),
        (unpinned, "there is no model version 9"),
    ] {
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.err.contains(reason), "{reason} in {}", answer.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_none_was_ever_promoted_the_latest_is_the_one() {
    let database = Database::create(&Stack::from_env()).await;
    let store = database.store();

    assert_eq!(store.model_version_to_pin(None).await.unwrap(), None);
    save(&store, None).await;
    save(&store, None).await;
    assert_eq!(store.model_version_to_pin(None).await.unwrap(), Some(ModelVersionId(2)));
    assert_eq!(store.roll_back(&NewPromotion::default()).await.unwrap(), None);

    promote(&store, 1).await;
    save(&store, None).await;
    assert_eq!(store.model_version_to_pin(None).await.unwrap(), Some(ModelVersionId(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_roll_back_goes_further_back_and_none_returns_to_what_was_rolled_back() {
    let database = Database::create(&Stack::from_env()).await;
    let store = database.store();
    for _ in 1..=4 {
        save(&store, None).await;
    }
    for version in 1..=3 {
        promote(&store, version).await;
    }

    assert_eq!(roll_back(&store).await, Some(2));
    promote(&store, 4).await;
    assert_eq!(roll_back(&store).await, Some(2));
    assert_eq!(roll_back(&store).await, Some(1));
    assert_eq!(roll_back(&store).await, None);
    assert_eq!(store.model_version_to_pin(None).await.unwrap(), Some(ModelVersionId(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn promoting_what_is_promoted_already_changes_nothing() {
    let database = Database::create(&Stack::from_env()).await;
    let store = database.store();
    save(&store, Some(&NewPromotion::default())).await;
    save(&store, Some(&NewPromotion::default())).await;

    let again = store.promote(ModelVersionId(2), &NewPromotion::default()).await.unwrap();

    assert_eq!(again, None);
    assert_eq!(roll_back(&store).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_at_once_each_build_on_the_one_before() {
    let database = Database::create(&Stack::from_env()).await;
    let store = database.store();
    for _ in 1..=8 {
        save(&store, None).await;
    }

    let promotions: Vec<_> = (1..=8)
        .map(|version| {
            let store = database.store();
            tokio::spawn(async move { promote(&store, version).await })
        })
        .collect();
    for promotion in promotions {
        promotion.await.unwrap();
    }

    let mut reached = vec![store.model_version_to_pin(None).await.unwrap().unwrap().0];
    while let Some(version) = roll_back(&store).await {
        reached.push(version);
    }
    reached.sort_unstable();
    assert_eq!(reached, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_models_and_promotions_cannot_be_changed() {
    let database = Database::create(&Stack::from_env()).await;
    save(&database.store(), Some(&NewPromotion::default())).await;
    let client = database.client().await;

    for statement in [
        "update fleet.model_versions set parameters = '{}'",
        "delete from fleet.model_versions",
        "truncate fleet.model_versions cascade",
        "update fleet.promotions set model_version = 1",
        "delete from fleet.promotions",
        "truncate fleet.promotions",
    ] {
        let error = client.batch_execute(statement).await.expect_err(statement);

        let reason = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
        assert!(reason.contains("immutable"), "{statement}: {reason}");
    }
    let rows = "select count(*) from fleet.model_versions join fleet.promotions using (model_version)";
    let count: i64 = client.query_one(rows, &[]).await.unwrap().get(0);
    assert_eq!(count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_promotions_goes_on_with_the_model_that_it_pinned() {
    let database = Database::create(&Stack::from_env()).await;
    let store = database.store();
    let before = [
        "drop schema source cascade; drop schema fleet cascade;",
        include_str!("../../crates/store/migrations/V1__source.sql"),
        include_str!("../../crates/store/migrations/V2__fleet.sql"),
    ];
    let client = database.client().await;
    client.batch_execute(&before.concat()).await.unwrap();
    save(&store, None).await;
    save(&store, None).await;

    let promotions = include_str!("../../crates/store/migrations/V3__promotions.sql");
    client.batch_execute(promotions).await.unwrap();
    save(&store, Some(&NewPromotion::default())).await;

    assert_eq!(store.model_version_to_pin(None).await.unwrap(), Some(ModelVersionId(3)));
    assert_eq!(roll_back(&store).await, Some(2));
    let history = store.promotions_of(ModelVersionId(2), 9).await.unwrap();
    assert_eq!(history.last().unwrap().promoted_by, "ltv migrate");
}

async fn fleet() -> Fleet {
    Fleet::new(&Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))).await
}

/// The model version that a run pins.
async fn pinned(fleet: &Fleet, run: RunId) -> i64 {
    fleet.ask("select model_version from fleet.runs where run_id = $1", run).await
}

/// Stores a model version.
async fn save(store: &Postgres, promotion: Option<&NewPromotion>) {
    let new = NewModelVersion {
        currency: Currency::parse("USD").expect("USD is a currency"),
        models: Parameters {
            bg_nbd: BgNbd::new(0.25, 4.5, 0.8, 2.5).expect("all are positive"),
            gamma_gamma: GammaGamma::new(6.25, 3.75, 1_500.0).expect("all are positive"),
        }
        .into(),
        fit: json!({ "by": "hand" }),
        data_fingerprint: "the fingerprint of 0 customers".into(),
        code_version: "tests".into(),
    };
    store.save_model_version(&new, promotion).await.expect("a model version can be stored");
}

async fn promote(store: &Postgres, version: i64) {
    let promoted = store.promote(ModelVersionId(version), &NewPromotion::default()).await;
    let promoted = promoted.expect("a model version that is there can be promoted");
    assert_eq!(promoted.map(|promotion| promotion.version), Some(ModelVersionId(version)));
}

/// Rolls back and says to which model version, if to any.
async fn roll_back(store: &Postgres) -> Option<i64> {
    let promotion = store.roll_back(&NewPromotion::default()).await;
    promotion.expect("a roll-back needs only the store").map(|promotion| promotion.version.0)
}
