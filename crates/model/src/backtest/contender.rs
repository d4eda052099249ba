//! A fitted model that takes part.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Outcome, Place, Prediction};
use crate::fit::{self, Fit, FitError, PurchaseRow};
use crate::{BgNbd, DAYS_PER_WEEK, GammaGamma, MbgNbd, ParetoNbd, PurchaseDistribution, Summary, Terms};

/// Which purchase models can take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContenderKind {
    /// Fader, Hardie & Lee (2005).
    BgNbd,
    /// Batislam, Denizel & Filiztekin (2007).
    MbgNbd,
    /// Schmittlein, Morrison & Colombo (1987).
    ParetoNbd,
}

impl ContenderKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::BgNbd, Self::MbgNbd, Self::ParetoNbd];

    /// The name on a command line.
    pub fn code(self) -> &'static str {
        match self {
            Self::BgNbd => "bg_nbd",
            Self::MbgNbd => "mbg_nbd",
            Self::ParetoNbd => "pareto_nbd",
        }
    }

    /// The name in a text.
    pub fn name(self) -> &'static str {
        match self {
            Self::BgNbd => "BG/NBD",
            Self::MbgNbd => "MBG/NBD",
            Self::ParetoNbd => "Pareto/NBD",
        }
    }

    /// Finds the model of that [`code`](Self::code).
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Fits it to customers, counted as [`fit::rows`] counts them.
    pub fn fit(self, rows: &[PurchaseRow]) -> Result<Fit<Contender>, FitError> {
        Ok(match self {
            Self::BgNbd => with_model(fit::bg_nbd(rows)?, Contender::BgNbd),
            Self::MbgNbd => with_model(fit::mbg_nbd(rows)?, Contender::MbgNbd),
            Self::ParetoNbd => with_model(fit::pareto_nbd(rows)?, Contender::ParetoNbd),
        })
    }
}

fn with_model<M>(found: Fit<M>, wrap: impl FnOnce(M) -> Contender) -> Fit<Contender> {
    let Fit { model, log_likelihood, gradient_norm, standard_errors, customers, converged, evaluations } =
        found;
    let model = wrap(model);
    Fit { model, log_likelihood, gradient_norm, standard_errors, customers, converged, evaluations }
}

/// A purchase model with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Contender {
    /// Fader, Hardie & Lee (2005).
    BgNbd(BgNbd),
    /// Batislam, Denizel & Filiztekin (2007).
    MbgNbd(MbgNbd),
    /// Schmittlein, Morrison & Colombo (1987).
    ParetoNbd(ParetoNbd),
}

/// Asks whichever model it is.
macro_rules! of_model {
    ($contender:expr, $model:ident => $answer:expr) => {
        match $contender {
            Contender::BgNbd($model) => $answer,
            Contender::MbgNbd($model) => $answer,
            Contender::ParetoNbd($model) => $answer,
        }
    };
}

impl Contender {
    /// Which model it is.
    pub fn kind(&self) -> ContenderKind {
        match self {
            Self::BgNbd(_) => ContenderKind::BgNbd,
            Self::MbgNbd(_) => ContenderKind::MbgNbd,
            Self::ParetoNbd(_) => ContenderKind::ParetoNbd,
        }
    }

