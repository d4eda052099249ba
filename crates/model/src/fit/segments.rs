//! Fits of segments, held together by what all customers say.
//!
//! A segment of some hundred customers has a most likely model that is mostly chance. Empirical Bayes takes the
//! segments' parameters themselves as drawn: their logarithms are Gaussian around the parent's, the fit of all
//! customers, with a covariance that the segments' own fits reveal. Each segment then climbs to the maximum of its
//! likelihood times that Gaussian: a large one hardly feels it, a small one stays near the parent.
//!
//! With `theta` the logarithms, `theta_0` the parent's, `H_s` the information of a segment's customers at its own
//! maximum and `Sigma` the covariance between segments:
//!
//! ```text
//! theta_s  = argmax  ln L_s(theta) - (theta - theta_0)' Sigma^-1 (theta - theta_0) / 2
//! Sigma    = mean of (C_s + m_s m_s'),   C_s = (H_s + Sigma^-1)^-1,   m_s = C_s H_s (own maximum - theta_0)
//! weight_s = trace(Sigma^-1 C_s) / dimensions,   C_s now at theta_s
//! ```
//!
//! The second line is repeated until it stands still (EM for normal means with known errors). Few segments say little
//! about their spread, so it begins with one imagined segment of the spread of [`USUAL_SPREAD`].

use std::collections::BTreeMap;

use super::coin_dropout::{self, coin_dropout};
use super::gamma_gamma::gamma_gamma_surface;
use super::{Diagnostics, FEWEST_CUSTOMERS, Fit, FitError, optimum};
use super::{PurchaseRow, SpendRow, gamma_gamma_from, parameters, rows};
use crate::{BgNbd, CoinDropout, GammaGamma, MbgNbd, ParameterError, Parameters, Summary, Tosses};

/// Segments of fewer customers never have purchase parameters of their own.
pub const FEWEST_OF_A_SEGMENT: u64 = 300;

/// Segments in which fewer customers bought again never have spend parameters of their own. Those of 300 customers, of
/// whom a third did, are forecast better with what little is known of their own spends than without.
pub const FEWEST_BUYERS_OF_A_SEGMENT: u64 = 100;

/// By what factor segments usually differ, as a logarithm.
const USUAL_SPREAD: f64 = 0.25;

/// All customers' fit, and each segment's beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentFits {
    /// The fit of all customers.
    pub parent: Parameters,
    /// How far that can be trusted.
    pub diagnostics: Diagnostics,
    /// Each segment's fit, by its name.
    pub segments: BTreeMap<String, SegmentFit>,
}

/// What a segment is valued with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentFit {
    /// Its parameters.
    pub parameters: Parameters,
    /// How its purchase parameters came about.
    pub purchases: Shrunk,
    /// How its spend parameters came about.
    pub spends: Shrunk,
}

/// How much of a segment's parameters is its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shrunk {
    /// The customers that were looked at.
    pub customers: u64,
    /// The parent's share in what is known: 0 if only the segment's customers count, 1 if the parameters are the
    /// parent's, because the customers are too few or their likelihood has no maximum.
    pub weight_of_parent: f64,
}

/// A segment's fit of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ShrunkFit<M> {
    /// The segment's model: where its likelihood times the prior is highest. The log-likelihood is that of its customers
    /// alone; the gradient and the standard errors are those of the product. Where the model is the parent's, they are
    /// the parent's too, and nothing was evaluated.
    pub fit: Fit<M>,
    /// The parent's share in what is known, as in [`Shrunk`].
    pub weight_of_parent: f64,
}

/// Fits BG/NBD for each segment, with the parent's fit on all of them as a prior.
///
/// Segments of fewer than [`FEWEST_OF_A_SEGMENT`] customers have the parent's parameters, and so have those whose
/// likelihood has no maximum.
pub fn bg_nbd_by_segment(
    parent: &Fit<BgNbd>,
    segments: &BTreeMap<String, Vec<PurchaseRow>>,
) -> BTreeMap<String, ShrunkFit<BgNbd>> {
    one_by_segment(&PurchaseModel { parent: parent.clone() }, segments)
}

/// Fits MBG/NBD for each segment, as [`bg_nbd_by_segment`] does BG/NBD.
pub fn mbg_nbd_by_segment(
    parent: &Fit<MbgNbd>,
    segments: &BTreeMap<String, Vec<PurchaseRow>>,
) -> BTreeMap<String, ShrunkFit<MbgNbd>> {
    one_by_segment(&PurchaseModel { parent: parent.clone() }, segments)
}

