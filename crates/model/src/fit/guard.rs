//! Whether tonight's parameters may take the place of yesterday's.
//!
//! A fit that converged can still be wrong for the business: a broken feed, a campaign counted twice, a currency mixed
//! up all have a most likely model. Nothing here fits or stores: [`judge`] compares two nights and says what moved too
//! far, and by how much; whoever asked keeps yesterday's parameters then.

use rayon::prelude::*;

use crate::{Parameters, Scorer, Summary};

/// What one night's fit came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Night {
    /// The parameters of both models.
    pub parameters: Parameters,
    /// Whether the purchases were fitted in the time of a season. Two nights of which only one was have parameters in
    /// different clocks, which cannot be held against each other; their likelihoods and forecasts still are.
    pub is_seasonal: bool,
    /// The log-likelihood of the purchases under the fit, per customer.
    pub purchase_log_likelihood: f64,
    /// The log-likelihood of the mean spends under the fit, per customer who bought again.
    pub spend_log_likelihood: f64,
    /// The forecast spend of all customers over the horizon, in minor units ([`forecast`]). Forecasts of the same
    /// customers, each night's by its own parameters, differ by what the parameters say and by nothing else.
    pub forecast: f64,
}

/// The values of all customers together, in minor units; who cannot be valued adds nothing.
pub fn forecast(scorer: &Scorer, customers: &[Summary]) -> f64 {
    // Whole numbers, so that the order of adding cannot be seen.
    let value = |customer| scorer.value(customer).map_or(0, |value| i128::from(value.value_minor));
    customers.par_iter().map(value).sum::<i128>() as f64
}

/// How far a night may be from the one before; each at least 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The log-likelihood per customer, either way, in nats.
    pub log_likelihood: f64,
    /// The logarithm of each parameter, either way: 0.7 is twice or half.
    pub ln_parameter: f64,
    /// The logarithm of the forecast, either way.
    pub ln_forecast: f64,
}

impl Default for Limits {
    /// A tenth of a nat per customer, parameters within twice and half, the forecast within a fifth.
    fn default() -> Self {
        Self { log_likelihood: 0.1, ln_parameter: std::f64::consts::LN_2, ln_forecast: 0.2 }
    }
}

/// What is to be done with the night's parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// They take the place of yesterday's; somebody should look at the flags.
    Accept(Vec<Flag>),
    /// Yesterday's are kept, for these reasons; there is at least one.
    Keep(Vec<Breach>),
}

/// What moved too far.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Breach {
    /// A quantity is further from yesterday's than its limit, or not a number.
    #[error("{quantity} moved by {by:+.3} (at most {limit} either way)")]
    Moved {
        /// Which one.
        quantity: &'static str,
        /// Today's less yesterday's: of the log-likelihood per customer, else of the logarithm.
        by: f64,
        /// How far it may move.
        limit: f64,
    },
    /// The logarithm of a parameter is outside its bounds.
    #[error("ln {parameter} = {ln:.3} is not from -15 to 15")]
    OutOfBounds {
        /// Which one.
        parameter: &'static str,
        /// Its logarithm.
        ln: f64,
    },
}

/// What is possible and strange.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Flag {
    /// Nearly all customers would never leave: sums without an end are then decided by the tail.
    #[error("a = {a} is below 0.05: hardly any customer ever leaves")]
    DropoutHardlyEver {
        /// The first shape of the dropout.
        a: f64,
    },
    /// A new customer's mean spend hardly exists.
    #[error("q = {q} is at most 1.05: the mean spend is decided by the largest amounts")]
    SpendHardlyHasMean {
        /// The shape of the spends' tail.
        q: f64,
    },
}

/// The bounds of the logarithms of all parameters, either way; money in minor units.
pub const LARGEST_LN_PARAMETER: f64 = 15.0;

const LEAST_A: f64 = 0.05;
const LEAST_Q: f64 = 1.05;

/// Judges a night by the one before; the first night of all by its bounds alone.
pub fn judge(yesterday: Option<&Night>, today: &Night, limits: &Limits) -> Verdict {
    let mut breaches = out_of_bounds(&today.parameters);
    if let Some(yesterday) = yesterday {
        breaches.extend(moved(yesterday, today, limits));
    }
    if breaches.is_empty() { Verdict::Accept(flags(&today.parameters)) } else { Verdict::Keep(breaches) }
}

/// What is strange about parameters.
pub fn flags(parameters: &Parameters) -> Vec<Flag> {
    let (a, q) = (parameters.bg_nbd.a(), parameters.gamma_gamma.q());
    let dropout = (a < LEAST_A).then_some(Flag::DropoutHardlyEver { a });
    let spend = (q <= LEAST_Q).then_some(Flag::SpendHardlyHasMean { q });
    dropout.into_iter().chain(spend).collect()
}

fn out_of_bounds(parameters: &Parameters) -> Vec<Breach> {
    logarithms(parameters)
        .into_iter()
        .filter(|(_, ln)| ln.abs() > LARGEST_LN_PARAMETER)
        .map(|(parameter, ln)| Breach::OutOfBounds { parameter, ln })
        .collect()
}

