//! What may be lost, repeated or late, in any order: a reader gets the newest value that is named, or none.

use batch::{CustomerId, RunId};

use super::{Subject, put_values, valued, visible};
use crate::memory::Key;
use crate::{Cache, CachedValue, Holds, Valued, VisibleRuns};

/// One thing that befalls a cache that holds run 1 over everybody, and runs 2 to 4 over some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The values of a run are written: of its customers those in one of three parts.
    Values(i64, i64),
    /// The members of a run are written.
    Members(i64),
    /// What is left of such a writing arrives: all but so many of its parts.
    LateMembers(i64, usize),
    /// These many of the runs are made visible.
    Visible(i64),
    /// Something is lost: of a run and, if values, the part.
    Lose(Loss, i64, i64),
    /// Everything is lost.
    Flush,
}

/// What is lost of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the names of what stands in a cache")]
pub enum Loss {
    Values,
    Members,
    Visible,
}

/// How many customers stand side by side: three buckets of them.
const CUSTOMERS: i64 = 300;

/// Some more stand alone, so that there is more than one page of buckets: a thousand apart, from the first part on.
const APART: i64 = 1_000;
const ALONE: i64 = 99;

/// Behind a run that is named no older one shows through, however little of it is left.
pub async fn what_a_newer_run_has_lost_is_asked_of_the_store<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    let everything = async || {
        for run in 1..=2 {
            befall(subject, &cache, Event::Members(run)).await;
            for part in 0..3 {
                befall(subject, &cache, Event::Values(run, part)).await;
            }
        }
        befall(subject, &cache, Event::Visible(2)).await;
    };
    let run_of = async |number: i64| {
        let read = cache.value(CustomerId(number)).await.expect("it answers");
        read.map(|(run, _)| run.0)
    };
    let (member, neighbour, other) = (0, 1, 201);

    everything().await;
    assert_eq!(
        [run_of(member).await, run_of(neighbour).await, run_of(other).await],
        [Some(2), Some(1), Some(1)]
    );
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::All));

    subject.lose(Key::Values(RunId(2), CustomerId(member))).await;
    assert_eq!(
        [run_of(member).await, run_of(neighbour).await, run_of(other).await],
        [None, Some(1), Some(1)]
    );
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::Less));

    subject.lose(Key::Members(RunId(2))).await;
    assert_eq!([run_of(member).await, run_of(neighbour).await, run_of(other).await], [None, None, None]);
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::Less));

    everything().await;
    assert_eq!(
        [run_of(member).await, run_of(neighbour).await, run_of(other).await],
        [Some(2), Some(1), Some(1)]
    );
    assert_eq!(cache.holds_all(RunId(2)).await, Ok(Holds::All));
}

/// Whether anybody reads it or not; and all is whole when it was written again.
pub async fn what_is_damaged_is_seen_by_whoever_looks_through_the_run<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    let (run, values) = (RunId(2), [valued(17), valued(18)]);
    let write = async || {
        put_values(&cache, 2, &values).await;
        assert_eq!(cache.put_members(run, &values.map(|valued| valued.customer)).await, Ok(()));
    };
    write().await;
    cache.put_visible(&visible(1, [2, 1])).await.expect("it answers");
    assert_eq!(cache.holds_all(run).await, Ok(Holds::All));

    subject.damage(run, CustomerId(17)).await;
    assert_eq!(cache.holds_all(run).await, Ok(Holds::Damaged));
    for _ in 0..2 {
        assert_eq!(cache.value(CustomerId(17)).await, Ok(None));
    }
    assert_eq!(cache.value(CustomerId(18)).await, Ok(Some((run, values[1].value))));
    assert_eq!(cache.holds_all(run).await, Ok(Holds::Damaged));

    write().await;
    assert_eq!(cache.value(CustomerId(17)).await, Ok(Some((run, values[0].value))));
    assert_eq!(cache.holds_all(run).await, Ok(Holds::All));
}

/// A run does not hold more of some because it holds others.
pub async fn what_is_missing_is_seen_whatever_stands_beside_it<S: Subject>(subject: &S) {
    let cache = subject.connect().await;
    let (run, values) = (RunId(2), [valued(17), valued(18)]);
    put_values(&cache, 2, &values).await;
    assert_eq!(cache.put_members(run, &values.map(|valued| valued.customer)).await, Ok(()));
    assert_eq!(cache.holds_all(run).await, Ok(Holds::All));

    subject.lose(Key::Values(run, CustomerId(17))).await;
    put_values(&cache, 2, &[values[1], valued(19)]).await;

    assert_eq!(cache.holds_all(run).await, Ok(Holds::Less));
}

