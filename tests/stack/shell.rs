//! What a command does that nobody hears, that waits for nobody, or that is told to end.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::File;
use std::io;
use std::process::Command;
use std::time::Duration;

use store::{Archive, Supervision};
use tests::{AS_OF, Fleet, PATIENCE, Process, Program, eventually};

/// What "at once" means on a machine that builds beside the tests.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_says_who_is_missing_and_gives_up_after_the_time_it_was_told() {
    let fleet = fleet().await;
    let order = ["dispatch", "--all", "--as-of", AS_OF, "--deadline", "1s", "--wait", "--give-up", "5s"];

    let mut alone = fleet.background("dispatch", &order);
    alone.says("no coordinator leads", PATIENCE).await;
    let status = alone.ended(PATIENCE).await;
    let _coordinator = fleet.coordinator(&[]);
    let watch = fleet.background("watch", &["runs", "watch"]);
    watch.says("no worker holds a chunk", PATIENCE).await;

    assert_eq!(status.code(), Some(1), "{}", alone.log());
    assert!(alone.log().contains("no longer waited for; it goes on"), "{}", alone.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_ended_at_once_by_the_first_signal_and_its_exit_code_tells_by_which() {
    let fleet = fleet().await;
    fleet.dispatch(&[]).await;

    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut watch = fleet.background("watch", &["runs", "watch"]);
        watch.says("no coordinator leads", PATIENCE).await;
        let status = ended_by(&mut watch, signal).await;

        // An exit code, and no signal: the kernel gives a container's first process no default for one.
        assert_eq!(status, Some(code), "{}", watch.log());
        assert!(watch.log().contains(&format!("ended by SIG{signal}")), "{}", watch.log());
    }
    let mut generate = fleet.background("generate", &["generate", "--out", ".", "--customers", "30000000"]);
    eventually(PATIENCE, "it listens", async || listens(generate.id()).then_some(())).await;
    assert_eq!(ended_by(&mut generate, "TERM").await, Some(143), "{}", generate.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_a_command_quietly_and_a_full_device_with_the_reason() {
    let fleet = fleet().await;
    let list = ["models", "list"];

    let full = fleet.answer_into(&list, File::options().write(true).open("/dev/full").unwrap());
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let closed = fleet.answer_into(&list, writer);

    assert_eq!((full.code, closed.code), (Some(1), Some(141)), "{full:?} {closed:?}");
    assert_eq!(full.err, "ltv: cannot write to standard output: No space left on device (os error 28)\n");
    assert_eq!(closed.err, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_log_nobody_reads_does_its_work_and_drains() {
    let fleet = fleet().await;
    let run = fleet.dispatch(&["--chunk-customers", "100"]).await;
    let _coordinator = fleet.coordinator(&[]);
    let (unread, writer) = io::pipe().unwrap();

    // A line for everything that happens is more than the pipe holds.
    let mut worker = fleet.unread(&["worker", "--log", "trace"], writer);
    fleet.finished(run).await;
    worker.terminate();
    let status = worker.ended(PATIENCE).await;

    assert_eq!(status.code(), Some(0));
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatch_under_an_alarm_says_at_once_what_it_waits_for_and_what_happens_next() {
    let fleet = fleet().await;
    let alarm = fleet.stack().alarm();

    let mut dispatch = fleet.background("dispatch", &["dispatch", "--all", "--as-of", AS_OF, "--json"]);
    dispatch.says("RabbitMQ takes no messages at present (low on memory)", AT_ONCE).await;
    let status = dispatch.ended(PATIENCE).await;
    drop(alarm);
    let told = dispatch.json();
    let run = batch::RunId(told["run"].as_i64().unwrap());
    let (_worker, _coordinator) = (fleet.worker(&[]), fleet.coordinator(&[]));
    fleet.finished(run).await;

    assert_eq!(status.code(), Some(0), "{}", dispatch.log());
    assert!(told["unconfirmed"].as_u64() > Some(0), "{told}");
    assert!(told["reason"].is_string(), "{told}");
    fleet.assert_exact(run).await;
}

#[tokio::test]
async fn an_empty_name_is_wrong_use_and_one_name_for_two_processes_is_none_for_the_store() {
    let fleet = fleet().await;

    let empty = fleet.answer(&["worker", "--instance", ""]);
    let (one, other) = (fleet.background("c", &TWIN), fleet.background("c", &TWIN));
    let twins_say = async |what: &str| {
        eventually(PATIENCE, what, async || {
            let says = |twin: &Process| twin.log().contains(what);
            (says(&one) || says(&other)).then_some(())
        })
        .await;
    };
    twins_say("leadership changed").await;
    twins_say("two living processes were given one name").await;

    assert_eq!(empty.code, Some(2), "{empty:?}");
    assert!(empty.err.contains("it is empty: leave it out"), "{}", empty.err);
    let leader: String = fleet
        .sql()
        .await
        .query_one("select leader from fleet.leadership where role = 'coordinator'", &[])
        .await
        .unwrap()
        .get(0);
    assert!(leader.starts_with("twin-") && leader.len() > "twin-".len(), "{leader}");
}

const TWIN: [&str; 3] = ["coordinator", "--instance", "twin"];

async fn fleet() -> Fleet {
    Fleet::new(&Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))).await
}

async fn ended_by(process: &mut Process, signal: &str) -> Option<i32> {
    let sent = Command::new("kill").args(["-s", signal, &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
    process.ended(AT_ONCE).await.code()
}

/// Whether a process has a handler for SIGTERM, or will never need one.
fn listens(process: u32) -> bool {
    const SIGTERM: u64 = 1 << 14;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & SIGTERM != 0))
}

/// What was stored is moved forward instead: to whoever reads it that is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_leader_whose_lease_is_far_after_the_clock_was_set_back_is_said_to_lead_by_nobody() {
    const LEASE: Duration = Duration::from_secs(30);
    let fleet = fleet().await;
    let run = fleet.dispatch(&["--chunk-customers", "1000"]).await;
    let store = fleet.store();
    let leader = async || {
        let (leader, staffing) = (store.leader().await.unwrap(), store.staffing(run).await.unwrap());
        assert_eq!(leader, staffing.leader);
        leader
    };
    store.lead("one", LEASE).await.unwrap().expect("nobody leads");
    let living = leader().await;
    let forward = "
        update fleet.leadership
           set expires_at = expires_at + interval '2 hours', renewed_at = renewed_at + interval '2 hours'";
    fleet.sql().await.batch_execute(forward).await.unwrap();

    let dead = leader().await;
    let watch = fleet.background("watch", &["runs", "watch", &run.to_string()]);
    watch.says("no coordinator leads", PATIENCE).await;
    store.lead("another", LEASE).await.unwrap().expect("that lease is no lease");
    let next = leader().await;

    assert_eq!((living.as_deref(), dead, next.as_deref()), (Some("one"), None, Some("another")));
}
