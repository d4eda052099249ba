//! The models by their names, and by what they can be asked.

use model::{
    AliveCurve, Bdw, BgBb, BgNbd, ContractModel, ForEverCurve, GammaGamma, MbgNbd, ParameterError, ParetoNbd,
    PurchaseDistribution, Sbg, SpreadCurve, Terms, Undefined,
};

/// A model, as it is named in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// Purchases at any time, dropout after a purchase
    BgNbd,
    /// The same, with dropout after the first purchase too
    MbgNbd,
    /// Purchases at any time, dropout at any time
    ParetoNbd,
    /// Spend on a purchase
    GammaGamma,
    /// Use of discrete opportunities
    BgBb,
    /// Contracts: churn that differs between customers
    Sbg,
    /// Contracts: churn that changes with time too
    Bdw,
}

impl ModelName {
    const ALL: [Self; 7] =
        [Self::BgNbd, Self::MbgNbd, Self::ParetoNbd, Self::GammaGamma, Self::BgBb, Self::Sbg, Self::Bdw];

    /// The name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BgNbd => "bg_nbd",
            Self::MbgNbd => "mbg_nbd",
            Self::ParetoNbd => "pareto_nbd",
            Self::GammaGamma => "gamma_gamma",
            Self::BgBb => "bg_bb",
            Self::Sbg => "sbg",
            Self::Bdw => "bdw",
        }
    }

    /// The names of its parameters, in the order of [`Model::new`].
    pub(crate) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::BgNbd | Self::MbgNbd => &["r", "alpha", "a", "b"],
            Self::ParetoNbd => &["r", "alpha", "s", "beta"],
            Self::GammaGamma => &["p", "q", "v"],
            Self::BgBb => &["alpha", "beta", "gamma", "delta"],
            Self::Sbg => &["alpha", "beta"],
            Self::Bdw => &["alpha", "beta", "c"],
        }
    }

    /// Whether a text names this model, however it is punctuated: `bgnbd`, `BG/NBD` and `bg_nbd` are one.
    pub(crate) fn is_meant_by(self, text: &str) -> bool {
        let letters = |text: &str| {
            text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
        };
        letters(text) == letters(self.as_str())
    }

    /// Finds the model that a text names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.is_meant_by(text))
    }
}

/// A model with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the model of its name")]
pub enum Model {
    BgNbd(BgNbd),
    MbgNbd(MbgNbd),
    ParetoNbd(ParetoNbd),
    GammaGamma(GammaGamma),
    BgBb(BgBb),
    Sbg(Sbg),
    Bdw(Bdw),
}

impl Model {
    /// Takes as many parameters as the model has.
    pub(crate) fn new(name: ModelName, parameters: &[f64]) -> Result<Self, ParameterError> {
        let of = |index: usize| parameters[index];
        Ok(match name {
            ModelName::BgNbd => Self::BgNbd(BgNbd::new(of(0), of(1), of(2), of(3))?),
            ModelName::MbgNbd => Self::MbgNbd(MbgNbd::new(of(0), of(1), of(2), of(3))?),
            ModelName::ParetoNbd => Self::ParetoNbd(ParetoNbd::new(of(0), of(1), of(2), of(3))?),
            ModelName::GammaGamma => Self::GammaGamma(GammaGamma::new(of(0), of(1), of(2))?),
            ModelName::BgBb => Self::BgBb(BgBb::new(of(0), of(1), of(2), of(3))?),
            ModelName::Sbg => Self::Sbg(Sbg::new(of(0), of(1))?),
            ModelName::Bdw => Self::Bdw(Bdw::new(of(0), of(1), of(2))?),
        })
    }

    /// Its name.
    pub fn name(&self) -> ModelName {
        match self {
            Self::BgNbd(_) => ModelName::BgNbd,
            Self::MbgNbd(_) => ModelName::MbgNbd,
            Self::ParetoNbd(_) => ModelName::ParetoNbd,
            Self::GammaGamma(_) => ModelName::GammaGamma,
            Self::BgBb(_) => ModelName::BgBb,
            Self::Sbg(_) => ModelName::Sbg,
            Self::Bdw(_) => ModelName::Bdw,
        }
    }

    /// Its parameters, in the order of their names.
    pub fn parameters(&self) -> Vec<f64> {
        match self {
            Self::BgNbd(model) => vec![model.r(), model.alpha(), model.a(), model.b()],
            Self::MbgNbd(model) => vec![model.r(), model.alpha(), model.a(), model.b()],
            Self::ParetoNbd(model) => vec![model.r(), model.alpha(), model.s(), model.beta()],
            Self::GammaGamma(model) => vec![model.p(), model.q(), model.v()],
            Self::BgBb(model) => vec![model.alpha(), model.beta(), model.gamma(), model.delta()],
            Self::Sbg(model) => vec![model.alpha(), model.beta()],
            Self::Bdw(model) => vec![model.alpha(), model.beta(), model.c()],
        }
    }

