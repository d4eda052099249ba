//! The fits of BG/NBD and MBG/NBD, which share a likelihood.

mod likelihood;

use super::{FEWEST_CUSTOMERS, Fit, FitError, PurchaseRow, conclude, optimum};
use crate::{BgNbd, MbgNbd, ParameterError};
use likelihood::{Likelihood, Tosses};
use optimum::Surface;

/// Fits BG/NBD by maximum likelihood (Fader, Hardie & Lee 2005, eq. 6).
pub fn bg_nbd(rows: &[PurchaseRow]) -> Result<Fit<BgNbd>, FitError> {
    climb("bg_nbd", rows, Tosses::AfterRepeats, None, |[r, alpha, a, b]| BgNbd::new(r, alpha, a, b))
}

/// Fits BG/NBD, beginning the search at `start`: last night's parameters, say.
pub fn bg_nbd_from(rows: &[PurchaseRow], start: &BgNbd) -> Result<Fit<BgNbd>, FitError> {
    let start = [start.r(), start.alpha(), start.a(), start.b()];
    climb("bg_nbd", rows, Tosses::AfterRepeats, Some(start), |[r, alpha, a, b]| BgNbd::new(r, alpha, a, b))
}

/// Fits MBG/NBD by maximum likelihood (Batislam, Denizel & Filiztekin 2007).
pub fn mbg_nbd(rows: &[PurchaseRow]) -> Result<Fit<MbgNbd>, FitError> {
    climb("mbg_nbd", rows, Tosses::AfterEach, None, |[r, alpha, a, b]| MbgNbd::new(r, alpha, a, b))
}

/// Fits MBG/NBD, beginning the search at `start`.
pub fn mbg_nbd_from(rows: &[PurchaseRow], start: &MbgNbd) -> Result<Fit<MbgNbd>, FitError> {
    let start = [start.r(), start.alpha(), start.a(), start.b()];
    climb("mbg_nbd", rows, Tosses::AfterEach, Some(start), |[r, alpha, a, b]| MbgNbd::new(r, alpha, a, b))
}

fn climb<M>(
    model: &'static str,
    rows: &[PurchaseRow],
    tosses: Tosses,
    start: Option<[f64; 4]>,
    build: impl FnOnce([f64; 4]) -> Result<M, ParameterError>,
) -> Result<Fit<M>, FitError> {
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

    let likelihood = Likelihood::new(rows, tosses);
    // A start far off can end on the plateau where nobody drops out; the data's own start is then the better one.
    let starts: Vec<_> =
        start.map(|start| start.map(libm::log)).into_iter().chain([likelihood.start()]).collect();
    let found = match likelihood.draft().filter(|_| start.is_none()) {
        Some(draft) => {
            let near = optimum::maximise_from(&starts, &draft);
            optimum::maximise_after(&near, &starts, &likelihood)
        }
        None => optimum::maximise_from(&starts, &likelihood),
    };
    conclude(model, customers, &found, build)
}

/// The mean log-likelihood per customer, and its gradient, at the logarithms of BG/NBD's parameters.
pub(in crate::fit) fn bg_nbd_surface(rows: &[PurchaseRow]) -> impl Fn(&[f64; 4]) -> (f64, [f64; 4]) {
    surface(rows, Tosses::AfterRepeats)
}

/// The same for MBG/NBD.
pub(in crate::fit) fn mbg_nbd_surface(rows: &[PurchaseRow]) -> impl Fn(&[f64; 4]) -> (f64, [f64; 4]) {
    surface(rows, Tosses::AfterEach)
}

fn surface(rows: &[PurchaseRow], tosses: Tosses) -> impl Fn(&[f64; 4]) -> (f64, [f64; 4]) + use<> {
    let likelihood = Likelihood::new(rows, tosses);
    move |ln_parameters| likelihood.slope(ln_parameters)
}
