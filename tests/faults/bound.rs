//! How long an urgent request waits while a night holds every slot.
//!
//! The bound is the one that ARCHITECTURE.md states. What it is made of is measured in the same run, beside the same night, so
//! that a slow machine makes it longer and breaks nothing. Without the lane a request waits for a chunk instead of parts of
//! other requests: the same look finds it beyond the bound.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use batch::CustomerId;
use futures_util::future::join_all;
use queue::{Heard, Requests as _};
use tests::{Fleet, PATIENCE, eventually};
use tokio::sync::Mutex;

use crate::fleet;
use crate::requests::{ask_and_wait, customers};

/// As many as a worker with one slot for requests has in hand.
const ASKERS: usize = 4;

/// Parts that a request waits for at most, its own among them: one that is at work, four turns of those in hand before it.
const PARTS: u32 = 6;

/// Chunks that are at work at a time.
const SLOTS: i64 = 3;

/// Two of them at the worker that answers requests too, each of which holds its slot for seconds, like a chunk of a large base.
const ANSWERS: [&str; 4] = ["--slots", "2", "--request-slots", "1"];

/// And one at another, which keeps the machine busy.
const COMPUTES: [&str; 4] = ["--slots", "1", "--request-slots", "0"];

/// A night of one chunk, which holds its slot for long.
const LARGE: [&str; 2] = ["--chunk-customers", "20000"];

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

    let within = beside_a_night(&fleet, 1_000, "slow=6000").await;
    let without_lane = beside_a_night(&fleet, 2 * ASKERS, "slow=6000,without-lane=1").await;

    let beyond = beyond_the_bound(&within);
    assert!(beyond.is_empty(), "{beyond:?} of {}", within.len());
    assert!(!beyond_the_bound(&without_lane).is_empty(), "{without_lane:?}");
}

/// Asks so many questions about one customer each while a night holds every slot.
async fn beside_a_night(fleet: &Fleet, requests: usize, fault: &str) -> Vec<Times> {
    let customers = customers(fleet, requests as i64).await;
    let mut worker = fleet.worker(&[&ANSWERS[..], &["--fault", fault]].concat());
    let mut other = fleet.worker(&COMPUTES);
    let to_ask = Mutex::new(customers);
    tokio::select! {
        never = keep_busy(fleet) => never,
        () = async {
            let leased = "select count(*) from fleet.chunks where state = 'leased'";
            let client = fleet.sql().await;
            let is_busy = async || {
                (client.query_one(leased, &[]).await.unwrap().get::<_, i64>(0) == SLOTS).then_some(())
            };
            eventually(PATIENCE, "a night holds every slot", is_busy).await;
            join_all((0..ASKERS).map(|_| keep_asking(fleet, &to_ask))).await;
            eventually(PATIENCE, "and so it went on", is_busy).await;
        } => {}
    }
    for worker in [&mut worker, &mut other] {
        worker.terminate();
        assert!(worker.ended(PATIENCE).await.success(), "{}", worker.log());
    }
    let times: Vec<Times> = worker.log().lines().filter_map(times).collect();
    assert_eq!(times.len(), requests, "each is told of once");
    times
}

/// Orders another night whenever few chunks are left to be taken.
async fn keep_busy(fleet: &Fleet) -> ! {
    static DAYS: AtomicU32 = AtomicU32::new(0);
    let left = "select count(*) from fleet.chunks where state in ('pending', 'published')";
    let client = fleet.sql().await;
    loop {
        let day = DAYS.fetch_add(1, Ordering::Relaxed);
        let as_of = format!("{}-07-{:02}", 1998 + day / 31, 1 + day % 31);
        fleet.dispatch(&[&LARGE[..], &["--as-of", &as_of]].concat()).await;
        eventually(PATIENCE, "the nights are at their end", async || {
            (client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) <= SLOTS).then_some(())
        })
        .await;
    }
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
    // One that was answered before has no attempt here.
    let is_answer = line["message"] == "replied" && line["attempt"].is_u64();
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
