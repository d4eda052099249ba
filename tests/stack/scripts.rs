//! What starts processes ends them: `scripts/demo` and `ltv bench night`, however they end.
//!
//! The demo is run as a newcomer runs it, with less to generate and on servers of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tests::{Fleet, PATIENCE, Program, eventually, unique};

/// A build from nothing is part of it.
const BUILT: Duration = Duration::from_mins(40);

/// Enough for a night that is still going on when a signal comes.
const A_NIGHT: &str = "50000";

#[tokio::test]
async fn the_demo_leaves_nothing_but_its_servers() {
    let servers = Servers::new();

    let mut demo = Demo::start(&servers, "2000");
    let status = demo.ended(BUILT).await;

    let told = demo.told();
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(told.contains("two workers, the coordinator and the api have drained and ended"), "{told}");
    assert_eq!(demo.left(), BTreeMap::new(), "{told}");
    assert!(servers.are_up(), "{told}");
}

#[tokio::test]
async fn a_demo_that_is_ended_in_mid_night_leaves_nothing_but_its_servers_and_its_exit_code_tells() {
    let servers = Servers::new();

    // Ctrl-C reaches everybody in the terminal; `kill` the script alone.
    check(&servers, |demo, _| signal("INT", &format!("-{}", demo.child.id())), Some(130)).await;
    check(&servers, |demo, _| signal("TERM", &demo.child.id().to_string()), Some(143)).await;
    // A step that fails in the middle, here since it is killed.
    check(&servers, |_, night| signal("KILL", &night.to_string()), Some(137)).await;
    // Nothing can be done about this one but by the kernel.
    check(&servers, |demo, _| signal("KILL", &demo.child.id().to_string()), None).await;
}

/// The kernel asks nobody who had not told it yet that he wants to be asked.
#[tokio::test]
async fn a_script_that_is_killed_while_it_starts_something_leaves_nothing() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("killed-test"));
    fs::create_dir(&folder).unwrap();
    // As on a busy machine: what was started comes to it when the script is gone.
    let late = folder.join("setpriv");
    let waits = "#!/bin/sh\nwhile [ -d /proc/$SCRIPT ]; do :; done; PATH=${PATH#*:} exec setpriv \"$@\"\n";
    fs::write(&late, waits).unwrap();
    fs::set_permissions(&late, fs::Permissions::from_mode(0o755)).unwrap();
    let killed = "set -euo pipefail; PATH=$LATE:$PATH; source scripts/processes.sh
                  export SCRIPT=0; run true; export SCRIPT=$$
                  start sleep 300 >/dev/null 2>&1; echo \"${ltv_roles[0]}\"; kill -s KILL $$";

    let output = script("bash").args(["-c", killed]).env("LATE", &folder).output().unwrap();

    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    let started: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    eventually(PATIENCE, "what was started has ended", async || (!is_there(started)).then_some(())).await;
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_that_is_asked_to_stop_takes_its_fleet_with_it() {
    let program = Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"));
    let fleet = Fleet::empty(&program).await;
    let small = ["bench", "night", "--customers", "2000", "--nights", "99"];

    for name in ["INT", "TERM"] {
        let mut bench = fleet.background("bench", &small);
        bench.says("floor and night 1", PATIENCE).await;
        let its_own = children(bench.id());
        signal(name, &bench.id().to_string());
        let status = bench.ended(PATIENCE).await;

        assert_eq!(status.code(), Some(1), "{}", bench.log());
        assert!(bench.log().contains("stopped before the measurement was over"), "{}", bench.log());
        assert_eq!(its_own.len(), 3, "two workers and a coordinator");
        assert!(its_own.iter().all(|&process| !is_there(process)), "{}", bench.log());
    }
}

/// Does something to a demo, and to the process that waits for its night, once the night has begun.
async fn check(servers: &Servers, disturb: impl Fn(&Demo, u32), code: Option<i32>) {
    let mut demo = Demo::start(servers, A_NIGHT);
    let night = demo.night().await;

    disturb(&demo, night);
    let status = demo.ended(PATIENCE).await;

    let told = demo.told();
    assert_eq!(status.code(), code, "signal {:?}: {told}", status.signal());
    assert!(!told.contains("have drained and ended"), "the night was over too early: {told}");
    if code.is_none() {
        eventually(PATIENCE, "the roles have drained", async || demo.left().is_empty().then_some(())).await;
    }
    assert_eq!(demo.left(), BTreeMap::new(), "{told}");
    assert!(servers.are_up(), "{told}");
}

