//! One test's world: a database, queues and cache keys of its own, and real processes working in it.

use std::fs;
use std::io::PipeWriter;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use batch::{CustomerId, InstallationId, RunId, RunState};
use cache::{Redis, RedisConfig};
use queue::rabbitmq::Names;
use queue::{RabbitMq, RabbitMqConfig};
use store::postgres::Postgres;
use store::{Archive, ComputedFigures, FiguresStanding, Summaries};
use tokio_postgres::Client;

use crate::process::{dying_with_us, print_logs};
use crate::{
    Alone, Answer, Database, PATIENCE, Process, Program, Stack, Watch, eventually, finish_in_drop, unique,
};

/// The moment that all nights value the base for.
pub const AS_OF: &str = "1998-07-01";

/// Leases and patience short enough for a test. A flag overrides them.
const HASTE: [(&str, &str); 9] = [
    ("LTV_LEASE", "2s"),
    ("LTV_SLOTS", "2"),
    ("LTV_GRACE_PERIOD", "10s"),
    ("LTV_PASS_INTERVAL", "200ms"),
    ("LTV_LEADERSHIP_LEASE", "2s"),
    ("LTV_PUBLISH_GRACE", "2s"),
    ("LTV_LOST_AFTER", "2s"),
    ("LTV_LOG_FORMAT", "json"),
    ("LTV_LOG", "info,worker=debug,coordinator=debug,resilience::trouble=debug"),
];

/// A database with the base, queues and cache keys, all of this test alone; they go when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    stack: Stack,
    program: Program,
    database: Database,
    store: Postgres,
    prefix: String,
    folder: PathBuf,
    processes: AtomicU32,
    /// Last, so that the servers are kept until everything is tidied up.
    _alone: Option<Alone>,
}

impl Fleet {
    /// Makes a world over an empty database with the schema.
    pub async fn empty(program: &Program) -> Self {
        Self::empty_on(&Stack::from_env(), program).await
    }

    /// The same on servers of the caller's choice.
    pub async fn empty_on(stack: &Stack, program: &Program) -> Self {
        let alone = stack.alone();
        let database = Database::create(stack).await;
        Self::over(stack, program, database, Some(alone)).await
    }

    /// Makes a world over a database.
    pub(crate) async fn over(
        stack: &Stack,
        program: &Program,
        database: Database,
        alone: Option<Alone>,
    ) -> Self {
        let prefix = unique("faults");
        let folder = program.folder.join(&prefix);
        fs::create_dir_all(&folder).expect("a folder for the logs can be made");
        let store = database.store();
        store.check().await.expect("the database that was just made answers");
        // A copy gets an identity of its own when it is first asked.
        store.installation().await.expect("the schema is there");
        let (stack, program) = (stack.clone(), program.clone());
        Self { stack, program, database, store, prefix, folder, processes: AtomicU32::new(0), _alone: alone }
    }

    /// The same world, with another's prefixes.
    pub(crate) fn with_prefix_of(mut self, other: &Self) -> Self {
        self.prefix.clone_from(&other.prefix);
        self
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// The servers.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The product's own way to look into the database.
    pub fn store(&self) -> &Postgres {
        &self.store
    }

    /// Where the database is.
    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    /// What the queues and the exchanges are called.
    pub async fn names(&self) -> Names {
        Names::new(&self.prefix, self.installation().await).expect("the prefix makes names")
    }

    /// A connection to look where the product does not.
    pub async fn sql(&self) -> Client {
        self.database.client().await
    }

    /// The first column of the first row that a query about a run (`$1`) gives.
    pub async fn ask<T>(&self, query: &str, run: RunId) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let row = self.sql().await.query_one(query, &[&run.0]).await;
        row.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
    }

    /// The product's own way to look into the queues.
    pub async fn queue(&self) -> RabbitMq {
        let config = self.queue_config().await;
        eventually(PATIENCE, "a connection to RabbitMQ", async || {
            RabbitMq::connect_now(config.clone()).await.ok()
        })
        .await
    }

    /// Which installation the database is.
    pub async fn installation(&self) -> InstallationId {
        eventually(PATIENCE, "an answer from PostgreSQL", async || self.store.installation().await.ok()).await
    }

