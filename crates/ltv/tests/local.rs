//! A night on files, as a person runs it.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use model::{Account, Currency, HistoryFold, Models, Observation, Value, ValueTerms, Valuer};
use serde_json::Value as Json;

const CDNOW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/cdnow");

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("local").join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// Everything that is in it, hidden or not.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ltv"));
    command.arg("local").args(arguments);
    command
}

fn ltv(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What it says on standard output and on standard error.
#[track_caller]
fn succeeds(arguments: &[&str]) -> (String, String) {
    let output = ltv(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {err}");
    (out, err)
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, why: &str) {
    let output = ltv(arguments);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
    assert!(err.contains(why), "{why} in {err}");
}

/// The rows of a file of values, by column.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

fn cdnow(name: &str) -> String {
    format!("{CDNOW}/{name}.csv")
}

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

const TRANSACTIONS: &str = "\
transaction_id,customer_id,occurred_at,amount,currency
1,7,2026-01-05,10.00,EUR
2,7,2026-02-05T08:00:00Z,12.50,EUR
3,8,2026-02-07,5.00,EUR
4,9,2026-02-08,5.00,USD
5,8,yesterday,5.00,EUR
3,8,2026-03-07,5.00,EUR
6,99,2026-03-08,5.00,EUR
7,8,2026-04-01,5.00,EUR
";

const CUSTOMERS: &str = "\
customer_id,external_id,segment,acquired_at
11,late,shops,2026-08-01
9,nine,shops,2026-01-01
8,eight,\"arts, crafts\",2026-01-01
7,seven,shops,2026-01-01
10,ten,shops,2026-01-01
8,again,shops,2026-01-01
12,seven,shops,2026-01-01
";

const MODELS: &str = r#"{"version": 3, "currency": "EUR", "parameters": {
    "bg_nbd": {"r": "0.243", "alpha": "4.414", "a": "0.793", "b": "2.426"},
    "gamma_gamma": {"p": "6.25", "q": "3.74", "v": "1544"},
    "contracts": {"plans": [], "others": {"sbg": {"alpha": "0.7", "beta": "1.2"}}}}}"#;

#[test]
fn bad_rows_and_rows_of_nobody_are_counted_and_the_first_is_told() {
    let folder = Folder::new("bad");
    let transactions = folder.write("transactions.csv", TRANSACTIONS);
    let customers = folder.write("customers.csv", CUSTOMERS);
    let subscriptions = "customer_id,plan,period_months,started_at,ended_at,price,currency,end_reason\n\
                         10,pro,1,2026-01-10,,49.00,EUR,\n\
                         10,pro,1,2026-01-10,,49.00,EUR,\n\
                         7,pro,0,2026-01-10,,49.00,EUR,\n\
                         8,pro,1,2026-09-01,,49.00,EUR,\n\
                         55,pro,1,2026-01-10,,49.00,EUR,\n";
    let subscriptions = folder.write("subscriptions.csv", subscriptions);
    let costs = "customer_id,cost,currency\n7,20.00,EUR\n7,30.00,EUR\n55,1.00,EUR\n";
    let costs = folder.write("costs.csv", costs);
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

    let check = |arguments: &[&str], code: i32, why: &str| {
        fails(&[&["--out", &out], arguments].concat(), code, why);
        assert_eq!(folder.names(), before, "{arguments:?}");
    };
    let with = |arguments: &[&str], why: &str| {
        check(&[&["--transactions", &transactions], arguments].concat(), 1, why);
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
