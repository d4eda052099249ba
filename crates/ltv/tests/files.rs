//! The commands on files, run as a person runs them.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
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

    fn json(&self, name: &str) -> Json {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// Everything that is in it.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn ltv(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ltv")).args(arguments).env_remove("LTV_DATABASE_URL").output().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = ltv(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    stderr
}

#[track_caller]
fn fails(arguments: &[&str], code: i32) -> String {
    let output = ltv(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data").join(name);
    path.display().to_string()
}

fn table(text: &str) -> (Vec<String>, Vec<BTreeMap<String, String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().iter().map(str::to_owned).collect();
    (names, reader.deserialize().map(Result::unwrap).collect())
}

/// Evaluates a model on a reference file and returns the worst relative error of each quantity.
#[track_caller]
fn worst_errors(model: &str, reference: &str, quantities: &[&str]) -> BTreeMap<String, f64> {
    let folder = Folder::new(&format!("evaluate-{model}-{reference}"));
    // What the program writes must not be what it read: the quantities are taken out of its input.
    let (names, expected) = table(&fs::read_to_string(data(reference)).unwrap());
    let mut input = csv::Writer::from_writer(Vec::new());
    input.write_record(&names).unwrap();
    for row in &expected {
        let of = |name: &String| if quantities.contains(&name.as_str()) { "?" } else { row[name].as_str() };
        input.write_record(names.iter().map(of)).unwrap();
    }
    let input = folder.write("in.csv", &String::from_utf8(input.into_inner().unwrap()).unwrap());

    succeeds(&["evaluate", "--model", model, "--input", &input, "--out", &folder.path("out.csv")]);

    let (written, actual) = table(&folder.read("out.csv"));
    assert_eq!(written, names);
    assert_eq!(actual.len(), expected.len());
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for (actual, expected) in actual.iter().zip(&expected) {
        for name in names.iter().filter(|name| !quantities.contains(&name.as_str())) {
            assert_eq!(actual[name], expected[name], "{name}");
        }
        if actual.get("model").is_some_and(|named| named.replace('_', "") != model.replace('_', "")) {
            assert!(quantities.iter().all(|name| actual[*name].is_empty()));
            continue;
        }
        for &name in quantities {
            let worst = worst.entry(name.to_owned()).or_default();
            *worst = worst.max(error(&actual[name], &expected[name]));
        }
    }
    println!("{model}: {worst:?}");
    worst
}

fn error(actual: &str, expected: &str) -> f64 {
    let (actual, expected): (f64, f64) = (actual.parse().unwrap(), expected.parse().unwrap());
    assert!(!actual.is_nan());
    // Below the range of full precision, and below the reference's forty digits beside 1, there is nothing to compare.
    if actual.total_cmp(&expected).is_eq() || (actual.abs() < 1e-30 && expected.abs() < 1e-30) {
        return 0.0;
    }
    (actual / expected - 1.0).abs()
}

#[track_caller]
fn check_reference(model: &str, reference: &str, quantities: &[&str]) {
    for (name, error) in worst_errors(model, reference, quantities) {
        assert!(error < 1e-9, "{model}: {name} is off by {error:e}");
    }
}

const PURCHASES: [&str; 9] =
    ["log_lik", "p_alive", "ln_p_alive", "ln_p_dead", "cet", "det", "dert", "var_y", "p_zero"];

#[test]
fn the_models_of_purchases_agree_with_the_reference() {
    for model in ["bg_nbd", "mbg_nbd", "pareto_nbd"] {
        check_reference(model, "ref_transaction_models.csv", &PURCHASES);
    }
}

#[test]
fn the_model_of_spend_agrees_with_the_reference() {
    let quantities = ["mean_spend", "var_mean_spend", "log_lik", "post_shape", "post_scale"];
    check_reference("gamma_gamma", "ref_gamma_gamma.csv", &quantities);
}

#[test]
fn the_model_of_opportunities_agrees_with_the_reference() {
    let quantities = ["log_lik", "p_alive_n", "p_alive_n_plus_1", "cet_n_star", "dert"];
    check_reference("bg_bb", "ref_bgbb.csv", &quantities);
}

#[test]
fn the_models_of_contracts_agree_with_the_reference() {
    let quantities = [
        "survival_n",
        "retention_n",
        "pmf_n",
        "del_d",
        "derl_n_d",
        "derl12_n_d",
        "post_mean_churn",
        "post_sd_churn",
    ];
    check_reference("sbg", "ref_contract.csv", &quantities);
    check_reference("bdw", "ref_contract.csv", &["bdw_survival_n", "bdw_retention_n"]);
}

#[test]
fn purchases_with_spend_agree_with_the_reference() {
    let quantities = ["pmf0", "pmf1", "pmf2", "mean_y", "var_y", "mean_spend_total", "var_spend_total"];
    let quantiles = ["y_q05", "v_q05", "y_q50", "v_q50", "y_q95", "v_q95"];
    // The reference is of double precision, and says of itself that it is good to about 1e-9.
    for (name, error) in worst_errors("bg_nbd", "ref_interval.csv", &[&quantities[..], &quantiles].concat()) {
        assert!(error < 3e-9, "{name} is off by {error:e}");
    }
}

#[test]
fn contracts_are_fitted_from_survivors_and_from_losses() {
    let folder = Folder::new("contracts");
    // Fader & Hardie (2007), the regular customers of the first seven renewals.
    let survivors = [1000, 631, 468, 382, 326, 289, 262, 241];
    let lines = survivors.iter().enumerate().map(|(period, left)| format!("{period},{left}\n"));
    let by_survivors = folder.write("s.csv", &format!("period,survivors\n{}", lines.collect::<String>()));
    let losses = survivors.windows(2).enumerate().map(|(n, pair)| {
        let active = if n == 6 { pair[1] } else { 0 };
        format!("{},{},{active}\n", n + 1, pair[0] - pair[1])
    });
    let by_losses = folder.write("l.csv", &format!("period,churned,active\n{}", losses.collect::<String>()));

    succeeds(&["fit", "--model", "sbg", "--input", &by_survivors, "--out", &folder.path("s.json")]);
    succeeds(&["fit", "--model", "sbg", "--input", &by_losses, "--out", &folder.path("l.json")]);
    succeeds(&["fit", "--model", "bdw", "--input", &by_losses, "--out", &folder.path("b.json")]);
    let customers = folder.write("c.csv", "n\n1\n5\n");
    for (model, predicted) in [("s.json", "retention"), ("b.json", "expected_renewals")] {
        let (model, out) = (folder.path(model), folder.path("v.csv"));
        succeeds(&["predict", "--model", &model, "--input", &customers, "--out", &out, "--horizon", "4"]);
        let (_, rows) = table(&folder.read("v.csv"));
        let of = |row: usize| rows[row][predicted].parse::<f64>().unwrap();
        assert!(0.0 < of(0) && of(0) < of(1) && of(1) < 4.0);
        let number = |column: &str| rows[0][column].parse::<f64>().unwrap();
        assert!(number("discounted_renewals") < number("derl") && number("derl") < 100.0);
    }

    assert_eq!(folder.read("s.json"), folder.read("l.json"));
    let parameter = |name: &str| folder.json("s.json")["parameters"][name].as_f64().unwrap();
    assert!((parameter("alpha") / 0.704_077 - 1.0).abs() < 1e-5);
    assert!((parameter("beta") / 1.182_043 - 1.0).abs() < 1e-5);
    assert!((folder.json("s.json")["log_likelihood"].as_f64().unwrap() + 1680.26519).abs() < 1e-4);
}

#[test]
fn counts_of_contracts_that_cannot_be_are_refused() {
    let check = |text: &str, what: &str| {
        let folder = Folder::new("bad-contracts");
        let input = folder.write("in.csv", text);
        let message =
            fails(&["fit", "--model", "sbg", "--input", &input, "--out", &folder.path("m.json")], 1);
        assert!(message.contains(what), "{message}");
        assert_eq!(folder.names(), ["in.csv"]);
    };
    check("period,survivors\n0,10\n1,11\n", "line 3, column survivors: more customers");
    check("period,survivors\n1,10\n2,9\n", "line 2, column period: period 0 of the cohort is missing");
    check("period,survivors\n0,10\n0,9\n", "line 3, column period: the cohort has period 0 twice");
    check("period,churned,active\n0,5,0\n", "line 2, column period: nobody can leave");
    check("period,churned,active\n1,5,95\n2,5,90\n3,5,85\n", "call it survivors");
}

#[test]
fn a_segment_has_its_own_model_where_it_has_enough_customers() {
    let folder = Folder::new("segments");
    let text = fs::read_to_string(data("cdnow_customers_summary.csv")).unwrap();
    let mut rows = String::from("ID,frequency,recency,T,plan\n");
    for (index, line) in text.lines().skip(1).enumerate() {
        let plan = if index < 5 {
            "rare"
        } else if index % 2 == 0 {
            "even"
        } else {
            "odd"
        };
        rows.extend([line, ",", plan, "\n"]);
    }
    let (input, model, out) = (folder.write("in.csv", &rows), folder.path("m.json"), folder.path("v.csv"));

    let fit = ["fit", "--model", "bg_nbd", "--input", &input, "--out", &model, "--segment-column", "plan"];
    let stderr = succeeds(&fit);
    succeeds(&["predict", "--model", &model, "--input", &input, "--out", &out]);

    assert!(stderr.is_empty(), "{stderr}");
    let document = folder.json("m.json");
    assert_eq!(document["segment_column"], "plan");
    let segments = document["segments"].as_object().unwrap();
    let of =
        |key: &str| segments.iter().map(|(name, of)| (name.as_str(), of[key].clone())).collect::<Vec<_>>();
    assert_eq!(of("customers"), [("even", 1176.into()), ("odd", 1176.into()), ("rare", 5.into())]);
    let weight = |name: &str| segments[name]["weight_of_parent"].as_f64().unwrap();
    assert!(0.0 < weight("even") && weight("even") < 1.0, "{document}");
    assert_eq!(weight("rare").to_bits(), 1.0_f64.to_bits());
    assert_eq!(segments["rare"]["parameters"], document["parameters"]);
    assert_ne!(segments["even"]["parameters"], document["parameters"]);
    assert_eq!(table(&folder.read("v.csv")).1.len(), 2357);
}

#[test]
fn every_model_says_of_each_segment_how_much_of_its_parameters_is_its_own() {
    let purchases = fs::read_to_string(data("cdnow_customers_summary_with_transactions.csv")).unwrap();
    let donations = fs::read_to_string(data("donations.csv")).unwrap();
    let donors = |row: &str| {
        let (history, donors) = row.rsplit_once(',').unwrap();
        let donors: u32 = donors.parse().unwrap();
        format!("{history},{donors},a\n{history},{},b\n{history},{},c\n", donors / 2, donors / 50)
    };
    let opportunities =
        format!("x,t_x,n,donors,plan\n{}", donations.lines().skip(1).map(donors).collect::<String>());
    let cohort = |plan: &str, size: u32| {
        let left = [1000, 631, 468, 382, 326].map(|left| left * size / 1000);
        let line = |(period, left)| format!("{period},{left},{plan}\n");
        left.iter().enumerate().map(line).collect::<String>()
    };
    let contracts =
        format!("period,survivors,plan\n{}{}{}", cohort("a", 4000), cohort("b", 2000), cohort("c", 299));
    // A column after the others: every tenth row is in a small segment, the rest in two.
    let with_plans = |text: &str| {
        let (header, rows) = text.split_once('\n').unwrap();
        let row = |(index, row): (usize, &str)| {
            let plan = if index % 10 == 0 && index < 2000 { "c" } else { ["a", "b"][index / 5 % 2] };
            format!("{},{plan}\n", row.trim_end())
        };
        let rows: String = rows.lines().enumerate().map(row).collect();
        format!("{},plan\n{rows}", header.trim_end())
    };
    let check = |model: &str, text: &str, is_shrunk: bool| {
        let folder = Folder::new(&format!("segments-{model}"));
        let (input, out) = (folder.write("in.csv", text), folder.path("m.json"));

        let fit = ["fit", "--model", model, "--input", &input, "--out", &out, "--segment-column", "plan"];
        let stderr = succeeds(&fit);

        let document = folder.json("m.json");
        let of = |segment: &str, key: &str| document["segments"][segment][key].clone();
        assert_eq!(stderr.contains("segment c is left to the fit of all"), !is_shrunk, "{model}: {stderr}");
        assert_eq!(
            (of("c", "weight_of_parent"), of("c", "parameters")),
            (1.0.into(), document["parameters"].clone())
        );
        let customers = |segment: &str| of(segment, "customers").as_u64().unwrap();
        let all: u64 = ["a", "b", "c"].map(customers).iter().sum();
        assert_eq!(all, document["customers"], "{model}");
        assert!(customers("c") < 300 && customers("a") >= 300, "{model}");
        // What each segment's customers say by themselves is never less likely than what all say together.
        let likelihood = |segment: &str| of(segment, "log_likelihood").as_f64().unwrap();
        let together = document["log_likelihood"].as_f64().unwrap();
        let apart: f64 = ["a", "b", "c"].map(likelihood).iter().sum();
        assert!(apart > together - 1e-9 * together.abs(), "{model}: {apart} {together}");
        for segment in ["a", "b"] {
            let weight = of(segment, "weight_of_parent").as_f64().unwrap();
            assert!(
                if is_shrunk { 0.0 < weight && weight < 1.0 } else { weight == 0.0 },
                "{model}: {weight}"
            );
            assert_eq!(of(segment, "model"), model);
            for key in ["standard_errors", "gradient_norm", "converged"] {
                assert!(!of(segment, key).is_null(), "{model}: {key}");
            }
        }
    };
    check("bg_nbd", &with_plans(&purchases), true);
    check("gamma_gamma", &with_plans(&purchases), true);
    check("mbg_nbd", &with_plans(&purchases), true);
    check("pareto_nbd", &with_plans(&purchases), false);
    check("bg_bb", &opportunities, false);
    check("sbg", &contracts, false);
    check("bdw", &contracts, false);
}

#[test]
fn a_bad_row_is_named_by_file_line_and_column_and_leaves_nothing_behind() {
    const HEADER: &str = "r,alpha,a,b,x,t_x,T,t,delta\n";
    const GOOD: &str = "0.2,4.4,0.8,2.4,1,3,9,52,0.003\n";
    let check = |row: &str, column: &str, what: &str| {
        let folder = Folder::new("bad-row");
        let input = folder.write("in.csv", &format!("{HEADER}{GOOD}\n{row}\n{GOOD}"));

        let message =
            fails(&["evaluate", "--model", "bg_nbd", "--input", &input, "--out", &folder.path("out.csv")], 1);

        // The empty line counts.
        assert!(message.contains(&format!("in.csv, line 4, column {column}: ")), "{message}");
        assert!(message.contains(what), "{message}");
        assert_eq!(folder.names(), ["in.csv"]);
    };
    check("0.2,4.4,0.8,2.4,1,3,9,52,much", "delta", "\"much\" is not a number");
    check("0.2,4.4,0.8,2.4,1,3,9,52,", "delta", "not a number");
    check("0.2,4.4,0.8,2.4,1,3,9,nan,0", "t", "not a number");
    check("0.2,4.4,0.8,2.4,1,3,9,-1,0", "t", "below zero");
    check("0.2,4.4,0.8,2.4,1.5,3,9,52,0", "x", "not a whole number");
    check("0.2,4.4,0.8,2.4,1,9.5,9,52,0", "t_x", "after the end");
    check("0.2,4.4,0.8,2.4,0,3,9,52,0", "t_x", "must be 0");
    check("0.2,4.4,-0.8,2.4,1,3,9,52,0", "a", "must be from");
}

#[test]
fn a_row_of_another_length_is_an_error_and_what_stood_there_stays() {
    let folder = Folder::new("short-row");
    let input = folder.write("in.csv", "p,q,v,x,zbar\n6,4,15,1,20\n6,4,15,1\n");
    let out = folder.write("out.csv", "of yesterday");

    let message = fails(&["evaluate", "--model", "gamma_gamma", "--input", &input, "--out", &out], 1);

    assert!(message.contains("in.csv, line 3: 4 fields, but the header has 5 columns"), "{message}");
    assert_eq!(folder.read("out.csv"), "of yesterday");
}

#[test]
fn a_missing_column_is_named() {
    let folder = Folder::new("missing-column");
    let input = folder.write("in.csv", "p,q,v,x\n");

    let message = fails(
        &["evaluate", "--model", "gamma_gamma", "--input", &input, "--out", &folder.path("out.csv")],
        1,
    );

    assert!(message.contains("in.csv, line 1: there is no column zbar"), "{message}");
}

#[test]
fn quantities_without_a_column_are_appended_and_other_models_left_empty() {
    let folder = Folder::new("append");
    let input = folder.write(
        "in.csv",
        "model,p,q,v,x,zbar,mean_spend,note\ngammagamma,6,4,15,0,0,?,\"a,b\"\nbgnbd,,,,,,?,c\n",
    );

    let stderr = succeeds(&[
        "evaluate",
        "--model",
        "gamma_gamma",
        "--input",
        &input,
        "--out",
        &folder.path("out.csv"),
    ]);

    let (names, rows) = table(&folder.read("out.csv"));
    assert_eq!(names[..8], ["model", "p", "q", "v", "x", "zbar", "mean_spend", "note"]);
    assert_eq!(names[8..], ["var_mean_spend", "log_lik", "post_shape", "post_scale"]);
    assert_eq!((rows[0]["mean_spend"].as_str(), rows[0]["note"].as_str()), ("30.0", "a,b"));
    assert_eq!((rows[1]["mean_spend"].as_str(), rows[1]["note"].as_str()), ("", "c"));
    assert!(stderr.contains("1 of 2 rows are of another model than gamma_gamma"), "{stderr}");
}

#[test]
fn the_published_fits_come_out_of_the_published_summaries() {
    let check = |model: &str, input: &str, expected: &[(&str, f64)], log_likelihood: f64, customers: u64| {
        let folder = Folder::new(&format!("fit-{model}"));

        succeeds(&["fit", "--model", model, "--input", &data(input), "--out", &folder.path("m.json")]);

        let document = folder.json("m.json");
        for &(name, value) in expected {
            let found = document["parameters"][name].as_f64().unwrap();
            assert!((found / value - 1.0).abs() < 1e-5, "{model} {name}: {found} is not {value}");
            assert!(document["standard_errors"][name].as_f64().unwrap() > 0.0);
        }
        assert!((document["log_likelihood"].as_f64().unwrap() - log_likelihood).abs() < 1e-4);
        assert!(document["gradient_norm"].as_f64().unwrap() < 1e-6);
        assert_eq!(document["model"], model);
        assert_eq!(document["customers"], customers);
        assert_eq!(document["converged"], true);
    };
    let summary = "cdnow_customers_summary.csv";
    let bg_nbd = [("r", 0.242_592_907), ("alpha", 4.413_531_56), ("a", 0.792_886_148), ("b", 2.425_753_44)];
    check("bg_nbd", summary, &bg_nbd, -9582.42556, 2357);
    let mbg_nbd = [("r", 0.524_838), ("alpha", 6.182_992), ("a", 0.891_356), ("b", 1.613_999)];
    check("mbg_nbd", summary, &mbg_nbd, -9582.13268, 2357);
    let pareto_nbd = [("r", 0.553_276), ("alpha", 10.577_612), ("s", 0.606_214), ("beta", 11.667_911)];
    check("pareto_nbd", summary, &pareto_nbd, -9594.97393, 2357);
    let gamma_gamma = [("p", 6.248_802), ("q", 3.744_588), ("v", 15.447_748)];
    check("gamma_gamma", "cdnow_customers_summary_with_transactions.csv", &gamma_gamma, -4055.92324, 946);
    let bg_bb = [("alpha", 1.203_522), ("beta", 0.749_716), ("gamma", 0.656_718), ("delta", 2.783_442)];
    check("bg_bb", "donations.csv", &bg_bb, -33225.58127, 11104);
}

#[test]
fn weights_and_the_order_of_rows_do_not_change_a_fit() {
    let folder = Folder::new("weights");
    let text = fs::read_to_string(data("cdnow_customers_summary.csv")).unwrap();
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let (_, history) = line.split_once(',').unwrap();
        *counted.entry(history.to_owned()).or_default() += 1;
    }
    let rows: Vec<String> =
        counted.iter().rev().map(|(history, count)| format!("{history},{count}\n")).collect();
    let compressed = folder.write("c.csv", &format!("frequency,recency,T,weights\n{}", rows.concat()));
    let whole = data("cdnow_customers_summary.csv");

    succeeds(&["fit", "--model", "bg_nbd", "--input", &whole, "--out", &folder.path("whole.json")]);
    succeeds(&["fit", "--model", "bg_nbd", "--input", &compressed, "--out", &folder.path("compressed.json")]);

    assert_eq!(folder.read("whole.json"), folder.read("compressed.json"));
}