/// Fits Gamma-Gamma for each segment, as [`bg_nbd_by_segment`] does BG/NBD; its customers are those who bought again, and
/// [`FEWEST_BUYERS_OF_A_SEGMENT`] of them are enough.
pub fn gamma_gamma_by_segment(
    parent: &Fit<GammaGamma>,
    segments: &BTreeMap<String, Vec<SpendRow>>,
) -> BTreeMap<String, ShrunkFit<GammaGamma>> {
    one_by_segment(&SpendModel { parent: parent.clone() }, segments)
}

/// Gives the same bits whatever the order of the customers and the number of threads.
fn one_by_segment<const N: usize, M: Model<N>>(
    model: &M,
    segments: &BTreeMap<String, Vec<M::Row>>,
) -> BTreeMap<String, ShrunkFit<M::Fitted>> {
    let rows: Vec<&[M::Row]> = segments.values().map(Vec::as_slice).collect();
    let is_large = |rows: &&[M::Row]| customers::<N, M>(rows) >= M::FEWEST;
    let large: Vec<bool> = rows.iter().map(is_large).collect();
    segments.keys().cloned().zip(shrink(model, &rows, &large)).collect()
}

/// Fits both models for each segment, with the parent's fit on all of them as a prior: [`bg_nbd_by_segment`] and
/// [`gamma_gamma_by_segment`] together.
///
/// Gives the same bits whatever the order of the customers and the number of threads. Fails only where the fit on all
/// customers does.
pub fn by_segment(segments: &BTreeMap<String, Vec<Summary>>) -> Result<SegmentFits, FitError> {
    let (parent, diagnostics) = parameters(segments.values().flatten().copied())?;
    let both = |(name, of): (&String, &Vec<Summary>)| {
        let (purchases, spends) = rows(of.iter().copied());
        ((name.clone(), purchases), (name.clone(), spends))
    };
    let (purchases, spends): (BTreeMap<_, _>, BTreeMap<_, _>) = segments.iter().map(both).unzip();
    let purchases = bg_nbd_by_segment(&diagnostics.bg_nbd, &purchases);
    let spends = gamma_gamma_by_segment(&diagnostics.gamma_gamma, &spends);

    let fit = |((name, purchases), spends): ((String, ShrunkFit<BgNbd>), ShrunkFit<GammaGamma>)| {
        let parameters = Parameters { bg_nbd: purchases.fit.model, gamma_gamma: spends.fit.model };
        (name, SegmentFit { parameters, purchases: purchases.shrunk(), spends: spends.shrunk() })
    };
    let segments = purchases.into_iter().zip(spends.into_values()).map(fit).collect();
    Ok(SegmentFits { parent, diagnostics, segments })
}

impl<M> ShrunkFit<M> {
    fn shrunk(&self) -> Shrunk {
        Shrunk { customers: self.fit.customers, weight_of_parent: self.weight_of_parent }
    }
}

type Vector<const N: usize> = [f64; N];
type Matrix<const N: usize> = [[f64; N]; N];

/// One of the models, as the segments need it.
trait Model<const N: usize> {
    type Row;
    type Fitted: Copy;

    /// The customers that the model must look at in a segment for it to have parameters of its own.
    const FEWEST: u64;

    fn parent(&self) -> &Fit<Self::Fitted>;
    fn customers(row: &Self::Row) -> u64;
    /// The logarithms of the parameters.
    fn logarithms(fitted: &Self::Fitted) -> Vector<N>;
    /// The model at the logarithms, if it can be valued with.
    fn build(logarithms: Vector<N>) -> Option<Self::Fitted>;
    /// The most likely model on these customers alone.
    fn most_likely(&self, rows: &[Self::Row]) -> Result<Self::Fitted, FitError>;
    /// The mean log-likelihood per customer, and its gradient.
    fn surface(rows: &[Self::Row]) -> impl Fn(&Vector<N>) -> (f64, Vector<N>);
}

/// A segment's own maximum.
struct Own<const N: usize> {
    /// Its distance from the parent.
    offset: Vector<N>,
    information: Matrix<N>,
}

/// Each segment's model; that of the parent for those that are not large.
fn shrink<const N: usize, M: Model<N>>(
    model: &M,
    segments: &[impl AsRef<[M::Row]>],
    large: &[bool],
) -> Vec<ShrunkFit<M::Fitted>> {
    let centre = M::logarithms(&model.parent().model);
    let large_ones = segments.iter().zip(large).filter_map(|(rows, large)| large.then_some(rows.as_ref()));
    let own: Vec<Own<N>> = large_ones.filter_map(|rows| own_maximum(model, rows, &centre)).collect();
    let prior = inverse(&between_segments(&own)).expect("a covariance with the usual spread in it");

    let fit = |(rows, &large): (&[M::Row], &bool)| {
        let shrunk = if large && customers::<N, M>(rows) >= FEWEST_CUSTOMERS {
            most_probable::<N, M>(rows, &centre, &prior)
        } else {
            None
        };
        shrunk.unwrap_or_else(|| left_to_parent(model, rows))
    };
    segments.iter().map(AsRef::as_ref).zip(large).map(fit).collect()
}

