//! Nights through PgBouncer.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tests::{Fleet, eventually};

use crate::store::program;

/// A PgBouncer of this test's own in front of the stack's PostgreSQL. Dropped, it ends.
struct PgBouncer {
    process: Child,
    url: String,
    keeps_statements: bool,
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
        let keeps_statements = version(&program) >= (1, 21);
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
        Self { process, url: format!("postgresql://ltv@{address}/{database}"), keeps_statements }
    }
}

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

fn version(program: &str) -> (u32, u32) {
    let output = Command::new(program).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text.split_whitespace().nth(1).unwrap().split('.').map(|n| n.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// A night whose processes all go through the pooler.
async fn night(fleet: &Fleet, url: &str) {
    let database = ["--database-url", url];
    let run = fleet.dispatch(&[&database[..], &["--chunk-customers", "250"]].concat()).await;
    let _coordinator = fleet.coordinator(&database);
    let _workers = [fleet.worker(&database), fleet.worker(&database)];
    fleet.finished(run).await;
    fleet.assert_exact(run).await;
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
    let pooler = PgBouncer::start(&fleet, "pool_mode = session\nignore_startup_parameters = options").await;

    night(&fleet, &pooler.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_of_transactions_gives_an_exact_night_or_is_refused_at_the_start() {
    let fleet = Fleet::new(&program()).await;
    let kept = "pool_mode = transaction\nmax_prepared_statements = 200";
    let pooler = PgBouncer::start(&fleet, "pool_mode = transaction").await;
    let database = ["--database-url", &pooler.url];

    let listed = fleet.answer(&[&["runs", "list"][..], &database].concat());
    let migrated = fleet.answer(&[&["migrate"][..], &database].concat());

    let is_kept_by_itself = listed.code == Some(0);
    assert!(pooler.keeps_statements || !is_kept_by_itself, "{listed:?}");
    if is_kept_by_itself {
        night(&fleet, &pooler.url).await;
        return;
    }
    for answer in [listed, migrated] {
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.err.contains("keeps no prepared statements"), "{}", answer.err);
        assert!(answer.err.contains("pool_mode = session"), "{}", answer.err);
    }
    let mut worker = fleet.worker(&database);
    assert_eq!(worker.ended(Duration::from_secs(20)).await.code(), Some(1), "{}", worker.log());
    assert!(worker.log().contains("keeps no prepared statements"), "{}", worker.log());
    if pooler.keeps_statements {
        let pooler = PgBouncer::start(&fleet, kept).await;
        night(&fleet, &pooler.url).await;
    }
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
