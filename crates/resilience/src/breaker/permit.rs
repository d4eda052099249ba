//! The right to make one call, and the duty to say how it ended.

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
}

impl Permit {
    pub(super) fn new(shared: Arc<Shared>, admission: Admission) -> Self {
        Self { shared, admission, verdict: Verdict::Abandoned }
    }

    /// Reports that the dependency answered, even if it refused what was asked.
    pub fn success(self) {
        self.record(false);
    }

    /// Reports that the dependency failed.
    pub fn failure(self) {
        self.record(true);
    }

    /// Reports how the call ended. How long it took is measured from when the permit was acquired.
    pub fn record(mut self, is_failure: bool) {
        self.verdict = if is_failure { Verdict::Failure } else { Verdict::Success };
    }
}

impl Drop for Permit {
    // The only place where a permit ends, so that it ends exactly once, whatever happens to its call.
    fn drop(&mut self) {
        let eased = self.shared.change(|machine, now| machine.settle(self.admission, self.verdict, now));
        if eased {
            self.shared.eased.notify_waiters();
        }
    }
}
