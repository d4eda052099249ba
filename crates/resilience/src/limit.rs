//! A limit on how long a call is waited for.
//!
//! **Terms.** The *limit* is the longest wait. A call that does not answer within it has *elapsed*.
//!
//! **Failure by failure.**
//!
//! - *The dependency never answers* (a half-open socket, a lost reply): the future is dropped at the limit and
//!   the caller gets [`Elapsed`], which names the call. Neither tokio-postgres nor fred limits a call by itself.
//! - *The answer comes after the limit*: nobody hears it. **The outcome is unknown, not negative**: a commit that
//!   elapsed may stand in the database. Only call with a limit what may safely be done again, or what is fenced.
//! - *The future does not yield* (it computes instead of waiting): no limit helps, the thread is busy. Such work
//!   belongs on a blocking thread.
//! - *Limit zero*: the future is polled once, and an answer that is already there still counts.

use std::fmt::{self, Display};
use std::time::Duration;

/// Reports that a call did not answer within its limit. What became of it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: no answer within {}", Plain(*.limit))]
pub struct Elapsed {
    /// The call, as in "commit attempt 3 of chunk 118".
    pub what: String,
    /// How long it was waited for.
    pub limit: Duration,
}

/// Waits for a call no longer than the limit.
///
/// `what` names the call in the error and is only formatted when the limit is reached, so that a type which
/// displays itself costs nothing on the way that succeeds.
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let answer = std::future::pending::<()>();
/// let (attempt, chunk) = (3, 118);
///
/// let what = format!("commit attempt {attempt} of chunk {chunk}");
/// let elapsed = resilience::within(Duration::from_secs(5), what, answer).await.unwrap_err();
///
/// assert_eq!(elapsed.to_string(), "commit attempt 3 of chunk 118: no answer within 5 s");
/// # }
/// ```
pub async fn within<T>(
    limit: Duration,
    what: impl Display,
    call: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    tokio::time::timeout(limit, call).await.map_err(|_| Elapsed { what: what.to_string(), limit })
}

/// Writes a duration the way people say it: `5 s`, `1.25 s`, `250 ms`.
pub(crate) struct Plain(pub(crate) Duration);

impl Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(duration) = self;
        if duration.as_secs() >= 1 {
            write!(f, "{} s", duration.as_millis() as f64 / 1e3)
        } else {
            write!(f, "{} ms", duration.as_micros() as f64 / 1e3)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn an_answer_within_the_limit_is_returned() {
        let call = async {
            sleep(LIMIT / 2).await;
            "pong"
        };

        let answer = within(LIMIT, "ping", call).await;

        assert_eq!(answer, Ok("pong"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_is_given_up_at_the_limit_and_named() {
        let start = Instant::now();

        let answer = within(LIMIT, "ping", pending::<()>()).await;

        assert_eq!(answer, Err(Elapsed { what: "ping".into(), limit: LIMIT }));
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_already_there_counts_even_with_limit_zero() {
        let answer = within(Duration::ZERO, "ping", async { "pong" }).await;

        assert_eq!(answer, Ok("pong"));
    }

    #[test]
    fn durations_are_written_the_way_people_say_them() {
        let check = |duration, expected: &str| assert_eq!(Plain(duration).to_string(), expected);

        check(Duration::from_secs(5), "5 s");
        check(Duration::from_secs(90), "90 s");
        check(Duration::from_millis(1_250), "1.25 s");
        check(Duration::from_millis(250), "250 ms");
        check(Duration::from_micros(500), "0.5 ms");
        check(Duration::ZERO, "0 ms");
    }
}
