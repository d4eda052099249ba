//! What a worker does wrong on purpose, for tests that show what the protocol is for.
//!
//! Without the feature `faults`, which only the test package sets, a plan is always empty and every check of it
//! is compiled away.

use std::str::FromStr;

use valuation::BeforeEach;

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Begun, nothing read.
    Begun,
    /// Committed, not in the cache.
    Committed,
    /// Committed and in the cache, not acknowledged.
    Cached,
    /// A request, begun.
    Asked,
    /// The same, committed and not replied to.
    Answered,
}

/// What a worker does wrong on purpose: any number of things, each in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Dies at a point, on its nth chunk.
    #[cfg(feature = "faults")]
    die: Option<(Point, u32)>,
    /// Dies whenever it computes a chunk with this customer.
    #[cfg(feature = "faults")]
    poison: Option<i64>,
    /// Panics in the mathematics of a chunk with this customer.
    #[cfg(feature = "faults")]
    panic: Option<i64>,
    /// Acknowledges before the commit, and dies on its nth chunk between the two.
    #[cfg(feature = "faults")]
    ack_first: Option<u32>,
    /// Replies to a request before there is an answer.
    #[cfg(feature = "faults")]
    reply_first: bool,
    /// Has no slots for requests: they take those of chunks.
    #[cfg(feature = "faults")]
    without_lane: bool,
    /// Hangs for ever after it has begun its nth chunk, alive and renewing its lease.
    #[cfg(feature = "faults")]
    hang: Option<u32>,
    /// How long each chunk takes longer once it has begun, so that a small night lasts.
    #[cfg(feature = "faults")]
    slow: std::time::Duration,
}

/// A word that is not a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown fault {0:?}")]
pub struct UnknownFault(String);

impl FromStr for FaultPlan {
    type Err = UnknownFault;

    #[cfg(not(feature = "faults"))]
    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Err(UnknownFault(text.to_owned()))
    }

    /// Reads `name=number`, several of them with commas: `slow=100,die-cached=5`.
    #[cfg(feature = "faults")]
    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let mut plan = Self::default();
        for word in text.split(',') {
            let unknown = || UnknownFault(word.to_owned());
            let (name, number) = word.split_once('=').ok_or_else(unknown)?;
            let number: i64 = number.parse().map_err(|_| unknown())?;
            let (nth, customer) = (Some(number as u32), Some(number));
            match name {
                "die-begun" => plan.die = Some((Point::Begun, number as u32)),
                "die-committed" => plan.die = Some((Point::Committed, number as u32)),
                "die-cached" => plan.die = Some((Point::Cached, number as u32)),
                "die-asked" => plan.die = Some((Point::Asked, number as u32)),
                "die-answered" => plan.die = Some((Point::Answered, number as u32)),
                "reply-first" => plan.reply_first = true,
                "without-lane" => plan.without_lane = true,
                "poison" => plan.poison = customer,
                "panic" => plan.panic = customer,
                "ack-first" => plan.ack_first = nth,
                "hang" => plan.hang = nth,
                "slow" => plan.slow = std::time::Duration::from_millis(number as u64),
                _ => return Err(unknown()),
            }
        }
        Ok(plan)
    }
}

#[cfg(not(feature = "faults"))]
#[expect(clippy::unused_self, clippy::unused_async, reason = "the same shape as with faults")]
impl FaultPlan {
    pub(crate) async fn reach(self, _point: Point) {}

    pub(crate) fn before_each(self) -> Option<BeforeEach> {
        None
    }

    pub(crate) fn acks_first(self) -> bool {
        false
    }

    pub(crate) fn replies_first(self) -> bool {
        false
    }

    pub(crate) fn shares_slots(self) -> bool {
        false
    }
}

#[cfg(feature = "faults")]
impl FaultPlan {
    /// An attempt has come to a point.
    pub(crate) async fn reach(self, point: Point) {
        use std::sync::atomic::{AtomicU32, Ordering};

        /// How often each could have struck in this process.
        static CHANCES: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
        let strikes = |which: usize, nth: Option<u32>| {
            nth.is_some_and(|nth| CHANCES[which].fetch_add(1, Ordering::SeqCst) + 1 == nth)
        };
        let at_begin = |nth: Option<u32>| nth.filter(|_| point == Point::Begun);

        if point == Point::Begun && !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
        }
        let die_here = self.die.filter(|(here, _)| *here == point).map(|(_, nth)| nth);
        if strikes(0, die_here) || strikes(1, at_begin(self.ack_first)) {
            std::process::abort();
        }
        if strikes(2, at_begin(self.hang)) {
            std::future::pending::<()>().await;
        }
    }

    /// What happens before a customer is computed.
    pub(crate) fn before_each(self) -> Option<BeforeEach> {
        let strikes = self.poison.is_some() || self.panic.is_some();
        strikes.then(|| -> BeforeEach { std::sync::Arc::new(move |customer| self.compute(customer)) })
    }

    /// A customer is about to be computed.
    fn compute(self, customer: batch::CustomerId) {
        if self.poison == Some(customer.0) {
            std::process::abort();
        }
        assert!(self.panic != Some(customer.0), "customer {customer} on purpose");
    }

    /// Whether the message is acknowledged before the work.
    pub(crate) fn acks_first(self) -> bool {
        self.ack_first.is_some()
    }

    /// Whether the reply is sent before the work.
    pub(crate) fn replies_first(self) -> bool {
        self.reply_first
    }

    /// Whether requests take the slots of chunks.
    pub(crate) fn shares_slots(self) -> bool {
        self.without_lane
    }
}

#[cfg(feature = "faults")]
#[cfg(test)]
mod tests {
    use batch::CustomerId;

    use super::*;

    #[test]
    fn faults_of_several_kinds_are_all_kept() {
        let plan: FaultPlan = "panic=7,ack-first=0,slow=20".parse().unwrap();

        assert!(plan.acks_first());
        assert_eq!(plan.slow.as_millis(), 20);
        plan.compute(CustomerId(6));
        let panic = std::panic::catch_unwind(|| plan.compute(CustomerId(7))).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "customer 7 on purpose");
    }
}
