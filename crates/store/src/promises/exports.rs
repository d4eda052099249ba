//! All values of a run.

use std::collections::BTreeMap;

use batch::RunId;
use futures_util::TryStreamExt;

use super::Ground;
use super::steps::{chunk, done, leading, ok, published};
use crate::{EXPORTED_COLUMNS, Exports, Supervision};

/// As values and as the lines of a file. Of a run that is not finished, or not there, nothing is told.
pub async fn all_values_of_a_finished_run_are_exported(ground: &impl Ground) {
    let store = ground.store();
    let run = published(ground).await;
    let term = leading(ground).await;
    for number in 1..=3 {
        done(ground, chunk(run, number)).await;
    }
    for run in [run, RunId(99)] {
        assert!(ok(store.export_values(run).await).is_none());
        assert!(ok(store.export_csv(run).await).is_none());
    }
    ok(store.finish_run(term, run).await).expect("it is settled");

    let values = ok(store.export_values(run).await).expect("it is finished");
    let csv = ok(store.export_csv(run).await).expect("it is finished");

    assert_eq!((values.customers, csv.customers), (8, 8));
    let mut values: Vec<_> = ok(values.pieces.try_concat().await);
    values.sort_by_key(|valued| valued.customer);
    let expected = ok(store.values_after(run, None, 99).await);
    assert_eq!(values, expected);
    let pieces: Vec<_> = ok(csv.pieces.try_collect().await);
    let text = String::from_utf8(pieces.concat()).expect("it is text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(EXPORTED_COLUMNS.join(",").as_str()));
    let rows: BTreeMap<&str, BTreeMap<&str, &str>> = lines
        .map(|line| {
            let row: BTreeMap<_, _> = EXPORTED_COLUMNS.into_iter().zip(line.split(',')).collect();
            (row["customer_id"], row)
        })
        .collect();
    assert_eq!(rows.len(), expected.len());
    for valued in &expected {
        let (row, value) = (&rows[valued.customer.to_string().as_str()], &valued.value);
        let check = |column: &str, expected: String| assert_eq!(row[column], expected, "{column}");
        let or_empty = |amount: Option<i64>| amount.map(|amount| amount.to_string()).unwrap_or_default();
        check("currency", "USD".into());
        check("value_minor", value.value_minor().to_string());
        check("value_for_ever_minor", or_empty(value.future().for_ever));
        check("contract_36_minor", value.contracts.months_36.to_string());
        check("upper_90_minor", or_empty(value.intervals.map(|[_, ninety]| ninety.upper_minor)));
        check("grade", char::from(value.confidence.grade.letter()).into());
        check("frequency", or_empty(valued.account.purchases.map(|purchases| purchases.frequency.into())));
        check("acquisition_cost_minor", or_empty(valued.account.acquisition_cost_minor));
        let p_alive: f64 = row["p_alive"].parse().expect("it is a number");
        assert_eq!(Some(p_alive.to_bits()), value.p_alive.map(f64::to_bits));
    }
}