fn customers<const N: usize, M: Model<N>>(rows: &[M::Row]) -> u64 {
    rows.iter().map(M::customers).sum()
}

/// The parent's model, as far as it fits the segment's customers.
fn left_to_parent<const N: usize, M: Model<N>>(model: &M, rows: &[M::Row]) -> ShrunkFit<M::Fitted> {
    let (parent, customers) = (model.parent(), customers::<N, M>(rows));
    let log_likelihood = if customers > 0 {
        customers as f64 * M::surface(rows)(&M::logarithms(&parent.model)).0
    } else {
        0.0
    };
    let fit = Fit { log_likelihood, customers, evaluations: 0, ..parent.clone() };
    ShrunkFit { fit, weight_of_parent: 1.0 }
}

/// The segment's maximum without a prior; none where there is no proper one.
fn own_maximum<const N: usize, M: Model<N>>(
    model: &M,
    rows: &[M::Row],
    centre: &Vector<N>,
) -> Option<Own<N>> {
    let at = M::logarithms(&model.most_likely(rows).ok()?);
    let customers = customers::<N, M>(rows) as f64;
    let information = scaled(&curvature(&at, M::surface(rows)), customers);
    inverse(&information)?;
    Some(Own { offset: minus(&at, centre), information })
}

/// The covariance of the segments' parameters around the parent's.
fn between_segments<const N: usize>(own: &[Own<N>]) -> Matrix<N> {
    const MOST_ROUNDS: u32 = 500;
    let usual = scaled(&identity(), USUAL_SPREAD * USUAL_SPREAD);
    let mut covariance = usual;
    for _ in 0..MOST_ROUNDS {
        let Some(precision) = inverse(&covariance) else { break };
        let mut sum = usual;
        for Own { offset, information } in own {
            let posterior =
                inverse(&plus(information, &precision)).expect("a sum of positive definite matrices is one");
            let mean = times(&posterior, &times(information, offset));
            let outer = std::array::from_fn(|i| std::array::from_fn(|j| mean[i] * mean[j]));
            sum = plus(&sum, &plus(&posterior, &outer));
        }
        let next = scaled(&sum, 1.0 / (own.len() + 1) as f64);
        let moved = (0..N).map(|i| (next[i][i] / covariance[i][i] - 1.0).abs()).fold(0.0, f64::max);
        covariance = next;
        if moved < 1e-6 {
            break;
        }
    }
    covariance
}

/// The maximum of likelihood times prior, and the parent's weight in it.
fn most_probable<const N: usize, M: Model<N>>(
    rows: &[M::Row],
    centre: &Vector<N>,
    prior: &Matrix<N>,
) -> Option<ShrunkFit<M::Fitted>> {
    let surface = M::surface(rows);
    let customers = customers::<N, M>(rows);
    let prior = scaled(prior, 1.0 / customers as f64);
    let penalised = |at: &Vector<N>| {
        let (value, gradient) = surface(at);
        let offset = minus(at, centre);
        let pull = times(&prior, &offset);
        (value - 0.5 * dot(&offset, &pull), minus(&gradient, &pull))
    };
    let found = optimum::maximise(*centre, &penalised);
    let posterior = inverse(&curvature(&found.at, penalised))
        .filter(|_| found.gradient_norm < optimum::CLEARLY_THE_TOP)?;
    let weight = (0..N).map(|i| dot(&prior[i], &posterior[i])).sum::<f64>() / N as f64;
    // d parameter = parameter d ln(parameter).
    let standard_error = |i: usize| libm::exp(found.at[i]) * libm::sqrt(posterior[i][i] / customers as f64);
    let fit = Fit {
        model: M::build(found.at)?,
        log_likelihood: customers as f64 * surface(&found.at).0,
        gradient_norm: found.gradient_norm,
        standard_errors: (0..N).map(standard_error).collect(),
        customers,
        converged: true,
        evaluations: found.evaluations,
    };
    Some(ShrunkFit { fit, weight_of_parent: weight.clamp(0.0, 1.0) })
}

