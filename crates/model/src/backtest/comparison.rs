//! A champion and a challenger on the same customers.
//!
//! Both forecast everybody, so their losses are compared in pairs, customer by customer; what makes one customer hard
//! to forecast is the same for both and cancels. The intervals are percentiles of a bootstrap over customers, whose
//! numbers come from SplitMix64 (Steele, Lea & Flood 2014), each resample from a stream of its own: the same seed
//! gives the same interval, on every machine and for every number of threads.

use rayon::prelude::*;
use serde::Serialize;

use super::assessment::segments;
use super::gain::order;
use super::measures::{DECILES, Decile, decile_at, wape};
use super::{Outcome, Prediction, SegmentBias};

/// What a challenger does better or worse than the champion, at one origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The challenger's mean log score less the champion's: above 0 the challenger is better. `None` if one of them
    /// predicts no distributions.
    pub log_score: Option<Difference>,
    /// The challenger's decile WAPE of the spend less the champion's: below 0 the challenger is better. The tenths are
    /// each model's own, and stay as they are in the resamples. `None` if nothing was spent.
    pub decile_error: Option<Difference>,
    /// The segment whose bias of spend moved away from 0 the most.
    pub worst_segment: Option<SegmentShift>,
}

/// A difference with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// On the customers as they are.
    pub estimate: f64,
    /// The 2.5th percentile of the resamples.
    pub low: f64,
    /// The 97.5th percentile of the resamples.
    pub high: f64,
}

/// How much farther from 0 a segment's bias is with the challenger.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SegmentShift {
    /// The segment.
    pub segment: u32,
    /// `|bias|` of the challenger less `|bias|` of the champion, in percentage points.
    pub worsened_points: f64,
}

/// What becomes of a challenger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", content = "because", rename_all = "snake_case")]
pub enum Verdict {
    /// It takes the champion's place.
    Promote,
    /// The champion stays, for these reasons.
    Keep(Vec<String>),
}

const RESAMPLES: u64 = 1_000;

/// A segment's bias may not worsen by more than this, in percentage points.
const MOST_WORSENED_POINTS: f64 = 3.0;

/// Compares two models' predictions of the same customers.
///
/// # Panics
///
/// If there are not as many predictions as outcomes.
pub fn compare(
    outcomes: &[Outcome],
    champion: &[Prediction],
    challenger: &[Prediction],
    seed: u64,
) -> Comparison {
    assert!(
        outcomes.len() == champion.len() && outcomes.len() == challenger.len(),
        "each outcome has its two predictions"
    );
    let pairs = pairs(outcomes, champion, challenger);
    let everybody = statistics(&pairs, 0..pairs.len());
    let resamples: Vec<Statistics> = (0..RESAMPLES)
        .into_par_iter()
        .map(|resample| {
            let mut random = SplitMix64::new(seed, resample);
            statistics(&pairs, (0..pairs.len()).map(|_| random.below(pairs.len())))
        })
        .collect();
    let have_distributions =
        !pairs.is_empty() && champion.iter().chain(challenger).all(|prediction| prediction.place.is_some());
    Comparison {
        log_score: have_distributions
            .then(|| difference(everybody.log_score, resamples.iter().map(|resample| resample.log_score))),
        decile_error: everybody.decile_error.map(|estimate| {
            difference(estimate, resamples.iter().filter_map(|resample| resample.decile_error))
        }),
        worst_segment: worst_segment(&segments(outcomes, champion), &segments(outcomes, challenger)),
    }
}

/// Says over the origins, earliest first, whether the challenger is promoted.
///
/// It is if, at each of the last two origins, its log score is better and its decile error is not worse (an interval
/// without 0 decides), and no segment's bias worsens by more than three percentage points.
pub fn judge(origins: &[Comparison]) -> Verdict {
    let Some([earlier, later]) = origins.last_chunk::<2>() else {
        return Verdict::Keep(vec!["a promotion needs two consecutive origins".into()]);
    };
    let reasons: Vec<String> = [("the last origin but one", earlier), ("the last origin", later)]
        .into_iter()
        .flat_map(objections)
        .collect();
    if reasons.is_empty() { Verdict::Promote } else { Verdict::Keep(reasons) }
}