#[test]
fn transactions_are_summed_up_into_customers() {
    let folder = Folder::new("transactions");
    let transactions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/cdnow/transactions.csv");
    let transactions = transactions.to_str().unwrap();
    let as_of = ["--as-of", "1997-10-01"];
    let (bg_nbd, gamma_gamma, out) = (folder.path("bg.json"), folder.path("gg.json"), folder.path("v.csv"));

    for (model, file) in [("bg_nbd", &bg_nbd), ("gamma_gamma", &gamma_gamma)] {
        succeeds(&[&["fit", "--model", model, "--input", transactions, "--out", file][..], &as_of].concat());
    }
    let predict = ["predict", "--model", &bg_nbd, "--spend-model", &gamma_gamma, "--input", transactions];
    succeeds(&[&predict[..], &["--out", &out, "--horizon", "39w"], &as_of].concat());

    assert_eq!(folder.json("bg.json")["customers"], 2357);
    assert_eq!(folder.json("gg.json")["customers"], 946);
    let (names, rows) = table(&folder.read("v.csv"));
    let predicted =
        ["p_alive", "cet", "det", "dert", "var_y", "p_zero", "mean_spend", "expected_spend", "value"];
    assert_eq!(names[..5], ["customer_id", "x", "t_x", "T", "zbar"]);
    assert_eq!(names[5..], predicted);
    assert_eq!(rows.len(), 2357);
    let first = |name: &str| rows[0][name].parse::<f64>().unwrap();
    // Fader, Hardie & Lee (2005): this customer is expected to buy 1.226 times in the next 39 weeks.
    assert!((first("cet") - 1.226).abs() < 5e-3);
    assert!(first("det") < first("cet"));
    assert!((first("value") / (first("det") * first("mean_spend")) - 1.0).abs() < 1e-14);
}

