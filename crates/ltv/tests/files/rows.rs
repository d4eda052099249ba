//! Rows, columns and files as they come: what is read, named and refused.

use std::fs;
use std::path::Path;

use crate::folder::Folder;
use crate::{data, fails, succeeds, table};

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