    /// The parameters with their names, in the order of the papers.
    pub fn parameters(&self) -> [(&'static str, f64); 4] {
        match self {
            Self::BgNbd(m) => [("r", m.r()), ("alpha", m.alpha()), ("a", m.a()), ("b", m.b())],
            Self::MbgNbd(m) => [("r", m.r()), ("alpha", m.alpha()), ("a", m.a()), ("b", m.b())],
            Self::ParetoNbd(m) => [("r", m.r()), ("alpha", m.alpha()), ("s", m.s()), ("beta", m.beta())],
        }
    }

    /// Predicts each customer's horizon, and finds the place of what came.
    ///
    /// Given alive, the distribution depends on `x` and `T` alone, so it is computed once for each pair, and scaled by
    /// each customer's own probability of being alive. Who has no finite mean spend under the spend model, which no
    /// fitted one says of anybody, is forecast to spend nothing.
    pub fn predict(&self, outcomes: &[Outcome], spend: &GammaGamma, horizon_weeks: u32) -> Vec<Prediction> {
        let horizon = f64::from(horizon_weeks);
        let groups = groups(outcomes);
        let found: Vec<Vec<(usize, Prediction)>> = groups
            .par_iter()
            .map(|group| {
                let latest = Latest::of(self, &outcomes[group[0]].calibration, horizon);
                group.iter().map(|&i| (i, latest.predict(self, &outcomes[i], spend))).collect()
            })
            .collect();
        let mut predictions = vec![Prediction::nothing(); outcomes.len()];
        for (customer, prediction) in found.into_iter().flatten() {
            predictions[customer] = prediction;
        }
        predictions
    }

    /// The purchases expected of all customers up to the end of each week of the horizon.
    pub(super) fn cumulative(&self, outcomes: &[Outcome], horizon_weeks: u32) -> Vec<f64> {
        let groups: Vec<AliveGroup> = groups(outcomes)
            .par_iter()
            .map(|group| {
                let first = outcomes[group[0]].calibration;
                let alive = group.iter().map(|&i| self.p_alive(&outcomes[i].calibration)).sum();
                AliveGroup { x: first.frequency, age: first.age(), alive }
            })
            .collect();
        (1..=horizon_weeks)
            .into_par_iter()
            .map(|weeks| {
                groups
                    .chunk_by(|a, b| a.x == b.x)
                    .map(|of_x| self.expected_of_alive(of_x, f64::from(weeks)))
                    .sum()
            })
            .collect()
    }

    /// The purchases expected of customers with the same `x`.
    fn expected_of_alive(&self, of_x: &[AliveGroup], weeks: f64) -> f64 {
        let x = of_x[0].x;
        let terms = Terms::new(weeks, 0.0).expect("the weeks of a horizon are a horizon");
        let curve = match self {
            Self::BgNbd(model) => model.alive_curve(x, &terms),
            Self::MbgNbd(model) => model.alive_curve(x, &terms),
            Self::ParetoNbd(model) => {
                let of_one = |group: &AliveGroup| {
                    let t_x = if x == 0 { 0.0 } else { group.age };
                    let expected = model.expected_purchases(x, t_x, group.age, weeks);
                    group.alive * expected / model.p_alive(x, t_x, group.age)
                };
                return of_x.iter().map(of_one).sum();
            }
        };
        of_x.iter().map(|group| group.alive * curve.purchases(group.age).expected).sum()
    }

    /// The repeat purchases expected of a new customer in his first `weeks`.
    pub fn expected_of_new(&self, weeks: f64) -> f64 {
        if weeks == 0.0 {
            return 0.0;
        }
        of_model!(self, model => model.expected_purchases(0, 0.0, 0.0, weeks))
    }

    fn p_alive(&self, summary: &Summary) -> f64 {
        of_model!(self, model => model.p_alive(summary.frequency, summary.recency(), summary.age()))
    }
}

/// Customers with the same `x` and `T`.
struct AliveGroup {
    x: u32,
    age: f64,
    /// How many of them are expected to be alive.
    alive: f64,
}

/// The customers by `x` and `T`.
fn groups(outcomes: &[Outcome]) -> Vec<Vec<usize>> {
    let key = |i: usize| (outcomes[i].calibration.frequency, outcomes[i].calibration.age_days);
    let mut order: Vec<usize> = (0..outcomes.len()).collect();
    order.sort_by_key(|&i| key(i));
    order.chunk_by(|&a, &b| key(a) == key(b)).map(<[usize]>::to_vec).collect()
}

/// The forecast of the customer of an `x` and `T` who bought last of all, from which the others' follow.
struct Latest {
    p_alive: f64,
    distribution: PurchaseDistribution,
    mean: f64,
}

impl Latest {
    fn of(contender: &Contender, summary: &Summary, horizon: f64) -> Self {
        let (x, age) = (summary.frequency, summary.age_days);
        let last = if x == 0 { 0 } else { age };
        let [t_x, age] = [last, age].map(|days| f64::from(days) / DAYS_PER_WEEK);
        let p_alive = of_model!(contender, model => model.p_alive(x, t_x, age));
        let distribution = of_model!(contender, model => model.purchase_distribution(x, t_x, age, horizon));
        Self { p_alive, mean: distribution.mean(), distribution }
    }

    fn predict(&self, contender: &Contender, outcome: &Outcome, spend: &GammaGamma) -> Prediction {
        let summary = &outcome.calibration;
        // P(Y = y) = p_alive P(Y = y | alive) for every y > 0.
        let scale = contender.p_alive(summary) / self.p_alive;
        let more_than = |y: u32| scale * (1.0 - self.distribution.cdf(y));
        let place = match outcome.purchases {
            0 => Place { below: 0.0, probability: 1.0 - more_than(0) },
            y => Place { below: 1.0 - more_than(y - 1), probability: scale * self.distribution.pmf(y) },
        };
        let expected = scale * self.mean;
        let mean_spend = spend.mean_spend(summary.frequency, summary.mean_spend_minor()).unwrap_or(0.0);
        Prediction { expected, spend_minor: expected * mean_spend, place: Some(place) }
    }
}
