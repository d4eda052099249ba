//! The promises of the seam: what the trait promises, as tests that every backend passes.
//!
//! A backend's tests implement [`Subject`] and call [`promise_tests!`](crate::promise_tests), which makes a test
//! of every function here, so none is left out. One that can be away implements [`Severable`] too and calls
//! [`outage_tests!`](crate::outage_tests). What only one backend can show (expiry, bytes of others, breakers) is
//! tested with that backend.

mod losses;

use std::ops::Range;
use std::time::Duration;

use batch::{CustomerId, Progress, RunId};
use model::{Between, Grade};
use tokio::time::{Instant, sleep, timeout};

use crate::memory::Key;
use crate::{Cache, CachedValue, Error, Valued, VisibleRuns};

pub use losses::*;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a call may take, whatever the backend does, on a busy machine.
const LIMIT: Duration = Duration::from_secs(2);

/// Is a backend under test: a cache of its own, empty at first.
pub trait Subject {
    /// The backend.
    type Cache: Cache;

    /// Connects to the cache; each call is another client.
    fn connect(&self) -> impl Future<Output = Self::Cache>;

    /// Loses everything.
    fn empty(&self) -> impl Future<Output = ()>;

    /// Loses what stands under one name.
    fn lose(&self, key: Key) -> impl Future<Output = ()>;

    /// Puts what nobody can read in the place of a value.
    fn damage(&self, run: RunId, customer: CustomerId) -> impl Future<Output = ()>;

    /// Lets what [`Cache::put_members`] writes arrive from this part on, the forgetting of what was there being the first:
    /// as from a writer who has long been told that it failed.
    fn put_late(&self, run: RunId, customers: &[CustomerId], from: usize) -> impl Future<Output = ()>;
}

/// Has the power over the way to the backend, too.
pub trait Severable: Subject {
    /// Makes it unreachable, until [`come_back`](Self::come_back).
    fn go_away(&self) -> impl Future<Output = ()>;

    /// Lets it take calls and answer none, until [`come_back`](Self::come_back).
    fn hang(&self) -> impl Future<Output = ()>;

    /// Ends the trouble.
    fn come_back(&self) -> impl Future<Output = ()>;
}

/// Makes a test of every function of [`promises`](crate::promises) but those about outages: first the attribute that
/// each gets, then how a new [`Subject`](crate::promises::Subject) is made, which may await.
///
/// ```text
/// cache::promise_tests! { tokio::test(start_paused = true), Memory::new() }
/// ```
#[macro_export]
macro_rules! promise_tests {
    ($test:meta, $subject:expr) => {
        $crate::promise_tests! { @of $test, $subject;
            values_come_back_to_the_bit
            chunks_in_any_order_can_be_written_twice
            nobody_sees_the_values_of_a_run_that_is_not_visible
            a_newer_partial_run_wins_and_other_customers_fall_back_to_the_whole_run
            what_a_newer_run_has_lost_is_asked_of_the_store
            what_is_damaged_is_seen_by_whoever_looks_through_the_run
            what_is_missing_is_seen_whatever_stands_beside_it
            whatever_is_lost_or_late_a_reader_gets_the_newest_or_none
            an_older_version_never_replaces_a_newer_one
            of_versions_written_at_once_the_newest_stays
            a_list_of_another_past_is_replaced_and_only_that_one
            progress_comes_back_of_each_run
            progress_never_goes_back
            of_progress_written_at_once_the_furthest_stays
            what_a_redrive_takes_back_shows_once_another_chunk_is_done
            progress_over_another_plan_is_not_compared
            every_client_sees_the_same_cache
            an_emptied_cache_gives_none_and_no_error_and_can_be_filled_again
        }
    };
    (@of $test:meta, $subject:expr; $($name:ident)*) => {
        $(
            #[$test]
            async fn $name() {
                $crate::promises::$name(&$subject).await;
            }
        )*
    };
}

