//! The intervals of an account: those of its contracts, those of its purchases, and those of both together.

use std::collections::BTreeMap;

use model::{
    Between, Contract, ContractModel, ContractModels, Models, PlanIndex, Sbg, Scorer, SpendDistribution,
    Terms, ValueTerms, Valuer, WEEKS_PER_YEAR,
};

use crate::accounts::{
    LAST_DAY, assert_close, bg_nbd, buyer, contract, models, subscriber, summary, valuer, with,
};

#[test]
fn the_interval_of_a_contract_alone_is_of_its_payments() {
    let valuer = valuer();
    let monthly = contract(0, 1, 6, 10);
    let renewals = Sbg::new(0.7, 6.0).unwrap().remaining(6, 12);

    let intervals = valuer.value(&subscriber(&[monthly])).unwrap().intervals.unwrap();

    for (interval, level) in intervals.into_iter().zip([0.8, 0.9]) {
        let tail = 0.5 * (1.0 - level);
        let (lower, upper) = if renewals.pmf(0) < tail { (tail, 1.0 - tail) } else { (0.0, level) };
        assert_eq!(interval.lower_minor, 2_000 * i64::from(renewals.quantile(lower)));
        assert_eq!(interval.upper_minor, 2_000 * i64::from(renewals.quantile(upper)));
    }
}

#[test]
fn the_interval_of_many_contracts_stays_that_of_their_sum() {
    let valuer = valuer();
    let contracts = [6, 9, 12, 20].map(|renewals| contract(0, 1, renewals, 10));
    let sums = sums_of(&Sbg::new(0.7, 6.0).unwrap(), &contracts);

    let [eighty, ninety] = valuer.value(&subscriber(&contracts)).unwrap().intervals.unwrap();

    for (actual, level) in [
        (eighty.lower_minor, 0.1),
        (eighty.upper_minor, 0.9),
        (ninety.lower_minor, 0.05),
        (ninety.upper_minor, 0.95),
    ] {
        assert_eq!(actual, quantile_of(&sums, level), "{level}");
    }
}

#[test]
fn without_contracts_the_intervals_are_those_of_the_scorer() {
    let terms = ValueTerms::new(0.15, 0.5, 0.0, 1.0).unwrap();
    let valuer = Valuer::new(models(), terms, LAST_DAY);
    let scorer = Scorer::new(models().purchases, Terms::default());
    for summary in [summary(0, 0, 20), summary(3, 100, 200), summary(30, 690, 700), summary(9, 10, 700)] {
        let intervals = valuer.value(&buyer(summary)).unwrap().intervals.unwrap();

        let expected = scorer.prospect(&summary).unwrap().spend_intervals.unwrap();

        for (actual, expected) in intervals.into_iter().zip(expected) {
            assert!((actual.lower_minor as f64 - 0.5 * expected.lower).abs() <= 0.6);
            assert!((actual.upper_minor as f64 - 0.5 * expected.upper).abs() <= 0.6 + 1e-6 * expected.upper);
        }
    }
}

#[test]
fn equal_sums_of_several_contracts_are_one_whatever_the_margin() {
    let terms = ValueTerms::new(0.15, 1.0, 0.0, 0.7).unwrap();
    let contracts =
        [6, 9, 12, 20].map(|renewals| Contract { price_minor: 1_999, ..contract(0, 1, renewals, 10) });
    let sums = sums_of(&Sbg::new(0.7, 6.0).unwrap(), &contracts);

    let actual = Valuer::new(models(), terms, LAST_DAY).value(&subscriber(&contracts)).unwrap();

    let quantile = |level| (quantile_of(&sums, level) as f64 * 0.7).round() as i64;
    let between = |lower, upper| Between { lower_minor: quantile(lower), upper_minor: quantile(upper) };
    assert_eq!(actual.intervals, Some([between(0.1, 0.9), between(0.05, 0.95)]));
}

#[test]
fn many_different_sums_leave_what_brings_nothing_by_itself() {
    let sbg = Sbg::new(1.0, 1.0).unwrap();
    let contracts = ContractModels { others: Some(ContractModel::Sbg(sbg)), ..ContractModels::default() };
    let valuer = Valuer::new(Models { contracts, ..models() }, ValueTerms::default(), LAST_DAY);
    let contracts = [1_000, 1_100, 1_210]
        .map(|price_minor| Contract { price_minor, ..contract(PlanIndex::OTHER.0, 1, 0, 10) });
    let sums = sums_of(&sbg, &contracts);

    let intervals = valuer.value(&subscriber(&contracts)).unwrap().intervals.unwrap();

    // Of eight such customers one pays nothing more.
    for (interval, level) in intervals.into_iter().zip([0.8, 0.9]) {
        assert_eq!(interval.lower_minor, 0);
        assert_close(interval.upper_minor as f64, quantile_of(&sums, level) as f64, 0.03);
    }
}

