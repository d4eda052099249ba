//! Nights through PgBouncer.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use batch::RunId;
use tests::{Fleet, eventually};
use tokio_postgres::NoTls;

use crate::store::program;

/// A PgBouncer of this test's own in front of the stack's PostgreSQL. Dropped, it ends.
struct PgBouncer {
    process: Child,
    url: String,
}

impl PgBouncer {
    async fn start(fleet: &Fleet, settings: &str) -> Self {
        let program = installed(fleet);
        let (server, database) = fleet.database_url().rsplit_once('/').unwrap();
        let server = server.rsplit_once('@').unwrap().1.rsplit_once(':').unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(tests::unique("pgbouncer"));
        std::fs::create_dir(&folder).unwrap();
        let configuration = folder.join("pgbouncer.ini");
        std::fs::write(
            &configuration,
            format!(
                "[databases]\n{database} = host={} port={} user=ltv\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = any\n{settings}\n",
                server.0, server.1
            ),
        )
        .unwrap();
        let mut command = Command::new(&program);
        if is_root() {
            command.args(["-u", "postgres"]); // it refuses to run as root
        }
        let process = command
            .arg(&configuration)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        eventually(Duration::from_secs(10), "PgBouncer", async || {
            tokio::net::TcpStream::connect(&address).await.ok()
        })
        .await;
        Self { process, url: format!("postgresql://ltv@{address}/{database}") }
    }

    /// Lets others leave in so many sessions of the server what they prepared, under the names that the driver gives,
    /// and settings of theirs.
    async fn used_by_others(&self, sessions: usize) {
        let mut others = Vec::new();
        for _ in 0..sessions {
            let (other, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
            tokio::spawn(connection);
            other.batch_execute("begin").await.unwrap();
            let statements: Vec<String> =
                (0..200).map(|number| format!("prepare s{number} as select {number}")).collect();
            other.batch_execute(&statements.join(";")).await.unwrap();
            other.batch_execute(SETTINGS_OF_OTHERS).await.unwrap();
            others.push(other);
        }
        // Each holds a session until all have one, so these are different ones.
        for other in others {
            other.batch_execute("commit").await.unwrap();
        }
    }
}

const SETTINGS_OF_OTHERS: &str = "
    set timezone = 'Asia/Tokyo';
    set datestyle = 'SQL, DMY';
    set intervalstyle = 'sql_standard';
    set bytea_output = 'escape';
    set extra_float_digits = -15;
    set search_path = elsewhere";

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

fn installed(fleet: &Fleet) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/stack");
    let output = Command::new(script).args(["--name", fleet.stack().name(), "pooler"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Gives the database a zone of its own, and a source whose moments are without one, of UTC.
async fn say_no_zone(fleet: &Fleet) {
    let (_, database) = fleet.database_url().rsplit_once('/').unwrap();
    let elsewhere = format!(
        "alter database {database} set timezone = 'Asia/Tokyo';
         create schema shop;
         alter table source.customers set schema shop;
         alter table source.transactions set schema shop;
         create view source.customers as
             select customer_id, external_id, segment, acquired_at at time zone 'UTC' as acquired_at
               from shop.customers;
         create view source.transactions as
             select transaction_id, customer_id, occurred_at at time zone 'UTC' as occurred_at, amount_minor, currency
               from shop.transactions"
    );
    fleet.sql().await.batch_execute(&elsewhere).await.unwrap();
}

/// A night whose processes all go through the pooler.
async fn night(fleet: &Fleet, url: &str) -> RunId {
    let database = ["--database-url", url];
    let run = fleet.dispatch(&[&database[..], &["--chunk-customers", "250"]].concat()).await;
    let _coordinator = fleet.coordinator(&database);
    let _workers = [fleet.worker(&database), fleet.worker(&database)];
    fleet.finished(run).await;
    fleet.assert_exact(run).await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_through_a_pooler_that_refuses_what_a_connection_asks_is_exact() {
    let fleet = Fleet::new(&program()).await;
    let pooler = PgBouncer::start(&fleet, "idle_transaction_timeout = 60\npool_mode = session").await;

    fleet.ltv(&["migrate", "--database-url", &pooler.url]);
    night(&fleet, &pooler.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_without_a_zone_is_one_of_utc_behind_a_pooler_that_drops_what_a_connection_asks() {
    let fleet = Fleet::new(&program()).await;
    say_no_zone(&fleet).await;
    let pooler = PgBouncer::start(&fleet, "pool_mode = session\nignore_startup_parameters = options").await;

    night(&fleet, &pooler.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_through_a_pooler_of_transactions_is_exact() {
    let fleet = Fleet::new(&program()).await;
    say_no_zone(&fleet).await;
    // Few sessions for many connections, which take turns: each has to do for all.
    let settings = "pool_mode = transaction\nserver_round_robin = 1\ndefault_pool_size = 6";
    let pooler = PgBouncer::start(&fleet, settings).await;
    pooler.used_by_others(6).await;

    let run = night(&fleet, &pooler.url).await;

    assert_eq!(fleet.attempts(run, &["failed", "lost", "excused", "given_back"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_does_goes_through_a_pooler_of_transactions_too() {
    let fleet = Fleet::empty(&program()).await;
    let settings = "pool_mode = transaction\nserver_round_robin = 1\nignore_startup_parameters = options";
    let pooler = PgBouncer::start(&fleet, settings).await;
    pooler.used_by_others(3).await;
    let folder = std::env::temp_dir().join(tests::unique("pooler"));
    std::fs::create_dir(&folder).unwrap();
    let customers = folder.join("customers.csv");
    std::fs::write(&customers, "customer_id,external_id,segment,acquired_at\n1,c-1,venues,2020-01-01\n")
        .unwrap();
    let said = |arguments: &[&str]| fleet.ltv(&[arguments, &["--database-url", &pooler.url]].concat()).out;

    for _ in 0..3 {
        said(&["migrate"]);
        said(&["load", "--customers", customers.to_str().unwrap()]);
        said(&["models", "list"]);
        said(&["runs", "list"]);
    }

    let loaded = fleet.sql().await.query_one("select count(*) from source.customers", &[]).await.unwrap();
    assert_eq!(loaded.get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_a_release_before_left_in_a_session_is_named() {
    let fleet = Fleet::new(&program()).await;
    let left = fleet.sql().await;
    left.batch_execute("select pg_advisory_lock(x'6c74765f666c6565'::bigint)").await.unwrap();
    let process: i32 = left.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);

    let answer = fleet.answer(&["migrate"]);

    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.err.contains(&format!("process {process} of user")), "{}", answer.err);
    left.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    fleet.ltv(&["migrate"]);
}
