//! Waiting for a breaker: nobody spins, nobody takes more places than there are, and none is lost.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::*;
use crate::within;

#[tokio::test(start_paused = true)]
async fn ready_returns_at_once_while_it_is_closed() {
    let start = Instant::now();

    closed().ready().await;

    assert_eq!(Instant::now(), start);
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_the_end_of_the_open_time() {
    let breaker = opened();
    let start = Instant::now();

    breaker.ready().await;

    assert_eq!(start.elapsed().as_millis(), 1_000);
    assert_eq!(breaker.state(), State::Open, "waiting takes nothing");
    assert!(breaker.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_a_probe_to_end_without_spinning() {
    let breaker = half_open().await;
    let probes = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    let start = Instant::now();

    let wait = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.ready().await }
    });
    // A loop that spins would never let this sleep end: paused time only moves when every task waits.
    sleep(Duration::from_millis(100)).await;
    assert!(!wait.is_finished());
    drop(probes);
    wait.await.unwrap();

    assert_eq!(start.elapsed().as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn ready_waits_through_a_failed_probe_for_the_next_open_time() {
    let breaker = half_open().await;
    let probes = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    let start = Instant::now();

    let outage = async {
        sleep(Duration::from_millis(100)).await;
        for probe in probes {
            probe.failure("it is down");
        }
    };
    tokio::join!(breaker.ready(), outage);

    assert_eq!(start.elapsed().as_millis(), 2_100);
}

#[tokio::test(start_paused = true)]
async fn ready_follows_a_person_who_changes_the_mode() {
    let breaker = opened();
    let start = Instant::now();

    let drill = async {
        breaker.set_mode(Mode::ForcedOpen);
        sleep(30 * SECOND).await;
        breaker.set_mode(Mode::ForcedClosed);
    };
    tokio::join!(breaker.ready(), drill);

    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cancelled_takes_no_place() {
    let breaker = half_open().await;
    let probes = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];

    let cancelled = within(SECOND, "wait", breaker.admit()).await;
    drop(probes);

    assert!(cancelled.is_err());
    let places = [breaker.try_acquire(), breaker.try_acquire()];
    assert!(places.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn of_many_that_wait_only_the_probes_go_until_it_is_closed_and_then_all() {
    let breaker = opened();
    let most_probes = Arc::new(AtomicU32::new(0));
    let under_way = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();

    for _ in 0..50 {
        let (breaker, under_way, most_probes) = (breaker.clone(), under_way.clone(), most_probes.clone());
        callers.spawn(async move {
            let permit = breaker.admit().await;
            let calls = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            if breaker.state() == State::HalfOpen {
                most_probes.fetch_max(calls, Ordering::SeqCst);
            }
            sleep(Duration::from_millis(10)).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            permit.success();
        });
    }
    callers.join_all().await;

    assert_eq!(most_probes.load(Ordering::SeqCst), CONFIG.probes);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn permits_are_counted_exactly_under_concurrent_tasks() {
    let config =
        BreakerConfig { probes: 3, successes_to_close: u32::MAX, slow_after: Duration::MAX, ..CONFIG };
    let breaker = Breaker::new(NAME, config).unwrap();
    // Through a forced state into half-open, because a clock that threads share cannot be paused.
    breaker.set_mode(Mode::ForcedOpen);
    breaker.set_mode(Mode::Automatic);
    let under_way = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();

    for task in 0..8 {
        let (breaker, under_way) = (breaker.clone(), under_way.clone());
        tasks.spawn(async move {
            for round in 0..2_000 {
                let permit = breaker.admit().await;
                assert!(under_way.fetch_add(1, Ordering::SeqCst) < 3, "more probes than places");
                yield_now().await;
                under_way.fetch_sub(1, Ordering::SeqCst);
                if (task + round) % 2 == 0 { permit.success() } else { drop(permit) }
            }
        });
    }
    tasks.join_all().await;

    assert_eq!(breaker.state(), State::HalfOpen);
    let places: Vec<_> = (0..4).map(|_| breaker.try_acquire()).collect();
    assert_eq!(places.iter().filter(|place| place.is_ok()).count(), 3, "no place lost, none invented");
}
