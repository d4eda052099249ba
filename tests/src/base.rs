//! The customer base of all nights, with its model and the reference run, made once.
//!
//! A template database holds them; a test's database is a copy, which takes a fraction of a second. The template is
//! kept in the stack under a name that changes with the binary under test, so that the reference run is always that
//! of the code under test.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use batch::RunId;

use crate::database::{Database, connect, name_of};
use crate::fleet::{AS_OF, Fleet};
use crate::{PATIENCE, Program, Stack, eventually};

/// The first customer's number; the others follow.
pub const FIRST_CUSTOMER: i64 = 1_000_001;

/// How many customers there are.
pub(crate) const CUSTOMERS: i64 = 20_000;

/// Customers among the others whose histories cannot be valued, and why.
pub const BAD_CUSTOMERS: [(i64, &str); 7] = [
    (FIRST_CUSTOMER + 10, "foreign_currency"),
    (FIRST_CUSTOMER + 5_000, "refund_before_purchase"),
    (FIRST_CUSTOMER + 9_999, "no_purchase"),
    (FIRST_CUSTOMER + 15_000, "negative_spend"),
    (FIRST_CUSTOMER + 15_001, "foreign_currency"),
    (FIRST_CUSTOMER + 16_000, "impossible_contract"),
    (FIRST_CUSTOMER + 17_000, "foreign_currency"),
];

/// Spoils the histories of those customers, and of nobody else.
const SPOIL: &str = "
    update source.transactions set currency = 'EUR' where customer_id in (1000011, 1015002);
    insert into source.transactions
    select 90000001, 1005001, min(occurred_at) - interval '1 minute', -100, 'USD'
      from source.transactions where customer_id = 1005001;
    delete from source.transactions where customer_id = 1010000;
    insert into source.transactions
    select 90000002, 1015001, max(occurred_at) + interval '1 second', 100, 'USD'
      from source.transactions where customer_id = 1015001;
    insert into source.transactions
    select 90000003, 1015001, timestamptz '1998-06-29 12:00Z', 1, 'USD';
    insert into source.transactions
    select 90000004, 1015001, timestamptz '1998-06-29 13:00Z', -100000000, 'USD';
    delete from source.subscriptions where customer_id = 1010000;
    insert into source.subscriptions (customer_id, plan, period_months, started_at, price_minor, currency)
    values (1016001, 'basic', 0, '1998-01-01', 4900, 'USD'), (1017001, 'basic', 1, '1998-01-01', 4900, 'EUR');
    vacuum analyze source.transactions;
    vacuum analyze source.subscriptions;
    vacuum analyze source.customers;";

// Here and not beside its other beginnings: the reference run is made by a fleet, which knows no base.
impl Fleet {
    /// A further copy of the base, in a database of its own.
    pub async fn another_base(&self, program: &Program) -> Database {
        copy(self.stack(), program).await
    }

    /// Makes a world over a copy of the base, its model and the reference run.
    pub async fn new(program: &Program) -> Self {
        Self::on(&Stack::from_env(), program).await
    }

    /// The same on servers of the caller's choice.
    pub async fn on(stack: &Stack, program: &Program) -> Self {
        let alone = stack.alone();
        let database = copy(stack, program).await;
        Self::over(stack, program, database, Some(alone)).await
    }

    /// Makes another copy beside a world, with the same prefixes on the same servers.
    pub async fn beside(other: &Self) -> Self {
        let database = copy(other.stack(), other.program()).await;
        Self::over(other.stack(), other.program(), database, None).await.with_prefix_of(other)
    }
}

/// A copy of the base, with its model, and the reference run in it.
async fn copy(stack: &Stack, program: &Program) -> Database {
    let name = template_name(program);
    let admin = connect(stack.database_url()).await;
    // Programs of tests at once wait for each other, and all but the first find the template. The lock goes with
    // the connection.
    admin.batch_execute("select pg_advisory_lock(7326)").await.expect("a lock can be had");
    let find = "select from pg_database where datname = $1";
    if admin.query_opt(find, &[&name]).await.expect("databases can be listed").is_none() {
        drop_older_templates(&admin).await;
        prepare(stack, program, &name).await;
    }
    Database::create_from(stack, &name).await
}

fn template_name(program: &Program) -> String {
    let binary = fs::metadata(&program.binary).expect("the binary under test was built");
    let mut hasher = DefaultHasher::new();
    (binary.len(), binary.modified().ok(), SPOIL, CUSTOMERS).hash(&mut hasher);
    format!("base_{:016x}", hasher.finish())
}

async fn drop_older_templates(admin: &tokio_postgres::Client) {
    let list = r"select datname from pg_database where datname like 'base\_%'";
    for row in admin.query(list, &[]).await.expect("databases can be listed") {
        let name: String = row.get(0);
        let _ = admin.batch_execute(&format!("drop database {name}")).await;
    }
}

/// Makes the base, fits a model, and lets one worker with one slot go through a night that nobody disturbs. Its
/// chunks are cut otherwise than those of the tests: a value must not depend on who shares its chunk.
async fn prepare(stack: &Stack, program: &Program, name: &str) {
    let fleet = Fleet::over(stack, program, Database::create(stack).await, None).await;
    let url = fleet.database_url().to_owned();
    let (customers, first) = (CUSTOMERS.to_string(), FIRST_CUSTOMER.to_string());
    let generate = ["generate", "--into", &url, "--customers", &customers, "--first-customer", &first];
    fleet.ltv(&[&generate[..], &["--transactions", "4", "--seed", "7", "--as-of", AS_OF]].concat());
    let client = fleet.sql().await;
    for statement in SPOIL.split(';').filter(|statement| !statement.trim().is_empty()) {
        client.batch_execute(statement).await.expect("histories can be spoilt");
    }
    fleet.ltv(&["fit", "--as-of", AS_OF]);
    let run = fleet.dispatch(&["--chunk-customers", "777"]).await;
    let mut worker = fleet.worker(&["--slots", "1"]);
    let mut coordinator = fleet.coordinator(&[]);
    fleet.finished(run).await;
    fleet.figured(run).await;
    for process in [&mut worker, &mut coordinator] {
        process.terminate();
        assert!(process.ended(Duration::from_secs(20)).await.success(), "{}", process.log());
    }
    assert_eq!(run, RunId(1), "the reference is the first run");
    // Its night is free for the tests, and so is everything before it in the order of what readers see.
    let free = "
        update fleet.runs
           set night = null, as_of = as_of - interval '1 hour'
         where run_id = 1;
        update fleet.figures set as_of = as_of - interval '1 hour' where run_id = 1";
    client.batch_execute(free).await.expect("the night can be freed");
    drop(client);

    // A database with somebody in it can be neither renamed nor copied.
    let admin = connect(stack.database_url()).await;
    let made = name_of(&url);
    let send_away = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    let rename = format!("alter database {made} rename to {name}");
    eventually(PATIENCE, "the template is left alone", async || {
        admin.query(send_away, &[&made]).await.ok()?;
        admin.batch_execute(&rename).await.ok()
    })
    .await;
}