/// Makes a test of every function of [`promises`](crate::promises) about outages, in the same way, with a
/// [`Severable`](crate::promises::Severable).
#[macro_export]
macro_rules! outage_tests {
    ($test:meta, $subject:expr) => {
        $crate::promise_tests! { @of $test, $subject;
            while_it_is_away_every_call_fails_within_its_limit_and_it_serves_again_after
            while_it_hangs_every_call_fails_within_its_limit_and_it_serves_again_after
        }
    };
}

// --- values -----------------------------------------------------------------------------------------------------

/// For every customer and every number, also those that are none.
pub async fn values_come_back_to_the_bit<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    let quiet_nan = f64::from_bits(0x7ff8_dead_beef_0001);
    let numbers = [0.0, -0.0, f64::MIN_POSITIVE / 3.0, f64::NEG_INFINITY, quiet_nan, 0.1 + 0.2];
    let customers = [i64::MIN, -101, -100, -1, 0, 99, 100, 10_048, i64::MAX];
    let chunk: Vec<Valued> = (0..customers.len())
        .map(|at| Valued {
            customer: CustomerId(customers[at]),
            value: CachedValue {
                value_minor: customers[at].wrapping_mul(7),
                expected_purchases: numbers[at % numbers.len()],
                p_alive: (at % 3 > 0).then_some(numbers[(at + 1) % numbers.len()]),
                ..valued(at as i64).value
            },
        })
        .collect();

    put_values(&cache, 1, &chunk).await;
    show(&cache, 1, [1]).await;

    for Valued { customer, value } in chunk {
        let (run, read) = value_of(&cache, customer).await.expect("it was written");
        assert_eq!((run, bits(read)), (RunId(1), bits(value)), "{customer}");
    }
    assert_eq!(value_of(&cache, CustomerId(1)).await, None);
}

/// By two attempts at a chunk, or one that repeats itself; before the run is visible or after.
pub async fn chunks_in_any_order_can_be_written_twice<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    let even: Vec<Valued> = (0..500).rev().map(|half| valued(half * 2)).collect();
    let odd: Vec<Valued> = (0..500).map(|half| valued((half * 2 + 501) % 1_000)).collect();

    show(&cache, 1, [1]).await;
    for chunk in [&even[..], &odd, &even, &[]] {
        put_values(&cache, 1, chunk).await;
    }

    for Valued { customer, value } in chunk(0..1_000) {
        assert_eq!(value_of(&cache, customer).await, Some((RunId(1), value)), "{customer}");
    }
}

// --- visible runs -----------------------------------------------------------------------------------------------

/// However complete it is.
pub async fn nobody_sees_the_values_of_a_run_that_is_not_visible<S: Subject>(subject: &S) {
    let cache = subject.connect().await;

    put_values(&cache, 1, &[valued(17)]).await;
    assert_eq!(cache.visible().await, Ok(None));
    assert_eq!(value_of(&cache, CustomerId(17)).await, None);

    show(&cache, 1, [2]).await;
    assert_eq!(value_of(&cache, CustomerId(17)).await, None);
}

/// The order is that of the list, not of the numbers.
pub async fn a_newer_partial_run_wins_and_other_customers_fall_back_to_the_whole_run<S: Subject>(
    subject: &S,
) {
    let cache = subject.connect().await;
    let newer = Valued { value: CachedValue { value_minor: 1, ..valued(17).value }, ..valued(17) };

    put_values(&cache, 5, &chunk(0..100)).await;
    put_values(&cache, 4, &[newer]).await;
    put_members(&cache, 4, &[17]).await;
    put_members(&cache, 6, &[]).await;
    show(&cache, 1, [6, 4, 5]).await;

    assert_eq!(value_of(&cache, CustomerId(17)).await, Some((RunId(4), newer.value)));
    assert_eq!(value_of(&cache, CustomerId(18)).await, Some((RunId(5), valued(18).value)));
    assert_eq!(value_of(&cache, CustomerId(100)).await, None);
}

