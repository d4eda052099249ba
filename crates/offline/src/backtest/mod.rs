//! `ltv backtest`: what the models would have forecast at past moments, held against what came.
//!
//! Reads a file, cuts its histories at each origin, fits every model on what lay before, and lets
//! [`model::backtest`] judge. Needs no server. Here is the order of steps; the page is in `page.rs`, its figures in
//! `figures.rs` and `plot.rs`, the table for a terminal in `text.rs`.

mod data;
mod figures;
mod page;
mod plot;
mod text;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use model::backtest::{
    self, Assessment, Cohort, Comparison, Contender, ContenderKind, Outcome, Prediction, Tracking, Verdict,
};
use model::{Currency, GammaGamma, Observation, fit};
use serde::Serialize;

pub use data::{Base, Customer};
pub use page::html;
pub use text::text;

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// How many origins.
    pub origins: u32,
    /// How far is forecast from each.
    pub horizon_weeks: u32,
    /// Which models take part.
    pub models: Vec<ContenderKind>,
    /// The one that the others must beat.
    pub champion: ContenderKind,
    /// The currency of the histories.
    pub currency: Currency,
    /// The end of the data; the midnight after the last transaction if `None`.
    pub as_of: Option<Timestamp>,
    /// Of the bootstrap.
    pub seed: u64,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was read.
    pub data: DataFacts,
    /// How far was forecast from each origin.
    pub horizon_weeks: u32,
    /// Weeks from one origin to the next; less than the horizon if holdouts overlap.
    pub step_weeks: u32,
    /// Of the bootstrap.
    pub seed: u64,
    /// The model that the others must beat.
    pub champion: ContenderKind,
    /// The names of the segments, by their numbers.
    pub segments: Vec<String>,
    /// The origins, the earliest first.
    pub origins: Vec<OriginReport>,
    /// What becomes of each challenger.
    pub verdicts: Vec<ChallengerVerdict>,
}

/// What was read.
#[derive(Clone, Debug, Serialize)]
pub struct DataFacts {
    /// The file of transactions.
    pub source: String,
    /// Rows of it.
    pub rows: u64,
    /// Rows of it that could not be read.
    pub rejected_rows: u64,
    /// Customers.
    pub customers: u64,
    /// The day of the first transaction.
    pub first_day: String,
    /// The first day that was no longer looked at.
    pub end: String,
    /// The currency.
    pub currency: String,
}

/// One origin.
#[derive(Clone, Debug, Serialize)]
pub struct OriginReport {
    /// The first day of the holdout.
    pub origin: String,
    /// The first day after it.
    pub end: String,
    /// Customers who were forecast.
    pub customers: u64,
    /// Customers who could not be, by the reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// The spend model, which all purchase models share.
    pub spend: SpendReport,
    /// The models that could be fitted, the champion first.
    pub models: Vec<ModelReport>,
    /// The models that could not.
    pub failed: Vec<FailedModel>,
    /// What costs nothing.
    pub baselines: Vec<Baseline>,
    /// Each challenger against the champion.
    pub comparisons: Vec<ChallengerComparison>,
}

/// The spend model.
#[derive(Clone, Debug, Serialize)]
pub struct SpendReport {
    /// Its parameters.
    pub parameters: GammaGamma,
    /// Customers behind them.
    pub customers: u64,
    /// Of all those customers.
    pub log_likelihood: f64,
}

/// A model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// Which one.
    pub kind: ContenderKind,
    /// Its parameters.
    pub parameters: Contender,
    /// Their standard errors.
    pub standard_errors: Vec<f64>,
    /// On the calibration.
    pub log_likelihood: f64,
    /// How far its forecasts were off.
    pub assessment: Assessment,
    /// How it follows the weeks.
    pub tracking: Tracking,
}

/// A model that could not be fitted.
#[derive(Clone, Debug, Serialize)]
pub struct FailedModel {
    /// Which one.
    pub kind: ContenderKind,
    /// Why.
    pub error: String,
}

/// A forecast without a model.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    /// Which one.
    pub name: &'static str,
    /// How far it was off.
    pub assessment: Assessment,
}

/// A challenger at an origin.
#[derive(Clone, Debug, Serialize)]
pub struct ChallengerComparison {
    /// Which one.
    pub challenger: ContenderKind,
    /// What it does better or worse than the champion.
    pub comparison: Comparison,
}

