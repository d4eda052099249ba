//! What is predicted, and where it is written.

use std::fs;
use std::io::Write;
use std::process::Command;

use crate::folder::Folder;
use crate::{data, error, fails, succeeds, table};

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
        let reason = fails(arguments, 1);
        assert!(reason.contains("this is the same file as") && reason.contains(input), "{reason}");
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
