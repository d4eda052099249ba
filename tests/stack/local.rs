//! `ltv local` beside the fleet: the same files, models, moment and terms, the same values.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use batch::RunId;
use model::{Models, PlanIndex};
use store::{Archive, ModelVersionId, Supervision, Valued, Values};
use tests::{AS_OF, Fleet, Program};

type Row = BTreeMap<String, String>;

/// Lines that make nobody a customer, or a customer one who cannot be valued.
const MORE: &str = "\
90000001,1000005,1998-06-29T12:00:00Z,1.00,EUR
90000002,1000006,1996-01-01T12:00:00Z,-1.00,USD
90000003,7,1998-06-29T12:00:00Z,1.00,USD
";

/// Both ways, from the same purchases.
const SEASON: [&str; 2] = ["--season", "estimate"];

#[tokio::test(flavor = "multi_thread")]
async fn a_night_on_files_gives_what_the_fleet_gives_row_by_row_and_bit_by_bit() {
    let program = Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"));
    let fleet = Fleet::new(&program).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("local-and-fleet");
    let file = |name: &str| folder.join(name).display().to_string();
    let (customers, transactions) = (file("customers.csv"), file("transactions.csv"));
    let (subscriptions, costs) = (file("subscriptions.csv"), file("acquisition_costs.csv"));
    generate(&fleet, &file(""), &transactions);

    // The fleet, over these files and nothing else.
    let empty =
        "truncate source.transactions, source.subscriptions, source.acquisition_costs, source.customers";
    fleet.sql().await.batch_execute(empty).await.unwrap();
    let files = [
        ["--customers", &customers],
        ["--transactions", &transactions],
        ["--subscriptions", &subscriptions],
        ["--acquisition-costs", &costs],
    ]
    .concat();
    fleet.ltv(&[&["load"], &files[..]].concat());
    fleet.ltv(&["fit", "--as-of", AS_OF, "--accept-breaches", SEASON[0], SEASON[1]]);
    let terms = ["--take-rate", "0.3", "--refund-rate", "0.02", "--contract-margin", "0.8"];
    let run = run_by_roles(&fleet, &terms).await;
    let version = fleet.store().run(run).await.unwrap().unwrap().model_version;
    assert_eq!(version, ModelVersionId(2));

    // The same without it.
    let model = file("model.json");
    fs::write(&model, fleet.ltv(&["models", "show", "2", "--json"]).out).unwrap();
    let out = file("values.csv");
    let local =
        [&["local"], &files[..], &["--model", &model, "--as-of", AS_OF, "--out", &out], &terms[..]].concat();
    fleet.ltv(&local);
    let fitted_alone = file("fitted.csv");
    let alone =
        [&["local"], &files[..], &["--as-of", AS_OF, "--out", &fitted_alone, "--json"], &SEASON, &terms[..]]
            .concat();
    let alone = fleet.ltv(&alone).json();

    let models = fleet.store().model_version(version).await.unwrap().unwrap();
    assert_eq!(alone["model"]["data_fingerprint"], models.data_fingerprint, "fitted to the same histories");
    let season = serde_json::json!(models.models.season.as_ref().expect("it was asked for"));
    assert_eq!(alone["model"]["parameters"]["season"], season, "estimated from the same purchases");
    let expected = rows_of_fleet(&fleet, run, &models.models).await;
    let found: Vec<Row> =
        csv::Reader::from_path(&out).unwrap().deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!((found.len(), expected.len()), (5_000, 5_000));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    let rejected: Vec<_> = found.iter().filter(|row| !row["rejection"].is_empty()).collect();
    assert!(rejected.iter().any(|row| row["rejection"] == "foreign_currency"), "{rejected:?}");
    let _ = fs::remove_dir_all(folder);
}

/// Has a base generated, and adds [`MORE`] to its transactions.
fn generate(fleet: &Fleet, folder: &str, transactions: &str) {
    fleet.ltv(&[
        "generate",
        "--customers",
        "5000",
        "--transactions",
        "4",
        "--weeks",
        "120",
        "--as-of",
        AS_OF,
        "--out",
        folder,
    ]);
    let lines = lines_like(&fs::read_to_string(transactions).expect("it was generated"));
    let mut file = OpenOptions::new().append(true).open(transactions).expect("it was generated");
    file.write_all(lines.as_bytes()).expect("what was generated can be added to");
}

/// Has a worker and a coordinator value everybody, however far that is from the base of the run before.
async fn run_by_roles(fleet: &Fleet, terms: &[&str]) -> RunId {
    let (worker, coordinator) = (fleet.worker(&[]), fleet.coordinator(&[]));
    let run = fleet.dispatch(&[&["--chunk-customers", "700", "--max-change", "1"], terms].concat()).await;
    fleet.finished(run).await;
    worker.terminate();
    coordinator.terminate();
    run
}

/// The lines to be added, in the columns of the generated file.
fn lines_like(generated: &str) -> String {
    let header = generated.lines().next().expect("the file has a header");
    let names = ["transaction_id", "customer_id", "occurred_at", "amount", "currency"];
    let line = |line: &str| {
        let fields: BTreeMap<&str, &str> = names.into_iter().zip(line.split(',')).collect();
        let field = |column: &str| match column {
            // In minor units, two places more.
            "amount_minor" => fields["amount"].replace('.', ""),
            other => fields[other].to_owned(),
        };
        header.split(',').map(field).collect::<Vec<_>>().join(",") + "\n"
    };
    MORE.lines().map(line).collect()
}

