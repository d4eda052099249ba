//! The promises of the store, the schema, views in place of its tables, and what the release before has left.

use std::time::Duration;

use batch::{CustomerId, RunId};
use store::Archive;
use store::postgres::Postgres;
use store::promises::{BaseCustomer, Deed, Ground, Happening, base};
use tests::{Database, Fleet, Program, Stack};
use tokio_postgres::error::SqlState;

/// Moves everything that ends some day so many seconds back, as if they had passed.
const PASS: &str = "
    update fleet.chunks
       set leased_at = leased_at - $1 * interval '1 second',
           leased_until = leased_until - $1 * interval '1 second',
           retry_at = retry_at - $1 * interval '1 second',
           published_at = published_at - $1 * interval '1 second'";
const PASS_LEADERSHIP: &str =
    "update fleet.leadership set expires_at = expires_at - $1 * interval '1 second',
            renewed_at = renewed_at - $1 * interval '1 second'";
const PASS_REQUESTS: &str = "
    update fleet.requests
       set asked_at = asked_at - $1 * interval '1 second',
           expires_at = expires_at - $1 * interval '1 second',
           leased_at = leased_at - $1 * interval '1 second',
           leased_until = leased_until - $1 * interval '1 second',
           retry_at = retry_at - $1 * interval '1 second',
           settled_at = settled_at - $1 * interval '1 second'";
const PASS_KEYS: &str = "
    update fleet.idempotency
       set claimed_until = claimed_until - $1 * interval '1 second',
           made_at = made_at - $1 * interval '1 second'";

/// A database of a test's own, over the promises' customers; time passes by moving what is stored back.
pub(crate) struct Moved {
    pub(crate) database: Database,
    store: Postgres,
}

impl Moved {
    pub(crate) async fn fresh() -> Self {
        let database = Database::create(&Stack::from_env()).await;
        let client = database.client().await;
        for known in base() {
            let BaseCustomer { id, external_id, segment, acquired_at, transactions, .. } = known;
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
            if let Some((started_at, price_minor)) = known.subscription {
                let insert = "
                    insert into source.subscriptions
                        (customer_id, plan, period_months, started_at, price_minor, currency)
                    values ($1, 'pro', 1, $2, $3, 'USD')";
                let row: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&id.0, &started_at, &price_minor];
                client.execute(insert, &row).await.expect("the database answers");
            }
            if let Some(cost_minor) = known.acquisition_cost_minor {
                let insert = "insert into source.acquisition_costs values ($1, $2, 'USD')";
                client.execute(insert, &[&id.0, &cost_minor]).await.expect("the database answers");
            }
        }
        let store = database.store();
        Self { database, store }
    }

    async fn move_back(&self, seconds: f64) {
        let client = self.database.client().await;
        for statement in [PASS, PASS_LEADERSHIP, PASS_REQUESTS, PASS_KEYS] {
            client.execute(statement, &[&seconds]).await.expect("the database answers");
        }
    }
}

impl Ground for Moved {
    type Store = Postgres;

    fn store(&self) -> &Postgres {
        &self.store
    }

    async fn pass(&self, time: Duration) {
        self.move_back(time.as_secs_f64()).await;
    }

    async fn set_back(&self, time: Duration) {
        self.move_back(-time.as_secs_f64()).await;
    }

    async fn happens(&self, Happening { customer, deed, at }: Happening) {
        let insert = match deed {
            Deed::Purchase => {
                "insert into source.transactions
                 select max(transaction_id) + 1, $1, $2, 500, 'USD' from source.transactions"
            }
            Deed::Subscription => {
                "insert into source.subscriptions values ($1, 'pro', 1, $2, null, 900, 'USD', null)"
            }
            Deed::End => {
                "insert into source.subscriptions values ($1, 'pro', 1, '1950-01-01', $2, 900, 'USD', 'cancelled')"
            }
        };
        let client = self.database.client().await;
        client.execute(insert, &[&customer.0, &at]).await.expect("the database answers");
    }
}

store::promise_tests!(tokio::test(flavor = "multi_thread"), Moved::fresh());

