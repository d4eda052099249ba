//! The models against the reference tables: evaluated row by row.

use std::collections::BTreeMap;
use std::fs;

use crate::folder::Folder;
use crate::{data, error, succeeds, table};

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
