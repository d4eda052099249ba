//! The fits of BG/NBD and MBG/NBD, which share a likelihood.

mod likelihood;

use super::optimum::{self, Surface};
use super::{FEWEST_CUSTOMERS, Fit, FitError, PurchaseRow, conclude};
use crate::{BgNbd, CoinDropout, MbgNbd, Tosses};
use likelihood::Likelihood;

/// Fits BG/NBD by maximum likelihood (Fader, Hardie & Lee 2005, eq. 6).
pub fn bg_nbd(rows: &[PurchaseRow]) -> Result<Fit<BgNbd>, FitError> {
    coin_dropout(rows, None)
}

/// Fits BG/NBD, beginning the search at `start`: last night's parameters, say.
pub fn bg_nbd_from(rows: &[PurchaseRow], start: &BgNbd) -> Result<Fit<BgNbd>, FitError> {
    coin_dropout(rows, Some(start))
}

/// Fits MBG/NBD by maximum likelihood (Batislam, Denizel & Filiztekin 2007).
pub fn mbg_nbd(rows: &[PurchaseRow]) -> Result<Fit<MbgNbd>, FitError> {
    coin_dropout(rows, None)
}

/// Fits MBG/NBD, beginning the search at `start`.
pub fn mbg_nbd_from(rows: &[PurchaseRow], start: &MbgNbd) -> Result<Fit<MbgNbd>, FitError> {
    coin_dropout(rows, Some(start))
}

/// Fits either, beginning the search at `start` if there is one.
pub(super) fn coin_dropout<T: Tosses>(
    rows: &[PurchaseRow],
    start: Option<&CoinDropout<T>>,
) -> Result<Fit<CoinDropout<T>>, FitError> {
    let model = T::MODEL;
    if let Some(row) = rows.iter().position(|row| !row.is_possible()) {
        return Err(FitError::ImpossibleRow { model, row });
    }
    let customers: u64 = rows.iter().map(|row| row.customers).sum();
    if customers < FEWEST_CUSTOMERS {
        return Err(FitError::TooFewCustomers { model, found: customers, needed: FEWEST_CUSTOMERS });
    }
    if rows.iter().all(|row| row.x == 0) {
        return Err(FitError::NoRepeatPurchases);
    }

    let likelihood = Likelihood::new(rows, T::survived);
    // A start far off can end on the plateau where nobody drops out; the data's own start is then the better one.
    let starts: Vec<_> = start.map(ln_parameters).into_iter().chain([likelihood.start()]).collect();
    let found = match likelihood.draft().filter(|_| start.is_none()) {
        Some(draft) => {
            let near = optimum::maximise_from(&starts, &draft);
            optimum::maximise_after(&near, &starts, &likelihood)
        }
        None => optimum::maximise_from(&starts, &likelihood),
    };
    conclude(model, customers, &found, |[r, alpha, a, b]| CoinDropout::new(r, alpha, a, b))
}

/// The logarithms of a model's parameters.
pub(super) fn ln_parameters<T: Tosses>(model: &CoinDropout<T>) -> [f64; 4] {
    [model.r(), model.alpha(), model.a(), model.b()].map(libm::log)
}

/// The mean log-likelihood per customer, and its gradient, at the logarithms of the parameters.
pub(super) fn surface<T: Tosses>(rows: &[PurchaseRow]) -> impl Fn(&[f64; 4]) -> (f64, [f64; 4]) + use<T> {
    let likelihood = Likelihood::new(rows, T::survived);
    move |ln_parameters| likelihood.slope(ln_parameters)
}
