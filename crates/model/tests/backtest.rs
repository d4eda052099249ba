//! The backtest on the CDNOW sample finds the published tracking, correlations and totals.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

use model::backtest::{
    self, Assessment, Cohort, Contender, ContenderKind, Line, Outcome, Prediction, Tracking, assess, compare,
};
use model::{Currency, Observation, fit};

const DAY_US: i64 = 86_400_000_000;

/// 1 January 1997 and 1 July 1998, in days since 1970.
const DATA: std::ops::Range<i64> = 9_862..10_408;

const HORIZON_WEEKS: u32 = 39;

#[test]
fn one_origin_on_cdnow_is_the_papers_calibration_and_holdout() {
    let cohort = cohort();

    let outcomes = outcomes();

    assert_eq!(cohort.origin_day, 10_135, "1 October 1997");
    assert_eq!(outcomes.len(), 2_357);
    assert_eq!(outcomes.iter().map(|outcome| outcome.calibration.frequency).sum::<u32>(), 2_457);
    assert_eq!(outcomes.iter().map(|outcome| outcome.purchases).sum::<u32>(), 1_882);
    assert_eq!(cohort.repeat_days.len(), 2_457 + 1_882);
}

#[test]
fn totals_and_correlations_are_the_published_ones() {
    // Fader, Hardie & Lee (2005), section 4.2: at week 78 BG/NBD tracks 4 % low, Pareto/NBD 2 % low, and the
    // correlations over the customers are .626 and .630.
    for (kind, tracked, correlation) in
        [(ContenderKind::BgNbd, -0.04, 0.626), (ContenderKind::ParetoNbd, -0.02, 0.630)]
    {
        let (assessment, tracking) = judged(kind);

        let found = tracking.unconditional_bias.unwrap();
        let correlated = assessment.count.correlation.unwrap();
        println!("{}: tracking {found:.4}, correlation {correlated:.4}", kind.name());
        assert!((found - tracked).abs() <= 0.005, "{}: {found}", kind.name());
        assert!((correlated - correlation).abs() <= 0.0006, "{}: {correlated}", kind.name());
    }
}

#[test]
fn weekly_forecasts_add_up_to_the_total_forecast() {
    for kind in ContenderKind::ALL {
        let (assessment, tracking) = judged(kind);

        let weeks: f64 = tracking.weeks.iter().filter_map(|week| week.forecast).sum();
        let actual: f64 = tracking.weeks.iter().filter(|week| week.week >= 0).map(|week| week.actual).sum();

        assert!((weeks / assessment.count.forecast - 1.0).abs() < 1e-9, "{}: {weeks}", kind.name());
        assert!((actual - assessment.count.actual).abs() < 0.5);
        assert_eq!(tracking.weeks.len(), 78);
    }
}

#[test]
fn models_beat_the_baselines_where_they_should() {
    let outcomes = outcomes();
    let own_rate: Vec<Prediction> = outcomes
        .iter()
        .map(|outcome| Prediction::own_rate(&outcome.calibration, f64::from(HORIZON_WEEKS)))
        .collect();
    let own_rate = assess(&outcomes, &own_rate);
    let nothing = assess(&outcomes, &vec![Prediction::nothing(); outcomes.len()]);

    let (bg_nbd, _) = judged(ContenderKind::BgNbd);

    assert_eq!(nothing.count.bias, Some(-1.0));
    assert!(bg_nbd.count.bias.unwrap().abs() < own_rate.count.bias.unwrap().abs());
    assert!(bg_nbd.count.mae < own_rate.count.mae);
    assert!(bg_nbd.count.decile_wape < own_rate.count.decile_wape);
    assert!(bg_nbd.count.ranking.gini > nothing.count.ranking.gini);
}

