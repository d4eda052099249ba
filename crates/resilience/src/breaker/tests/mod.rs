//! The breaker under a paused clock, behaviour by behaviour. Its states as a whole are checked against a plain
//! model in `tests/breaker_against_a_model.rs`.

mod calls;
mod states;
mod waits;

use tokio::time::advance;

use super::*;
use crate::Jitter;

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
        breaker.try_acquire().unwrap().failure("it is down");
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
