//! Calling again after a failure, later each time, by chance, and not for ever.
//!
//! **Terms.** A *try* is one run of the operation. The *pause* before the next one is drawn evenly from zero to
//! a *delay* (full jitter), and the delay grows by a *factor* from `first_delay` to `max_delay`. An error is
//! *transient* (the same call may succeed later) or *permanent* (it never will).
//!
//! **Two users.** [`retry`] ends: with a value, or with the last error and the number of tries. [`Delays`] does
//! not: a loop that must reconnect for as long as the process lives takes its pauses from there.
//!
//! **Failure by failure.**
//!
//! - *Everybody fails at once* (a broker restarts under a hundred workers): full jitter spreads them; equal
//!   delays would send them back in waves.
//! - *An error that cannot get better* (a unique violation, a refused password): `classify` says permanent, and
//!   there is no second try. An error is classified by hand, never by `?` into a general error type.
//! - *A dependency that stays away*: tries and total time are both bounded. A pause that would end after
//!   `total_time` is not begun; the caller hears at once what it would hear later.
//! - *A try that hangs*: is not cut off here, because only the caller knows whether its call may be abandoned
//!   half-way. Put [`within`](crate::within) inside the operation; the worst case is then `total_time` and one
//!   limit more.
//! - *The caller is cancelled* in a pause or in a try: dropping the future ends it, nothing goes on behind it.
//! - *A server that accepts and then hangs up*: reset [`Delays`] when the connection has proved itself, not when
//!   it exists; otherwise the loop starts at the shortest delay for ever.
//!
//! **The `backoff` crate** gives the progression of the delays and stays inside this module. It is unmaintained
//! (RUSTSEC-2025-0012), which is bearable for arithmetic behind our own types and easy to undo. Its retry loop
//! is not used: it counts no tries, it measures total time by the std clock, which stands still when a test
//! pauses tokio's, and its jitter is centred on the delay.

use std::error::Error;
use std::fmt::{self, Display};
use std::time::Duration;

use backoff::SystemClock;
use backoff::backoff::Backoff;
use backoff::exponential::ExponentialBackoff;
use tokio::time::Instant;

use crate::Jitter;
use crate::config::InvalidConfig;

/// Runs the operation until it succeeds, fails for good, or the policy is used up.
///
/// ```
/// # use resilience::{Class, RetryPolicy, retry};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let mut answers = [Err("connection refused"), Ok("pong")].into_iter();
///
/// let answer = retry(
///     RetryPolicy::default(),
///     || std::future::ready(answers.next().unwrap()),
///     |error| if *error == "connection refused" { Class::Transient } else { Class::Permanent },
/// );
///
/// assert_eq!(answer.await, Ok("pong"));
/// # }
/// ```
pub async fn retry<T, E: Display, Call: Future<Output = Result<T, E>>>(
    policy: RetryPolicy,
    mut operation: impl FnMut() -> Call,
    classify: impl Fn(&E) -> Class,
) -> Result<T, GaveUp<E>> {
    let start = Instant::now();
    let mut delays = Delays::new(policy.first_delay, policy.factor, policy.max_delay);
    let mut tries = 0;

    loop {
        tries += 1;
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };

        let pause = delays.next_pause();
        let useless = classify(&error) == Class::Permanent;
        let out_of_time = start.elapsed().saturating_add(pause) > policy.total_time;
        if useless || out_of_time || tries >= policy.attempts {
            return Err(GaveUp { attempts: tries, error });
        }

        tracing::debug!(%error, attempts = tries, pause_ms = pause.as_millis(), "retrying");
        tokio::time::sleep(pause).await;
    }
}

/// Says whether the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may: the connection broke, the server is busy or restarting.
    Transient,
    /// It never will: the call itself is wrong.
    Permanent,
}

impl Class {
    /// Turns a seam error's `is_transient()` into its class.
    pub fn transient_if(is_transient: bool) -> Self {
        if is_transient { Self::Transient } else { Self::Permanent }
    }
}

/// Bounds the tries of one operation, and spaces them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The most tries, the first one included. 0 is taken as 1: an operation is always tried.
    pub attempts: u32,
    /// The longest pause before the second try.
    pub first_delay: Duration,
    /// What the delay is multiplied by before each further try. Anything below 1 is taken as 1.
    pub factor: f64,
    /// The longest pause of all.
    pub max_delay: Duration,
    /// No try begins later than this after the first one began.
    pub total_time: Duration,
}

