//! Chance in a delay, so that a hundred workers do not come back in the same millisecond.

use std::time::Duration;

/// Says how much of a delay is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Nothing: the delay itself. For tests and drills that must be repeatable.
    None,
    /// The upper half: from half the delay to the delay. Spreads callers and still guarantees a rest.
    #[default]
    Equal,
    /// Everything: from zero to the delay. Spreads callers best; some come back at once.
    Full,
}

impl Jitter {
    /// Draws a delay that is never longer than the given one.
    pub(crate) fn draw(self, delay: Duration) -> Duration {
        self.at(delay, rand::random())
    }

    /// Takes the delay at `unit`, a position from 0 (shortest) to 1 (longest).
    fn at(self, delay: Duration, unit: f64) -> Duration {
        match self {
            Self::None => delay,
            Self::Equal => delay / 2 + share(delay / 2, unit),
            Self::Full => share(delay, unit),
        }
    }
}

/// Takes a part of the delay; `mul_f64` may round above the whole, and panics beyond `Duration::MAX`.
fn share(delay: Duration, unit: f64) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * unit).map_or(delay, |part| part.min(delay))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(8);

    #[test]
    fn each_kind_leaves_its_own_part_to_chance() {
        let range = |jitter: Jitter| [0.0, 0.5, 1.0].map(|unit| jitter.at(DELAY, unit).as_secs());

        assert_eq!(range(Jitter::None), [8, 8, 8]);
        assert_eq!(range(Jitter::Equal), [4, 6, 8]);
        assert_eq!(range(Jitter::Full), [0, 4, 8]);
    }

    #[test]
    fn the_longest_duration_does_not_overflow() {
        for jitter in [Jitter::None, Jitter::Equal, Jitter::Full] {
            assert!(jitter.at(Duration::MAX, 1.0) <= Duration::MAX);
        }
    }

    #[test]
    fn full_jitter_fills_the_whole_range_evenly() {
        let mut quarters = [0_u32; 4];

        for _ in 0..4_000 {
            let delay = Jitter::Full.draw(DELAY);
            quarters[(delay.as_secs() / 2) as usize] += 1;
        }

        // 1,000 expected in each, standard deviation 27: ten of them away never happens by chance.
        assert!(quarters.iter().all(|count| (730..1_270).contains(count)), "{quarters:?}");
    }
}