/// What becomes of a challenger.
#[derive(Clone, Debug, Serialize)]
pub struct ChallengerVerdict {
    /// Which one.
    pub challenger: ContenderKind,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Answers a question about a base. `progress` hears what is being done.
pub fn backtest(base: &Base, question: &Question, progress: impl Fn(&str)) -> Result<Report> {
    let (first_day, end_day) = base.days(question.as_of)?;
    let schedule = backtest::schedule(first_day, end_day, question.origins, question.horizon_weeks)
        .with_context(|| format!("transactions from {} to {}", date(first_day), date(end_day)))?;
    let mut origins = Vec::new();
    for &origin_day in &schedule.origin_days {
        progress(&format!("origin {}", date(origin_day)));
        origins.push(at_origin(base, question, origin_day).with_context(|| {
            format!("origin {}, horizon {} weeks", date(origin_day), question.horizon_weeks)
        })?);
    }
    Ok(Report {
        data: base.facts(first_day, end_day, question.currency),
        horizon_weeks: question.horizon_weeks,
        step_weeks: schedule.step_weeks,
        seed: question.seed,
        champion: question.champion,
        segments: base.segments.clone(),
        verdicts: verdicts(question, &origins),
        origins,
    })
}

fn at_origin(base: &Base, question: &Question, origin_day: i64) -> Result<OriginReport> {
    let horizon_weeks = question.horizon_weeks;
    let end_day = origin_day + 7 * i64::from(horizon_weeks);
    let known = Known::at(base, question.currency, origin_day, end_day);
    let outcomes = &known.outcomes;
    let (purchases, spends) = fit::rows(outcomes.iter().map(|outcome| outcome.calibration));
    let spend = fit::gamma_gamma(&spends)?;

    let (mut models, mut forecasts, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let challengers = question.models.iter().copied().filter(|&kind| kind != question.champion);
    for kind in std::iter::once(question.champion).chain(challengers) {
        let fit = match kind.fit(&purchases) {
            Ok(fit) => fit,
            Err(error) if kind != question.champion => {
                failed.push(FailedModel { kind, error: error.to_string() });
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let forecast = fit.model.predict(outcomes, &spend.model, horizon_weeks);
        models.push(ModelReport {
            kind,
            parameters: fit.model,
            standard_errors: fit.standard_errors,
            log_likelihood: fit.log_likelihood,
            assessment: backtest::assess(outcomes, &forecast),
            tracking: backtest::track(&known.cohort, outcomes, &fit.model),
        });
        forecasts.push(forecast);
    }
    let compare = |(model, forecast): (&ModelReport, &Vec<Prediction>)| ChallengerComparison {
        challenger: model.kind,
        comparison: backtest::compare(outcomes, &forecasts[0], forecast, question.seed),
    };
    Ok(OriginReport {
        origin: date(origin_day),
        end: date(end_day),
        customers: outcomes.len() as u64,
        spend: SpendReport {
            parameters: spend.model,
            customers: spend.customers,
            log_likelihood: spend.log_likelihood,
        },
        comparisons: models.iter().zip(&forecasts).skip(1).map(compare).collect(),
        baselines: baselines(outcomes, horizon_weeks),
        left_out: known.left_out,
        models,
        failed,
    })
}

/// What is known of a base at an origin.
struct Known {
    outcomes: Vec<Outcome>,
    cohort: Cohort,
    left_out: BTreeMap<&'static str, u64>,
}

impl Known {
    fn at(base: &Base, currency: Currency, origin_day: i64, end_day: i64) -> Self {
        let [origin, end] =
            [origin_day, end_day].map(|day| Observation::new(day * MICROSECONDS_PER_DAY, currency));
        let (mut outcomes, mut repeat_days, mut left_out) = (Vec::new(), Vec::new(), BTreeMap::new());
        for customer in &base.customers {
            match backtest::cut(&customer.lines, customer.segment, &origin, &end) {
                None => {}
                Some(Err(rejection)) => *left_out.entry(rejection.code()).or_insert(0) += 1,
                Some(Ok(outcome)) => {
                    outcomes.push(outcome);
                    repeat_days
                        .extend(backtest::repeat_days(&customer.lines).take_while(|&day| day < end_day));
                }
            }
        }
        let horizon_weeks = ((end_day - origin_day) / 7) as u32;
        Self { outcomes, cohort: Cohort { origin_day, horizon_weeks, repeat_days }, left_out }
    }
}

fn baselines(outcomes: &[Outcome], horizon_weeks: u32) -> Vec<Baseline> {
    let horizon = f64::from(horizon_weeks);
    let own_rate = |outcome: &Outcome| Prediction::own_rate(&outcome.calibration, horizon);
    let judged = |name, forecast: Vec<Prediction>| Baseline {
        name,
        assessment: backtest::assess(outcomes, &forecast),
    };
    vec![
        judged("own rate", outcomes.iter().map(own_rate).collect()),
        judged("always 0", vec![Prediction::nothing(); outcomes.len()]),
    ]
}

fn verdicts(question: &Question, origins: &[OriginReport]) -> Vec<ChallengerVerdict> {
    let challengers = question.models.iter().copied().filter(|&kind| kind != question.champion);
    challengers
        .map(|challenger| {
            let of_origin = |origin: &OriginReport| {
                let mut found = origin.comparisons.iter();
                found.find(|of| of.challenger == challenger).map(|of| of.comparison.clone())
            };
            let last_two = &origins[origins.len().saturating_sub(2)..];
            let comparisons: Option<Vec<Comparison>> = last_two.iter().map(of_origin).collect();
            let verdict = match comparisons {
                Some(comparisons) => backtest::judge(&comparisons),
                None => Verdict::Keep(vec!["it could not be fitted at each of the last two origins".into()]),
            };
            ChallengerVerdict { challenger, verdict }
        })
        .collect()
}

/// A day since 1970-01-01 as people write it.
fn date(day: i64) -> String {
    let midnight = Timestamp::from_second(day * 86_400).unwrap_or(Timestamp::MAX);
    midnight.strftime("%Y-%m-%d").to_string()
}

/// Asks for what must be so before anything is read.
pub fn check(question: &Question) -> Result<()> {
    ensure!(
        question.models.contains(&question.champion),
        "the champion {} does not take part; add it to --models",
        question.champion.code()
    );
    Ok(())
}