fn objections((origin, comparison): (&str, &Comparison)) -> Vec<String> {
    let mut reasons = Vec::new();
    match comparison.log_score {
        None => reasons.push(format!("{origin}: there are no distributions to compare")),
        Some(score) if score.high < 0.0 => reasons.push(format!("{origin}: its log score is worse")),
        Some(score) if score.low <= 0.0 => {
            reasons.push(format!("{origin}: its log score may not be better (the interval contains 0)"));
        }
        Some(_) => {}
    }
    if comparison.decile_error.is_some_and(|error| error.low > 0.0) {
        reasons.push(format!("{origin}: its decile error is worse"));
    }
    if let Some(shift) = comparison.worst_segment
        && shift.worsened_points > MOST_WORSENED_POINTS
    {
        reasons.push(format!("{origin}: a segment's bias worsens by {:.1} points", shift.worsened_points));
    }
    reasons
}

/// What is resampled: one customer under both models.
#[derive(Clone, Copy)]
struct Pair {
    log_score_difference: f64,
    actual: f64,
    forecast: [f64; 2],
    decile: [u8; 2],
}

fn pairs(outcomes: &[Outcome], champion: &[Prediction], challenger: &[Prediction]) -> Vec<Pair> {
    let [of_champion, of_challenger] = [champion, challenger].map(decile_of_each);
    let score = |prediction: &Prediction| prediction.place.map_or(0.0, |place| place.log_score());
    (0..outcomes.len())
        .map(|i| Pair {
            log_score_difference: score(&challenger[i]) - score(&champion[i]),
            actual: outcomes[i].spend_minor as f64,
            forecast: [champion[i].spend_minor, challenger[i].spend_minor],
            decile: [of_champion[i], of_challenger[i]],
        })
        .collect()
}

fn decile_of_each(predictions: &[Prediction]) -> Vec<u8> {
    let spends: Vec<f64> = predictions.iter().map(|prediction| prediction.spend_minor).collect();
    let mut deciles = vec![0; spends.len()];
    for (place, customer) in order(&spends).into_iter().enumerate() {
        deciles[customer] = decile_at(place, spends.len()) as u8;
    }
    deciles
}

#[derive(Clone, Copy)]
struct Statistics {
    log_score: f64,
    decile_error: Option<f64>,
}

fn statistics(pairs: &[Pair], chosen: impl Iterator<Item = usize>) -> Statistics {
    let mut score = 0.0;
    let mut deciles = [[Decile::default(); DECILES]; 2];
    for pair in chosen.map(|index| &pairs[index]) {
        score += pair.log_score_difference;
        for (model, deciles) in deciles.iter_mut().enumerate() {
            let decile = &mut deciles[usize::from(pair.decile[model])];
            decile.forecast += pair.forecast[model];
            decile.actual += pair.actual;
        }
    }
    let [champion, challenger] = deciles.map(|deciles| wape(&deciles));
    Statistics {
        log_score: score / pairs.len().max(1) as f64,
        decile_error: challenger.zip(champion).map(|(challenger, champion)| challenger - champion),
    }
}

fn difference(estimate: f64, resamples: impl Iterator<Item = f64>) -> Difference {
    let mut sorted: Vec<f64> = resamples.collect();
    sorted.sort_by(f64::total_cmp);
    // 25 of 1,000 lie below the low end, and as many above the high one.
    let beyond = sorted.len() / 40;
    let low = sorted.get(beyond).copied().unwrap_or(estimate);
    let high = sorted.iter().rev().nth(beyond).copied().unwrap_or(estimate);
    Difference { estimate, low, high }
}

