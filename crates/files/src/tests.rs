//! Files with anything in them: read, or refused with the place, and never a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use model::Currency;
use proptest::prelude::*;

use crate::cohorts;
use crate::customers::CustomerColumns;
use crate::fields::FieldEnds;
use crate::header::{Header, Naming};
use crate::kind::Columns;
use crate::reason::{Problem, Reason};
use crate::row::Row;
use crate::summaries::{self, HistoryColumns, Reading, SpendColumns};
use crate::table::Rows;
use crate::transactions::TransactionColumns;

/// The header that a line is, where names may be in any case.
pub(crate) fn header_of(line: &[u8]) -> Header {
    Header::read(Path::new("t.csv"), &FieldEnds::default().split(line), Naming::InAnyCase).unwrap()
}

/// Reads a row of a file of one kind, when the clock shows 2026-11-23.
pub(crate) fn read<C: Columns, T>(
    header: &str,
    row: &str,
    read: impl FnOnce(&C, Row<'_>, Timestamp) -> Result<T, Problem>,
) -> Result<T, Reason> {
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    let header = header_of(header.as_bytes());
    let columns = C::find(&header).unwrap();
    let mut ends = FieldEnds::default();
    let row = Row { header: &header, line: 2, fields: ends.split(row.as_bytes()) };
    read(&columns, row, now).map_err(|problem| problem.reason)
}

/// A file that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(bytes: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ltv-outside-{}-{number}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file more or less in the folder for such files is not worth a failure.
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads a file in every way that there is.
fn read_in_every_way(path: &Path) {
    let reading = Reading { as_of: None, currency: Currency::parse("EUR").unwrap(), segment_column: None };
    if let Ok((mut table, _)) = summaries::open(path, &reading) {
        let header = table.header().clone();
        let (of_customers, of_donors) =
            (HistoryColumns::of_customers(&header).ok(), HistoryColumns::of_donors(&header).ok());
        let spend = SpendColumns::find(&header).ok();
        while let Ok(Some(record)) = table.next_row() {
            let row = record.under(&header);
            let _ = of_customers.map(|columns| columns.customer(row));
            let _ = of_donors.map(|columns| columns.donor(row));
            let _ = spend.map(|columns| columns.spend(row));
        }
    }
    let _ = Rows::open(path).and_then(|rows| cohorts::read(rows, None));
}

fn cells() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..9_u32).prop_map(|number| number.to_string()),
        2 => prop::sample::select(vec!["EUR", "1997-01-18", "9999-12-31", "-9999-01-01", "29.33", "1e308", "-1", "NaN"])
            .prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        1 => "\\PC{0,6}",
    ]
}

const HEADERS: [&str; 6] = [
    "customer_id,occurred_at,amount,currency",
    "customer_id,occurred_at,amount_minor,currency",
    "x,t_x,T,zbar",
    "x,t_x,n,weights",
    "cohort,period,survivors,other",
    "period,churned,active,other",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_a_file_or_refused(bytes: Vec<u8>, is_gzip: bool) {
        let start: &[u8] = if is_gzip { &[0x1f, 0x8b, 8, 0] } else { &[] };
        let file = Scratch::new(&[start, &bytes].concat());

        read_in_every_way(&file.0);
    }

    #[test]
    fn rows_of_any_numbers_are_read_or_refused(
        header in prop::sample::select(&HEADERS[..]),
        rows in prop::collection::vec(prop::collection::vec(cells(), 4), 0..8),
    ) {
        let mut text = header.to_owned();
        for row in rows {
            text.push('\n');
            text.push_str(&row.join(","));
        }
        let file = Scratch::new(text.as_bytes());

        read_in_every_way(&file.0);
    }

    #[test]
    fn any_line_is_a_header_or_lacks_a_column(
        line in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\",;amount_minor"[..])], 0..60),
    ) {
        let header = header_of(&line);

        prop_assert!(TransactionColumns::find(&header).is_err());
        prop_assert!(CustomerColumns::find(&header).is_err());
    }
}