/// All sums that contracts may bring in a year, with their probabilities.
fn sums_of(sbg: &Sbg, contracts: &[Contract]) -> BTreeMap<i64, f64> {
    let mut sums = BTreeMap::from([(0, 1.0)]);
    for contract in contracts {
        let renewals = sbg.remaining(contract.renewals, 12);
        let mut more = BTreeMap::new();
        for (sum, probability) in &sums {
            for n in 0..=12 {
                let sum = sum + i64::from(n) * contract.price_minor;
                *more.entry(sum).or_insert(0.0) += probability * renewals.pmf(n);
            }
        }
        sums = more;
    }
    sums
}

fn quantile_of(sums: &BTreeMap<i64, f64>, level: f64) -> i64 {
    let mut cdf = 0.0;
    let reached = sums.iter().find(|(_, probability)| {
        cdf += *probability;
        cdf >= level
    });
    *reached.unwrap().0
}

#[test]
fn quantiles_of_both_parts_are_those_of_the_convolution() {
    let valuer = valuer();
    let models = models();
    let gamma_gamma = models.purchases.gamma_gamma;
    let (mut worst, mut worst_of_truth): (f64, f64) = (0.0, 0.0);
    for (x, recency_days, age_days) in
        [(0, 0, 60), (2, 50, 80), (8, 300, 400), (8, 100, 400), (40, 690, 700), (9, 30, 700)]
    {
        let summary = summary(x, recency_days, age_days);
        let (t_x, age, zbar) = (summary.recency(), summary.age(), summary.mean_spend_minor());
        let purchases = bg_nbd().purchase_distribution(x, t_x, age, WEEKS_PER_YEAR);
        let spend = SpendDistribution::new(&gamma_gamma, x, zbar, &purchases);
        let moments = spend.moments().unwrap();
        let positive = 1.0 - spend.p_zero();
        let mean = moments.mean() / positive;
        let ln_variance = ((moments.variance() + moments.mean().powi(2)) / positive / mean / mean).ln();
        let lognormal = |amount: f64| {
            let z = ((amount / mean).ln() + 0.5 * ln_variance) / ln_variance.sqrt();
            spend.p_zero() + positive * 0.5 * libm::erfc(-z / 2_f64.sqrt())
        };
        for contract in [0, 5, 30].map(|renewals| contract(0, 1, renewals, 10)) {
            let payments = Sbg::new(0.7, 6.0).unwrap().remaining(contract.renewals, 12);
            let convolved = |amount: f64, spent: &dyn Fn(f64) -> f64| -> f64 {
                let left = |n: u32| amount - 2_000.0 * f64::from(n);
                let made = (0..=12).filter(|&n| left(n) >= 0.0);
                made.map(|n| payments.pmf(n) * spent(left(n))).sum()
            };

            let intervals = valuer.value(&with(buyer(summary), &[contract])).unwrap().intervals.unwrap();

            let p_zero = spend.p_zero() * payments.pmf(0);
            for (interval, level) in intervals.into_iter().zip([0.8, 0.9]) {
                let tail = 0.5 * (1.0 - level);
                let (lower, upper) = if p_zero < tail { (tail, 1.0 - tail) } else { (0.0, level) };
                for (actual, level) in [(interval.lower_minor, lower), (interval.upper_minor, upper)] {
                    // Where the distribution jumps over the level, both sides of the jump are right.
                    let off = |spent: &dyn Fn(f64) -> f64| {
                        let around = [-1.0, 1.0].map(|by| convolved(actual as f64 + by, spent));
                        f64::max(around[0] - level, level - around[1])
                    };
                    worst = worst.max(off(&lognormal));
                    worst_of_truth = worst_of_truth.max(off(&|amount| spend.cdf(amount)));
                }
            }
        }
    }
    // The courses of a contract cost little beside what the lognormal itself costs.
    assert!(worst < 0.013, "{worst}");
    assert!(worst_of_truth < 0.055, "{worst_of_truth}");
}
