//! How slow a reader may be.

use std::time::Duration;

/// How slow a reader of a stream may be before he is dropped: what he keeps waiting is a connection to the database and a
/// snapshot there, which holds up its vacuum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How many bytes a second he takes at least, on the whole.
    pub(crate) bytes_a_second: u64,
    /// How far he may fall behind that.
    pub(crate) behind: Duration,
}

impl Pace {
    /// How much longer a reader may be waited for who has taken so many bytes, and was waited for so long.
    pub(crate) fn left(&self, taken: u64, waited: Duration) -> Duration {
        let earned = Duration::from_secs_f64(taken as f64 / self.bytes_a_second as f64);
        (self.behind + earned).saturating_sub(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { bytes_a_second: 1_000, behind: Duration::from_secs(30) };

    #[test]
    fn a_reader_may_fall_behind_by_so_much_and_no_more() {
        let check = |taken, waited, left| {
            let found = PACE.left(taken, Duration::from_secs(waited));
            assert_eq!(found, Duration::from_secs(left), "{taken} bytes, waited for {waited} s");
        };

        check(0, 0, 30);
        check(0, 30, 0);
        check(60_000, 60, 30);
        check(10_000, 60, 0);
        check(1_000_000, 1_000, 30);
    }
}