struct PurchaseModel<T> {
    parent: Fit<CoinDropout<T>>,
}

impl<T: Tosses> Model<4> for PurchaseModel<T> {
    type Row = PurchaseRow;
    type Fitted = CoinDropout<T>;

    const FEWEST: u64 = FEWEST_OF_A_SEGMENT;

    fn parent(&self) -> &Fit<CoinDropout<T>> {
        &self.parent
    }

    fn customers(row: &PurchaseRow) -> u64 {
        row.customers
    }

    fn logarithms(fitted: &CoinDropout<T>) -> [f64; 4] {
        coin_dropout::ln_parameters(fitted)
    }

    fn build(logarithms: [f64; 4]) -> Option<CoinDropout<T>> {
        let [r, alpha, a, b] = logarithms.map(libm::exp);
        CoinDropout::new(r, alpha, a, b).ok()
    }

    fn most_likely(&self, rows: &[PurchaseRow]) -> Result<CoinDropout<T>, FitError> {
        coin_dropout(rows, Some(&self.parent.model)).map(|fit| fit.model)
    }

    fn surface(rows: &[PurchaseRow]) -> impl Fn(&[f64; 4]) -> (f64, [f64; 4]) {
        coin_dropout::surface::<T>(rows)
    }
}

struct SpendModel {
    parent: Fit<GammaGamma>,
}

impl Model<3> for SpendModel {
    type Row = SpendRow;
    type Fitted = GammaGamma;

    const FEWEST: u64 = FEWEST_BUYERS_OF_A_SEGMENT;

    fn parent(&self) -> &Fit<GammaGamma> {
        &self.parent
    }

    fn customers(row: &SpendRow) -> u64 {
        row.customers
    }

    fn logarithms(fitted: &GammaGamma) -> [f64; 3] {
        [fitted.p(), fitted.q(), fitted.v()].map(libm::log)
    }

    fn build(logarithms: [f64; 3]) -> Option<GammaGamma> {
        let [p, q, v] = logarithms.map(libm::exp);
        let built: Result<GammaGamma, ParameterError> = GammaGamma::new(p, q, v);
        built.ok().filter(|model| model.q() > 1.0)
    }

    fn most_likely(&self, rows: &[SpendRow]) -> Result<GammaGamma, FitError> {
        gamma_gamma_from(rows, &self.parent.model).map(|fit| fit.model)
    }

    fn surface(rows: &[SpendRow]) -> impl Fn(&[f64; 3]) -> (f64, [f64; 3]) {
        gamma_gamma_surface(rows)
    }
}

/// The negative Hessian, from central differences of the gradient, made symmetric.
fn curvature<const N: usize>(at: &Vector<N>, f: impl Fn(&Vector<N>) -> (f64, Vector<N>)) -> Matrix<N> {
    const SHIFT: f64 = 1e-4;
    let columns: Matrix<N> = std::array::from_fn(|i| {
        let shifted = |by: f64| {
            let mut at = *at;
            at[i] += by;
            f(&at).1
        };
        scaled_vector(&minus(&shifted(-SHIFT), &shifted(SHIFT)), 0.5 / SHIFT)
    });
    std::array::from_fn(|i| std::array::from_fn(|j| 0.5 * (columns[i][j] + columns[j][i])))
}

/// The inverse of a positive definite matrix; none of another.
fn inverse<const N: usize>(matrix: &Matrix<N>) -> Option<Matrix<N>> {
    let lower = optimum::cholesky(matrix)?;
    Some(std::array::from_fn(|i| optimum::solve(&lower, &identity()[i])))
}

fn identity<const N: usize>() -> Matrix<N> {
    std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))))
}

fn scaled<const N: usize>(matrix: &Matrix<N>, by: f64) -> Matrix<N> {
    matrix.map(|row| scaled_vector(&row, by))
}

fn scaled_vector<const N: usize>(vector: &Vector<N>, by: f64) -> Vector<N> {
    vector.map(|value| value * by)
}

fn plus<const N: usize>(a: &Matrix<N>, b: &Matrix<N>) -> Matrix<N> {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] + b[i][j]))
}

fn times<const N: usize>(matrix: &Matrix<N>, vector: &Vector<N>) -> Vector<N> {
    std::array::from_fn(|i| dot(&matrix[i], vector))
}

fn minus<const N: usize>(a: &Vector<N>, b: &Vector<N>) -> Vector<N> {
    std::array::from_fn(|i| a[i] - b[i])
}

fn dot<const N: usize>(a: &Vector<N>, b: &Vector<N>) -> f64 {
    (0..N).map(|i| a[i] * b[i]).sum()
}