#[test]
fn predictions_are_what_each_customer_by_himself_would_be_told() {
    const QUANTITIES: [&str; 6] = ["p_alive", "cet", "det", "dert", "var_y", "p_zero"];
    let folder = Folder::new("predictions");
    let input = data("cdnow_customers_summary.csv");
    // A year at 15 %, in weeks.
    let (t, delta) = (52.0, 1.15_f64.ln() / 52.1775);
    let check = |model: &str, names: [&str; 4]| {
        let (file, predicted, evaluated) =
            (folder.path("m.json"), folder.path("p.csv"), folder.path("e.csv"));

        succeeds(&["fit", "--model", model, "--input", &input, "--out", &file]);
        succeeds(&["predict", "--model", &file, "--input", &input, "--out", &predicted, "--horizon", "52w"]);
        let parameters = folder.json("m.json")["parameters"].clone();
        let parameters = names.map(|name| parameters[name].to_string()).join(",");
        let mut rows = format!("{},x,t_x,T,t,delta,{}\n", names.join(","), QUANTITIES.join(","));
        for line in fs::read_to_string(&input).unwrap().lines().skip(1).take(600) {
            let (_, history) = line.split_once(',').unwrap();
            rows.extend([&parameters, ",", history, &format!(",{t},{delta},,,,,,\n")]);
        }
        let points = folder.write("points.csv", &rows);
        succeeds(&["evaluate", "--model", model, "--input", &points, "--out", &evaluated]);

        let (_, predicted) = table(&folder.read("p.csv"));
        let (_, evaluated) = table(&folder.read("e.csv"));
        let mut worst: f64 = 0.0;
        for (predicted, evaluated) in predicted.iter().zip(&evaluated) {
            for quantity in QUANTITIES {
                worst = worst.max(error(&predicted[quantity], &evaluated[quantity]));
            }
        }
        assert!(worst < 1e-12, "{model}: {worst:e}");
    };
    check("bg_nbd", ["r", "alpha", "a", "b"]);
    check("mbg_nbd", ["r", "alpha", "a", "b"]);
}

