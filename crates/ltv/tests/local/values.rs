//! The values of a night are those that the models give.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Read, Write};

use serde_json::Value as Json;

use crate::folder::Folder;
use crate::{MODELS, TRANSACTIONS, cdnow, rows, succeeds};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use model::{Account, Currency, HistoryFold, Models, Observation, Value, ValueTerms, Valuer};

/// The accounts of the customers of CDNOW, folded here and without the code under test.
fn cdnow_accounts(observation: &Observation) -> BTreeMap<i64, Account> {
    let mut reader = csv::Reader::from_path(cdnow("transactions")).unwrap();
    let mut folds: BTreeMap<i64, HistoryFold> = BTreeMap::new();
    for row in reader.deserialize::<HashMap<String, String>>() {
        let row = row.unwrap();
        let at: jiff::Timestamp = format!("{}T00:00:00Z", row["occurred_at"]).parse().unwrap();
        let cents = (row["amount"].parse::<f64>().unwrap() * 100.0).round() as i64;
        let fold = folds.entry(row["customer_id"].parse().unwrap()).or_default();
        fold.push(at.as_microsecond(), cents, *b"USD");
    }
    let account = |mut fold: HistoryFold| Account::of_purchases(fold.finish_with_spend(observation)).unwrap();
    folds.into_iter().map(|(customer, fold)| (customer, account(fold))).collect()
}

#[track_caller]
fn assert_row_is(row: &BTreeMap<String, String>, value: &Value, account: &Account) {
    let integer = |name: &str| row[name].parse::<i64>().ok();
    let double = |name: &str| row[name].parse::<f64>().ok().map(f64::to_bits);
    let single = |name: &str| row[name].parse::<f32>().ok().map(f32::to_bits);
    let future = value.future();

    for (name, sum) in [
        ("value_minor", Some(value.value_minor())),
        ("value_24_minor", Some(future.months_24)),
        ("value_36_minor", Some(future.months_36)),
        ("value_for_ever_minor", future.for_ever),
        ("purchases_12_minor", Some(value.purchases.months_12)),
        ("purchases_24_minor", Some(value.purchases.months_24)),
        ("purchases_36_minor", Some(value.purchases.months_36)),
        ("purchases_for_ever_minor", value.purchases.for_ever),
        ("contract_12_minor", Some(value.contracts.months_12)),
        ("contract_24_minor", Some(value.contracts.months_24)),
        ("contract_36_minor", Some(value.contracts.months_36)),
        ("contract_for_ever_minor", value.contracts.for_ever),
        ("historic_minor", Some(value.historic_minor)),
        ("lower_80_minor", value.intervals.map(|[eighty, _]| eighty.lower_minor)),
        ("upper_80_minor", value.intervals.map(|[eighty, _]| eighty.upper_minor)),
        ("lower_90_minor", value.intervals.map(|[_, ninety]| ninety.lower_minor)),
        ("upper_90_minor", value.intervals.map(|[_, ninety]| ninety.upper_minor)),
        ("payback_months", value.payback.and_then(|payback| payback.months).map(i64::from)),
        ("frequency", account.purchases.map(|summary| summary.frequency.into())),
        ("recency_days", account.purchases.map(|summary| summary.recency_days.into())),
        ("age_days", account.purchases.map(|summary| summary.age_days.into())),
        ("repeat_spend_minor", account.purchases.map(|summary| summary.repeat_spend_minor)),
        ("spend_minor", Some(account.spend_minor)),
        ("paid_minor", Some(account.paid_minor)),
        ("acquisition_cost_minor", account.acquisition_cost_minor),
    ] {
        assert_eq!(integer(name), sum, "{name} of {row:?}");
    }
    for (name, number) in [
        ("expected_purchases", Some(value.expected_purchases)),
        ("p_alive", value.p_alive),
        ("payback_probability", value.payback.map(|payback| payback.probability)),
        ("ltv_to_cac", value.ltv_to_cac(account)),
    ] {
        assert_eq!(double(name), number.map(f64::to_bits), "{name} of {row:?}");
    }
    for (name, number) in [
        ("own_rate", Some(value.confidence.own_rate)),
        ("own_spend", Some(value.confidence.own_spend)),
        ("relative_width", value.confidence.relative_width),
    ] {
        assert_eq!(single(name), number.map(f32::to_bits), "{name} of {row:?}");
    }
    assert_eq!(row["grade"].as_bytes(), [value.confidence.grade.letter()]);
    assert_eq!((&row["rejection"][..], &row["contracts"][..]), ("", ""));
}