pub(crate) fn program() -> Program {
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

    let recorded =
        database.client().await.query_one("select count(*) from refinery_schema_history", &[]).await;
    let recorded: i64 = recorded.unwrap().get(0);
    assert_eq!(i64::try_from(applied), Ok(recorded), "one of them did all the work");
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

/// A database as the release before has made it and used it, with a run in some state.
pub(crate) async fn older(state: &str) -> Database {
    let database = Database::create(&Stack::from_env()).await;
    let client = database.client().await;
    let forget = "drop schema source cascade; drop schema fleet cascade; drop table refinery_schema_history";
    client.batch_execute(forget).await.expect("the database answers");
    let migrated = database.store().migrate_to(3).await.expect("an empty database can be migrated");
    assert_eq!(migrated.applied.len(), 3);
    let used = format!(
        "insert into source.customers values (7, 'c-7', 'venues', '2020-01-01');
         insert into fleet.model_versions (currency, parameters, fit, data_fingerprint, code_version)
         values ('EUR', '{{}}', '{{}}', '', '');
         insert into fleet.runs (selection, is_whole, priority, state, as_of, model_version, terms, deadline_at,
                                 customers, chunks, trace)
         values ('all customers', true, 'normal', '{state}', now(), 1, '{{\"annual_discount_rate\": 0.15}}', now(),
                 1, 1, '[]');
         create table fleet.values_1 partition of fleet.values for values in (1);
         insert into fleet.values_1 values (1, 7, 100, 0.5, 0.25, 1, 2, 3, 4);"
    );
    client.batch_execute(&used).await.expect("the database answers");
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_release_before_stay_and_its_dispatcher_is_refused() {
    let database = older("finished").await;
    let (client, store) = (database.client().await, database.store());

    let migrated = store.migrate().await.unwrap();

    assert_eq!(migrated.applied[0], "V4__subscriptions");
    store.check_schema().await.unwrap();
    let row = client.query_one("select * from fleet.values", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>("value_minor"), row.get::<_, f64>("p_alive")), (100, 0.25));
    assert_eq!(row.get::<_, Option<i64>>("value_36_minor"), None);
    let summary = store.summary(RunId(1), 10).await.unwrap();
    assert!(summary.top.is_empty(), "{summary:?}");
    let [venues] = &summary.segments[..] else { panic!("{summary:?}") };
    assert_eq!((venues.customers, venues.value_minor, venues.contract_minor), (1, 100, 0));
    assert_eq!(venues.historic_minor, None, "the release before did not know it");
    let error = store.explain(RunId(1), CustomerId(7)).await.unwrap_err();
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
    const LEFT: &str = "
        select (select count(*) from refinery_schema_history),
               to_regclass('source.subscriptions') is null,
               (select count(*) from information_schema.columns
                 where table_schema = 'fleet' and table_name = 'values')";
    let database = older("running").await;
    let (client, store) = (database.client().await, database.store());

    let error = store.migrate().await.unwrap_err();

    assert!(error.to_string().contains("a run is open"), "{error}");
    let left = client.query_one(LEFT, &[]).await.unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, bool>(1), left.get::<_, i64>(2)), (3, true, 9));
    client.batch_execute("update fleet.runs set state = 'finished'").await.unwrap();
    assert_eq!(store.migrate().await.unwrap().applied[0], "V4__subscriptions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_the_release_before_cannot_begin_and_leaves_nothing_behind() {
    const BEGIN: &str = "
        with begun as (
            update fleet.chunks
               set state = 'leased', attempt = attempt + 1
             where run_id = $1
               and chunk_id = 1
         returning run_id, chunk_id, attempt
        )
        insert into fleet.attempts (run_id, chunk_id, attempt, worker)
        select run_id, chunk_id, attempt, 'old' from begun";
    const LEFT: &str = "
        select (select max(attempt) from fleet.chunks where run_id = $1),
               (select count(*) from fleet.attempts where run_id = $1)";
    let fleet = Fleet::new(&program()).await;
    let run = fleet.dispatch(&["--chunk-customers", "1000"]).await;
    let client = fleet.sql().await;

    let error = client.execute(BEGIN, &[&run.0]).await.unwrap_err();

    let refusal = error.as_db_error().unwrap();
    assert_eq!(refusal.code(), &SqlState::INSUFFICIENT_RESOURCES);
    assert!(refusal.message().contains("replace it"), "{refusal}");
    let left = client.query_one(LEFT, &[&run.0]).await.unwrap();
    assert_eq!((left.get::<_, i32>(0), left.get::<_, i64>(1)), (0, 0));
    client.batch_execute("set ltv.release = 4").await.unwrap();
    assert_eq!(client.execute(BEGIN, &[&run.0]).await.unwrap(), 1);
}
