//! Fits of files: contracts, segments, the published summaries.

use std::collections::BTreeMap;
use std::fs;

use crate::folder::Folder;
use crate::{data, fails, succeeds, table};

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

/// Three cohorts that melt away alike, the last of them too small for a fit of its own.
fn cohorts() -> String {
    let cohort = |plan: &str, size: u32| {
        let left = [1000, 631, 468, 382, 326].map(|left| left * size / 1000);
        let line = |(period, left)| format!("{period},{left},{plan}\n");
        left.iter().enumerate().map(line).collect::<String>()
    };
    format!("period,survivors,plan\n{}{}{}", cohort("a", 4000), cohort("b", 2000), cohort("c", 299))
}

/// A column after the others: every tenth row is in a small segment, the rest in two.
fn with_plans(text: &str) -> String {
    let (header, rows) = text.split_once('\n').unwrap();
    let row = |(index, row): (usize, &str)| {
        let plan = if index % 10 == 0 && index < 2000 { "c" } else { ["a", "b"][index / 5 % 2] };
        format!("{},{plan}\n", row.trim_end())
    };
    let rows: String = rows.lines().enumerate().map(row).collect();
    format!("{},plan\n{rows}", header.trim_end())
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
    check("sbg", &cohorts(), false);
    check("bdw", &cohorts(), false);
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