impl Default for RetryPolicy {
    /// Five tries within ten seconds: for a call that somebody waits for.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(100),
            factor: 2.0,
            max_delay: Duration::from_secs(2),
            total_time: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// Checks a policy that a person wrote. [`retry`] itself takes every policy and never panics.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        InvalidConfig::unless(self.attempts >= 1, "attempts", "at least 1")?;
        InvalidConfig::unless(!self.first_delay.is_zero(), "first_delay", "longer than zero")?;
        InvalidConfig::unless(
            self.factor >= 1.0 && self.factor.is_finite(),
            "factor",
            "at least 1 and finite",
        )?;
        InvalidConfig::unless(self.max_delay >= self.first_delay, "max_delay", "at least first_delay")?;
        InvalidConfig::unless(!self.total_time.is_zero(), "total_time", "longer than zero")
    }
}

/// Is the last error of an operation that was given up, and how often it was tried.
///
/// Displays as `connection refused (after 3 tries)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp<E> {
    /// How often the operation was tried.
    pub attempts: u32,
    /// The error of the last try.
    pub error: E,
}

impl<E: Display> Display for GaveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts {
            1 => write!(f, "{}", self.error),
            tries => write!(f, "{} (after {tries} tries)", self.error),
        }
    }
}

// The display already contains the error, so the chain goes on with what is below it.
impl<E: Error> Error for GaveUp<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Gives pauses without end, each drawn evenly from zero to a delay that grows up to a cap, unless told otherwise.
///
/// ```
/// # use resilience::Delays;
/// # async fn connect() -> Result<(), std::io::Error> { Ok(()) }
/// # async fn serve(connection: ()) {}
/// # async fn reconnect_loop() {
/// let mut delays = Delays::reconnect();
/// loop {
///     if let Ok(connection) = connect().await {
///         serve(connection).await; // calls `delays.reset()` in real life, once something has arrived
///     }
///     delays.pause().await;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Delays {
    progression: ExponentialBackoff<SystemClock>,
    jitter: Jitter,
}

impl Delays {
    /// Starts at `first` and multiplies by `factor` up to `max`. A factor below 1 is taken as 1.
    pub fn new(first: Duration, factor: f64, max: Duration) -> Self {
        let first = first.min(max);
        Self {
            progression: ExponentialBackoff {
                current_interval: first,
                initial_interval: first,
                multiplier: factor.max(1.0),
                max_interval: max,
                randomization_factor: 0.0, // the jitter is ours
                max_elapsed_time: None,    // the bound, if there is one, is `retry`'s
                ..ExponentialBackoff::default()
            },
            jitter: Jitter::Full,
        }
    }

    /// The same delays with another part of them left to chance; none in a simulation, which is to be repeatable.
    #[must_use]
    pub fn with_jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Starts at 200 ms and doubles up to 10 s: for a connection that is set up again for as long as it takes.
    pub fn reconnect() -> Self {
        Self::new(Duration::from_millis(200), 2.0, Duration::from_secs(10))
    }

    /// Draws the next pause.
    pub fn next_pause(&mut self) -> Duration {
        let delay = self.next_delay();
        self.jitter.draw(delay)
    }

    /// Sleeps for the next pause.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }

    /// Goes back to the shortest delay.
    pub fn reset(&mut self) {
        self.progression.reset();
    }

    fn next_delay(&mut self) -> Duration {
        let max = self.progression.max_interval;
        // `backoff` adds up to a nanosecond by its rounding, hence the cap.
        self.progression.next_backoff().map_or(max, |delay| delay.min(max))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;
    use crate::within;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 4,
        first_delay: Duration::from_millis(100),
        factor: 2.0,
        max_delay: Duration::from_millis(300),
        total_time: Duration::from_mins(1),
    };