/// A long story, the same each time.
pub async fn whatever_is_lost_or_late_a_reader_gets_the_newest_or_none<S: Subject>(subject: &S) {
    // A linear congruential generator (Knuth), of which the upper bits are taken.
    let mut state = 11_u64;
    let mut below = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let events: Vec<Event> = (0..400)
        .map(|_| {
            let (run, part) = (below(4) as i64 + 1, below(3) as i64);
            match below(16) {
                0..7 => Event::Values(run, part),
                7..10 => Event::Members(run),
                10 => Event::LateMembers(run, below(5) as usize),
                11..13 => Event::Visible(below(4) as i64 + 1),
                13 => Event::Lose(Loss::Values, run, part),
                14 => Event::Lose(Loss::Members, run, part),
                _ if below(3) > 0 => Event::Lose(Loss::Visible, run, part),
                _ => Event::Flush,
            }
        })
        .collect();

    let hits = story(subject, &events).await;

    assert!(hits > 400, "{hits} values were read, and the others asked of the store");
}

/// Lives through a story, and holds every reader to the truth after each event. Returns how many read a value.
pub async fn story<S: Subject>(subject: &S, events: &[Event]) -> usize {
    let cache = subject.connect().await;
    let mut hits = 0;
    for (place, &event) in events.iter().enumerate() {
        befall(subject, &cache, event).await;
        let named = cache.visible().await.expect("it answers");
        let runs = named.map(|named| named.runs).unwrap_or_default();
        for number in [0, 1, 2, 3, 99, 100, 104, 150, 200, 201, 298, 299, 1_001, 2_002, 50_001, 97_006] {
            let newest = runs.iter().copied().find(|run| holds(run.0, number));
            let right = newest.map(|run| (run, value(run.0, number)));
            let read = cache.value(CustomerId(number)).await.expect("it answers");
            assert!(read.is_none() || read == right, "{read:?} and not {right:?}: {:?}", &events[..=place]);
            hits += usize::from(read.is_some());
        }
        for &run in &runs {
            let _ = cache.holds_all(run).await.expect("it answers");
        }
    }
    hits
}

async fn befall<S: Subject>(subject: &S, cache: &S::Cache, event: Event) {
    match event {
        Event::Values(run, part) => {
            let values: Vec<Valued> = members(run)
                .filter(|customer| part_of(customer.0) == part)
                .map(|customer| Valued { customer, value: value(run, customer.0) })
                .collect();
            put_values(cache, run, &values).await;
        }
        Event::Members(run) => {
            let members: Vec<CustomerId> = members(run).collect();
            assert_eq!(cache.put_members(RunId(run), &members).await, Ok(()));
        }
        Event::LateMembers(run, from) => {
            let members: Vec<CustomerId> = members(run).collect();
            subject.put_late(RunId(run), &members, from).await;
        }
        Event::Visible(many) => {
            let VisibleRuns { version, .. } = visible(many, []);
            let runs = (1..=many).rev().map(RunId).collect();
            cache.put_visible(&VisibleRuns { version, runs }).await.expect("it answers");
        }
        Event::Lose(loss, run, part) => {
            let key = match loss {
                Loss::Values => Key::Values(RunId(run), CustomerId(part * 100)),
                Loss::Members => Key::Members(RunId(run)),
                Loss::Visible => Key::Visible,
            };
            subject.lose(key).await;
        }
        Event::Flush => subject.empty().await,
    }
}

/// Whether a run holds a customer: run 1 holds everybody, run 2 every second one, none of the third hundred.
fn holds(run: i64, number: i64) -> bool {
    match run {
        1 => true,
        2 => number % 2 == 0 && part_of(number) < 2,
        3 => number % 3 == 0,
        _ => number > 250 || number == 2,
    }
}

/// Which of the three parts a customer's value is written with.
fn part_of(number: i64) -> i64 {
    if number < CUSTOMERS { number / 100 } else { number / APART % 3 }
}

/// Whom a run holds.
pub fn members(run: i64) -> impl Iterator<Item = CustomerId> {
    let alone = (1..ALONE).map(|place| APART * place + place % 7);
    (0..CUSTOMERS).chain(alone).filter(move |&number| holds(run, number)).map(CustomerId)
}

fn value(run: i64, number: i64) -> CachedValue {
    CachedValue { historic_minor: run, ..valued(number).value }
}
