//! The random numbers of one customer.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::segments::SEGMENTS;

/// The random numbers of one customer.
pub(super) struct Dice {
    random: ChaCha8Rng,
    /// The polar method draws normal numbers in pairs.
    spare_normal: Option<f64>,
}

impl Dice {
    pub(super) fn new(seed: [u8; 32], stream: u64) -> Self {
        let mut random = ChaCha8Rng::from_seed(seed);
        random.set_stream(stream);
        Self { random, spare_normal: None }
    }

    /// Uniform in (0, 1), both ends excluded.
    pub(super) fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        ((self.random.next_u64() >> 12) as f64 * 2.0 + 1.0) * STEP
    }

    pub(super) fn segment(&mut self) -> u8 {
        let percent = (self.uniform() * 100.0) as u8;
        let mut below = 0;
        let found = SEGMENTS.iter().position(|segment| {
            below += segment.percent;
            percent < below
        });
        found.expect("the segments add up to a hundred percent") as u8
    }

    /// Exponential with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -libm::log(self.uniform())
    }

    /// Normal with mean 0 and variance 1, by the polar method (Marsaglia & Bray 1964).
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let scale = libm::sqrt(-2.0 * libm::log(square) / square);
                self.spare_normal = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// Gamma with rate 1 (Marsaglia & Tsang 2000). Below shape 1 it is a power of a uniform number times a
    /// gamma of one shape more.
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let power = libm::pow(self.uniform(), 1.0 / shape);
            return self.gamma(shape + 1.0) * power;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            let uniform = self.uniform();
            let is_surely_in = uniform < 1.0 - 0.0331 * (x * x) * (x * x);
            if is_surely_in || libm::log(uniform) < 0.5 * x * x + d * (1.0 - v + libm::log(v)) {
                return d * v;
            }
        }
    }

    pub(super) fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        x / (x + y)
    }
}
