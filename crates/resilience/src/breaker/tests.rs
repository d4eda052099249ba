//! The breaker under a paused clock, behaviour by behaviour. Its states as a whole are checked against a plain
//! model in `tests/breaker_against_a_model.rs`.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::{JoinSet, yield_now};
use tokio::time::{advance, sleep};

use super::*;
use crate::{Elapsed, Jitter, within};

const NAME: Name = Name { dependency: "postgres", role: "worker" };

const SECOND: Duration = Duration::from_secs(1);

const CONFIG: BreakerConfig = BreakerConfig {
    buckets: 10,
    bucket: SECOND,
    minimum_calls: 4,
    failure_ratio: 0.5,
    slow_after: Duration::from_millis(500),
    slow_ratio: 0.75,
    probes: 2,
    successes_to_close: 2,
    open_for: SECOND,
    open_factor: 2.0,
    open_max: Duration::from_secs(5),
    jitter: Jitter::None,
    forgive_after: Duration::from_mins(1),
};

#[tokio::test(start_paused = true)]
async fn enough_failures_open_it() {
    let breaker = closed();

    succeed(&breaker, 2);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);

    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_low_ratio_of_failures_does_not_open_it() {
    let breaker = closed();

    succeed(&breaker, 6);
    fail(&breaker, 5);

    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn too_few_calls_do_not_open_it() {
    let breaker = closed();

    fail(&breaker, 3);

    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn failures_older_than_the_window_are_forgotten() {
    let breaker = closed();

    fail(&breaker, 3);
    advance(10 * SECOND).await;
    fail(&breaker, 3);

    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it_though_they_succeed() {
    let breaker = closed();

    succeed(&breaker, 1);
    for _ in 0..3 {
        slowly(&breaker).await.success();
    }

    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_as_long_as_slow_after_is_not_slow_yet() {
    let breaker = closed();

    for _ in 0..4 {
        let permit = breaker.try_acquire().unwrap();
        advance(CONFIG.slow_after).await;
        permit.success();
    }

    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_and_says_when_to_ask_again() {
    let breaker = opened();

    advance(Duration::from_millis(400)).await;
    let open = breaker.try_acquire().unwrap_err();

    assert_eq!(open, Open { name: NAME, retry_after: Duration::from_millis(600) });
    assert_eq!(open.to_string(), "postgres for worker: circuit breaker open, next try in 600 ms");
}

#[tokio::test(start_paused = true)]
async fn after_the_open_time_a_few_probes_go_at_a_time() {
    let breaker = opened();

    advance(SECOND).await;
    assert_eq!(breaker.state(), State::Open, "nothing happens until somebody asks");
    let probes = [breaker.try_acquire(), breaker.try_acquire()];
    let refused = breaker.try_acquire();

    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(probes.iter().all(Result::is_ok));
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn good_probes_close_it_and_the_window_starts_empty() {
    let breaker = half_open().await;

    succeed(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 3);

    assert_eq!(breaker.state(), State::Closed, "the failures that opened it are not counted again");
}

#[tokio::test(start_paused = true)]
async fn one_failed_probe_opens_it_again() {
    let breaker = half_open().await;

    succeed(&breaker, 1);
    fail(&breaker, 1);

    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_opens_it_again_though_it_succeeded() {
    let breaker = half_open().await;

    slowly(&breaker).await.success();

    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_probe_returns_its_place_and_counts_as_neither() {
    let breaker = half_open().await;

    for _ in 0..10 {
        drop(breaker.try_acquire().unwrap());
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    let places = [breaker.try_acquire(), breaker.try_acquire()];

    assert!(places.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_of_a_closed_breaker_is_not_counted() {
    let breaker = closed();

    for _ in 0..10 {
        drop(breaker.try_acquire().unwrap());
    }
    fail(&breaker, 3);

    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_opening_in_a_row_lasts_longer_up_to_the_cap() {
    let breaker = opened();

    let mut open_times = vec![open_time(&breaker)];
    for _ in 0..4 {
        advance(open_time(&breaker)).await;
        fail(&breaker, 1);
        open_times.push(open_time(&breaker));
    }

    assert_eq!(open_times, [1, 2, 4, 5, 5].map(Duration::from_secs));
}

#[tokio::test(start_paused = true)]
async fn an_opening_soon_after_closing_lasts_longer() {
    let breaker = half_open().await;

    succeed(&breaker, 2);
    advance(59 * SECOND).await;
    fail(&breaker, 4);

    assert_eq!(open_time(&breaker), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn closed_for_a_while_the_open_time_starts_small_again() {
    let breaker = half_open().await;

    succeed(&breaker, 2);
    advance(CONFIG.forgive_after).await;
    fail(&breaker, 4);

    assert_eq!(open_time(&breaker), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_open_time_is_jittered_as_configured() {
    let drawn = |jitter| -> Vec<Duration> {
        let open = || {
            let breaker = Breaker::new(NAME, BreakerConfig { jitter, ..CONFIG }).unwrap();
            fail(&breaker, 4);
            // Admitted: so little was drawn that a probe may go at once.
            breaker.try_acquire().map_or_else(|open| open.retry_after, |_| Duration::ZERO)
        };
        (0..200).map(|_| open()).collect()
    };

    let equal = drawn(Jitter::Equal);
    let full = drawn(Jitter::Full);

    assert!(equal.iter().all(|time| (SECOND / 2..=SECOND).contains(time)));
    assert!(full.iter().all(|time| *time <= SECOND));
    assert!(full.iter().any(|time| *time < SECOND / 2));
    assert!(equal.iter().any(|time| *time != equal[0]));
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_the_outage_is_not_counted_against_the_recovery() {
    let breaker = closed();
    let old: Vec<Permit> = (0..4).map(|_| breaker.try_acquire().unwrap()).collect();
    fail(&breaker, 4);
    advance(SECOND).await;
    let probes = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];

    let mut old = old.into_iter();
    old.next().unwrap().failure();
    assert_eq!(breaker.state(), State::HalfOpen, "an old failure does not open it");
    old.next().unwrap().success();
    old.next().unwrap().success();
    assert_eq!(breaker.state(), State::HalfOpen, "old successes do not close it");
    drop(old.next().unwrap());
    assert!(breaker.try_acquire().is_err(), "an old permit returns no probe's place");

    for probe in probes {
        probe.success();
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ends_after_the_breaker_closed_is_not_counted() {
    let breaker =
        Breaker::new(NAME, BreakerConfig { successes_to_close: 1, minimum_calls: 1, ..CONFIG }).unwrap();
    fail(&breaker, 1);
    advance(SECOND).await;
    let late = breaker.try_acquire().unwrap();

    succeed(&breaker, 1);
    late.failure();

    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn forced_open_it_refuses_whatever_the_time_and_afterwards_probes_first() {
    let breaker = closed();

    breaker.set_mode(Mode::ForcedOpen);
    advance(3_600 * SECOND).await;
    assert!(breaker.try_acquire().is_err());
    assert_eq!((breaker.mode(), breaker.state()), (Mode::ForcedOpen, State::Open));
    breaker.set_mode(Mode::Automatic);
    let _probe = breaker.try_acquire().unwrap();

    assert_eq!((breaker.mode(), breaker.state()), (Mode::Automatic, State::HalfOpen));
}

#[tokio::test(start_paused = true)]
async fn forced_closed_it_admits_whatever_the_verdicts_and_afterwards_starts_empty() {
    let breaker = opened();

    breaker.set_mode(Mode::ForcedClosed);
    fail(&breaker, 100);
    assert_eq!((breaker.mode(), breaker.state()), (Mode::ForcedClosed, State::Closed));
    breaker.set_mode(Mode::Automatic);
    fail(&breaker, 3);

    assert_eq!((breaker.mode(), breaker.state()), (Mode::Automatic, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn automatic_set_again_changes_nothing() {
    let breaker = opened();

    breaker.set_mode(Mode::Automatic);

    assert_eq!(open_time(&breaker), SECOND);
}

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
            probe.failure();
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

#[derive(Debug, PartialEq, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Refused(#[from] Open),
    #[error(transparent)]
    Elapsed(#[from] Elapsed),
    #[error("connection closed")]
    ConnectionClosed,
    #[error("not found")]
    NotFound,
}

fn blame(error: &CallError) -> Blame {
    match error {
        CallError::ConnectionClosed | CallError::Elapsed(_) => Blame::Dependency,
        CallError::NotFound | CallError::Refused(_) => Blame::Caller,
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_returns_what_its_future_returns() {
    let breaker = closed();

    let good = breaker.call(async { Ok(7) }, blame).await;
    let bad = breaker.call(async { Err::<(), _>(CallError::NotFound) }, blame).await;

    assert_eq!(good, Ok(7));
    assert_eq!(bad, Err(CallError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn errors_count_only_when_the_dependency_is_to_blame() {
    let breaker = closed();

    for _ in 0..10 {
        let _ = breaker.call(async { Err::<(), _>(CallError::NotFound) }, blame).await;
    }
    assert_eq!(breaker.state(), State::Closed);
    for _ in 0..10 {
        let _ = breaker.call(async { Err::<(), _>(CallError::ConnectionClosed) }, blame).await;
    }

    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_never_begun() {
    let breaker = opened();
    let mut begun = false;

    let refused = breaker
        .call(
            async {
                begun = true;
                Ok(())
            },
            blame,
        )
        .await;

    assert_eq!(refused, Err(CallError::Refused(Open { name: NAME, retry_after: SECOND })));
    assert!(!begun);
}

#[tokio::test(start_paused = true)]
async fn calls_that_never_answer_open_it_through_their_limit() {
    let breaker = closed();

    for _ in 0..4 {
        let call = async { Ok(within(SECOND, "read chunk 118", pending::<()>()).await?) };
        let elapsed = breaker.call(call, blame).await.unwrap_err();
        assert_eq!(elapsed.to_string(), "read chunk 118: no answer within 1 s");
    }

    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_or_panics_counts_as_neither_and_leaks_no_place() {
    let breaker = half_open().await;

    let cancelled = within(SECOND, "call", breaker.call(pending::<Result<(), CallError>>(), blame)).await;
    let panicking = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.call::<(), CallError>(async { panic!("a bug of ours") }, blame).await }
    });
    let panicked = panicking.await;

    assert!(cancelled.is_err() && panicked.is_err());
    assert_eq!(breaker.state(), State::HalfOpen);
    let places = [breaker.try_acquire(), breaker.try_acquire()];
    assert!(places.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn the_state_can_be_followed() {
    let breaker = closed();
    let mut states = breaker.watch();
    assert_eq!(*states.borrow_and_update(), State::Closed);

    fail(&breaker, 4);
    states.changed().await.unwrap();
    assert_eq!(*states.borrow_and_update(), State::Open);
    advance(SECOND).await;
    succeed(&breaker, 2);
    states.changed().await.unwrap();

    assert_eq!(*states.borrow_and_update(), State::Closed, "only the latest is seen");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_makes_no_breaker() {
    let error = Breaker::new(NAME, BreakerConfig { failure_ratio: 1.5, ..CONFIG }).unwrap_err();

    assert_eq!(error.to_string(), "failure_ratio must be above 0 and at most 1");
}

fn closed() -> Breaker {
    Breaker::new(NAME, CONFIG).unwrap()
}

fn opened() -> Breaker {
    let breaker = closed();
    fail(&breaker, 4);
    assert_eq!(breaker.state(), State::Open);
    breaker
}

/// A half-open breaker with all places free and no success yet.
async fn half_open() -> Breaker {
    let breaker = opened();
    advance(SECOND).await;
    drop(breaker.try_acquire().unwrap());
    assert_eq!(breaker.state(), State::HalfOpen);
    breaker
}

fn succeed(breaker: &Breaker, calls: u32) {
    for _ in 0..calls {
        breaker.try_acquire().unwrap().success();
    }
}

fn fail(breaker: &Breaker, calls: u32) {
    for _ in 0..calls {
        breaker.try_acquire().unwrap().failure();
    }
}

async fn slowly(breaker: &Breaker) -> Permit {
    let permit = breaker.try_acquire().unwrap();
    advance(CONFIG.slow_after + Duration::from_millis(1)).await;
    permit
}

fn open_time(breaker: &Breaker) -> Duration {
    breaker.try_acquire().unwrap_err().retry_after
}
