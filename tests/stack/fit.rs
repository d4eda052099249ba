//! `ltv fit` on a database: what ends up in the model version, and when it is not promoted.

use serde_json::{Value as Json, json};
use store::{ModelVersion, ModelVersionId, ModelVersions, Planning, Values};
use tests::{AS_OF, Answer, FIRST_CUSTOMER, Fleet, Program};

/// Enough of them that every model converges, and for long enough that there is a season to estimate.
const BASE: [&str; 8] = ["--customers", "4000", "--transactions", "4", "--weeks", "120", "--seed", "7"];

#[tokio::test(flavor = "multi_thread")]
async fn purchases_season_and_the_contracts_of_each_plan_are_in_the_model_version() {
    let fleet = fleet().await;

    let answer = fit(&fleet, &["--season", "estimate"]);

    let told = answer.json();
    assert_eq!((&told["model_version"], &told["promoted"]), (&json!(1), &json!(true)));
    let stored = stored(&fleet, 1).await;
    assert_eq!(json!(stored.models), told["models"]);
    let season = stored.models.season.expect("it was asked for").index().to_vec();
    assert!(season.iter().any(|week| *week > 1.05), "no week is busier than others: {season:?}");
    let contracts = &stored.models.contracts;
    let plans: Vec<_> = contracts.plans.iter().map(|of| (of.plan.as_str(), of.period_months)).collect();
    assert_eq!(plans, [("basic", 1), ("pro", 1), ("pro", 12)]);
    assert!(contracts.others.is_some(), "of a plan that is new, everybody's renewals tell");
    assert_eq!(stored.fit["bg_nbd"]["customers"], 4_000);
    assert_eq!(stored.fit["contracts"]["plans"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_fit_begins_at_what_the_first_found_and_finds_the_same() {
    let fleet = fleet().await;

    let first = fit(&fleet, &[]).json();
    let second = fit(&fleet, &[]).json();

    let began = |told: &Json| told["fit"]["began_at_parameters_in_force"].clone();
    assert_eq!((began(&first), began(&second)), (json!(false), json!(true)));
    for model in ["bg_nbd", "gamma_gamma"] {
        let evaluations = |told: &Json| told["fit"][model]["evaluations"].as_u64();
        assert!(evaluations(&second) < evaluations(&first), "{model} began where it had to end");
    }
    let guard = &second["fit"]["guard"];
    assert_eq!((&guard["against"], &guard["verdict"]), (&json!(1), &json!("accept")));
    assert_eq!((&second["model_version"], &second["promoted"]), (&json!(2), &json!(true)));
    let (one, two) = (stored(&fleet, 1).await, stored(&fleet, 2).await);
    assert_eq!(one.data_fingerprint, two.data_fingerprint);
    let ln = |version: &ModelVersion| version.models.purchases.bg_nbd.alpha().ln();
    assert!((ln(&one) - ln(&two)).abs() < 1e-9, "{one:?} {two:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_feed_in_another_unit_gives_is_stored_and_stays_unpromoted_until_somebody_accepts_it() {
    let fleet = fleet().await;
    fit(&fleet, &[]);
    let sql = fleet.sql().await;
    sql.batch_execute("update source.transactions set amount_minor = amount_minor * 10").await.unwrap();

    let refused = try_fit(&fleet, &[]);

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_breaches(
        &refused,
        2,
        &[
            "the log-likelihood of the spends moved by -2.303",
            "the forecast per customer moved by +2.303",
            "v moved by +2.303",
        ],
    );
    assert_eq!(in_force(&fleet).await, 1);
    let (usual, tenfold) = (stored(&fleet, 1).await, stored(&fleet, 2).await);
    let scale = |version: &ModelVersion| version.models.purchases.gamma_gamma.v();
    assert!((scale(&tenfold) / scale(&usual) - 10.0).abs() < 1e-3, "it is there to be looked at");

    let accepted = fit(&fleet, &["--accept-breaches", "--by", "ada"]).json();

    assert_eq!((&accepted["model_version"], &accepted["promoted"]), (&json!(3), &json!(true)));
    assert_eq!(accepted["fit"]["guard"]["verdict"], "keep");
    assert_eq!(in_force(&fleet).await, 3);
    let promotions = fleet.store().promotions_of(ModelVersionId(3), 9).await.unwrap();
    assert_eq!(promotions[0].promoted_by, "ada");
    assert_eq!(promotions[0].reason.as_deref(), Some("ltv fit stored it, breaches accepted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_lost_half_of_the_transactions_is_noticed() {
    let fleet = fleet().await;
    fit(&fleet, &[]);
    let sql = fleet.sql().await;
    sql.batch_execute("delete from source.transactions where transaction_id % 2 = 0").await.unwrap();

    let refused = try_fit(&fleet, &[]);

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_breaches(
        &refused,
        2,
        &["the log-likelihood of the purchases moved by +", "the forecast per customer moved by -"],
    );
    assert_eq!(in_force(&fleet).await, 1);
}

/// A base without a model.
async fn fleet() -> Fleet {
    let program = Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"));
    let fleet = Fleet::empty(&program).await;
    let (url, first) = (fleet.database_url().to_owned(), FIRST_CUSTOMER.to_string());
    let generate = ["generate", "--into", &url, "--as-of", AS_OF, "--first-customer", &first];
    fleet.ltv(&[&generate[..], &BASE].concat());
    fleet
}

/// Fits, which has to succeed.
fn fit(fleet: &Fleet, arguments: &[&str]) -> Answer {
    let answer = try_fit(fleet, arguments);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    answer
}

fn try_fit(fleet: &Fleet, arguments: &[&str]) -> Answer {
    fleet.answer(&[&["fit", "--as-of", AS_OF, "--json"], arguments].concat())
}

/// Asserts that a version was stored and not promoted for these reasons, which a person and the document are told.
fn assert_breaches(refused: &Answer, version: i64, breaches: &[&str]) {
    let told = refused.json();
    assert_eq!((&told["model_version"], &told["promoted"]), (&json!(version), &json!(false)));
    let guard = &told["fit"]["guard"];
    assert_eq!((&guard["against"], &guard["verdict"]), (&json!(1), &json!("keep")));
    let documented = guard["breaches"].to_string();
    for breach in breaches {
        assert!(refused.err.contains(breach), "{breach} in {}", refused.err);
        assert!(documented.contains(breach), "{breach} in {documented}");
    }
    assert!(refused.err.contains(&format!("ltv models promote {version}")), "{}", refused.err);
}

async fn stored(fleet: &Fleet, version: i64) -> ModelVersion {
    let stored = fleet.store().model_version(ModelVersionId(version)).await;
    stored.expect("the store is there").expect("the version was stored")
}

/// The model version that a run would pin.
async fn in_force(fleet: &Fleet) -> i64 {
    let pinned = fleet.store().model_version_to_pin(None).await.expect("the store is there");
    pinned.expect("there is one").0
}
