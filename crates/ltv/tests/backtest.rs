//! The backtest of whole bases: a made-up one whose truth is known, and files that are too short or odd.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

use std::collections::HashMap;

use ltv::generate::{GenerateSpec, generate};
use model::Currency;
use model::backtest::ContenderKind;
use offline::backtest::{Base, Question, Report, backtest, html, text};

fn question(origins: u32, horizon_weeks: u32) -> Question {
    Question {
        origins,
        horizon_weeks,
        models: vec![ContenderKind::BgNbd],
        champion: ContenderKind::BgNbd,
        currency: Currency::parse("USD").unwrap(),
        as_of: None,
        seed: 1,
    }
}

fn generated(customers: u32, weeks: u32) -> Base {
    let spec = GenerateSpec {
        customers,
        transactions_per_customer: None,
        first_customer_id: 1,
        first_transaction_id: 1,
        seed: 5,
        as_of: "1998-07-01T00:00:00Z".parse().unwrap(),
        weeks,
        subscriptions: false,
    };
    let generated = generate(&spec).unwrap();
    let segments: HashMap<i64, String> =
        generated.customers().map(|customer| (customer.customer_id, customer.segment.to_owned())).collect();
    Base::of(generated.transactions().map(as_read).collect(), &segments)
}

fn cdnow() -> Base {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/cdnow/transactions.csv");
    Base::read(file.as_ref(), None).unwrap()
}

fn answer(base: &Base, question: &Question) -> Report {
    backtest(base, question, |_| {}).unwrap()
}

/// A generated transaction as it is read back from a file.
fn as_read(generated: store::postgres::source::Transaction) -> files::Transaction {
    files::Transaction {
        transaction_id: generated.transaction_id,
        customer_id: generated.customer_id,
        occurred_at: generated.occurred_at,
        amount_minor: generated.amount_minor,
        currency: generated.currency,
    }
}

#[test]
fn on_a_base_that_follows_the_model_the_intervals_cover_what_they_promise() {
    let base = generated(60_000, 156);

    let report = answer(&base, &question(1, 52));

    let assessment = &report.origins[0].models[0].assessment;
    let calibration = assessment.calibration.as_ref().unwrap();
    println!("{:?} {:?} {:?}", calibration, assessment.count.bias, assessment.three_figures);
    let [of_80, of_90] = calibration.coverage[..] else { panic!("two levels") };
    assert!((0.79..=0.81).contains(&of_80.pit_share), "{of_80:?}");
    assert!((0.89..=0.91).contains(&of_90.pit_share), "{of_90:?}");
    assert!(assessment.count.bias.unwrap().abs() < 0.05, "{:?}", assessment.count.bias);
    assert!(calibration.pit.iter().all(|share| (share - 0.05).abs() < 0.005), "{:?}", calibration.pit);
    assert_eq!(assessment.segments.len(), 6);
}

#[test]
fn the_cdnow_file_is_cut_where_the_papers_cut_it() {
    let report = answer(&cdnow(), &question(1, 39));

    let origin = &report.origins[0];
    assert_eq!((origin.origin.as_str(), origin.end.as_str()), ("1997-10-01", "1998-07-01"));
    assert_eq!((origin.customers, origin.left_out.len()), (2_357, 0));
    let tracking = &origin.models[0].tracking;
    assert!((tracking.unconditional_bias.unwrap() + 0.041).abs() < 0.001);
}

#[test]
fn data_that_are_too_short_say_the_longest_horizon_that_would_fit() {
    let error = backtest(&cdnow(), &question(3, 52), |_| {}).unwrap_err();

    let message = format!("{error:#}");
    assert!(message.contains("the longest horizon that would fit is 44 weeks"), "{message}");
    assert!(message.contains("1997-01-01 to 1998-07-01"), "{message}");
}

#[test]
fn the_report_says_the_same_as_a_table_a_document_and_a_page() {
    let mut question = question(2, 26);
    question.models = vec![ContenderKind::BgNbd, ContenderKind::ParetoNbd];
    let base = cdnow();

    let report = answer(&base, &question);

    let (table, page) = (text(&report), html(&report));
    let document = serde_json::to_string(&report).unwrap();
    assert!(table.contains("BG/NBD stays before Pareto/NBD") || table.contains("takes the place"), "{table}");
    assert!(
        page.matches("<svg viewBox=\"0 0 480").count() == 2 * (4 + 2 + 2),
        "four plots, two for each model"
    );
    for outside in ["http:", "https:", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
    for text in [&table, &page, &document] {
        assert!(!text.contains("NaN") && !text.contains(">inf"));
    }
    assert!(document.contains("\"pit_share\"") && document.contains("\"champion\":\"bg_nbd\""));
    assert_eq!(serde_json::to_string(&answer(&base, &question)).unwrap(), document);
}