    /// The model as one of purchases at any time, if it is one.
    pub(crate) fn as_purchase_model(&self) -> Option<&dyn PurchaseModel> {
        match self {
            Self::BgNbd(model) => Some(model),
            Self::MbgNbd(model) => Some(model),
            Self::ParetoNbd(model) => Some(model),
            _ => None,
        }
    }
}

/// What every model of purchases at any time can be asked about a customer with `x` repeat purchases, the last at
/// `t_x`, in an age; times in weeks.
pub(crate) trait PurchaseModel: Sync {
    fn log_likelihood(&self, x: u32, t_x: f64, age: f64) -> f64;
    fn p_alive(&self, x: u32, t_x: f64, age: f64) -> f64;
    fn ln_p_alive(&self, x: u32, t_x: f64, age: f64) -> f64;
    fn ln_p_dead(&self, x: u32, t_x: f64, age: f64) -> f64;
    fn expected_purchases(&self, x: u32, t_x: f64, age: f64, horizon: f64) -> f64;
    fn discounted_purchases(&self, x: u32, t_x: f64, age: f64, horizon: f64, delta: f64) -> f64;
    fn discounted_purchases_for_ever(&self, x: u32, t_x: f64, age: f64, delta: f64)
    -> Result<f64, Undefined>;
    fn variance(&self, x: u32, t_x: f64, age: f64, horizon: f64) -> f64;
    fn p_zero(&self, x: u32, t_x: f64, age: f64, horizon: f64) -> f64;
    fn purchase_distribution(&self, x: u32, t_x: f64, age: f64, horizon: f64) -> PurchaseDistribution;

    /// What is expected of all customers with the same `x`, where the model can tabulate it.
    fn curves(&self, x: u32, terms: &Terms) -> Option<Curves>;
}

/// What is expected of customers with the same `x`: the same numbers as one by one to 1e-12, for a thousandth of the
/// time.
pub(crate) struct Curves {
    alive: AliveCurve,
    spread: SpreadCurve,
    for_ever: ForEverCurve,
}

/// What a purchase model expects of a customer over a horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) p_alive: f64,
    pub(crate) purchases: f64,
    pub(crate) discounted: f64,
    /// Infinite where the sum is.
    pub(crate) for_ever: f64,
    pub(crate) variance: f64,
    pub(crate) p_zero: f64,
}

impl Expected {
    /// Computes everything for this customer alone.
    pub(crate) fn alone(model: &dyn PurchaseModel, x: u32, t_x: f64, age: f64, terms: &Terms) -> Self {
        let (horizon, delta) = (terms.horizon_weeks(), terms.delta());
        Self {
            p_alive: model.p_alive(x, t_x, age),
            purchases: model.expected_purchases(x, t_x, age, horizon),
            discounted: model.discounted_purchases(x, t_x, age, horizon, delta),
            for_ever: model.discounted_purchases_for_ever(x, t_x, age, delta).unwrap_or(f64::INFINITY),
            variance: model.variance(x, t_x, age, horizon),
            p_zero: model.p_zero(x, t_x, age, horizon),
        }
    }

    /// The same from the curves of his `x`.
    pub(crate) fn from_curves(
        model: &dyn PurchaseModel,
        curves: &Curves,
        x: u32,
        t_x: f64,
        age: f64,
    ) -> Self {
        let p_alive = model.p_alive(x, t_x, age);
        // With digits of its own, beside which those of 1 - p_alive are few.
        let p_dead = libm::exp(model.ln_p_dead(x, t_x, age));
        let (alive, spread) = (curves.alive.purchases(age), curves.spread.at(age));
        let for_ever = curves.for_ever.purchases(age).map_or(f64::INFINITY, |sum| p_alive * sum);
        Self {
            p_alive,
            purchases: p_alive * alive.expected,
            discounted: p_alive * alive.discounted,
            for_ever,
            variance: p_alive * (spread.variance + p_dead * alive.expected * alive.expected),
            p_zero: p_dead + p_alive * spread.p_zero,
        }
    }
}

