//! The contract of the store, the schema, and source relations that are not ours.

use std::time::Duration;

use store::contract::{BaseCustomer, Ground, base};
use store::postgres::Postgres;
use tests::{Database, Fleet, Program, Stack};

/// Moves everything that ends some day so many seconds back, as if they had passed.
const PASS: &str = "
    update fleet.chunks
       set leased_until = leased_until - $1 * interval '1 second',
           retry_at = retry_at - $1 * interval '1 second',
           published_at = published_at - $1 * interval '1 second'";
const PASS_LEADERSHIP: &str =
    "update fleet.leadership set expires_at = expires_at - $1 * interval '1 second'";

/// A database of a test's own, over the contract's customers; time passes by moving what is stored back.
struct Moved {
    database: Database,
    store: Postgres,
}

impl Moved {
    async fn fresh() -> Self {
        let database = Database::create(&Stack::from_env()).await;
        let client = database.client().await;
        for BaseCustomer { id, external_id, segment, acquired_at, transactions } in base() {
            let insert = "insert into source.customers values ($1, $2, $3, $4)";
            client.execute(insert, &[&id.0, &external_id, &segment, &acquired_at]).await.unwrap();
            for (number, (occurred_at, amount_minor, currency)) in (0..).zip(transactions) {
                let insert = "insert into source.transactions values ($1, $2, $3, $4, $5)";
                let number: i64 = 1_000 * id.0 + number;
                let row: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&number, &id.0, &occurred_at, &amount_minor, &currency];
                client.execute(insert, &row).await.unwrap();
            }
        }
        let store = database.store();
        Self { database, store }
    }
}

impl Ground for Moved {
    type Store = Postgres;

    fn store(&self) -> &Postgres {
        &self.store
    }

    async fn pass(&self, time: Duration) {
        let client = self.database.client().await;
        let seconds = time.as_secs_f64();
        for statement in [PASS, PASS_LEADERSHIP] {
            client.execute(statement, &[&seconds]).await.unwrap();
        }
    }
}

store::contract_tests!(tokio::test(flavor = "multi_thread"), Moved::fresh());

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_at_once_apply_each_step_once() {
    let stack = Stack::from_env();
    let database = Database::create(&stack).await;
    database
        .client()
        .await
        .batch_execute(
            "drop schema source cascade; drop schema fleet cascade; drop table refinery_schema_history",
        )
        .await
        .unwrap();
    let stores: Vec<_> = (0..4).map(|_| database.store()).collect();

    let migrations: Vec<_> = stores
        .into_iter()
        .map(|store| tokio::spawn(async move { store.migrate().await.unwrap().applied.len() }))
        .collect();
    let mut applied = 0;
    for migration in migrations {
        applied += migration.await.unwrap();
    }

    assert_eq!(applied, 3, "one of them did all the work");
    database.store().check_schema().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
    let database = Database::create(&Stack::from_env()).await;
    let spoil = "update refinery_schema_history set checksum = '1' where version = 1";
    database.client().await.batch_execute(spoil).await.unwrap();

    let error = database.store().migrate().await.unwrap_err();

    assert!(error.to_string().contains("V1__source"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_schema_is_told_from_one_that_is_away() {
    let database = Database::create(&Stack::from_env()).await;
    let forget = "drop table refinery_schema_history";
    database.client().await.batch_execute(forget).await.unwrap();

    let error = database.store().check_schema().await.unwrap_err();

    assert!(error.to_string().contains("run `ltv migrate`"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_over_views_gives_the_same_values_and_migrate_says_that_it_is_slower() {
    let fleet = Fleet::new(&program()).await;
    let hide = "
        create schema shop;
        alter table source.customers set schema shop;
        alter table source.transactions set schema shop;
        create view source.customers as select * from shop.customers;
        create view source.transactions as
            select transaction_id, customer_id, occurred_at, amount_minor, currency from shop.transactions;";
    fleet.sql().await.batch_execute(hide).await.unwrap();

    let migrated = fleet.ltv(&["migrate"]);
    let run = fleet.dispatch(&["--chunk-customers", "1000"]).await;
    let _coordinator = fleet.coordinator(&[]);
    let _worker = fleet.worker(&[]);
    fleet.finished(run).await;

    assert!(migrated.out.contains("advice: source.transactions is not a table"), "{}", migrated.out);
    fleet.assert_exact(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_recommends_the_covering_index_where_it_is_missing() {
    let fleet = Fleet::new(&program()).await;
    fleet.sql().await.batch_execute("drop index source.transactions_history").await.unwrap();

    let migrated = fleet.ltv(&["migrate"]);

    assert!(migrated.out.contains("create index on source.transactions"), "{}", migrated.out);
}