    /// How the product's processes reach the queues.
    pub async fn queue_config(&self) -> RabbitMqConfig {
        RabbitMqConfig {
            installation: self.installation().await,
            prefix: self.prefix.clone(),
            ..RabbitMqConfig::new(self.stack.amqp_url(), "test")
        }
    }

    /// The product's own way to look into the cache.
    pub async fn cache(&self) -> Redis {
        Redis::connect(self.cache_config().await).await.expect("the settings of a test are valid")
    }

    /// Where the cache is, and what its keys begin with.
    pub async fn cache_config(&self) -> RedisConfig {
        RedisConfig {
            installation: self.installation().await,
            prefix: self.prefix.clone(),
            ..RedisConfig::new(self.stack.redis_url(), "test")
        }
    }

    // --- processes --------------------------------------------------------------------------------------------

    /// Runs a command to its end, whatever that is.
    pub fn answer(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command().args(arguments).env_remove("LTV_LOG"))
    }

    /// Runs a command that has to succeed.
    pub fn ltv(&self, arguments: &[&str]) -> Answer {
        let answer = self.answer(arguments);
        assert_eq!(answer.code, Some(0), "ltv {}: {}{}", arguments.join(" "), answer.out, answer.err);
        answer
    }

    /// Dispatches the whole base and returns the run.
    pub async fn dispatch(&self, arguments: &[&str]) -> RunId {
        self.dispatch_selection(&[&["--all"], arguments].concat()).await
    }

    /// Dispatches some customers, as a run of their own.
    pub async fn dispatch_customers(&self, customers: &[CustomerId], arguments: &[&str]) -> RunId {
        let numbers: Vec<String> = customers.iter().map(ToString::to_string).collect();
        let file = self.folder.join(unique("customers"));
        fs::write(&file, numbers.join("\n")).expect("a file can be written");
        let file = file.to_str().expect("the folder's name is text");
        self.dispatch_selection(&[&["--customers", file], arguments].concat()).await
    }

    async fn dispatch_selection(&self, arguments: &[&str]) -> RunId {
        let as_of: &[&str] = if arguments.contains(&"--as-of") { &[] } else { &["--as-of", AS_OF] };
        let mut command = self.command();
        command.args(["dispatch", "--json"]).args(as_of).args(arguments);
        let answer = tokio::task::spawn_blocking(move || Answer::of(&mut command)).await.expect("it answers");
        assert_eq!(
            answer.code,
            Some(0),
            "ltv dispatch {}: {}{}",
            arguments.join(" "),
            answer.out,
            answer.err
        );
        RunId(answer.json()["run"].as_i64().expect("dispatch names its run"))
    }

    /// Starts a worker.
    pub fn worker(&self, arguments: &[&str]) -> Process {
        self.role("worker", arguments)
    }

    /// Starts a coordinator.
    pub fn coordinator(&self, arguments: &[&str]) -> Process {
        self.role("coordinator", arguments)
    }

    /// Starts workers that are replaced when they die.
    pub fn crew(&self, size: usize, arguments: &[&'static str]) -> Crew<'_> {
        let members = (0..size).map(|_| self.worker(arguments)).collect();
        Crew { fleet: self, arguments: arguments.to_vec(), members, deaths: 0 }
    }

    /// Starts any command in the background.
    pub fn background(&self, name: &str, arguments: &[&str]) -> Process {
        let number = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        Process::start(self.command().args(arguments), &format!("{name}-{number}"), &self.folder)
    }

    /// Starts any command in the background, with a standard error that nobody may be reading.
    pub fn unread(&self, arguments: &[&str], stderr: PipeWriter) -> Process {
        let number = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        Process::start_unread(
            self.command().args(arguments),
            &format!("unread-{number}"),
            &self.folder,
            stderr,
        )
    }

    /// Runs a command to its end, with another standard output.
    pub fn answer_into(&self, arguments: &[&str], out: impl Into<Stdio>) -> Answer {
        Answer::into_other(self.command().args(arguments).env_remove("LTV_LOG"), out.into())
    }

    fn role(&self, role: &str, arguments: &[&str]) -> Process {
        let number = self.processes.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("{role}-{number}");
        Process::start(self.command().args([role, "--instance", &name]).args(arguments), &name, &self.folder)
    }

    fn command(&self) -> Command {
        let mut command = dying_with_us(&self.program.binary);
        command
            .current_dir(&self.folder)
            .env_clear()
            .envs(HASTE)
            .env("RUST_BACKTRACE", "1")
            .env("LTV_DATABASE_URL", self.database.url())
            .env("LTV_AMQP_URL", self.stack.amqp_url())
            .env("LTV_REDIS_URL", self.stack.redis_url())
            .env("LTV_QUEUE_PREFIX", &self.prefix)
            .env("LTV_CACHE_PREFIX", &self.prefix);
        command
    }

    // --- the night --------------------------------------------------------------------------------------------

    /// Looks at a run's progress from now on.
    pub fn watch(&self, run: RunId) -> Watch {
        Watch::begin(self.database.store(), run)
    }

    /// Waits until so many chunks are done, while others are not.
    pub async fn reached(&self, run: RunId, chunks: u64) {
        let what = format!("{chunks} chunks of run {run} are done");
        let progress = eventually(PATIENCE, &what, async || {
            let progress = self.store.run(run).await.ok()??.progress;
            (progress.done >= chunks).then_some(progress)
        })
        .await;
        assert!(progress.done + 20 < progress.chunks, "in mid-run, not at its end: {progress:?}");
    }

    /// Waits until a run is finished.
    pub async fn finished(&self, run: RunId) {
        self.finished_while(run, || ()).await;
    }

    /// Waits until a run is finished, and does something now and then.
    pub async fn finished_while(&self, run: RunId, mut meanwhile: impl FnMut()) {
        eventually(PATIENCE, &format!("run {run} is finished"), async || {
            meanwhile();
            self.is_finished(run).await.then_some(())
        })
        .await;
    }

    /// Waits until the figures of a run's segments are on record.
    pub async fn figured(&self, run: RunId) -> ComputedFigures {
        eventually(PATIENCE, &format!("run {run} has figures"), async || {
            match self.store.figures(run).await.ok()??.standing {
                FiguresStanding::Computed(figures) => Some(figures),
                FiguresStanding::Due | FiguresStanding::Never(_) => None,
            }
        })
        .await
    }

    /// Whether a run is finished.
    pub async fn is_finished(&self, run: RunId) -> bool {
        matches!(self.store.run(run).await, Ok(Some(record)) if record.state == RunState::Finished)
    }

    /// How many attempts of a run ended so.
    pub async fn attempts(&self, run: RunId, outcomes: &[&str]) -> i64 {
        let query = "select count(*) from fleet.attempts where run_id = $1 and outcome = any($2)";
        self.sql().await.query_one(query, &[&run.0, &outcomes]).await.expect("attempts can be counted").get(0)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_logs(&self.folder);
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
        let config = RabbitMqConfig {
            prefix: self.prefix.clone(),
            ..RabbitMqConfig::new(self.stack.amqp_url(), "test")
        };
        let store = self.database.store();
        finish_in_drop(async move || {
            let Ok(identities) = store.installations().await else { return };
            for installation in identities.iter().map(|identity| identity.id) {
                if let Ok(queue) =
                    RabbitMq::connect_now(RabbitMqConfig { installation, ..config.clone() }).await
                {
                    let _ = queue.delete_topology().await;
                }
            }
        });
    }
}

/// Workers that are replaced when they die, as an orchestrator would do it.
#[derive(Debug)]
pub struct Crew<'a> {
    fleet: &'a Fleet,
    arguments: Vec<&'static str>,
    members: Vec<Process>,
    deaths: usize,
}

impl Crew<'_> {
    /// Starts a worker for each that has died.
    pub fn replace_the_dead(&mut self) {
        for member in &mut self.members {
            if member.has_ended() {
                *member = self.fleet.worker(&self.arguments);
                self.deaths += 1;
            }
        }
    }

    /// Kills one of them.
    pub fn kill(&mut self, number: usize) {
        let count = self.members.len();
        self.members[number % count].kill();
    }

    /// How many have died and were replaced.
    pub fn deaths(&self) -> usize {
        self.deaths
    }
}