    #[test]
    fn without_jitter_pauses_are_the_delays() {
        let mut delays = Delays::reconnect().with_jitter(Jitter::None);

        let pauses: Vec<u128> = (0..7).map(|_| delays.next_pause().as_millis()).collect();

        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_succeeds_is_tried_once_and_does_not_wait() {
        let start = Instant::now();
        let tries = Cell::new(0);

        let answer = retry(POLICY, || count(&tries, Ok::<_, &str>("pong")), |_| Class::Transient).await;

        assert_eq!(answer, Ok("pong"));
        assert_eq!((tries.get(), start.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_is_tried_again_until_it_heals() {
        let mut answers = [Err("busy"), Err("busy"), Ok("pong")].into_iter();

        let answer = retry(POLICY, || ready(answers.next().unwrap()), |_| Class::Transient).await;

        assert_eq!(answer, Ok("pong"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_error_is_not_tried_again() {
        let mut answers = [Err("busy"), Err("unique violation"), Ok("never reached")].into_iter();

        let answer =
            retry(POLICY, || ready(answers.next().unwrap()), |error| Class::transient_if(*error == "busy"))
                .await;

        assert_eq!(answer, Err(GaveUp { attempts: 2, error: "unique violation" }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_comes_back_with_the_number_of_tries() {
        let tries = Cell::new(0);
        let operation = || {
            tries.set(tries.get() + 1);
            ready(Err::<(), _>(format!("failure {}", tries.get())))
        };

        let gave_up = retry(POLICY, operation, |_| Class::Transient).await.unwrap_err();

        assert_eq!(gave_up.to_string(), "failure 4 (after 4 tries)");
    }

    #[tokio::test(start_paused = true)]
    async fn no_try_begins_after_the_total_time() {
        let start = Instant::now();
        let last_try = Cell::new(start);
        let policy = RetryPolicy { attempts: u32::MAX, total_time: Duration::from_secs(5), ..POLICY };
        let operation = || {
            last_try.set(Instant::now());
            ready(Err::<(), _>("busy"))
        };

        let gave_up = retry(policy, operation, |_| Class::Transient).await.unwrap_err();

        assert!(gave_up.attempts > 15, "pauses of at most 300 ms, in 5 s: {} tries", gave_up.attempts);
        // It does not wait for the total time to pass once no further try fits in.
        assert_eq!(last_try.get(), Instant::now());
        assert!(start.elapsed() <= policy.total_time);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_hang_are_bounded_by_a_limit_inside_the_operation() {
        let start = Instant::now();
        let limit = Duration::from_secs(4);
        let policy = RetryPolicy { total_time: Duration::from_secs(5), ..POLICY };

        let gave_up =
            retry(policy, || within(limit, "ping", pending::<()>()), |_| Class::Transient).await.unwrap_err();

        assert_eq!(gave_up.to_string(), "ping: no answer within 4 s (after 2 tries)");
        assert!(start.elapsed() <= policy.total_time + limit);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_attempts_and_a_senseless_factor_still_try_once() {
        let policy = RetryPolicy { attempts: 0, factor: f64::NAN, ..POLICY };

        let gave_up = retry(policy, || ready(Err::<(), _>("busy")), |_| Class::Transient).await.unwrap_err();

        assert_eq!(gave_up, GaveUp { attempts: 1, error: "busy" });
    }

    #[test]
    fn delays_grow_by_the_factor_and_stop_at_the_cap_until_they_are_reset() {
        let mut delays = Delays::reconnect();
        let mut seconds = || delays.next_delay().as_secs_f64();

        let grown: Vec<f64> = (0..8).map(|_| seconds()).collect();
        delays.reset();
        let after_reset = delays.next_delay();

        for (delay, expected) in grown.iter().zip([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]) {
            assert!((delay - expected).abs() < 1e-6, "{grown:?}");
        }
        assert!((after_reset.as_secs_f64() - 0.2).abs() < 1e-6);
    }

    #[test]
    fn a_reconnect_loop_never_runs_out_of_pauses_and_never_waits_beyond_the_cap() {
        let mut delays = Delays::reconnect();

        let longest = (0..100_000).map(|_| delays.next_pause()).max().unwrap();

        assert!(longest <= Duration::from_secs(10));
        assert!(longest > Duration::from_secs(9), "full jitter reaches the whole range");
    }

    #[test]
    fn extreme_settings_do_not_panic() {
        for first in [Duration::ZERO, Duration::MAX] {
            for factor in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 1e300] {
                for max in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
                    let mut delays = Delays::new(first, factor, max);
                    assert!((0..5).all(|_| delays.next_pause() <= max), "{first:?} {factor} {max:?}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_policy_is_refused_by_the_name_of_its_field() {
        let check = |policy: RetryPolicy, expected: Result<(), &str>| {
            assert_eq!(policy.validate().map_err(|error| error.field), expected);
        };

        check(RetryPolicy::default(), Ok(()));
        check(RetryPolicy { attempts: 0, ..POLICY }, Err("attempts"));
        check(RetryPolicy { first_delay: Duration::ZERO, ..POLICY }, Err("first_delay"));
        check(RetryPolicy { factor: f64::NAN, ..POLICY }, Err("factor"));
        check(RetryPolicy { max_delay: Duration::ZERO, ..POLICY }, Err("max_delay"));
        check(RetryPolicy { total_time: Duration::ZERO, ..POLICY }, Err("total_time"));
    }

    fn count<T>(tries: &Cell<u32>, answer: T) -> std::future::Ready<T> {
        tries.set(tries.get() + 1);
        ready(answer)
    }
}
