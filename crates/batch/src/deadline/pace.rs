//! How fast a run's work is committed.

/// The mean pace since the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// How long all of the work takes at this pace.
    whole_seconds: f64,
}

impl Pace {
    /// The pace at which a share of the work was committed; `None` while nothing is.
    pub(super) fn mean(share: f64, elapsed_seconds: f64) -> Option<Self> {
        (share != 0.0).then(|| Self { whole_seconds: elapsed_seconds / share })
    }

    /// How long the rest takes once a share is committed.
    pub(super) fn seconds_left(self, share: f64) -> f64 {
        self.whole_seconds * (1.0 - share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_mean_of_what_is_done() {
        let pace = Pace::mean(0.25, 100.0).unwrap();

        let check = |share, expected: f64| assert!((pace.seconds_left(share) - expected).abs() < 1e-9);
        check(0.25, 300.0);
        check(1.0, 0.0);
    }

    #[test]
    fn without_committed_work_there_is_no_pace() {
        assert_eq!(Pace::mean(0.0, 100.0), None);
    }
}
