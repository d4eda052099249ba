//! Whole calls behind a breaker: which of their ends count, and for whom.

use std::future::pending;

use super::*;
use crate::{Elapsed, within};

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

    assert_eq!(
        refused,
        Err(CallError::Refused(Open { name: NAME, retry_after: SECOND, reason: Some("it is down".into()) }))
    );
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
