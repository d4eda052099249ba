//! Whose turn it is where work of several priorities waits for one place: virtual time, not strict order.
//!
//! Strict order starves: as long as something more urgent keeps coming, nothing else is ever done. So what waits has a
//! **turn**, a moment of its own, and the earliest goes first. It is the moment that it came, and later by a **handicap**
//! for what is less urgent, and later by what it has had already. All three are known when it begins to wait, so nobody's
//! turn is put off by who comes after him:
//!
//! * What is urgent goes before everything less urgent, unless that has waited for longer than its handicap.
//! * Nobody is overtaken by anybody who comes later than his own handicap and what he has had allow, whatever comes, so
//!   nobody is starved ([`TurnPolicy::overtaken_for`] says for how long he may be overtaken).
//! * Of what is equally urgent a small question goes before the rest of a large one: a question for one customer waits
//!   for one part of a question for ten thousand, not for all of it.

use std::time::Duration;

use crate::{PerPriority, Priority};

/// What waits, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// How urgent it is.
    pub priority: Priority,
    /// When the question came that it belongs to, on any clock that all who wait share and that never goes back.
    pub since: Duration,
    /// Customers of the same question that were valued already.
    pub valued: u64,
}

/// When it is somebody's turn: the earliest goes first, and of two at once whoever began to wait first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn(Duration);

/// How turns are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnPolicy {
    /// For how long those of a priority are overtaken by what nobody else overtakes.
    pub handicap: PerPriority<Duration>,
    /// By how much a question's turn comes later for each of its customers that was valued.
    pub per_customer: Duration,
}

impl Default for TurnPolicy {
    /// A chunk of the night waits for ten seconds of what is critical at the most, half a lease, and a large question for
    /// ten thousand customers lets small ones pass for as long.
    fn default() -> Self {
        let handicap = PerPriority::from_fn(|priority| match priority {
            Priority::Critical => Duration::ZERO,
            Priority::High => Duration::from_secs(2),
            Priority::Normal => Duration::from_secs(10),
        });
        Self { handicap, per_customer: Duration::from_millis(1) }
    }
}

impl TurnPolicy {
    /// Whose turn is when.
    pub fn turn(&self, waits: &Waits) -> Turn {
        Turn(waits.since.saturating_add(self.overtaken_for(waits.priority, waits.valued)))
    }

    /// How long after a question came others may come and still go before its next part.
    pub fn overtaken_for(&self, priority: Priority, valued: u64) -> Duration {
        let valued = u32::try_from(valued).unwrap_or(u32::MAX);
        self.handicap[priority].saturating_add(self.per_customer.saturating_mul(valued))
    }
}
