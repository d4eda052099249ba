//! The scene of a night: what is drawn for it beside its weather, and what stands for every night.

use std::time::Duration;

use batch::CustomerId;
use jiff::Timestamp;
use model::ValueTerms;

use super::base::customer;
use super::chance::Chance;

/// How long a lease lasts.
pub(super) const LEASE: Duration = Duration::from_secs(20);

/// How long a request's lease lasts.
pub(super) const REQUEST_LEASE: Duration = Duration::from_secs(5);

/// Something that somebody wants to know at once.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// When it is asked, by whoever comes to ask.
    pub(super) after: Duration,
    /// About whom, ascending.
    pub(super) customers: Vec<CustomerId>,
    /// How long an answer is worth something.
    pub(super) lasts: Duration,
}

/// What is drawn for a night beside its weather.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) customers: u64,
    /// How far apart their numbers are: the cache keeps neighbours together.
    pub(super) apart: u64,
    pub(super) chunk_customers: u32,
    pub(super) workers: u64,
    pub(super) slots: u16,
    /// How long a worker may take to finish what it holds when it is asked to end.
    pub(super) grace_period: Duration,
    pub(super) coordinators: u64,
    pub(super) dispatchers: u64,
    /// A customer whose mathematics panic.
    pub(super) poison: Option<CustomerId>,
    /// How long reading a chunk's histories takes, at the longest: short and long nights.
    pub(super) work: Duration,
    /// Customers whom somebody wants valued at once, under other terms.
    pub(super) urgent: Vec<CustomerId>,
    /// What is asked while the night goes on.
    pub(super) questions: Vec<Question>,
    /// For which moment: before the run of the night before, between the two nights, at tonight's, or after it.
    pub(super) urgent_as_of: Timestamp,
    /// Whether the cache still knows of the night before.
    pub(super) is_cache_warm: bool,
    /// After how many reads somebody empties the source, if somebody does.
    pub(super) source_emptied_after: Option<u64>,
}

impl Scene {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let customers = chance.among(20..120);
        let apart = if chance.happens(0.5) { 1 } else { chance.among(2..200) };
        let someone = |chance: &mut Chance| customer(chance.among(0..customers), apart);
        let poison = someone(chance);
        let mut urgent: Vec<CustomerId> = (0..chance.among(0..6)).map(|_| someone(chance)).collect();
        urgent.sort_unstable();
        urgent.dedup();
        let questions = (0..chance.among(0..6)).map(|_| {
            let mut customers: Vec<CustomerId> = (0..chance.among(1..6)).map(|_| someone(chance)).collect();
            customers.extend(Some(poison).filter(|_| chance.happens(0.1)));
            customers.sort_unstable();
            customers.dedup();
            Question { after: chance.millis(0..60_000), customers, lasts: chance.millis(5_000..60_000) }
        });
        let questions = questions.collect();
        let moments =
            ["2026-06-29T12:00:00Z", "2026-06-30T12:00:00Z", "2026-07-01T00:00:00Z", "2026-07-01T12:00:00Z"]
                .map(moment);
        Self {
            customers,
            apart,
            chunk_customers: chance.among(3..16) as u32,
            workers: chance.among(1..5),
            slots: chance.among(1..4) as u16,
            grace_period: chance.millis(500..10_000),
            coordinators: chance.among(1..3),
            dispatchers: chance.among(1..3),
            poison: chance.happens(0.2).then_some(poison),
            work: if chance.happens(0.5) { Duration::from_millis(10) } else { chance.millis(1_000..20_000) },
            urgent,
            questions,
            urgent_as_of: moments[chance.among(0..4) as usize],
            is_cache_warm: chance.happens(0.8),
            source_emptied_after: chance.happens(0.25).then(|| chance.among(0..20)),
        }
    }
}

/// The moment that the night's run values for.
pub(super) fn as_of() -> Timestamp {
    moment("2026-07-01T00:00:00Z")
}

/// The moment that the run of the night before valued for.
pub(super) fn as_of_before() -> Timestamp {
    moment("2026-06-30T00:00:00Z")
}

fn moment(text: &str) -> Timestamp {
    text.parse().expect("the constant is a moment")
}

pub(super) fn terms_before() -> ValueTerms {
    ValueTerms::new(0.1, 0.3, 0.0, 0.7).expect("the constants are in their domains")
}

pub(super) fn night_terms() -> ValueTerms {
    ValueTerms::default()
}

pub(super) fn urgent_terms() -> ValueTerms {
    ValueTerms::new(0.15, 0.5, 0.0, 0.5).expect("the constants are in their domains")
}