/// Servers of one test, which go with it.
struct Servers {
    name: String,
}

impl Servers {
    fn new() -> Self {
        Self { name: unique("demo") }
    }

    fn are_up(&self) -> bool {
        self.stack(&["status"])
    }

    fn stack(&self, arguments: &[&str]) -> bool {
        let mut command = script("scripts/stack");
        let output = command.args(["--name", &self.name]).args(arguments).output().unwrap();
        output.status.success()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stack(&["down", "--purge"]);
    }
}

/// A demo, in a process group of its own as in a terminal.
struct Demo {
    child: Child,
    out: PathBuf,
    mark: String,
    program: PathBuf,
    before: BTreeMap<u32, String>,
}

impl Demo {
    fn start(servers: &Servers, customers: &str) -> Self {
        let mark = unique("demo-test");
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&mark);
        let file = File::create(&out).unwrap();
        let program = repository().join("target/release/ltv");
        let before = running(&program, &mark);
        // A shell ignores SIGINT for ever where it was ignored when it began, as in the background of another one.
        let child = script("env")
            .args([
                "--default-signal=INT",
                "scripts/demo",
                "--stack",
                &servers.name,
                "--customers",
                customers,
            ])
            .env("LTV_STARTED_BY", &mark)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, out, mark, program, before }
    }

    /// Waits until the night has begun, and says which process waits for its end.
    async fn night(&mut self) -> u32 {
        eventually(BUILT, "the night has begun", async || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended before: {}", self.told());
            let running = running(&self.program, &self.mark);
            running.into_iter().find(|(_, line)| line.contains(" dispatch ")).map(|(process, _)| process)
        })
        .await
    }

    async fn ended(&mut self, limit: Duration) -> ExitStatus {
        eventually(limit, "the demo has ended", async || self.child.try_wait().unwrap()).await
    }

    fn told(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// Whatever it started and is still there, and whatever else runs the program since.
    fn left(&self) -> BTreeMap<u32, String> {
        let mut left = running(&self.program, &self.mark);
        left.retain(|process, _| !self.before.contains_key(process));
        left
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let left = self.left();
        for process in left.keys() {
            signal("KILL", &process.to_string());
        }
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.out);
    }
}

/// A program in the repository's folder that knows of no stack.
fn script(name: &str) -> Command {
    let mut command = Command::new(if name.contains('/') { repository().join(name) } else { name.into() });
    command.current_dir(repository());
    for name in ["LTV_STACK", "LTV_DATABASE_URL", "LTV_AMQP_URL", "LTV_REDIS_URL"] {
        command.env_remove(name);
    }
    command
}

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// The processes that run the program or carry the mark, with their command lines.
fn running(program: &Path, mark: &str) -> BTreeMap<u32, String> {
    let is_concerned = |process: u32| {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        fs::read_link(format!("/proc/{process}/exe")).is_ok_and(|exe| exe == program)
            || environment.split(|&byte| byte == 0).any(|variable| {
                let variable = String::from_utf8_lossy(variable);
                let marks = variable.strip_prefix("LTV_STARTED_BY=").unwrap_or_default();
                marks.split('/').any(|one| one == mark)
            })
    };
    all().filter(|&process| is_concerned(process)).map(|process| (process, command_line(process))).collect()
}

fn children(parent: u32) -> Vec<u32> {
    all().filter(|process| status(*process, "PPid:").is_some_and(|id| id == parent.to_string())).collect()
}

/// Whether it is there, and no more than that somebody has still to ask how it ended.
fn is_there(process: u32) -> bool {
    status(process, "State:").is_some_and(|state| !state.starts_with('Z'))
}

fn status(process: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_owned())
}

fn command_line(process: u32) -> String {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn all() -> impl Iterator<Item = u32> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok())
}

fn signal(name: &str, process: &str) {
    let status = Command::new("kill").args(["-s", name, "--", process]).status().unwrap();
    assert!(status.success(), "SIG{name} reaches {process}");
}
