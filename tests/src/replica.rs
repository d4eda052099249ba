//! A PostgreSQL of a test's own beside the stack's: its streaming replica, or a cluster of its own; it goes when it is
//! dropped.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio_postgres::Client;

use crate::database::connect;
use crate::process::dying_with_us;
use crate::{Process, Stack, unique};

/// The server's account: PostgreSQL does not run as root.
const ACCOUNT: [&str; 4] = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--"];

/// Of every such server. A replica replays what it receives at once and cancels what stands in the way of that; and it
/// asks a primary that says nothing for five seconds whether it is there.
const SETTINGS: [&str; 5] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "max_standby_streaming_delay=0",
    "wal_receiver_timeout=10s",
];

/// A server on loopback, with a port of its own.
#[derive(Debug)]
pub struct Replica {
    process: Process,
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
}

impl Replica {
    /// Copies the stack's PostgreSQL as it is, all its databases, and follows it from then on.
    pub async fn of(stack: &Stack) -> Self {
        let place = stack.database_url().rsplit_once('@').expect("a URL names its user").1;
        Self::copy(place.split('/').next().expect("it names a place"), &programs(stack).await).await
    }

    /// No replica: the stack's PostgreSQL as a snapshot of its disk would have it, which goes on by itself.
    pub async fn of_disk(stack: &Stack) -> Self {
        let place = stack.database_url().rsplit_once('@').expect("a URL names its user").1;
        let place = place.split('/').next().expect("it names a place");
        Self::copy_with(&[], place, &programs(stack).await).await
    }

    /// Copies another one, and follows that.
    pub async fn of_another(primary: &Self) -> Self {
        Self::copy(&format!("127.0.0.1:{}", primary.port), &primary.programs).await
    }

    /// No replica: a cluster of its own, which has nothing to do with the stack's.
    pub async fn of_nothing(stack: &Stack) -> Self {
        let programs = programs(stack).await;
        let folder = make_folder();
        run(account(&programs.join("initdb"))
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg(format!("--pgdata={}", folder.join("data").display())));
        Self::start(folder, programs).await
    }

    async fn copy(primary: &str, programs: &Path) -> Self {
        Self::copy_with(&["--write-recovery-conf"], primary, programs).await
    }

    async fn copy_with(options: &[&str], primary: &str, programs: &Path) -> Self {
        let folder = make_folder();
        run(account(&programs.join("pg_basebackup"))
            .args(options)
            .args(["--checkpoint=fast", "--wal-method=stream", "--no-sync"])
            .arg(format!("--dbname=postgresql://postgres@{primary}/"))
            .arg(format!("--pgdata={}", folder.join("data").display())));
        Self::start(folder, programs.to_owned()).await
    }

    async fn start(folder: PathBuf, programs: PathBuf) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = free.local_addr().expect("it has an address").port();
        drop(free);
        let process = Self::serve(&folder, &programs, port);
        let replica = Self { process, folder, programs, port };
        drop(connect(&replica.admin_url()).await);
        replica
    }

    fn serve(folder: &Path, programs: &Path, port: u16) -> Process {
        let mut command = account(&programs.join("postgres"));
        command.arg("-D").arg(folder.join("data")).arg("-p").arg(port.to_string());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        Process::start(&mut command, "replica", folder)
    }

    /// Where the replica of a database is.
    pub fn url(&self, of: &str) -> String {
        let (place, name) = of.rsplit_once('/').expect("the URL names a database");
        let (user, _) = place.rsplit_once('@').expect("the URL names its user");
        format!("{user}@127.0.0.1:{}/{name}", self.port)
    }

    /// Where its own database is, for its superuser.
    pub fn admin_url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A connection to the replica of a database.
    pub async fn client(&self, of: &str) -> Client {
        connect(&self.url(of)).await
    }

    /// A connection that may do anything.
    pub async fn admin(&self) -> Client {
        connect(&self.admin_url()).await
    }

    /// Ends it as a crash would, for whoever is connected. It takes the memory that it shares with it, which a server that
    /// is killed leaves to its next start.
    pub fn crash(&mut self) {
        self.process.quit();
    }

    /// Lets a standby take over, for whoever is connected: it crashes, and what answers in its place was promoted.
    pub async fn fail_over(&mut self) {
        self.crash();
        fs::write(self.folder.join("data/standby.signal"), "").expect("the folder is there");
        self.process = Self::serve(&self.folder, &self.programs, self.port);
        self.admin().await.batch_execute("select pg_promote()").await.expect("it becomes a primary");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of a server beside the stack's\n{}", self.process.log());
        }
        self.crash();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn make_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(unique("ltv-replica"));
    fs::create_dir(&folder).expect("a folder can be made");
    if is_root() {
        run(Command::new("chown").arg("postgres:").arg(&folder));
    }
    folder
}

/// The folder of the stack's programs: those of the server's version.
async fn programs(stack: &Stack) -> PathBuf {
    let client = connect(stack.database_url()).await;
    let ask = "select (current_setting('server_version_num')::integer / 10000)::text";
    let version: String = client.query_one(ask, &[]).await.expect("the server says its version").get(0);
    Path::new("/usr/lib/postgresql").join(version).join("bin")
}

/// A program of the server's account, which the kernel kills with the test.
fn account(program: &Path) -> Command {
    if !is_root() {
        return dying_with_us(program);
    }
    let mut command = dying_with_us(Path::new("setpriv"));
    // To become another account makes the kernel forget whom it dies with.
    command.args(["--pdeathsig", "KILL"]).args(ACCOUNT).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output().expect("id can be run");
    user.stdout == b"0\n"
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
