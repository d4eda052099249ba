//! The contract of the store, the schema, and source relations that are not ours.

use std::time::Duration;

use batch::{CustomerId, RunId};
use model::{ContractModels, Currency, Rejection};
use store::contract::{BaseCustomer, Ground, base};
use store::postgres::Postgres;
use store::{Reading, Values};
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
            client
                .execute(insert, &[&id.0, &external_id, &segment, &acquired_at])
                .await
                .expect("the database answers");
            for (number, (occurred_at, amount_minor, currency)) in (0..).zip(transactions) {
                let insert = "insert into source.transactions values ($1, $2, $3, $4, $5)";
                let number: i64 = 1_000 * id.0 + number;
                let row: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&number, &id.0, &occurred_at, &amount_minor, &currency];
                client.execute(insert, &row).await.expect("the database answers");
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
            client.execute(statement, &[&seconds]).await.expect("the database answers");
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
        applied += migration.await.expect("the database answers");
    }

    assert_eq!(applied, 4, "one of them did all the work");
    database.store().check_schema().await.expect("the database answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
    let database = Database::create(&Stack::from_env()).await;
    let spoil = "update refinery_schema_history set checksum = '1' where version = 1";
    database.client().await.batch_execute(spoil).await.expect("the database answers");

    let error = database.store().migrate().await.unwrap_err();

    assert!(error.to_string().contains("V1__source"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_schema_is_told_from_one_that_is_away() {
    let database = Database::create(&Stack::from_env()).await;
    let forget = "drop table refinery_schema_history";
    database.client().await.batch_execute(forget).await.expect("the database answers");

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
    fleet.sql().await.batch_execute(hide).await.expect("the database answers");

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
    fleet
        .sql()
        .await
        .batch_execute("drop index source.transactions_history")
        .await
        .expect("the database answers");

    let migrated = fleet.ltv(&["migrate"]);

    assert!(migrated.out.contains("create index on source.transactions"), "{}", migrated.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_recommends_the_covering_indexes_of_subscriptions_and_costs_where_they_are_missing() {
    let database = Database::create(&Stack::from_env()).await;
    let narrow = "
        drop index source.subscriptions_history;
        alter table source.acquisition_costs drop constraint acquisition_costs_pkey, add primary key (customer_id)";
    database.client().await.batch_execute(narrow).await.expect("the database answers");

    let advice = database.store().migrate().await.unwrap().advice.join("\n");

    assert!(advice.contains("create index on source.subscriptions (customer_id, started_at)"), "{advice}");
    assert!(advice.contains("create index on source.acquisition_costs (customer_id)"), "{advice}");
    assert!(!advice.contains("source.transactions"), "{advice}");
}

/// Takes the latest migration back, as the release before left the schema, with a run in some state.
async fn older_schema(database: &Database, state: &str) {
    let older = format!(
        "drop schema source cascade; drop schema fleet cascade;
         drop table refinery_schema_history;
         {}
         insert into fleet.model_versions (currency, parameters, fit, data_fingerprint, code_version)
         values ('EUR', '{{}}', '{{}}', '', '');
         insert into fleet.runs (selection, is_whole, priority, state, as_of, model_version, terms, deadline_at,
                                 customers, chunks, trace)
         values ('all customers', true, 'normal', '{state}', now(), 1, '{{\"annual_discount_rate\": 0.15}}', now(),
                 1, 1, '[]');
         create table fleet.values_1 partition of fleet.values for values in (1);
         insert into fleet.values_1 values (1, 7, 100, 0.5, 0.25, 1, 2, 3, 4);",
        [
            include_str!("../../crates/store/migrations/V1__source.sql"),
            include_str!("../../crates/store/migrations/V2__fleet.sql"),
            include_str!("../../crates/store/migrations/V3__promotions.sql"),
        ]
        .concat()
    );
    database.client().await.batch_execute(&older).await.expect("the database answers");
}

/// Applies the latest migration by itself: the others were applied without being written down.
const LATEST: &str = include_str!("../../crates/store/migrations/V4__subscriptions.sql");

#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_release_before_stay_and_its_dispatcher_is_refused() {
    let database = Database::create(&Stack::from_env()).await;
    older_schema(&database, "finished").await;
    let client = database.client().await;

    client.batch_execute(LATEST).await.expect("the database answers");

    let row = client.query_one("select * from fleet.values", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>("value_minor"), row.get::<_, f64>("p_alive")), (100, 0.25));
    assert_eq!(row.get::<_, Option<i64>>("value_36_minor"), None);
    let summary = database.store().summary(RunId(1), 10).await.unwrap();
    assert!(summary.top.is_empty(), "{summary:?}");
    let error = database.store().explain(RunId(1), CustomerId(7)).await.unwrap_err();
    assert!(error.to_string().contains("the release before"), "{error}");
    let plan = "
        insert into fleet.runs (selection, is_whole, priority, state, as_of, model_version, terms, deadline_at,
                                customers, chunks, trace)
        select selection, is_whole, priority, 'planned', as_of, model_version, terms, deadline_at, customers, chunks,
               trace
          from fleet.runs";
    let error = client.batch_execute(plan).await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("knows_contracts"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wider_tables_wait_for_an_open_run_to_finish() {
    let database = Database::create(&Stack::from_env()).await;
    older_schema(&database, "running").await;

    let error = database.client().await.batch_execute(&format!("begin; {LATEST}")).await.unwrap_err();

    assert!(error.as_db_error().unwrap().message().contains("a run is open"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_read_from_all_three_relations() {
    let database = Database::create(&Stack::from_env()).await;
    let fill = "
        insert into source.transactions values (1, 2, '2026-01-01', 500, 'EUR'), (2, 2, '2026-02-01', 700, 'EUR');
        insert into source.subscriptions values
            (1, 'pro', 1, '2026-01-15', null, 4900, 'EUR', null),
            (2, 'pro', 1, '2026-01-15', '2026-03-15', 900, 'EUR', 'cancelled'),
            (3, 'pro', 1, '2026-07-01', null, 4900, 'EUR', null);
        insert into source.acquisition_costs values (1, 30000, 'EUR'), (3, 100, 'EUR');";
    database.client().await.batch_execute(fill).await.unwrap();
    let customers = [1, 2, 3].map(CustomerId);

    for is_whole in [true, false] {
        let reading = Reading {
            customers: &customers,
            is_whole,
            as_of: "2026-07-01T00:00:00Z".parse().unwrap(),
            currency: Currency::parse("EUR").unwrap(),
            contracts: &ContractModels::default(),
        };
        let histories = database.store().read_histories(&reading).await.unwrap();

        let [first, second, third] = &histories[..] else { panic!("{histories:?}") };
        let first = first.account.as_ref().unwrap();
        assert_eq!((first.purchases, first.paid_minor), (None, 6 * 4_900));
        assert_eq!((first.contracts.len(), first.acquisition_cost_minor), (1, Some(30_000)));
        let second = second.account.as_ref().unwrap();
        assert_eq!((second.spend_minor, second.paid_minor, second.contracts.len()), (1_200, 2 * 900, 0));
        assert_eq!(third.account, Err(Rejection::NoPurchase), "his subscription has not begun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_subscriptions_the_store_is_broken_and_no_chunk_is_to_blame() {
    let database = Database::create(&Stack::from_env()).await;
    database.client().await.batch_execute("drop table source.subscriptions").await.unwrap();

    let error = database
        .store()
        .read_histories(&Reading {
            customers: &[CustomerId(1)],
            is_whole: true,
            as_of: "2026-07-01T00:00:00Z".parse().unwrap(),
            currency: Currency::parse("EUR").unwrap(),
            contracts: &ContractModels::default(),
        })
        .await
        .unwrap_err();

    assert!(matches!(error, store::Error::Broken { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenures_are_counted_over_all_subscriptions_of_a_currency() {
    let database = Database::create(&Stack::from_env()).await;
    let fill = "
        insert into source.subscriptions values
            (1, 'pro', 1, '2026-01-15', null, 4900, 'EUR', null),
            (2, 'pro', 1, '2026-01-15', '2026-03-15', 900, 'EUR', 'cancelled'),
            (2, 'pro', 12, '2026-03-15', null, 900, 'EUR', null),
            (4, 'pro', 1, '2026-01-15', null, 900, 'USD', null),
            (5, 'pro', 1, '2026-07-01', null, 900, 'EUR', null);";
    database.client().await.batch_execute(fill).await.unwrap();

    let as_of = "2026-07-01T00:00:00Z".parse().unwrap();
    let tenures = database.store().contract_tenures(as_of, Currency::parse("EUR").unwrap()).await.unwrap();

    let found: Vec<_> =
        tenures.iter().map(|plan| (&plan.plan[..], plan.period_months, plan.rows.len())).collect();
    assert_eq!(found, [("pro", 1, 2), ("pro", 12, 1)]);
    assert_eq!(tenures[0].ends["cancelled"], 1);
}
