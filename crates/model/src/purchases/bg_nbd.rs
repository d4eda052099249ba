//! BG/NBD: how often a customer buys, and whether he still does.
//!
//! Fader, Hardie & Lee (2005), "Counting your customers the easy way", Marketing Science 24, 275-284. A customer may drop
//! out after each repeat purchase, so `n = x`: nobody drops out before his first one.

use super::coin_dropout::{CoinDropout, Tosses};

/// The BG/NBD model with its parameters; time in weeks.
pub type BgNbd = CoinDropout<AfterRepeats>;

/// A customer tosses the coin after each repeat purchase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AfterRepeats {}

impl Tosses for AfterRepeats {
    const MODEL: &'static str = "bg_nbd";

    #[inline]
    fn survived(x: f64) -> f64 {
        x
    }
}
