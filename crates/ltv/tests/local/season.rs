//! A night whose season is estimated from the file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

use serde_json::Value as Json;

use crate::folder::Folder;
use crate::{MODELS, cdnow, fails, succeeds};

use model::{Models, PurchaseCounts, Season};

/// What `ltv generate` writes: enough, and for long enough, that there is a season to estimate.
fn generated(folder: &Folder) -> String {
    let base = ["--customers", "1500", "--transactions", "4", "--weeks", "120", "--as-of", "1998-07-01"];
    let mut generate = Command::new(env!("CARGO_BIN_EXE_ltv"));
    generate.arg("generate").args(base).args(["--no-subscriptions", "--out", &folder.path("")]);
    assert!(generate.output().unwrap().status.success());
    folder.path("transactions.csv")
}

/// The season of a file, counted here and without the code under test.
fn season_of(transactions: &str, last_day: i64) -> Season {
    let mut reader = csv::Reader::from_path(transactions).unwrap();
    let mut days: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for row in reader.deserialize::<HashMap<String, String>>() {
        let row = row.unwrap();
        if !row["amount"].starts_with('-') {
            let at: jiff::Timestamp = row["occurred_at"].parse().unwrap();
            let day = at.as_second().div_euclid(86_400);
            days.entry(row["customer_id"].parse().unwrap()).or_default().insert(day);
        }
    }
    let first_day = *days.values().filter_map(BTreeSet::first).min().unwrap();
    let mut counts = PurchaseCounts::new(first_day, last_day).unwrap();
    for days in days.values() {
        let first = *days.first().unwrap();
        counts.customer(first);
        for &day in days {
            counts.repeat(first, day);
        }
    }
    Season::estimate(&counts).unwrap()
}

#[test]
fn the_season_is_that_of_everybodys_purchases_to_the_bit_whatever_the_order_of_the_file() {
    let folder = Folder::new("season");
    let transactions = generated(&folder);
    let text = folder.read("transactions.csv");
    let (header, lines) = text.split_once('\n').unwrap();
    let reversed: Vec<&str> = lines.lines().rev().chain(lines.lines().take(9)).collect();
    let reversed = folder.write("reversed.csv", &format!("{header}\n{}\n", reversed.join("\n")));
    let night = |transactions: &str, out: &str, more: &[&str]| {
        let out = folder.path(out);
        let fixed = ["--transactions", transactions, "--as-of", "1998-07-01", "--out", &out, "--json"];
        let (told, _) = succeeds(&[&fixed[..], more].concat());
        serde_json::from_str::<Json>(&told).unwrap()["model"]["parameters"].take()
    };

    let models = night(&transactions, "values.csv", &["--season", "estimate"]);
    let again = night(&reversed, "reversed-values.csv", &["--season", "estimate"]);
    let without = night(&transactions, "none.csv", &["--season", "none"]);

    let last_day = "1998-06-30T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second() / 86_400;
    let read: Models = serde_json::from_value(models.clone()).unwrap();
    assert_eq!(read.season, Some(season_of(&transactions, last_day)));
    assert_eq!(models, again);
    assert!(folder.read("values.csv") == folder.read("reversed-values.csv"), "the same file, byte by byte");
    assert!(without["season"].is_null() && without["bg_nbd"] != models["bg_nbd"], "{without}");
    assert_ne!(folder.read("none.csv"), folder.read("values.csv"));
}

#[test]
fn a_season_is_refused_with_models_from_too_short_a_time_and_from_what_can_be_read_only_once() {
    let folder = Folder::new("no-season");
    let (cdnow, pipe, out) = (cdnow("transactions"), folder.path("pipe"), folder.path("values.csv"));
    let model = folder.write("model.json", MODELS);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let check = |transactions: &str, more: &[&str], code: i32, reason: &str| {
        let fixed = ["--transactions", transactions, "--out", &out, "--season", "estimate"];
        fails(&[&fixed[..], more].concat(), code, reason);
        assert_eq!(folder.names(), ["model.json", "pipe"]);
    };

    check(&cdnow, &["--model", &model], 2, "--model");
    check(&cdnow, &[], 1, "go without, --season none");
    check(&pipe, &[], 1, "make a file of them");
}
