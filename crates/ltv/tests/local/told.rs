//! What is told of rows, options and interruptions, and what is left behind.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::folder::Folder;
use crate::{CUSTOMERS, MODELS, TRANSACTIONS, cdnow, command, fails, ltv, rows, succeeds};

use flate2::Compression;
use flate2::write::GzEncoder;

/// The second is of a customer who has one already, the third of nobody.
const COSTS: &str = "customer_id,cost,currency\n7,20.00,EUR\n7,30.00,EUR\n55,1.00,EUR\n";

/// Three of them are bad, each in a way of its own.
const SUBSCRIPTIONS: &str = "\
customer_id,plan,period_months,started_at,ended_at,price,currency,end_reason
10,pro,1,2026-01-10,,49.00,EUR,
10,pro,1,2026-01-10,,49.00,EUR,
7,pro,0,2026-01-10,,49.00,EUR,
8,pro,1,2026-09-01,,49.00,EUR,
55,pro,1,2026-01-10,,49.00,EUR,
";

#[test]
fn bad_rows_and_rows_of_nobody_are_counted_and_the_first_is_told() {
    let folder = Folder::new("bad");
    let transactions = folder.write("transactions.csv", TRANSACTIONS);
    let customers = folder.write("customers.csv", CUSTOMERS);
    let subscriptions = folder.write("subscriptions.csv", SUBSCRIPTIONS);
    let costs = folder.write("costs.csv", COSTS);
    let model = folder.write("model.json", MODELS);
    let out = folder.path("values.csv");

    let (told, warned) = succeeds(&[
        "--transactions",
        &transactions,
        "--customers",
        &customers,
        "--subscriptions",
        &subscriptions,
        "--acquisition-costs",
        &costs,
        "--model",
        &model,
        "--as-of",
        "2026-07-01",
        "--out",
        &out,
    ]);

    let rows = rows(&folder.read("values.csv"));
    let settled: Vec<_> = rows
        .iter()
        .map(|row| (&row["external_id"][..], &row["segment"][..], &row["rejection"][..]))
        .collect();
    assert_eq!(
        settled,
        [
            ("seven", "shops", ""),
            ("eight", "arts, crafts", ""),
            ("nine", "shops", "foreign_currency"),
            ("ten", "shops", ""),
        ]
    );
    assert_eq!((&rows[0]["acquisition_cost_minor"][..], &rows[0]["frequency"][..]), ("2000", "1"));
    assert_eq!((&rows[1]["frequency"][..], &rows[1]["spend_minor"][..]), ("1", "1000"));
    assert!(rows[2].iter().skip(3).all(|(name, field)| {
        ["customer_id", "external_id", "segment", "rejection"].contains(&&name[..]) || field.is_empty()
    }));
    assert_eq!((&rows[3]["p_alive"][..], &rows[3]["paid_minor"][..]), ("", "29400"));
    let contracts: Json = serde_json::from_str(&rows[3]["contracts"]).unwrap();
    assert_eq!((&contracts[0]["plan"], &contracts[0]["renewals"]), (&"another plan".into(), &5.into()));
    for warning in [
        "customers.csv: 2 of 7 rows were rejected (1 duplicate_customer_id, 1 duplicate_external_id); the first is \
         line 7: customer_id 8 is in an earlier line already",
        "transactions.csv: 3 of 8 rows were rejected (1 bad_time, 1 duplicate_transaction_id, 1 unknown_customer); \
         the first is line 6: occurred_at \"yesterday\"",
        "subscriptions.csv: 3 of 5 rows were rejected (1 bad_period, 1 duplicate_subscription, 1 unknown_customer); \
         the first is line 3: customer 10 has this subscription to pro",
        "costs.csv: 2 of 3 rows were rejected (1 duplicate_acquisition_cost, 1 unknown_customer); the first is line 3",
    ] {
        assert!(warned.contains(warning), "{warning} in {warned}");
    }
    for part in
        ["Value by segment", "arts, crafts", "rejections          1", "Nothing else of this night is kept"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn each_bad_option_has_its_message_and_leaves_nothing_behind() {
    let folder = Folder::new("options");
    let transactions = folder.write("transactions.csv", TRANSACTIONS);
    let only_header = folder.write("empty.csv", "transaction_id,customer_id,occurred_at,amount,currency\n");
    let version = folder.write("version.json", MODELS);
    let bg_nbd = r#"{"model": "bg_nbd", "parameters": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}}"#;
    let bg_nbd = folder.write("bg_nbd.json", bg_nbd);
    let segments = r#"{"model": "gamma_gamma", "parameters": {"p": 6.25, "q": 3.74, "v": 1544},
                       "segment_column": "segment", "segments": {}}"#;
    let segments = folder.write("segments.json", segments);
    let no_json = folder.write("no.json", "r = 0.243");
    let no_models = folder.write("nothing.json", "{}");
    let negative = folder.write("negative.json", &MODELS.replace("4.414", "-1"));
    let out = folder.path("values.csv");
    let before = folder.names();

    let check = |arguments: &[&str], code: i32, reason: &str| {
        fails(&[&["--out", &out], arguments].concat(), code, reason);
        assert_eq!(folder.names(), before, "{arguments:?}");
    };
    let with = |arguments: &[&str], reason: &str| {
        check(&[&["--transactions", &transactions], arguments].concat(), 1, reason);
    };

    check(&[], 2, "--transactions <FILE>");
    check(&["--transactions", &folder.path("missing.csv")], 1, "missing.csv");
    check(&["--transactions", &version], 1, "there is no column transaction_id");
    check(&["--transactions", &only_header], 1, "there are no transactions");
    check(&["--transactions", &transactions, "--threads", "0"], 2, "--threads");
    check(&["--transactions", &transactions, "--chunk-customers", "0"], 2, "--chunk-customers");
    with(&["--customers", &transactions], "there is no column external_id");
    with(&["--subscriptions", &transactions], "there is no column plan");
    with(&["--acquisition-costs", &transactions], "there is no column cost");
    with(&["--take-rate", "1.5"], "take_rate = 1.5: must be from 0 to 1");
    with(&["--currency", "EUR"], "cannot be fitted");
    with(&["--model", &folder.path("missing.json")], "missing.json");
    with(&["--model", &no_json], "not a JSON document");
    with(&["--model", &no_models], "there are no models in this document");
    with(&["--model", &negative], "parameter alpha = -1");
    with(&["--model", &bg_nbd], "this is a single model, and a night needs two");
    with(&["--model", &bg_nbd, "--model", &bg_nbd], "a bg_nbd and a bg_nbd");
    with(&["--model", &bg_nbd, "--model", &version], "this is no single model");
    with(&["--model", &bg_nbd, "--model", &segments], "without --segment-column");
    with(&["--model", &bg_nbd, "--model", &bg_nbd, "--model", &bg_nbd], "--model is given 3 times");
    with(&["--model", &version, "--currency", "USD"], "the models of --model were fitted in EUR");
    with(&["--model", &version, "--as-of", "2020-01-01"], "no customers");
    let nowhere = folder.path("nowhere/values.csv");
    fails(
        &["--transactions", &transactions, "--model", &version, "--out", &nowhere],
        1,
        "nowhere/values.csv",
    );
}

#[test]
fn the_values_never_take_the_place_of_what_is_read_nor_of_a_link_a_pipe_or_a_folder() {
    let folder = Folder::new("out");
    let transactions = folder.write("transactions.csv", TRANSACTIONS);
    let customers = folder.write("customers.csv", CUSTOMERS);
    let subscriptions = folder.path("subscriptions.csv");
    fs::hard_link(&customers, &subscriptions).unwrap();
    let model = folder.write("model.json", MODELS);
    let (link, pipe) = (folder.path("link"), folder.path("pipe"));
    std::os::unix::fs::symlink("linked.csv", &link).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let before = folder.names();
    let night = ["--transactions", &transactions, "--customers", &customers, "--model", &model, "--out"];
    let same = |out: &str, input: &str| {
        fails(&[&night[..], &[out]].concat(), 1, &format!("{out}: this is the same file as {input}"));
    };

    same(&transactions, &transactions);
    same(&subscriptions, &customers);
    same(&model, &model);
    fails(&[&night[..], &[&folder.path("")]].concat(), 1, "this is a folder; name a file in it");
    assert_eq!((folder.names(), folder.read("transactions.csv")), (before, TRANSACTIONS.to_owned()));

    let reading = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    succeeds(&[&night[..], &[&pipe]].concat());
    succeeds(&[&night[..], &[&link]].concat());
    assert_eq!(reading.join().unwrap(), folder.read("linked.csv"));
    assert!(fs::symlink_metadata(link).unwrap().is_symlink());
}

#[test]
fn a_file_that_breaks_off_is_told_and_nothing_is_said_of_loading() {
    let folder = Folder::new("broken");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(TRANSACTIONS.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let (broken, out) = (folder.path("broken.csv.gz"), folder.path("values.csv"));
    fs::write(&broken, &whole[..whole.len() - 9]).unwrap();

    let output = ltv(&["--transactions", &broken, "--out", &out]);

    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("nothing was written: ") && err.contains("the compressed file breaks off"), "{err}");
    assert!(!err.contains("loaded"), "{err}");
    assert_eq!(folder.names(), ["broken.csv.gz"]);
}

#[test]
fn what_takes_a_while_is_told_unless_a_document_is_wanted() {
    let folder = Folder::new("progress");
    let text = fs::read_to_string(cdnow("transactions")).unwrap();
    let (header, lines) = text.split_once('\n').unwrap();
    let reversed: Vec<&str> = lines.lines().rev().collect();
    let transactions = folder.write("reversed.csv", &format!("{header}\n{}\n", reversed.join("\n")));
    let out = folder.path("values.csv");
    let night = ["--transactions", &transactions, "--out", &out];

    let (_, told) = succeeds(&night);
    let (_, quiet) = succeeds(&[&night[..], &["--json"]].concat());

    let begin = "  reading transactions\n  reading transactions again\n  fitting the models\n";
    assert!(told.starts_with(begin), "{told}");
    assert_eq!(quiet, "");
}

#[test]
fn an_interrupt_ends_the_night_and_leaves_no_file() {
    let folder = Folder::new("interrupt");
    let pipe = folder.path("transactions.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let out = folder.path("values.csv");
    let night = command(&["--transactions", &pipe, "--out", &out]).stderr(Stdio::piped()).spawn().unwrap();

    // It reads once it has opened the other end; by then a file is begun, and it listens for signals.
    let mut transactions = File::options().write(true).open(&pipe).unwrap();
    transactions.write_all(TRANSACTIONS.as_bytes()).unwrap();
    let begun = folder.names();
    let killed = Command::new("kill").args(["-INT", &night.id().to_string()]).status().unwrap();
    let output = night.wait_with_output().unwrap();
    drop(transactions);

    assert!(killed.success() && begun.iter().any(|name| name.ends_with(".partial")), "{begun:?}");
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("stopped before the night was over"), "{err}");
    assert_eq!(folder.names(), ["transactions.csv"]);
}
