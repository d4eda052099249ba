//! The right to make one call, and the duty to say how it ended.

use std::fmt::Display;
use std::sync::Arc;

use super::Shared;
use super::machine::{Admission, Verdict};

/// Permits one call. Dropped without a verdict it returns its place and counts as neither.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts as neither success nor failure"]
pub struct Permit {
    shared: Arc<Shared>,
    admission: Admission,
    verdict: Verdict,
    /// Why the dependency failed, if it did.
    reason: Option<Arc<str>>,
}

impl Permit {
    pub(super) fn new(shared: Arc<Shared>, admission: Admission) -> Self {
        Self { shared, admission, verdict: Verdict::Abandoned, reason: None }
    }

    /// Reports that the dependency answered, even if it refused what was asked.
    pub fn success(self) {
        self.record(None::<&str>);
    }

    /// Reports that the dependency failed, and how.
    pub fn failure(self, reason: impl Display) {
        self.record(Some(reason));
    }

    /// Reports how the call ended: with a failure of the dependency, or not. How long it took is measured from when the
    /// permit was acquired.
    pub fn record(mut self, failure: Option<impl Display>) {
        self.verdict = if failure.is_some() { Verdict::Failure } else { Verdict::Success };
        self.reason = failure.map(|reason| reason.to_string().into());
    }
}

impl Drop for Permit {
    // The only place where a permit ends, so that it ends exactly once, whatever happens to its call.
    fn drop(&mut self) {
        let (admission, verdict, reason) = (self.admission, self.verdict, self.reason.take());
        let eased = self.shared.change(|machine, now| machine.settle(admission, verdict, reason, now));
        if eased {
            self.shared.eased.notify_waiters();
        }
    }
}
