//! Each shape in full, in `golden/`: written by ltv 0.1.0, changed only on purpose, because readers hold on to them.

mod movements;

use std::collections::BTreeMap;

use batch::{
    Attempt, ChunkId, ChunkRef, CustomerId, Deviation, Limits, Measure, Outcome, Priority, Progress,
    RowCount, RunId, RunState, SourceCounts,
};
use jiff::Timestamp;
use model::{
    Account, Between, BgNbd, Confidence, ContractModels, Currency, GammaGamma, Grade, Horizons, Models,
    Parameters, Payback, PlanIndex, PlanModel, Sbg, Summary, ValueTerms,
};
use serde::Serialize;
use serde_json::Value as Json;
use store::{
    Decision, DecisionKind, Guarded, Hold, ModelVersionId, PromotionKind, RunRecord, SegmentValue, Valued,
};

use super::*;

fn check(document: &impl Serialize, expected: &str) {
    let expected = expected.trim();
    assert_eq!(indented(document), expected);
    let expected: Json = serde_json::from_str(expected).unwrap();
    assert_eq!(line(document), expected.to_string());
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn run() -> RunRecord {
    RunRecord {
        run: RunId(7),
        night: Some("all 2026-11-23".into()),
        selection: "all customers".into(),
        is_whole: true,
        priority: Priority::Normal,
        state: RunState::Finished,
        as_of: moment("2026-11-23T00:00:00Z"),
        model_version: ModelVersionId(2),
        terms: ValueTerms::new(0.15, 0.12, 0.0, 1.0).unwrap(),
        planned_at: moment("2026-11-23T02:00:00Z"),
        deadline_at: moment("2026-11-23T02:30:00Z"),
        finished_at: Some(moment("2026-11-23T02:00:12.5Z")),
        progress: Progress {
            chunks: 3,
            done: 2,
            dead: 1,
            customers: 1_500,
            values: 990,
            rejections: 510,
            work: 1_500.0,
            work_settled: 1_500.0,
        },
        guard: guarded(),
    }
}

fn guarded() -> Guarded {
    let count = |rows, is_exact| RowCount { rows, is_exact };
    let deviations = vec![
        Deviation { what: Measure::RejectedAs("no_purchase".into()), before: 2, now: 500 },
        Deviation { what: Measure::Value, before: 120_000, now: 80_000 },
    ];
    Guarded {
        limits: Some(Limits::default()),
        source_at_plan: Some(SourceCounts {
            customers: count(1_500, true),
            transactions: count(2_000_000, false),
            subscriptions: Some(count(700, true)),
        }),
        source_at_end: Some(SourceCounts {
            customers: count(1_500, true),
            transactions: count(0, true),
            subscriptions: None,
        }),
        held: Some((moment("2026-11-23T02:00:11Z"), Hold { compared_with: Some(RunId(6)), deviations })),
        decision: Some(Decision {
            kind: DecisionKind::Release,
            at: moment("2026-11-23T02:00:12Z"),
            by: "ada".into(),
            reason: "the shop was closed".into(),
        }),
    }
}

fn parameters() -> Parameters {
    Parameters {
        bg_nbd: BgNbd::new(0.25, 4.5, 0.75, 2.5).unwrap(),
        gamma_gamma: GammaGamma::new(6.25, 3.75, 1544.0).unwrap(),
    }
}

fn models() -> Models {
    let basic =
        PlanModel { plan: "basic".into(), period_months: 1, model: Sbg::new(0.5, 3.0).unwrap().into() };
    let contracts = ContractModels { plans: vec![basic], ..ContractModels::default() };
    Models { contracts, ..parameters().into() }
}

fn model_version() -> store::ModelVersion {
    store::ModelVersion {
        version: ModelVersionId(2),
        created_at: moment("2026-11-22T10:00:00Z"),
        currency: Currency::parse("EUR").unwrap(),
        models: models(),
        fit: serde_json::json!({ "by": "hand" }),
        data_fingerprint: "cbf29ce484222325".into(),
        code_version: "0.1.0".into(),
    }
}

fn valued() -> Valued {
    let horizons = |times: i64, for_ever| Horizons {
        months_12: times * 100,
        months_24: times * 180,
        months_36: times * 240,
        for_ever,
    };
    let contract = model::Contract {
        price_minor: 900,
        renewals: 5,
        days_to_renewal: 12,
        period_months: 1,
        plan: PlanIndex(0),
    };
    let between = |lower_minor, upper_minor| Between { lower_minor, upper_minor };
    Valued {
        customer: CustomerId(118),
        value: model::Value {
            historic_minor: 1_000,
            purchases: horizons(1, Some(400)),
            contracts: horizons(2, None),
            expected_purchases: 1.5,
            p_alive: Some(0.875),
            intervals: Some([between(20, 500), between(0, 700)]),
            confidence: Confidence {
                grade: Grade::B,
                own_rate: 0.1,
                own_spend: 0.5,
                relative_width: Some(0.75),
            },
            payback: Some(Payback { months: Some(3), probability: 0.9 }),
        },
        account: Account {
            purchases: Some(Summary {
                frequency: 2,
                recency_days: 210,
                age_days: 270,
                repeat_spend_minor: 5_000,
            }),
            spend_minor: 7_000,
            paid_minor: 4_500,
            contracts: [contract].into_iter().collect(),
            acquisition_cost_minor: Some(800),
        },
    }
}

fn nothing_known() -> Valued {
    let nothing = Horizons::default();
    Valued {
        customer: CustomerId(119),
        value: model::Value {
            historic_minor: 0,
            purchases: nothing,
            contracts: nothing,
            expected_purchases: 0.0,
            p_alive: None,
            intervals: None,
            confidence: Confidence {
                grade: Grade::PriorOnly,
                own_rate: 0.0,
                own_spend: 0.0,
                relative_width: None,
            },
            payback: None,
        },
        account: Account::default(),
    }
}

fn summary() -> RunSummary {
    let segment = SegmentValue {
        segment: "florists".into(),
        customers: 990,
        value_minor: 12_345,
        contract_minor: 345,
        historic_minor: None,
    };
    let top = store::TopCustomer {
        external_id: "c-119".into(),
        segment: "florists".into(),
        valued: nothing_known(),
    };
    let summary = store::RunSummary {
        segments: vec![segment],
        top: vec![top],
        rejections: vec![("no_purchase".into(), 500), ("dead_chunk".into(), 10)],
    };
    RunSummary::new(&run(), &model_version(), &summary)
}

#[test]
fn an_installation() {
    let installation = |name: &str, since: &str, by: &str, reason: &str| Installation {
        installation: name.into(),
        since: moment(since),
        made_by: by.into(),
        reason: reason.into(),
    };
    let shown = ShownInstallation {
        now: installation("9f86d081884c7d65", "2026-11-23T00:00:00Z", "ada", "restored"),
        queues: vec!["ltv.9f86d081884c7d65.normal".into()],
        exchanges: vec!["ltv.9f86d081884c7d65.chunks".into()],
        keys: "ltv:9f86d081884c7d65".into(),
        former: vec![installation("00000000000000ab", "2026-11-01T00:00:00Z", "ltv", "ltv migrate")],
    };

    check(&shown, include_str!("../golden/installation.json"));
}

#[test]
fn a_run() {
    check(&Run::from(&run()), include_str!("../golden/run.json"));
}

#[test]
fn a_run_that_goes_on_has_no_end() {
    let (state, guard) = (RunState::Running, Guarded::default());
    let record = RunRecord { night: None, finished_at: None, state, guard, ..run() };

    let document: Json = serde_json::from_str(&line(&Run::from(&record))).unwrap();

    assert_eq!(document["state"], "running");
    assert!(["night", "finished_at", "seconds", "hold"].iter().all(|field| document[*field] == Json::Null));
}

#[test]
fn how_far_a_run_is() {
    let record = RunRecord { state: RunState::Running, finished_at: None, ..run() };
    let half =
        Progress { done: 1, dead: 0, values: 500, rejections: 0, work_settled: 750.0, ..record.progress };

    let going_on = RunProgress::new(&record, &half, moment("2026-11-23T02:10:00Z"));

    check(&going_on, include_str!("../golden/run_progress.json"));
    assert_eq!(going_on.id(), "running.1.0.500");
    let over = RunProgress::new(&run(), &run().progress, moment("2026-11-23T03:00:00Z"));
    assert_eq!((over.id().as_str(), over.eta, over.outlook), ("finished.2.1.1500", None, None));
}

#[test]
fn a_page_of_the_most_valuable_customers() {
    let named =
        store::Named { customer: CustomerId(119), external_id: "c-119".into(), segment: "florists".into() };
    let ranked = [valued(), nothing_known()];

    let page = TopPage::new(&run(), &model_version(), &ranked, &[named], Some("t0".into()));

    let document: Json = serde_json::from_str(&body(&page)).unwrap();
    let customers = [&document["customers"][0], &document["customers"][1]];
    assert_eq!(customers.map(|customer| customer["external_id"].as_str()), [None, Some("c-119")]);
    assert_eq!(
        customers.map(|customer| customer["value_minor"].as_i64()),
        [Some(valued().value.value_minor()), Some(0)]
    );
    assert_eq!(
        (&document["run"], &document["next"], &document["currency"]),
        (&"7".into(), &"t0".into(), &"EUR".into())
    );
}

#[test]
fn the_lines_of_an_export() {
    let mut lines = Vec::new();

    ExportedValue::write(&valued(), &mut lines);
    ExportEnd::write(RunId(7), 1, &mut lines);

    let lines = String::from_utf8(lines).unwrap();
    let (line, end) = lines.split_once('\n').unwrap();
    assert_eq!(end, "{\"end\":true,\"customers\":1,\"run_id\":\"7\"}\n");
    let line: Json = serde_json::from_str(line).unwrap();
    assert_eq!(line["customer"], valued().customer.to_string());
    let value: Json =
        serde_json::from_str(&super::line(&Value::new(&valued().value, &valued().account))).unwrap();
    assert_eq!((&line["future_minor"], &line["payback"]), (&value["future_minor"], &value["payback"]));
}

#[test]
fn what_came_of_a_call_about_a_run() {
    let started = Started { run: RunId(7), is_new: true, customers: 1_500, chunks: 3 };
    check(&started, include_str!("../golden/started.json"));
    check(&Cancelled { run: RunId(7), is_new: false }, include_str!("../golden/cancelled.json"));
}

#[test]
fn a_run_with_what_it_comes_to() {
    check(&summary(), include_str!("../golden/run_summary.json"));
}

#[test]
fn a_value_with_its_explanation() {
    check(
        &Explanation::new(&run(), &model_version(), &valued(), true),
        include_str!("../golden/explanation.json"),
    );
}

#[test]
fn a_contract_of_a_plan_without_a_model_names_another_plan() {
    let contract = model::Contract { plan: PlanIndex::OTHER, ..valued().account.contracts[0] };

    check(&[Contract::new(&contract, &models())], include_str!("../golden/contracts.json"));
}

#[test]
fn a_model_version_with_its_history() {
    let promotion = store::Promotion {
        version: ModelVersionId(2),
        kind: PromotionKind::RollBack,
        promoted_at: moment("2026-11-22T10:00:00Z"),
        promoted_by: "ada".into(),
        reason: None,
    };
    let shown = ShownModel {
        model: ListedModel::new(&model_version(), Some(ModelVersionId(2))),
        promotions: vec![Promotion::from(&promotion)],
        runs: Vec::new(),
        runs_in_all: 0,
    };

    check(&shown, include_str!("../golden/model_version.json"));
}

#[test]
fn a_model_version_comes_back_from_its_document_to_the_bit() {
    let shown = ListedModel::new(&model_version(), None);

    let read: ModelVersion = serde_json::from_str(&line(&shown)).unwrap();

    assert_eq!(read.parameters, models());
    assert_eq!(line(&read), line(&ModelVersion::from(&model_version())));
}

#[test]
fn a_promotion_and_a_roll_back() {
    check(
        &Promoted { model_version: ModelVersionId(2), is_new: false },
        include_str!("../golden/promoted.json"),
    );
    check(&RolledBack { model_version: ModelVersionId(1) }, include_str!("../golden/rolled_back.json"));
}

#[test]
fn dead_letters() {
    let chunk = store::DeadChunk {
        chunk: ChunkRef { run: RunId(7), chunk: ChunkId(3) },
        customers: 510,
        died_at: Some(moment("2026-11-23T02:00:09Z")),
        reason: None,
        is_open: false,
    };
    let message = DeadMessage {
        reason: "no number v".into(),
        queue: Some("ltv.chunks.normal".into()),
        what: "a message of 12 bytes".into(),
    };

    check(
        &DeadLetters {
            chunks: vec![DeadChunk::from(&chunk)],
            messages: Some(vec![message]),
            messages_error: None,
        },
        include_str!("../golden/dead_letters.json"),
    );
}

#[test]
fn a_dispatch() {
    let dispatched = Dispatched {
        run: RunId(7),
        is_new: true,
        customers: 1_500,
        published: 2,
        unconfirmed: 1,
        reason: Some("publish chunk 7/3: low on memory".into()),
        plan_seconds: 0.25,
        publish_seconds: 0.5,
    };

    check(&dispatched, include_str!("../golden/dispatched.json"));
}

#[test]
fn a_fit_of_the_histories() {
    let fit = Fit {
        model_version: ModelVersionId(2),
        parameters: parameters(),
        models: models(),
        fit: serde_json::json!({ "by": "hand" }),
        promoted: true,
    };

    check(&fit, include_str!("../golden/fit.json"));
}

fn fitted_model() -> FittedModel {
    let by_name = |values: [f64; 2]| {
        BTreeMap::from(
            [("alpha", values[0]), ("beta", values[1])].map(|(name, value)| (name.to_owned(), value)),
        )
    };
    let fit = FitDiagnostics {
        standard_errors: BTreeMap::from([("alpha".to_owned(), Some(0.125)), ("beta".to_owned(), None)]),
        log_likelihood: -200.5,
        gradient_norm: 1e-10,
        customers: 1_000,
        converged: true,
        evaluations: 40,
    };
    let segment = FittedSegment {
        model: "sbg".into(),
        parameters: by_name([0.1, 0.3]),
        fit: Some(fit.clone()),
        weight_of_parent: Some(0.75),
    };
    FittedModel {
        model: "sbg".into(),
        parameters: by_name([0.5, 3.0]),
        fit: Some(fit),
        segment_column: Some("city".into()),
        segments: Some(BTreeMap::from([("Bern".to_owned(), segment)])),
    }
}

#[test]
fn a_model_that_was_fitted_to_a_file() {
    check(&fitted_model(), include_str!("../golden/fitted_model.json"));
}

#[test]
fn a_fitted_model_comes_back_from_its_document_and_so_does_one_by_hand() {
    let by_hand = r#"{"model": "sbg", "parameters": {"alpha": 0.1}, "segments": {"a": {"parameters": {"alpha": 0.2}}}}"#;

    let read: FittedModel = serde_json::from_str(&indented(&fitted_model())).unwrap();
    let by_hand: FittedModel = serde_json::from_str(by_hand).unwrap();

    assert_eq!(read, fitted_model());
    assert_eq!((by_hand.model.as_str(), by_hand.fit, by_hand.segment_column), ("sbg", None, None));
    assert_eq!(by_hand.segments.unwrap()["a"].parameters["alpha"].to_bits(), 0.2_f64.to_bits());
}

#[test]
fn a_night_in_one_process() {
    let problem = Problem { line: 5, detail: "amount: \"x\" is no number".into() };
    let file = |path: &str, first_problem| LocalFile {
        path: path.into(),
        rows: 9,
        rejected: BTreeMap::from([("bad_amount".into(), 1)]),
        first_problem,
    };
    let attempt = LocalAttempt {
        chunk: ChunkId(3),
        attempt: Attempt(2),
        outcome: Some(Outcome::GivenBack),
        reason: Some("told to stop".into()),
    };
    let night = LocalNight {
        summary: summary(),
        files: vec![file("t.csv", Some(problem)), file("c.csv", None)],
        out: "v.csv".into(),
        attempts: vec![attempt],
    };

    check(&night, include_str!("../golden/local_night.json"));
}

#[test]
fn over_http_the_numbers_of_the_store_are_strings_and_nothing_else_is_changed() {
    let document = serde_json::json!({
        "run": 7, "customers": 3, "hold": { "compared_with": 6 }, "rows": [{ "customer": -1, "value_minor": 5 }],
        "request": null, "fit": { "version": 2 },
    });

    let body: serde_json::Value = serde_json::from_str(&super::body(&document)).unwrap();

    let expected = serde_json::json!({
        "run": "7", "customers": 3, "hold": { "compared_with": "6" }, "rows": [{ "customer": "-1", "value_minor": 5 }],
        "request": null, "fit": { "version": 2 },
    });
    assert_eq!(body, expected);
}