/// Nor does the same one; and each is told so.
pub async fn an_older_version_never_replaces_a_newer_one<S: Subject>(subject: &S) {
    let cache = subject.connect().await;

    assert_eq!(cache.put_visible(&visible(2, [3, 2])).await, Ok(true));
    assert_eq!(cache.put_visible(&visible(1, [1])).await, Ok(false));
    assert_eq!(cache.put_visible(&visible(2, [9])).await, Ok(false));
    assert_eq!(cache.visible().await, Ok(Some(visible(2, [3, 2]))));

    assert_eq!(cache.put_visible(&visible(10, [])).await, Ok(true));
    assert_eq!(cache.visible().await, Ok(Some(visible(10, []))));
}

/// Whoever writes last.
pub async fn of_versions_written_at_once_the_newest_stays<S: Subject>(subject: &S) {
    let write = async |writer: i64| {
        let cache = subject.connect().await;
        for step in 0..50 {
            let version = (step * 4 + writer) * 37 % 200 + 1;
            cache.put_visible(&visible(version, [version])).await.expect("it answers");
        }
    };

    tokio::join!(write(0), write(1), write(2), write(3));

    assert_eq!(subject.connect().await.visible().await, Ok(Some(visible(200, [200]))));
}

/// However new it says that it is.
pub async fn a_list_of_another_past_is_replaced_and_only_that_one<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    let anew = visible(2, [1]);
    assert_eq!(cache.replace_visible(&visible(9, [5]), &anew).await, Ok(false));
    assert_eq!(cache.visible().await, Ok(None));
    assert_eq!(cache.put_visible(&visible(9, [5, 4])).await, Ok(true));

    for other in [visible(8, [5, 4]), visible(9, [5]), visible(9, [])] {
        assert_eq!(cache.replace_visible(&other, &anew).await, Ok(false));
    }
    assert_eq!(cache.visible().await, Ok(Some(visible(9, [5, 4]))));
    assert_eq!(cache.replace_visible(&visible(9, [5, 4]), &anew).await, Ok(true));

    assert_eq!(cache.visible().await, Ok(Some(anew)));
    assert_eq!(cache.put_visible(&visible(1, [7])).await, Ok(false), "it was told before, and came late");
    assert_eq!(cache.put_visible(&visible(3, [2, 1])).await, Ok(true));
    assert_eq!(cache.visible().await, Ok(Some(visible(3, [2, 1]))));
}

// --- progress -----------------------------------------------------------------------------------------------------

/// And of no other.
pub async fn progress_comes_back_of_each_run<S: Subject>(subject: &S) {
    let cache = subject.connect().await;

    assert_eq!(cache.progress(RunId(1)).await, Ok(None));
    put_progress(&cache, 1, &settled(20, 1)).await;
    put_progress(&cache, 2, &settled(3, 0)).await;

    assert_eq!(cache.progress(RunId(1)).await, Ok(Some(settled(20, 1))));
    assert_eq!(cache.progress(RunId(2)).await, Ok(Some(settled(3, 0))));
    assert_eq!(cache.progress(RunId(3)).await, Ok(None));
}

/// Whoever was held up between looking and writing: what grows is compared, and not who is last.
pub async fn progress_never_goes_back<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    // In the end the customers of dead chunks are rejections.
    let finished = Progress { rejections: 3_197, ..settled(197, 3) };
    let ascending = [settled(0, 0), settled(9, 0), settled(9, 1), settled(10, 1), settled(197, 3), finished];

    for (step, reached) in ascending.iter().enumerate() {
        put_progress(&cache, 1, reached).await;
        for late in ascending[..=step].iter().rev() {
            put_progress(&cache, 1, late).await;
        }
        assert_eq!(cache.progress(RunId(1)).await, Ok(Some(*reached)), "step {step}");
    }
}