#[test]
fn a_compressed_file_is_read_like_any_other() {
    let folder = Folder::new("gzip");
    let text = fs::read(data("cdnow_customers_summary.csv")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &text).unwrap();
    fs::write(folder.path("summary.csv.gz"), encoder.finish().unwrap()).unwrap();

    succeeds(&[
        "fit",
        "--model",
        "bg_nbd",
        "--input",
        &folder.path("summary.csv.gz"),
        "--out",
        &folder.path("m.json"),
    ]);

    assert_eq!(folder.json("m.json")["customers"], 2357);
}

#[test]
fn wrong_mixtures_of_options_are_wrong_use() {
    let check = |arguments: &[&str], what: &str| {
        let message = fails(arguments, 2);
        assert!(message.contains(what), "{message}");
    };
    check(&["fit", "--input", "f.csv", "--out", "m.json"], "--model <NAME>");
    check(&["fit", "--model", "bg_nbd", "--input", "f.csv"], "--out <FILE>");
    check(&["fit", "--model", "bg_nbd"], "--input <FILE>");
    check(&["fit"], "--database-url <URL>");
    check(&["fit", "--model", "nbd", "--input", "f.csv", "--out", "m.json"], "bg_nbd");
    check(
        &["predict", "--model", "m.json", "--input", "f.csv", "--out", "v.csv", "--horizon", "soon"],
        "52w",
    );
}