#[test]
fn the_pit_is_a_distribution_and_the_intervals_cover_about_what_they_promise() {
    let (assessment, _) = judged(ContenderKind::BgNbd);

    let calibration = assessment.calibration.unwrap();
    println!("{calibration:?}");
    assert!((calibration.pit.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let share = calibration.coverage[1].pit_share;
    assert!((0.85..0.95).contains(&share), "{share}");
    assert!(calibration.coverage[1].plain_share >= share);
}

#[test]
fn places_that_are_scaled_from_the_latest_buyer_are_the_customers_own() {
    let outcomes = outcomes();
    for kind in ContenderKind::ALL {
        let (contender, spend) = fitted(kind, &outcomes);
        let predictions = contender.predict(&outcomes, &spend, HORIZON_WEEKS);
        for (outcome, forecast) in outcomes.iter().zip(&predictions).step_by(97) {
            let summary = &outcome.calibration;
            let (x, t_x, age) = (summary.frequency, summary.recency(), summary.age());
            let horizon = f64::from(HORIZON_WEEKS);
            let (expected, distribution) = match &contender {
                Contender::BgNbd(m) => (
                    m.expected_purchases(x, t_x, age, horizon),
                    m.purchase_distribution(x, t_x, age, horizon),
                ),
                Contender::MbgNbd(m) => (
                    m.expected_purchases(x, t_x, age, horizon),
                    m.purchase_distribution(x, t_x, age, horizon),
                ),
                Contender::ParetoNbd(m) => (
                    m.expected_purchases(x, t_x, age, horizon),
                    m.purchase_distribution(x, t_x, age, horizon),
                ),
            };
            let place = forecast.place.unwrap();
            assert!((forecast.expected / expected - 1.0).abs() < 1e-9, "{kind:?} {summary:?}");
            assert!((place.probability - distribution.pmf(outcome.purchases)).abs() < 1e-11);
            let up_to = place.below + place.probability;
            assert!((up_to - distribution.cdf(outcome.purchases)).abs() < 1e-11);
        }
    }
}

#[test]
fn a_comparison_says_which_model_describes_the_customers_better() {
    let outcomes = outcomes();
    let [champion, challenger] = [ContenderKind::BgNbd, ContenderKind::ParetoNbd].map(|kind| {
        let (contender, spend) = fitted(kind, &outcomes);
        contender.predict(&outcomes, &spend, HORIZON_WEEKS)
    });

    let comparison = compare(&outcomes, &champion, &challenger, 1);

    println!("{comparison:?}");
    let score = comparison.log_score.unwrap();
    assert!(score.low <= score.estimate && score.estimate <= score.high);
    let means = [&champion, &challenger]
        .map(|predictions| assess(&outcomes, predictions).calibration.unwrap().log_score);
    assert!((score.estimate - (means[1] - means[0])).abs() < 1e-12);
    let error = comparison.decile_error.unwrap();
    assert!(error.low <= error.estimate && error.estimate <= error.high);
}

fn judged(kind: ContenderKind) -> (Assessment, Tracking) {
    let outcomes = outcomes();
    let (contender, spend) = fitted(kind, &outcomes);
    let predictions = contender.predict(&outcomes, &spend, HORIZON_WEEKS);
    (assess(&outcomes, &predictions), backtest::track(&cohort(), &outcomes, &contender))
}

fn fitted(kind: ContenderKind, outcomes: &[Outcome]) -> (Contender, model::GammaGamma) {
    let (purchases, spends) = fit::rows(outcomes.iter().map(|outcome| outcome.calibration));
    (kind.fit(&purchases).unwrap().model, fit::gamma_gamma(&spends).unwrap().model)
}

fn cohort() -> Cohort {
    let schedule = backtest::schedule(DATA.start, DATA.end, 1, HORIZON_WEEKS).unwrap();
    let repeat_days = histories().iter().flat_map(|lines| backtest::repeat_days(lines)).collect();
    Cohort { origin_day: schedule.origin_days[0], horizon_weeks: HORIZON_WEEKS, repeat_days }
}

fn outcomes() -> Vec<Outcome> {
    let observed = |day: i64| Observation::new(day * DAY_US, Currency::parse("USD").unwrap());
    let [origin, end] = [10_135, DATA.end].map(observed);
    histories().iter().map(|lines| backtest::cut(lines, 0, &origin, &end).unwrap().unwrap()).collect()
}

fn histories() -> Vec<Vec<Line>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cdnow_sample_transactions.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let fields: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let line = |fields: &Vec<&str>| Line {
        occurred_at_us: day(fields[2].parse().unwrap()) * DAY_US,
        amount_minor: fields[4].replace('.', "").parse().unwrap(),
        currency: *b"USD",
    };
    fields.chunk_by(|a, b| a[1] == b[1]).map(|customer| customer.iter().map(line).collect()).collect()
}

/// Days since 1970 of a date of 1997 or 1998, written `19970118`.
fn day(date: i64) -> i64 {
    let before_month = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    DATA.start + (year - 1997) * 365 + before_month[month as usize - 1] + day - 1
}
