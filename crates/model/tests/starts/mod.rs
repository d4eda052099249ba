//! Seeded random starts for the fits.

/// SplitMix64 (Steele, Lea & Flood 2014): the same starts on every machine.
pub(crate) struct Starts(u64);

impl Starts {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number whose logarithm is uniform between those of the ends.
    pub(crate) fn between(&mut self, least: f64, most: f64) -> f64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        least * libm::exp(uniform * libm::log(most / least))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