#[test]
fn no_command_writes_over_a_file_that_it_reads() {
    let folder = Folder::new("over");
    let text = fs::read_to_string(data("cdnow_customers_summary.csv")).unwrap();
    let input = folder.write("customers.csv", &text);
    let other = folder.write("other.csv", &text);
    let model = r#"{"model": "bg_nbd", "parameters": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}}"#;
    let model = folder.write("model.json", model);
    let check = |arguments: &[&str], input: &str| {
        let why = fails(arguments, 1);
        assert!(why.contains("this is the same file as") && why.contains(input), "{why}");
    };

    check(&["fit", "--model", "bg_nbd", "--input", &input, "--out", &input], &input);
    check(&["predict", "--model", &model, "--input", &input, "--out", &input], &input);
    check(&["predict", "--model", &model, "--input", &input, "--out", &model], &model);
    check(
        &["predict", "--model", &model, "--spend-model", &other, "--input", &input, "--out", &other],
        &other,
    );
    check(&["evaluate", "--model", "bg_nbd", "--input", &input, "--out", &input], &input);
    check(&["backtest", "--transactions", &input, "--html", &input], &input);
    check(&["backtest", "--transactions", &input, "--customers", &other, "--json", &other], &other);

    assert_eq!((folder.read("customers.csv"), folder.read("other.csv")), (text.clone(), text));
    assert_eq!(folder.names(), ["customers.csv", "model.json", "other.csv"]);
}

#[test]
fn what_goes_to_standard_output_is_added_to_the_file_behind_it() {
    let folder = Folder::new("standard-output");
    let model = r#"{"model": "bg_nbd", "parameters": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}}"#;
    let model = folder.write("model.json", model);
    let input = folder.write("input.csv", "x,t_x,T\n2,30,38\n");
    let mut file = fs::File::create(folder.path("out.csv")).unwrap();
    file.write_all(b"what was there\n").unwrap();
    let arguments = ["predict", "--model", &model, "--input", &input, "--out", "/proc/self/fd/1"];

    let predicted = Command::new(env!("CARGO_BIN_EXE_ltv")).args(arguments).stdout(file).status().unwrap();

    let text = folder.read("out.csv");
    assert!(predicted.success() && text.starts_with("what was there\nx,t_x,T,"), "{text}");
}