#[test]
fn every_customer_of_cdnow_gets_the_value_that_the_model_gives_to_the_bit() {
    let folder = Folder::new("cdnow");

    let (transactions, out) = (cdnow("transactions"), folder.path("values.csv"));
    let terms = ["--take-rate", "0.25", "--refund-rate", "0.03", "--discount-rate", "0.1"];
    let (told, _) = succeeds(
        &[
            &["--transactions", &transactions, "--out", &out, "--chunk-customers", "100", "--json"],
            &terms[..],
        ]
        .concat(),
    );

    let told: Json = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["as_of"], &told["values"]), (&"1998-07-01T00:00:00Z".into(), &2_357.into()));
    assert_eq!((&told["state"], &told["chunks"]), (&"finished".into(), &24.into()));
    let models: Models = serde_json::from_value(told["model"]["parameters"].clone()).unwrap();
    let as_of: jiff::Timestamp = "1998-07-01T00:00:00Z".parse().unwrap();
    let observation = Observation::new(as_of.as_microsecond(), Currency::parse("USD").unwrap());
    let terms = ValueTerms::new(0.1, 0.25, 0.03, 1.0).unwrap();
    let valuer = Valuer::new(models, terms, observation.last_day());
    let accounts = cdnow_accounts(&observation);
    let rows = rows(&folder.read("values.csv"));
    assert_eq!((rows.len(), accounts.len()), (2_357, 2_357));
    for (row, (customer, account)) in rows.iter().zip(&accounts) {
        assert_eq!(row["customer_id"], customer.to_string());
        assert_eq!((&row["external_id"], &row["segment"][..]), (&row["customer_id"], "all"));
        assert_row_is(row, &valuer.value(account).unwrap(), account);
    }
    assert_eq!(folder.names(), ["values.csv"], "nothing else is kept");
}

#[test]
fn neither_the_order_of_the_file_nor_gzip_nor_threads_and_chunks_can_be_seen_in_the_values() {
    let folder = Folder::new("order");
    let text = fs::read_to_string(cdnow("transactions")).unwrap();
    let (header, lines) = text.split_once('\n').unwrap();
    let mut reversed: Vec<&str> = lines.lines().collect();
    reversed.reverse();
    let reversed = format!("{header}\n{}\n", reversed.join("\n"));
    let mut encoder =
        GzEncoder::new(File::create(folder.path("reversed.csv.gz")).unwrap(), Compression::fast());
    encoder.write_all(reversed.as_bytes()).unwrap();
    encoder.finish().unwrap();

    let (straight, out) = (cdnow("transactions"), folder.path("straight.csv"));
    succeeds(&["--transactions", &straight, "--out", &out]);
    let (reversed, out) = (folder.path("reversed.csv.gz"), folder.path("reversed.values.csv.gz"));
    let other = ["--threads", "3", "--chunk-customers", "17"];
    succeeds(&[&["--transactions", &reversed, "--out", &out], &other[..]].concat());

    let mut unpacked = String::new();
    GzDecoder::new(File::open(out).unwrap()).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked.lines().count(), 2_358);
    assert!(unpacked == folder.read("straight.csv"), "the same file, byte by byte");
}

#[test]
fn a_model_for_purchases_and_one_for_spend_from_files_make_a_night() {
    let folder = Folder::new("pair");
    let bg_nbd = r#"{"model": "bg_nbd", "parameters": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}}"#;
    let gamma_gamma = r#"{"model": "gamma_gamma", "parameters": {"p": 6.25, "q": 3.74, "v": 1544}}"#;
    let (one, other) = (folder.write("one.json", bg_nbd), folder.write("other.json", gamma_gamma));
    let transactions = folder.write("transactions.csv", TRANSACTIONS);
    let model = folder.write("model.json", MODELS);
    let night = |models: &[&str], out: &str| {
        let out = folder.path(out);
        let fixed = ["--transactions", &transactions, "--currency", "EUR", "--out", &out];
        succeeds(&[&fixed[..], models].concat());
    };

    night(&["--model", &other, "--model", &one], "pair.csv");
    night(&["--model", &model], "version.csv");

    // Of those who have no contract, the contract models change nothing.
    assert_eq!(folder.read("pair.csv"), folder.read("version.csv"));
    let rows = rows(&folder.read("pair.csv"));
    let customers: Vec<_> = rows.iter().map(|row| &row["customer_id"][..]).collect();
    assert_eq!(customers, ["7", "8", "9", "99"], "whoever has a transaction");
}