fn moved(yesterday: &Night, today: &Night, limits: &Limits) -> Vec<Breach> {
    let purchases = today.purchase_log_likelihood - yesterday.purchase_log_likelihood;
    let spends = today.spend_log_likelihood - yesterday.spend_log_likelihood;
    let forecast = libm::log(today.forecast / yesterday.forecast);
    let have_one_clock = today.is_seasonal == yesterday.is_seasonal;
    let parameters = logarithms(&today.parameters)
        .into_iter()
        .zip(logarithms(&yesterday.parameters))
        .filter(|_| have_one_clock)
        .map(|((name, now), (_, before))| (name, now - before, limits.ln_parameter));
    [
        ("the log-likelihood of the purchases", purchases, limits.log_likelihood),
        ("the log-likelihood of the spends", spends, limits.log_likelihood),
        ("the forecast", forecast, limits.ln_forecast),
    ]
    .into_iter()
    .chain(parameters)
    // What is not a number has moved too far, too.
    .filter(|&(_, by, limit)| !(-limit..=limit).contains(&by))
    .map(|(quantity, by, limit)| Breach::Moved { quantity, by, limit })
    .collect()
}

fn logarithms(parameters: &Parameters) -> [(&'static str, f64); 7] {
    let Parameters { bg_nbd, gamma_gamma } = parameters;
    [
        ("r", bg_nbd.r()),
        ("alpha", bg_nbd.alpha()),
        ("a", bg_nbd.a()),
        ("b", bg_nbd.b()),
        ("p", gamma_gamma.p()),
        ("q", gamma_gamma.q()),
        ("v", gamma_gamma.v()),
    ]
    .map(|(name, value)| (name, libm::log(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BgNbd, GammaGamma};

    fn night() -> Night {
        Night {
            parameters: with(0.793, 3.74),
            is_seasonal: false,
            purchase_log_likelihood: -4.1,
            spend_log_likelihood: -4.3,
            forecast: 1e9,
        }
    }

    fn with(a: f64, q: f64) -> Parameters {
        Parameters {
            bg_nbd: BgNbd::new(0.243, 4.414, a, 2.426).unwrap(),
            gamma_gamma: GammaGamma::new(6.25, q, 1544.0).unwrap(),
        }
    }

    fn breaches(today: &Night) -> Vec<String> {
        match judge(Some(&night()), today, &Limits::default()) {
            Verdict::Accept(_) => Vec::new(),
            Verdict::Keep(breaches) => breaches.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_night_like_the_last_is_accepted() {
        let today = Night { parameters: with(0.9, 3.5), forecast: 1.1e9, ..night() };

        assert_eq!(judge(Some(&night()), &today, &Limits::default()), Verdict::Accept(Vec::new()));
    }

    #[test]
    fn what_moved_too_far_is_named_with_its_distance() {
        let today =
            Night { parameters: with(0.3, 3.74), purchase_log_likelihood: -4.3, forecast: 0.5e9, ..night() };

        assert_eq!(
            breaches(&today),
            [
                "the log-likelihood of the purchases moved by -0.200 (at most 0.1 either way)",
                "the forecast moved by -0.693 (at most 0.2 either way)",
                "a moved by -0.972 (at most 0.6931471805599453 either way)",
            ]
        );
    }

    #[test]
    fn nights_in_different_clocks_are_judged_without_their_parameters() {
        let today = Night { parameters: with(0.3, 3.74), is_seasonal: true, ..night() };

        assert_eq!(breaches(&today), [""; 0]);
        assert_eq!(breaches(&Night { is_seasonal: false, ..today }).len(), 1);
        assert_eq!(breaches(&Night { forecast: 1.3e9, ..today }).len(), 1);
    }

    #[test]
    fn the_forecast_is_the_sum_of_the_values() {
        let customer = |frequency: u32| Summary {
            frequency,
            recency_days: 7 * frequency,
            age_days: 300,
            repeat_spend_minor: 900 * i64::from(frequency),
        };
        let impossible = Summary { recency_days: 301, ..customer(3) };
        let scorer = Scorer::new(with(0.793, 3.74), crate::Terms::default());
        let value = |frequency| scorer.value(&customer(frequency)).unwrap().value_minor;

        let sum = forecast(&scorer, &[customer(2), impossible, customer(5)]);

        assert_eq!(sum.to_bits(), ((value(2) + value(5)) as f64).to_bits());
    }

    #[test]
    fn what_is_not_a_number_is_never_accepted() {
        for today in [
            Night { forecast: f64::NAN, ..night() },
            Night { forecast: 0.0, ..night() },
            Night { forecast: -1.0, ..night() },
            Night { spend_log_likelihood: f64::NEG_INFINITY, ..night() },
        ] {
            assert_eq!(breaches(&today).len(), 1, "{today:?}");
        }
    }

    #[test]
    fn a_parameter_out_of_bounds_is_refused_on_the_first_night_too() {
        let today = Night { parameters: with(1e-7, 3.74), ..night() };

        let verdict = judge(None, &today, &Limits::default());

        assert!(matches!(verdict, Verdict::Keep(breaches) if
            matches!(breaches[..], [Breach::OutOfBounds { parameter: "a", .. }])));
    }

    #[test]
    fn strange_parameters_are_accepted_with_a_flag() {
        let today = Night { parameters: with(0.04, 1.05), ..night() };

        let verdict = judge(None, &today, &Limits::default());

        let flags = vec![Flag::DropoutHardlyEver { a: 0.04 }, Flag::SpendHardlyHasMean { q: 1.05 }];
        assert_eq!(verdict, Verdict::Accept(flags));
    }
}