/// Whoever writes last.
pub async fn of_progress_written_at_once_the_furthest_stays<S: Subject>(subject: &S) {
    let write = async |writer: u64| {
        let cache = subject.connect().await;
        for step in 0..50 {
            put_progress(&cache, 1, &settled((step * 4 + writer) * 37 % 200 + 1, 0)).await;
        }
    };

    tokio::join!(write(0), write(1), write(2), write(3));

    assert_eq!(subject.connect().await.progress(RunId(1)).await, Ok(Some(settled(200, 0))));
}

/// Dead chunks alone become fewer, and then no longer keep out what is newer.
pub async fn what_a_redrive_takes_back_shows_once_another_chunk_is_done<S: Subject>(subject: &S) {
    let cache = subject.connect().await;

    put_progress(&cache, 1, &settled(197, 3)).await;
    put_progress(&cache, 1, &settled(197, 0)).await;
    let redriven = cache.progress(RunId(1)).await;
    put_progress(&cache, 1, &settled(198, 0)).await;

    assert_eq!(redriven, Ok(Some(settled(197, 3))), "it might as well be an old look");
    assert_eq!(cache.progress(RunId(1)).await, Ok(Some(settled(198, 0))));
}

/// A run's plan never changes: what stands there is of another database, whose run had the same number.
pub async fn progress_over_another_plan_is_not_compared<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    let more_chunks = Progress { chunks: 400, ..settled(1, 0) };
    let more_customers = Progress { customers: 2_000_000, ..more_chunks };

    for progress in [settled(200, 0), more_chunks, more_customers] {
        put_progress(&cache, 1, &progress).await;

        assert_eq!(cache.progress(RunId(1)).await, Ok(Some(progress)));
    }
}

// --- clients, and what may be lost ----------------------------------------------------------------------------------

/// Those who write and those who read are different processes.
pub async fn every_client_sees_the_same_cache<S: Subject>(subject: &S) {
    let (worker, coordinator, reader) =
        (subject.connect().await, subject.connect().await, subject.connect().await.clone());

    put_values(&worker, 1, &[valued(17)]).await;
    show(&coordinator, 1, [1]).await;

    assert_eq!(value_of(&reader, CustomerId(17)).await, Some((RunId(1), valued(17).value)));
}

/// The version that was lost is news again, and so is progress.
pub async fn an_emptied_cache_gives_none_and_no_error_and_can_be_filled_again<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    put_values(&cache, 1, &chunk(0..100)).await;
    show(&cache, 7, [1]).await;
    put_progress(&cache, 1, &settled(7, 0)).await;

    subject.empty().await;

    assert_eq!(cache.visible().await, Ok(None));
    assert_eq!(value_of(&cache, CustomerId(17)).await, None);
    assert_eq!(cache.progress(RunId(1)).await, Ok(None));
    show(&cache, 7, [1]).await;
    assert_eq!(value_of(&cache, CustomerId(17)).await, None);
    put_values(&cache, 1, &chunk(0..100)).await;
    assert_eq!(value_of(&cache, CustomerId(17)).await, Some((RunId(1), valued(17).value)));
    put_progress(&cache, 1, &settled(6, 0)).await;
    assert_eq!(cache.progress(RunId(1)).await, Ok(Some(settled(6, 0))));
}

/// With an error that may pass.
pub async fn while_it_is_away_every_call_fails_within_its_limit_and_it_serves_again_after<S: Severable>(
    subject: &S,
) {
    let cache = subject.connect().await;

    subject.go_away().await;
    until("it is noticed", async || cache.check().await.is_err()).await;
    every_call_fails_within_its_limit(&cache).await;
    subject.come_back().await;

    serves_again(&cache).await;
}

/// The same, where nothing says that it is away.
pub async fn while_it_hangs_every_call_fails_within_its_limit_and_it_serves_again_after<S: Severable>(
    subject: &S,
) {
    let cache = subject.connect().await;

    subject.hang().await;
    let error = cache.check().await.expect_err("nothing answers");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    every_call_fails_within_its_limit(&cache).await;
    subject.come_back().await;

    serves_again(&cache).await;
}

// --- what the tests say -----------------------------------------------------------------------------------------