macro_rules! purchase_model {
    ($model:ident, $curves:expr) => {
        impl PurchaseModel for $model {
            fn log_likelihood(&self, x: u32, t_x: f64, age: f64) -> f64 {
                $model::log_likelihood(self, x, t_x, age)
            }
            fn p_alive(&self, x: u32, t_x: f64, age: f64) -> f64 {
                $model::p_alive(self, x, t_x, age)
            }
            fn ln_p_alive(&self, x: u32, t_x: f64, age: f64) -> f64 {
                $model::ln_p_alive(self, x, t_x, age)
            }
            fn ln_p_dead(&self, x: u32, t_x: f64, age: f64) -> f64 {
                $model::ln_p_dead(self, x, t_x, age)
            }
            fn expected_purchases(&self, x: u32, t_x: f64, age: f64, horizon: f64) -> f64 {
                $model::expected_purchases(self, x, t_x, age, horizon)
            }
            fn discounted_purchases(&self, x: u32, t_x: f64, age: f64, horizon: f64, delta: f64) -> f64 {
                $model::discounted_purchases(self, x, t_x, age, horizon, delta)
            }
            fn discounted_purchases_for_ever(
                &self,
                x: u32,
                t_x: f64,
                age: f64,
                delta: f64,
            ) -> Result<f64, Undefined> {
                $model::discounted_purchases_for_ever(self, x, t_x, age, delta)
            }
            fn variance(&self, x: u32, t_x: f64, age: f64, horizon: f64) -> f64 {
                $model::variance(self, x, t_x, age, horizon)
            }
            fn p_zero(&self, x: u32, t_x: f64, age: f64, horizon: f64) -> f64 {
                $model::p_zero(self, x, t_x, age, horizon)
            }
            fn purchase_distribution(
                &self,
                x: u32,
                t_x: f64,
                age: f64,
                horizon: f64,
            ) -> PurchaseDistribution {
                $model::purchase_distribution(self, x, t_x, age, horizon)
            }
            fn curves(&self, x: u32, terms: &Terms) -> Option<Curves> {
                let curves: fn(&Self, u32, &Terms) -> Option<Curves> = $curves;
                curves(self, x, terms)
            }
        }
    };
}

macro_rules! curves {
    () => {
        |model, x, terms| {
            Some(Curves {
                alive: model.alive_curve(x, terms),
                spread: model.spread_curve(x, terms),
                for_ever: model.for_ever_curve(x, terms.delta()),
            })
        }
    };
}

purchase_model!(BgNbd, curves!());
purchase_model!(MbgNbd, curves!());
// Few of its terms are integrals, and none of them depends on x and T alone.
purchase_model!(ParetoNbd, |_, _, _| None);

macro_rules! model_from {
    ($($model:ident),*) => {$(
        impl From<$model> for Model {
            fn from(model: $model) -> Self {
                Self::$model(model)
            }
        }
    )*};
}

model_from!(BgNbd, MbgNbd, ParetoNbd, GammaGamma, BgBb, Sbg, Bdw);

impl From<ContractModel> for Model {
    fn from(model: ContractModel) -> Self {
        match model {
            ContractModel::Sbg(model) => Self::Sbg(model),
            ContractModel::Bdw(model) => Self::Bdw(model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_say_what_each_customer_by_himself_says() {
        let bg_nbd = BgNbd::new(0.243, 4.414, 0.793, 2.426).unwrap();
        let mbg_nbd = MbgNbd::new(0.525, 6.183, 0.891, 1.614).unwrap();
        let mut worst: f64 = 0.0;
        for (model, x, t_x, age, weeks) in [
            (&bg_nbd as &dyn PurchaseModel, 0, 0.0, 0.0, 52.0),
            (&bg_nbd, 0, 0.0, 38.86, 52.0),
            (&bg_nbd, 2, 30.43, 38.86, 39.0),
            (&bg_nbd, 26, 30.86, 31.0, 520.0),
            (&bg_nbd, 400, 200.0, 200.0, 1.0),
            (&mbg_nbd, 0, 0.0, 38.86, 52.0),
            (&mbg_nbd, 5, 1.0, 38.86, 52.0),
            (&mbg_nbd, 1, 900.0, 1000.0, 4.0),
        ] {
            let terms = Terms::new(weeks, 0.15).unwrap();

            let alone = Expected::alone(model, x, t_x, age, &terms);
            let by_curve = Expected::from_curves(model, &model.curves(x, &terms).unwrap(), x, t_x, age);

            let numbers =
                |of: Expected| [of.p_alive, of.purchases, of.discounted, of.for_ever, of.variance, of.p_zero];
            for (one, other) in numbers(alone).into_iter().zip(numbers(by_curve)) {
                worst = worst.max((other / one - 1.0).abs());
            }
        }
        assert!(worst < 1e-12, "{worst:e}");
    }
}
