//! How long an urgent request waits while a night holds every slot.
//!
//! The bound is the one that ARCHITECTURE.md states. What it is made of is measured in the same run, beside the same night, so
//! that a slow machine makes it longer and breaks nothing. Without the lane a request waits for a chunk instead of parts of
//! other requests: the same look finds it beyond the bound.

use std::time::Duration;

use batch::CustomerId;
use queue::Heard;
use queue::Requests as _;
use tests::{Fleet, PATIENCE, eventually};
use tokio::sync::Mutex;

use crate::fleet;
use crate::requests::{ask_and_wait, customers};

/// As many as a worker with one slot for requests has in hand.
const ASKERS: usize = 4;

/// Parts that a request waits for at most, its own among them: one that is at work, four turns of those in hand before it.
const PARTS: u32 = 6;

/// A night of few chunks, each of which holds its slot for long.
const LARGE: [&str; 2] = ["--chunk-customers", "10000"];

/// How long a request took at its worker, and for what.
#[derive(Clone, Copy, Debug)]
struct Times {
    took: Duration,
    begin: Duration,
    part: Duration,
    answer: Duration,
    reply: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_urgent_requests_none_waits_beyond_the_bound_and_without_the_lane_some_do() {
    let fleet = fleet().await;

    let within = beside_a_night(&fleet, 1_000, &[]).await;
    let without_lane = beside_a_night(&fleet, 3 * ASKERS, &["--fault", "without-lane=1"]).await;

    let beyond = beyond_the_bound(&within);
    assert!(beyond.is_empty(), "{beyond:?} of {}", within.len());
    assert!(!beyond_the_bound(&without_lane).is_empty(), "{without_lane:?}");
}

/// Asks so many questions about one customer each while a night holds every slot of the only worker.
async fn beside_a_night(fleet: &Fleet, requests: usize, arguments: &[&str]) -> Vec<Times> {
    let customers = customers(fleet, requests as i64).await;
    let worker = fleet.worker(&[&["--slots", "2", "--request-slots", "1"], arguments].concat());
    let to_ask = Mutex::new(customers);
    tokio::select! {
        never = keep_busy(fleet) => never,
        () = async {
            eventually(PATIENCE, "a night holds every slot", async || (leased(fleet).await == 2).then_some(())).await;
            futures_util::future::join_all((0..ASKERS).map(|_| keep_asking(fleet, &to_ask))).await;
        } => {}
    }
    assert!(leased(fleet).await > 0, "the night went on all the time");
    let times: Vec<Times> = worker.log().lines().filter_map(times).collect();
    assert_eq!(times.len(), requests, "each is told of once");
    times
}

/// Orders another night whenever no chunk of the last one is left to be taken.
async fn keep_busy(fleet: &Fleet) -> ! {
    static DAYS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let left = "select count(*) from fleet.chunks where state in ('pending', 'published')";
    let client = fleet.sql().await;
    loop {
        let day = DAYS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let as_of = format!("1998-{:02}-{:02}", 7 + day / 28, 1 + day % 28);
        fleet.dispatch(&[&LARGE[..], &["--as-of", &as_of]].concat()).await;
        eventually(PATIENCE, "the night is at its end", async || {
            (client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) < 2).then_some(())
        })
        .await;
    }
}

/// Chunks that are at work.
async fn leased(fleet: &Fleet) -> i64 {
    let leased = "select count(*) from fleet.chunks where state = 'leased'";
    fleet.sql().await.query_one(leased, &[]).await.unwrap().get(0)
}

/// Asks about one customer after another, each when the one before is answered.
async fn keep_asking(fleet: &Fleet, to_ask: &Mutex<Vec<CustomerId>>) {
    let requester = fleet.queue().await.requester().await.unwrap();
    while let Some(customer) = { to_ask.lock().await.pop() } {
        let (request, heard, took) = ask_and_wait(fleet, &requester, &[customer]).await;
        assert_eq!(heard, Heard::Done, "request {request} after {took:?}");
    }
}

/// What a line of the worker's log tells of a request that it answered.
fn times(line: &str) -> Option<Times> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_answer = line["message"] == "replied" && line["outcome"] == "answered";
    let micros = |name: &str| Duration::from_micros(line[name].as_u64().unwrap());
    is_answer.then(|| Times {
        took: micros("took_us"),
        begin: micros("begin_us"),
        part: micros("part_us"),
        answer: micros("answer_us"),
        reply: micros("reply_us"),
    })
}

/// Those that took longer than the bound, which is made of the longest that each step took.
fn beyond_the_bound(all: &[Times]) -> Vec<Times> {
    let longest = |step: fn(&Times) -> Duration| all.iter().map(step).max().unwrap_or_default();
    let bound = longest(|times| times.begin)
        + PARTS * longest(|times| times.part)
        + longest(|times| times.answer)
        + longest(|times| times.reply);
    let mut took: Vec<Duration> = all.iter().map(|times| times.took).collect();
    took.sort_unstable();
    let (median, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!(
        "{} requests: p50 {median:?}, p99 {late:?}, longest {:?}, bound {bound:?}",
        took.len(),
        longest(|times| times.took)
    );
    all.iter().filter(|times| times.took > bound).copied().collect()
}
