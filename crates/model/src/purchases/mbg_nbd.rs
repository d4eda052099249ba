//! MBG/NBD: BG/NBD in which a customer may be lost from the start.
//!
//! Batislam, Denizel & Filiztekin (2007), "Empirical validation and comparison of models for customer base analysis",
//! International Journal of Research in Marketing 24, 201-209; also Hoppe & Wagner (2007). Here the very first purchase
//! counts too, so `n = x + 1`: who never comes back may be dead, and a new customer is alive with `b/(a+b)`.

use super::coin_dropout::{CoinDropout, Tosses};

/// The MBG/NBD model with its parameters; time in weeks.
pub type MbgNbd = CoinDropout<AfterEach>;

/// A customer tosses the coin after each purchase, the first included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AfterEach {}

impl Tosses for AfterEach {
    const MODEL: &'static str = "mbg_nbd";

    #[inline]
    fn survived(x: f64) -> f64 {
        x + 1.0
    }
}