/// Runs that readers may see, under a version.
pub fn visible<const N: usize>(version: i64, runs: [i64; N]) -> VisibleRuns {
    VisibleRuns { version, runs: runs.map(RunId).to_vec() }
}

/// The values of neighbouring customers.
pub fn chunk(customers: Range<i64>) -> Vec<Valued> {
    customers.map(valued).collect()
}

/// A value that follows from its customer's number.
pub fn valued(number: i64) -> Valued {
    let value = CachedValue {
        value_minor: number * 37 - 5,
        value_36_minor: number * 100 + 1,
        historic_minor: -number,
        between_80: (number % 2 == 0).then_some(Between { lower_minor: number, upper_minor: number + 9 }),
        expected_purchases: number as f64 / 7.0,
        p_alive: Some(0.25),
        grade: Grade::C,
    };
    Valued { customer: CustomerId(number), value }
}

/// The numbers as bits, and the rest without them.
fn bits(value: CachedValue) -> (u64, Option<u64>, CachedValue) {
    let CachedValue { expected_purchases, p_alive, .. } = value;
    let rest = CachedValue { expected_purchases: 0.0, p_alive: None, ..value };
    (expected_purchases.to_bits(), p_alive.map(f64::to_bits), rest)
}

async fn put_members(cache: &impl Cache, run: i64, numbers: &[i64]) {
    let customers: Vec<CustomerId> = numbers.iter().copied().map(CustomerId).collect();
    assert_eq!(cache.put_members(RunId(run), &customers).await, Ok(()));
}

async fn put_values(cache: &impl Cache, run: i64, values: &[Valued]) {
    assert_eq!(cache.put_values(RunId(run), values).await, Ok(()));
}

/// A run of 200 chunks of which so many are done and dead.
fn settled(done: u64, dead: u64) -> Progress {
    Progress {
        chunks: 200,
        done,
        dead,
        customers: 200_000,
        values: done * 999,
        rejections: done,
        work: 3e6,
        work_settled: (done + dead) as f64 * 1.5e4,
    }
}

async fn put_progress(cache: &impl Cache, run: i64, progress: &Progress) {
    assert_eq!(cache.put_progress(RunId(run), progress).await, Ok(()));
}

/// Makes runs visible, as news.
async fn show<const N: usize>(cache: &impl Cache, version: i64, runs: [i64; N]) {
    assert_eq!(cache.put_visible(&visible(version, runs)).await, Ok(true));
}

async fn value_of(cache: &impl Cache, customer: CustomerId) -> Option<(RunId, CachedValue)> {
    cache.value(customer).await.expect("it answers")
}

async fn every_call_fails_within_its_limit(cache: &impl Cache) {
    for _ in 0..2 {
        fails(cache.put_values(RunId(1), &chunk(0..5_000))).await;
        fails(cache.put_members(RunId(1), &[CustomerId(17)])).await;
        fails(cache.holds_all(RunId(1))).await;
        fails(cache.put_visible(&visible(1, [1]))).await;
        fails(cache.visible()).await;
        fails(cache.value(CustomerId(17))).await;
        fails(cache.put_progress(RunId(1), &Progress::default())).await;
        fails(cache.progress(RunId(1))).await;
        fails(cache.check()).await;
    }
}

async fn fails<T>(call: impl Future<Output = Result<T, Error>>) {
    let result = timeout(LIMIT, call).await.expect("an answer in time");
    let error = result.err().expect("it cannot be answered");
    assert!(error.is_transient(), "{error}");
}

/// Writing and reading work again; what was written meanwhile is nobody's promise.
async fn serves_again(cache: &impl Cache) {
    until("it serves again", async || {
        let shown = cache.put_visible(&visible(9, [1])).await;
        shown.is_ok() && cache.put_values(RunId(1), &chunk(0..100)).await.is_ok()
    })
    .await;
    assert_eq!(value_of(cache, CustomerId(17)).await, Some((RunId(1), valued(17).value)));
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
