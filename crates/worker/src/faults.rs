//! What a worker does wrong on purpose, for tests that show what the protocol is for.
//!
//! Without the feature `faults`, which only the test package sets, a plan is always empty and every check of it
//! is compiled away.

use std::str::FromStr;

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Begun, nothing read.
    Begun,
    /// Committed, not in the cache.
    Committed,
    /// Committed and in the cache, not acknowledged.
    Cached,
}

/// What a worker does wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    #[cfg(feature = "faults")]
    fault: Option<Fault>,
    /// How long each chunk takes longer once it has begun, so that a small night lasts.
    #[cfg(feature = "faults")]
    slow: std::time::Duration,
}

#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Dies at a point, on its nth chunk.
    Die(Point, u32),
    /// Dies whenever it computes a chunk with this customer.
    Poison(i64),
    /// Panics in the mathematics of a chunk with this customer.
    Panic(i64),
    /// Acknowledges before the commit, and dies on its nth chunk between the two.
    AckFirst(u32),
    /// Hangs for ever after it has begun its nth chunk, alive and renewing its lease.
    Hang(u32),
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
            let fault = match name {
                "die-begun" => Fault::Die(Point::Begun, number as u32),
                "die-committed" => Fault::Die(Point::Committed, number as u32),
                "die-cached" => Fault::Die(Point::Cached, number as u32),
                "poison" => Fault::Poison(number),
                "panic" => Fault::Panic(number),
                "ack-first" => Fault::AckFirst(number as u32),
                "hang" => Fault::Hang(number as u32),
                "slow" => {
                    plan.slow = std::time::Duration::from_millis(number as u64);
                    continue;
                }
                _ => return Err(unknown()),
            };
            plan.fault = Some(fault);
        }
        Ok(plan)
    }
}

#[cfg(not(feature = "faults"))]
#[expect(clippy::unused_self, clippy::unused_async, reason = "the same shape as with faults")]
impl FaultPlan {
    pub(crate) async fn reach(self, _point: Point) {}

    pub(crate) fn compute(self, _customer: batch::CustomerId) {}

    pub(crate) fn acks_first(self) -> bool {
        false
    }
}

#[cfg(feature = "faults")]
impl FaultPlan {
    /// An attempt has come to a point.
    pub(crate) async fn reach(self, point: Point) {
        use std::sync::atomic::{AtomicU32, Ordering};

        static REACHED: AtomicU32 = AtomicU32::new(0);
        if point == Point::Begun && !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
        }
        let is_nth = |n: u32| REACHED.fetch_add(1, Ordering::SeqCst) + 1 == n;
        match self.fault {
            Some(Fault::Die(here, n)) if here == point && is_nth(n) => std::process::abort(),
            Some(Fault::AckFirst(n)) if point == Point::Begun && is_nth(n) => std::process::abort(),
            Some(Fault::Hang(n)) if point == Point::Begun && is_nth(n) => std::future::pending().await,
            _ => {}
        }
    }

    /// A customer is about to be computed.
    pub(crate) fn compute(self, customer: batch::CustomerId) {
        match self.fault {
            Some(Fault::Poison(poison)) if poison == customer.0 => std::process::abort(),
            Some(Fault::Panic(poison)) if poison == customer.0 => panic!("customer {customer} on purpose"),
            _ => {}
        }
    }

    /// Whether the message is acknowledged before the work.
    pub(crate) fn acks_first(self) -> bool {
        matches!(self.fault, Some(Fault::AckFirst(_)))
    }
}