/// What the fleet holds, in the columns of the file.
async fn rows_of_fleet(fleet: &Fleet, run: RunId, models: &Models) -> Vec<Row> {
    let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
    for valued in fleet.store().values_after(run, None, 1_000_000).await.expect("values can be read") {
        rows.insert(valued.customer.0, row_of(Some(&valued), models));
    }
    let client = fleet.sql().await;
    let rejections = "select customer_id, reason from fleet.rejections where run_id = $1";
    for rejection in client.query(rejections, &[&run.0]).await.expect("rejections can be read") {
        let mut row = row_of(None, models);
        row.insert("rejection".into(), rejection.get(1));
        assert!(rows.insert(rejection.get(0), row).is_none());
    }
    let customers = "select customer_id, external_id, segment from source.customers";
    for customer in client.query(customers, &[]).await.expect("customers can be read") {
        let id: i64 = customer.get(0);
        let row = rows.get_mut(&id).expect("everybody is planned");
        row.insert("customer_id".into(), id.to_string());
        row.insert("external_id".into(), customer.get(1));
        row.insert("segment".into(), customer.get(2));
    }
    rows.into_values().collect()
}

fn row_of(valued: Option<&Valued>, models: &Models) -> Row {
    fields(valued, models).into_iter().map(|(name, field)| (name.to_owned(), field)).collect()
}

/// The fields of a value, empty where there is none.
fn fields(valued: Option<&Valued>, models: &Models) -> Vec<(&'static str, String)> {
    fn whole<T: Display>(number: Option<T>) -> String {
        number.map(|number| number.to_string()).unwrap_or_default()
    }
    fn exact<T: Debug>(number: Option<T>) -> String {
        number.map(|number| format!("{number:?}")).unwrap_or_default()
    }

    let value = valued.map(|valued| valued.value);
    let account = valued.map(|valued| &valued.account);
    let future = value.map(|value| value.future());
    let intervals = value.and_then(|value| value.intervals);
    let purchases = account.and_then(|account| account.purchases);
    let payback = value.and_then(|value| value.payback);
    let confidence = value.map(|value| value.confidence);
    vec![
        ("value_minor", whole(value.map(|value| value.value_minor()))),
        ("value_24_minor", whole(future.map(|future| future.months_24))),
        ("value_36_minor", whole(future.map(|future| future.months_36))),
        ("value_for_ever_minor", whole(future.and_then(|future| future.for_ever))),
        ("purchases_12_minor", whole(value.map(|value| value.purchases.months_12))),
        ("purchases_24_minor", whole(value.map(|value| value.purchases.months_24))),
        ("purchases_36_minor", whole(value.map(|value| value.purchases.months_36))),
        ("purchases_for_ever_minor", whole(value.and_then(|value| value.purchases.for_ever))),
        ("contract_12_minor", whole(value.map(|value| value.contracts.months_12))),
        ("contract_24_minor", whole(value.map(|value| value.contracts.months_24))),
        ("contract_36_minor", whole(value.map(|value| value.contracts.months_36))),
        ("contract_for_ever_minor", whole(value.and_then(|value| value.contracts.for_ever))),
        ("historic_minor", whole(value.map(|value| value.historic_minor))),
        ("lower_80_minor", whole(intervals.map(|[eighty, _]| eighty.lower_minor))),
        ("upper_80_minor", whole(intervals.map(|[eighty, _]| eighty.upper_minor))),
        ("lower_90_minor", whole(intervals.map(|[_, ninety]| ninety.lower_minor))),
        ("upper_90_minor", whole(intervals.map(|[_, ninety]| ninety.upper_minor))),
        ("expected_purchases", exact(value.map(|value| value.expected_purchases))),
        ("p_alive", exact(value.and_then(|value| value.p_alive))),
        ("grade", whole(confidence.map(|confidence| char::from(confidence.grade.letter())))),
        ("own_rate", exact(confidence.map(|confidence| confidence.own_rate))),
        ("own_spend", exact(confidence.map(|confidence| confidence.own_spend))),
        ("relative_width", exact(confidence.and_then(|confidence| confidence.relative_width))),
        ("payback_months", whole(payback.and_then(|payback| payback.months))),
        ("payback_probability", exact(payback.map(|payback| payback.probability))),
        ("ltv_to_cac", exact(value.zip(account).and_then(|(value, account)| value.ltv_to_cac(account)))),
        ("frequency", whole(purchases.map(|summary| summary.frequency))),
        ("recency_days", whole(purchases.map(|summary| summary.recency_days))),
        ("age_days", whole(purchases.map(|summary| summary.age_days))),
        ("repeat_spend_minor", whole(purchases.map(|summary| summary.repeat_spend_minor))),
        ("spend_minor", whole(account.map(|account| account.spend_minor))),
        ("paid_minor", whole(account.map(|account| account.paid_minor))),
        ("acquisition_cost_minor", whole(account.and_then(|account| account.acquisition_cost_minor))),
        ("contracts", account.map(|account| contracts(account, models)).unwrap_or_default()),
        ("rejection", String::new()),
    ]
}

fn contracts(account: &model::Account, models: &Models) -> String {
    if account.contracts.is_empty() {
        return String::new();
    }
    let name = |index: PlanIndex| {
        let plan = models.contracts.plans.get(usize::from(index.0));
        plan.map_or("another plan", |plan| &plan.plan)
    };
    let contract = |contract: &model::Contract| {
        serde_json::json!({
            "plan": name(contract.plan),
            "period_months": contract.period_months,
            "price_minor": contract.price_minor,
            "renewals": contract.renewals,
            "days_to_renewal": contract.days_to_renewal,
        })
    };
    account.contracts.iter().map(contract).collect::<serde_json::Value>().to_string()
}