fn worst_segment(champion: &[SegmentBias], challenger: &[SegmentBias]) -> Option<SegmentShift> {
    let shift = |(old, new): (&SegmentBias, &SegmentBias)| {
        let worsened_points = 100.0 * (new.spend_bias?.abs() - old.spend_bias?.abs());
        Some(SegmentShift { segment: old.segment, worsened_points })
    };
    let shifts = champion.iter().zip(challenger).filter_map(shift);
    shifts.max_by(|a, b| a.worsened_points.total_cmp(&b.worsened_points))
}

/// Steele, Lea & Flood (2014), "Fast splittable pseudorandom number generators", OOPSLA.
struct SplitMix64(u64);

impl SplitMix64 {
    /// A stream of its own for each number.
    fn new(seed: u64, stream: u64) -> Self {
        let mut of_stream = Self(stream);
        Self(seed ^ of_stream.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, each as likely but for one in 2^64 / `end`.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::super::origins::tests::outcome;
    use super::*;

    fn predictions(probability: impl Fn(usize) -> f64, spend: f64) -> Vec<Prediction> {
        (0..200)
            .map(|i| {
                let place = Some(Place { below: 0.0, probability: probability(i) });
                Prediction { expected: 1.0, spend_minor: spend + i as f64, place }
            })
            .collect()
    }

    fn outcomes() -> Vec<Outcome> {
        (0..200).map(|i| outcome(1, i % 2, 1, 100 + i64::from(i))).collect()
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);

        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn a_challenger_that_is_always_better_is_seen_and_promoted_at_the_second_origin() {
        let champion = predictions(|i| 0.3 + 0.001 * i as f64, 130.0);
        let challenger = predictions(|i| 0.4 + 0.001 * i as f64, 100.0);

        let comparison = compare(&outcomes(), &champion, &challenger, 1);

        let score = comparison.log_score.unwrap();
        assert!(0.0 < score.low && score.low < score.estimate && score.estimate < score.high, "{score:?}");
        let error = comparison.decile_error.unwrap();
        assert!(error.high < 0.0 && (error.estimate + 6_000.0 / 39_900.0).abs() < 1e-12, "{error:?}");
        assert!(comparison.worst_segment.unwrap().worsened_points < 0.0);
        assert_eq!(judge(&[comparison.clone(), comparison.clone()]), Verdict::Promote);
        assert!(matches!(judge(&[comparison]), Verdict::Keep(_)));
    }

    #[test]
    fn equal_models_differ_by_nothing_and_the_champion_stays() {
        let same = predictions(|_| 0.5, 100.0);

        let comparison = compare(&outcomes(), &same, &same, 1);

        assert_eq!(comparison.log_score, Some(Difference { estimate: 0.0, low: 0.0, high: 0.0 }));
        let Verdict::Keep(reasons) = judge(&[comparison.clone(), comparison]) else { panic!("promoted") };
        assert_eq!(
            reasons[0],
            "the last origin but one: its log score may not be better (the interval contains 0)"
        );
    }

    #[test]
    fn a_better_score_does_not_excuse_a_segment_that_gets_worse() {
        let champion = predictions(|_| 0.3, 100.0);
        let challenger = predictions(|_| 0.4, 110.0);

        let comparison = compare(&outcomes(), &champion, &challenger, 1);

        let Verdict::Keep(reasons) = judge(&[comparison.clone(), comparison]) else { panic!("promoted") };
        assert_eq!(reasons[0], "the last origin but one: its decile error is worse");
        assert_eq!(reasons[1], "the last origin but one: a segment's bias worsens by 5.0 points");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_on_any_number_of_threads() {
        let (champion, challenger) =
            (predictions(|i| 0.3 + 0.003 * (i % 7) as f64, 90.0), predictions(|_| 0.31, 95.0));
        let on = |threads: usize, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| compare(&outcomes(), &champion, &challenger, seed))
        };

        assert_eq!(on(1, 7), on(3, 7));
        assert_ne!(on(1, 7), on(1, 8));
    }
}
