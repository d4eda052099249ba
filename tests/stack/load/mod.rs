//! `ltv load` and the generator, against a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too, which clippy does not see")]

mod generated;
mod subscriptions;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use ltv::generate::{GenerateSpec, Packing, generate, generate_into};
use ltv::load::{LoadInput, LoadReport, Stage, load};
use store::postgres::source::Relation;
use tests::{Database, Stack};
use tokio_postgres::Client;

/// A folder of its own for a test's files, which goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ltv-load-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn input(&self, customers: &Path, transactions: &Path) -> LoadInput {
        LoadInput {
            customers: Some(customers.to_owned()),
            transactions: Some(transactions.to_owned()),
            ..self.nothing()
        }
    }

    fn nothing(&self) -> LoadInput {
        LoadInput {
            customers: None,
            transactions: None,
            subscriptions: None,
            acquisition_costs: None,
            rejects: self.path("rejects.csv"),
        }
    }

    /// What stands in the file of rejects: file name, line, reason, row.
    fn rejects(&self) -> Vec<(String, u64, String, String)> {
        let mut reader = csv::Reader::from_path(self.path("rejects.csv")).unwrap();
        let rows = reader.records().map(|record| {
            let record = record.unwrap();
            let file = Path::new(&record[0]).file_name().unwrap().to_str().unwrap().to_owned();
            assert!(!record[3].is_empty(), "every reject has a detail: {record:?}");
            (file, record[1].parse().unwrap(), record[2].to_owned(), record[4].to_owned())
        });
        rows.collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn cdnow() -> (PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/cdnow");
    (folder.join("customers.csv"), folder.join("transactions.csv"))
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

async fn database() -> (Database, Client) {
    let stack = Stack::from_env();
    let database = Database::create(&stack).await;
    let client = database.client().await;
    (database, client)
}

/// Loads; an error comes back as the text that `ltv` would print.
async fn load_quietly(database: &Database, input: &LoadInput) -> Result<LoadReport, String> {
    load(&database.store(), input, |_| {}).await.map_err(|error| format!("{error:#}"))
}

/// The number of customers, of transactions, and the sum of the amounts.
async fn totals(client: &Client) -> (i64, i64, i64) {
    let sql = "
        select (select count(*) from source.customers), count(*), coalesce(sum(amount_minor), 0)::bigint
        from source.transactions";
    let row = client.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

/// A text that changes with any value of any row, and with the order in which the transactions and subscriptions lie
/// in their tables.
async fn fingerprint(client: &Client) -> String {
    let sql = "
        select concat_ws(' ',
               (select md5(string_agg(c::text, E'\\n' order by customer_id)) from source.customers c),
               (select md5(string_agg(t::text, E'\\n' order by ctid)) from source.transactions t),
               (select md5(string_agg(s::text, E'\\n' order by ctid)) from source.subscriptions s),
               (select md5(string_agg(a::text, E'\\n' order by customer_id)) from source.acquisition_costs a))";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

fn counts(reasons: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
    reasons.iter().copied().collect()
}

#[tokio::test]
async fn cdnow_loads_without_a_reject() {
    let (database, client) = database().await;
    let folder = Folder::new("cdnow");
    let (customers, transactions) = cdnow();

    let report = load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap();

    assert_eq!(report.customers.as_ref().unwrap().loaded, 2_357);
    assert_eq!(report.transactions.as_ref().unwrap().loaded, 6_919);
    assert_eq!(report.rejected_rows(), 0);
    assert_eq!(folder.rejects(), []);
    assert_eq!(totals(&client).await, (2_357, 6_919, 24_409_194));
    let sql = "
        select c.external_id, c.segment, c.acquired_at::text, t.occurred_at::text, t.amount_minor,
               t.currency::text
        from source.customers c
        join source.transactions t using (customer_id)
        where t.transaction_id = 2";
    let row = client.query_one(sql, &[]).await.unwrap();
    let texts: Vec<String> = [0, 1, 2, 3, 5].iter().map(|&column| row.get(column)).collect();
    let expected = ["cdnow-00004", "cdnow", "1997-01-01 00:00:00+00", "1997-01-18 00:00:00+00", "USD"];
    assert_eq!((texts.as_slice(), row.get::<_, i64>(4)), (&expected.map(str::to_owned)[..], 2_973));
}

/// Customers of which three can be loaded, and each other one is bad in a way of its own.
fn bad_customers() -> Vec<u8> {
    // Columns in another order, one more than needed, both line ends, blank lines: all of that is fine.
    let mut customers = b"segment,note,customer_id,external_id,acquired_at\r\n\
        venue,,1,one,2020-01-01\r\n\
        \r\n\
        venue,\"said \"\"yes\"\",\nthen no\",2,two,2020-01-01T10:00:00+02:00\r\n\
        venue,,1,three,2020-01-01\r\n\
        venue,,4,one,2020-01-01\r\n\
        venue,,5,,2020-01-01\r\n\
        venue,,6,six\r\n\
        venue,,seven,seven,2020-01-01\r\n"
        .to_vec();
    customers.extend_from_slice(b"venue,\xff is fine here,8,eight,2020-01-01\n");
    customers.extend_from_slice(b"venue,,9,ni\xffne,2020-01-01\n");
    customers.extend_from_slice(b"venue,,10,t\0en,2020-01-01\n");
    customers
}

/// Transactions of which three can be loaded, and each other one is bad in a way of its own.
const BAD_TRANSACTIONS: &str = "transaction_id,customer_id,occurred_at,amount,currency\n\
    1,1,2020-02-01T12:34:56.789Z,29.33,USD\n\
    2,2,2020-02-01,3000,JPY\n\
    3,99,2020-02-01,1.00,USD\n\
    4,4,2020-02-01,1.00,USD\n\
    1,2,2020-02-01,1.00,USD\n\
    6,1,2020-02-01,1.005,USD\n\
    7,1,2020-02-01,1.5,JPY\n\
    8,1,2999-01-01,1.00,USD\n\
    9,1,1969-12-31,1.00,USD\n\
    10,1,01/02/2020,1.00,USD\n\
    11,1,2020-02-01,1.00,XXX\n\
    12,1,2020-02-01,1.00\n\
    13,1,2020-02-01,\"1.00,USD\n\
    14,1,2020-02-01,-1.00,USD\n\
    15,1,2020-02-01,,USD\n";

#[tokio::test]
async fn each_kind_of_bad_row_is_rejected_with_its_line_and_reason_and_the_rest_is_loaded() {
    let (database, client) = database().await;
    let folder = Folder::new("bad-rows");
    let customers = folder.write("customers.csv", bad_customers());
    let transactions = folder.write("transactions.csv", BAD_TRANSACTIONS);

    let report = load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap();

    let customers = report.customers.unwrap();
    assert_eq!((customers.rows, customers.loaded), (10, 3));
    let expected = [
        ("bad_number", 1),
        ("bad_text", 1),
        ("duplicate_customer_id", 1),
        ("duplicate_external_id", 1),
        ("invalid_utf8", 1),
        ("missing_value", 1),
        ("wrong_column_count", 1),
    ];
    assert_eq!(customers.rejected, counts(&expected));
    let transactions = report.transactions.unwrap();
    assert_eq!((transactions.rows, transactions.loaded), (15, 3));
    let rejects: Vec<_> =
        folder.rejects().into_iter().map(|(file, line, reason, _)| (file, line, reason)).collect();
    let expected = [
        ("customers.csv", 6, "duplicate_customer_id"),
        ("customers.csv", 7, "duplicate_external_id"),
        ("customers.csv", 8, "missing_value"),
        ("customers.csv", 9, "wrong_column_count"),
        ("customers.csv", 10, "bad_number"),
        ("customers.csv", 12, "invalid_utf8"),
        ("customers.csv", 13, "bad_text"),
        ("transactions.csv", 4, "unknown_customer"),
        ("transactions.csv", 5, "unknown_customer"),
        ("transactions.csv", 6, "duplicate_transaction_id"),
        ("transactions.csv", 7, "bad_amount"),
        ("transactions.csv", 8, "bad_amount"),
        ("transactions.csv", 9, "future_time"),
        ("transactions.csv", 10, "impossible_time"),
        ("transactions.csv", 11, "bad_time"),
        ("transactions.csv", 12, "unknown_currency"),
        ("transactions.csv", 13, "wrong_column_count"),
        ("transactions.csv", 14, "unclosed_quote"),
        ("transactions.csv", 16, "missing_value"),
    ];
    assert_eq!(rejects, expected.map(|(file, line, reason)| (file.to_owned(), line, reason.to_owned())));
    assert_eq!(folder.rejects()[9].3, "1,2,2020-02-01,1.00,USD");
    assert_eq!(totals(&client).await, (3, 3, 2_933 + 3_000 - 100));
}

#[tokio::test]
async fn a_file_that_breaks_off_leaves_nothing() {
    let (database, client) = database().await;
    let folder = Folder::new("breaks-off");
    let (customers, transactions) = cdnow();
    let packed = gzip(&std::fs::read(transactions).unwrap());
    let transactions = folder.write("transactions.csv", &packed[..packed.len() / 2]);

    let text = load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap_err();

    assert!(text.contains("transactions.csv, line ") && text.contains("breaks off"), "{text}");
    assert!(text.contains("nothing was loaded"), "{text}");
    assert_eq!(totals(&client).await, (0, 0, 0));
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "no file of rejects, whole or in part");
    // The database is as good as before.
    let (customers, transactions) = cdnow();
    load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap();
}

#[tokio::test]
async fn rejects_never_take_the_place_of_a_file_that_is_loaded() {
    let (database, client) = database().await;
    let folder = Folder::new("rejects-over");
    let (customers, transactions) = cdnow();
    let transactions = folder.write("transactions.csv", std::fs::read(transactions).unwrap());
    let before = std::fs::read(&transactions).unwrap();
    let input = LoadInput { rejects: transactions.clone(), ..folder.input(&customers, &transactions) };

    let text = load_quietly(&database, &input).await.unwrap_err();

    assert!(text.contains("this is the same file as"), "{text}");
    assert_eq!((totals(&client).await, std::fs::read(&transactions).unwrap()), ((0, 0, 0), before));
}

#[tokio::test]
async fn a_missing_column_is_one_error_before_anything_is_loaded() {
    let (database, client) = database().await;
    let folder = Folder::new("missing-column");
    let (customers, _) = cdnow();
    let transactions = folder.write("transactions.csv", "transaction_id,customer_id,occurred_at,currency\n");

    let text = load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap_err();

    assert!(text.contains("transactions.csv, line 1: there is no column amount"), "{text}");
    assert_eq!(totals(&client).await, (0, 0, 0));
}

#[tokio::test]
async fn loading_the_same_files_twice_rejects_every_row_as_a_duplicate() {
    let (database, client) = database().await;
    let folder = Folder::new("twice");
    let (customers, transactions) = cdnow();
    let input = folder.input(&customers, &transactions);
    load_quietly(&database, &input).await.unwrap();
    let before = fingerprint(&client).await;

    let report = load_quietly(&database, &input).await.unwrap();

    let (customers, transactions) = (report.customers.unwrap(), report.transactions.unwrap());
    assert_eq!((customers.loaded, customers.rejected), (0, counts(&[("duplicate_customer_id", 2_357)])));
    assert_eq!(
        (transactions.loaded, transactions.rejected),
        (0, counts(&[("duplicate_transaction_id", 6_919)]))
    );
    let rejects = folder.rejects();
    assert_eq!(rejects.len(), 2_357 + 6_919);
    assert_eq!(rejects[2_357].1, 2);
    assert_eq!(rejects[2_357].3, "1,1,1997-01-01,29.33,USD");
    assert_eq!(fingerprint(&client).await, before);
}

#[tokio::test]
async fn a_compressed_file_loads_like_the_plain_one() {
    let (plain_database, plain) = database().await;
    let (packed_database, packed) = database().await;
    let folder = Folder::new("gzip");
    let (customers, transactions) = cdnow();
    load_quietly(&plain_database, &folder.input(&customers, &transactions)).await.unwrap();
    // Told by its first bytes, not by its name; and it may be several compressed files one after the other.
    let text = std::fs::read(&transactions).unwrap();
    let (first, second) = text.split_at(text.len() / 3);
    let transactions = folder.write("transactions.csv", [gzip(first), gzip(second)].concat());

    load_quietly(&packed_database, &folder.input(&customers, &transactions)).await.unwrap();

    assert_eq!(fingerprint(&packed).await, fingerprint(&plain).await);
}

#[tokio::test]
async fn rows_that_come_later_are_added_to_what_is_there() {
    let (database, client) = database().await;
    let folder = Folder::new("later");
    let (customers, transactions) = cdnow();
    load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap();
    let transactions = folder.write(
        "more.csv",
        "amount_minor,currency,occurred_at,customer_id,transaction_id\n\
         -2933,USD,1998-07-01,1,7001\n\
         100,USD,1998-07-01,1,7000\n",
    );
    let input = LoadInput { transactions: Some(transactions), ..folder.nothing() };

    let report = load_quietly(&database, &input).await.unwrap();

    assert_eq!(report.customers, None);
    assert_eq!(report.transactions.unwrap().loaded, 2);
    assert_eq!(totals(&client).await, (2_357, 6_921, 24_409_194 - 2_833));
}

#[tokio::test]
async fn views_are_refused_in_one_sentence() {
    let (database, client) = database().await;
    let folder = Folder::new("views");
    let sql = "
        alter table source.transactions rename to elsewhere;
        create view source.transactions as select * from source.elsewhere";
    client.batch_execute(sql).await.unwrap();
    let (customers, transactions) = cdnow();

    let text = load_quietly(&database, &folder.input(&customers, &transactions)).await.unwrap_err();

    assert!(text.contains("write to source.transactions: it is not a table but a view"), "{text}");
}

#[tokio::test]
async fn the_progress_runs_to_the_end_of_each_file() {
    let (database, _client) = database().await;
    let folder = Folder::new("progress");
    let (customers, transactions) = cdnow();
    let size = std::fs::metadata(&transactions).unwrap().len();
    let seen = std::cell::RefCell::new(Vec::new());

    load(&database.store(), &folder.input(&customers, &transactions), |progress| {
        seen.borrow_mut().push(progress);
    })
    .await
    .unwrap();

    let seen = seen.into_inner();
    let last =
        seen.iter().rfind(|progress| progress.stage == Stage::Reading(Relation::Transactions)).unwrap();
    assert_eq!((last.rows, last.bytes, last.total_bytes), (6_919, size, size));
    assert_eq!(seen.last().unwrap().stage, Stage::Tidying);
}

/// As in a container whose root is read-only.
#[tokio::test]
async fn a_folder_that_takes_no_file_is_an_error_when_there_is_a_row_to_write_down_and_not_before() {
    const NOWHERE: &str = "/sys/rejects.csv";
    let (database, client) = database().await;
    let folder = Folder::new("nowhere");
    let (customers, transactions) = cdnow();
    let input = LoadInput { rejects: NOWHERE.into(), ..folder.input(&customers, &transactions) };

    let good = load_quietly(&database, &input).await.unwrap();
    let loaded = totals(&client).await;
    let bad = load_quietly(&database, &input).await.unwrap_err();

    assert_eq!(good.rejected_rows(), 0);
    assert_eq!(loaded, (2_357, 6_919, 24_409_194));
    assert!(bad.contains("name another file with --rejects") && bad.contains(NOWHERE), "{bad}");
    assert_eq!(totals(&client).await, loaded);
}
