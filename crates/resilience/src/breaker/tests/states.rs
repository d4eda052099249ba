//! From state to state: what opens a breaker, for how long, and what closes it again.

use super::*;

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

    assert_eq!(
        open,
        Open { name: NAME, retry_after: Duration::from_millis(600), reason: Some("it is down".into()) }
    );
    assert_eq!(
        open.to_string(),
        "postgres for worker: circuit breaker open, next try in 600 ms, since it is down"
    );
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
    old.next().unwrap().failure("it is down");
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
    late.failure("it is down");

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
