//! Fits on customers made up from known parameters: of all of them, and of their segments.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be read or built has failed")]

mod csv;

use std::collections::BTreeMap;

use csv::Table;
use model::fit::{self, FEWEST_BUYERS_OF_A_SEGMENT, SpendRow};
use model::{BgNbd, GammaGamma, Parameters, Summary};

/// A small generator of random numbers (Steele, Lea & Flood 2014, SplitMix64).
struct Chance(u64);

impl Chance {
    /// Between 0 and 1, neither of them.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + 0.5 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -libm::log(self.uniform())
    }

    fn normal(&mut self) -> f64 {
        libm::sqrt(2.0 * self.exponential()) * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// Marsaglia & Tsang (2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * libm::pow(self.uniform(), 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let z = self.normal();
            let root = 1.0 + z / libm::sqrt(9.0 * d);
            let cube = root * root * root;
            if cube > 0.0 && libm::log(self.uniform()) < 0.5 * z * z + d - d * cube + d * libm::log(cube) {
                return d * cube;
            }
        }
    }

    fn beta(&mut self, a: f64, b: f64) -> f64 {
        let left = self.gamma(a);
        left / (left + self.gamma(b))
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.uniform()
    }

    /// A customer of some age below 600 days.
    fn customer(&mut self, parameters: &Parameters) -> Summary {
        let Parameters { bg_nbd, gamma_gamma } = parameters;
        let age_days = self.between(200.0, 600.0) as u32;
        let rate = self.gamma(bg_nbd.r()) / bg_nbd.alpha() / 7.0;
        let dropout = self.beta(bg_nbd.a(), bg_nbd.b());
        let (mut frequency, mut recency, mut now) = (0, 0.0, 0.0);
        loop {
            now += self.exponential() / rate;
            if now > f64::from(age_days) {
                break;
            }
            (frequency, recency) = (frequency + 1, now);
            if self.uniform() < dropout {
                break;
            }
        }
        let nu = self.gamma(gamma_gamma.q()) / gamma_gamma.v();
        let spend = if frequency > 0 { self.gamma(gamma_gamma.p() * f64::from(frequency)) / nu } else { 0.0 };
        let recency_days = libm::round(recency) as u32;
        Summary { frequency, recency_days, age_days, repeat_spend_minor: libm::round(spend) as i64 }
    }

    fn customers(&mut self, parameters: &Parameters, number: u32) -> Vec<Summary> {
        (0..number).map(|_| self.customer(parameters)).collect()
    }
}

fn parameters([r, alpha, a, b]: [f64; 4], [p, q, v]: [f64; 3]) -> Parameters {
    Parameters { bg_nbd: BgNbd::new(r, alpha, a, b).unwrap(), gamma_gamma: GammaGamma::new(p, q, v).unwrap() }
}

fn cdnow_like() -> Parameters {
    parameters([0.6, 9.0, 0.8, 2.5], [6.25, 3.74, 15_440.0])
}

#[test]
fn the_parameters_behind_made_up_customers_are_found_within_their_standard_errors() {
    let truth = cdnow_like();

    let (_, found) = fit::parameters(Chance(1).customers(&truth, 40_000)).unwrap();

    let (bg, gg) = (truth.bg_nbd, truth.gamma_gamma);
    let pairs = [
        (found.bg_nbd.model.r(), bg.r(), found.bg_nbd.standard_errors[0]),
        (found.bg_nbd.model.alpha(), bg.alpha(), found.bg_nbd.standard_errors[1]),
        (found.bg_nbd.model.a(), bg.a(), found.bg_nbd.standard_errors[2]),
        (found.bg_nbd.model.b(), bg.b(), found.bg_nbd.standard_errors[3]),
        (found.gamma_gamma.model.p(), gg.p(), found.gamma_gamma.standard_errors[0]),
        (found.gamma_gamma.model.q(), gg.q(), found.gamma_gamma.standard_errors[1]),
        (found.gamma_gamma.model.v(), gg.v(), found.gamma_gamma.standard_errors[2]),
    ];
    for (actual, expected, standard_error) in pairs {
        println!("{actual} of {expected}: {:.2} standard errors", (actual - expected) / standard_error);
        assert!((actual - expected).abs() < 3.5 * standard_error);
        assert!(standard_error < 0.2 * expected);
    }
}

#[test]
fn a_draft_saves_evaluations_of_many_customers_and_moves_nothing() {
    let (rows, _) = fit::rows(Chance(5).customers(&cdnow_like(), 100_000));
    let of_all = |of: fn(&fit::PurchaseRow) -> f64| -> f64 {
        rows.iter().map(|row| row.customers as f64 * of(row)).sum()
    };
    let rate = of_all(|row| f64::from(row.x)) / of_all(|row| row.age);
    // Where the search of all customers begins, too.
    let start = BgNbd::new(0.5, 0.5 / rate, 1.0, 3.0).unwrap();
    let fit_on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit::bg_nbd(&rows).unwrap())
    };

    let (drafted, at_once) = (fit_on(1), fit::bg_nbd_from(&rows, &start).unwrap());

    println!("{} rows, evaluations {} instead of {}", rows.len(), drafted.evaluations, at_once.evaluations);
    assert!(5 * drafted.evaluations <= 4 * at_once.evaluations, "{drafted:?} {at_once:?}");
    assert!(drafted.converged && (drafted.model.b() / at_once.model.b() - 1.0).abs() < 1e-9);
    assert_eq!(fit_on(3), drafted);
}

#[test]
fn gamma_gamma_finds_its_maximum_from_anywhere() {
    let table = Table::read("cdnow_customers_summary_with_transactions.csv");
    let row =
        |row: csv::Row<'_>| SpendRow { x: row.number("x") as u32, zbar: row.number("zbar"), customers: 1 };
    let rows: Vec<SpendRow> = table.rows().map(row).filter(|row| row.x > 0 && row.zbar > 0.0).collect();
    let expected = [6.248_802_489_7, 3.744_588_453_3, 15.447_748_009_5];
    let mut chance = Chance(7);
    let mut worst: f64 = 0.0;

    for _ in 0..20 {
        let [p, q, v] = expected.map(|value| value * libm::exp(chance.between(-7.0, 7.0)));
        let fit = fit::gamma_gamma_from(&rows, &GammaGamma::new(p, q, v).unwrap()).unwrap();
        let found = [fit.model.p(), fit.model.q(), fit.model.v()];
        for (found, expected) in found.iter().zip(expected) {
            worst = worst.max((found / expected - 1.0).abs());
        }
        println!("from {p:.2e} {q:.2e} {v:.2e}: {} evaluations", fit.evaluations);
    }

    println!("worst relative error {worst:.1e}");
    assert!(worst < 1e-8);
}

#[test]
fn the_largest_thousandth_of_mean_spends_is_cut_off() {
    let row = |i: u32| SpendRow { x: 1, zbar: f64::from(i), customers: 1 };
    let rows: Vec<SpendRow> = (1..=2000).rev().map(row).collect();

    let cut = fit::winsorised(&rows, 0.999);
    let few = fit::winsorised(&rows[..500], 0.999);

    assert_eq!((cut.cap.to_bits(), cut.customers_cut), (1998.0_f64.to_bits(), 2));
    assert_eq!(cut.rows[0], SpendRow { zbar: 1998.0, ..rows[0] });
    assert_eq!(cut.rows[2..], rows[2..]);
    assert_eq!((few.customers_cut, &few.rows[..]), (0, &rows[..500]));
    assert_eq!(fit::winsorised(&[], 0.999).customers_cut, 0);
}

/// Nine segments whose parameters differ, of sizes from 100 to 6,000.
fn segments() -> (BTreeMap<String, Parameters>, BTreeMap<String, Vec<Summary>>) {
    let mut chance = Chance(11);
    let sizes = [100, 299, 300, 400, 600, 1000, 2000, 4000, 6000];
    let mut truths = BTreeMap::new();
    let mut segments = BTreeMap::new();
    for (place, size) in sizes.into_iter().enumerate() {
        let mut near = |value: f64| value * libm::exp(0.3 * chance.normal());
        let truth =
            parameters([near(0.6), near(9.0), near(0.8), near(2.5)], [near(6.0), near(4.0), near(15_000.0)]);
        segments.insert(format!("segment {place}"), chance.customers(&truth, size));
        truths.insert(format!("segment {place}"), truth);
    }
    (truths, segments)
}

#[test]
fn a_segment_is_the_nearer_to_its_parent_the_smaller_it_is() {
    let (_, segments) = segments();

    let fits = fit::by_segment(&segments).unwrap();

    for (name, fit) in &fits.segments {
        println!("{name}: {fit:?}");
        assert_eq!(fit.purchases.customers, segments[name].len() as u64);
        if segments[name].len() < 300 {
            assert_eq!(fit.parameters.bg_nbd, fits.parent.bg_nbd);
            assert_eq!(fit.purchases.weight_of_parent.to_bits(), 1.0_f64.to_bits());
        } else {
            assert!((0.0..1.0).contains(&fit.purchases.weight_of_parent));
            assert_ne!(fit.parameters.bg_nbd, fits.parent.bg_nbd);
        }
        let is_parents = fit.parameters.gamma_gamma == fits.parent.gamma_gamma;
        assert_eq!(is_parents, fit.spends.customers < FEWEST_BUYERS_OF_A_SEGMENT, "{name}");
    }
    let weight = |place: usize| fits.segments[&format!("segment {place}")].purchases.weight_of_parent;
    assert!(weight(8) < weight(5) && weight(5) < weight(2));
}

#[test]
fn segments_are_forecast_better_together_than_alone_or_as_one() {
    let (truths, segments) = segments();

    let fits = fit::by_segment(&segments).unwrap();

    // The squared error of the logarithms of what a new customer of each segment buys in a year and spends each time.
    let mut errors = [0.0; 3];
    for (name, truth) in truths.iter().filter(|(name, _)| segments[*name].len() >= 300) {
        let forecast = |of: &Parameters| {
            let purchases = of.bg_nbd.expected_purchases(0, 0.0, 0.0, 52.0);
            [libm::log(purchases), libm::log(of.gamma_gamma.mean_spend(0, 0.0).unwrap())]
        };
        let alone = fit::parameters(segments[name].iter().copied()).map_or(fits.parent, |(alone, _)| alone);
        for (error, used) in errors.iter_mut().zip([fits.segments[name].parameters, alone, fits.parent]) {
            for (used, truth) in forecast(&used).iter().zip(forecast(truth)) {
                *error += (used - truth) * (used - truth);
            }
        }
    }
    println!("squared errors shrunk, alone, as one: {errors:.4?}");
    assert!(errors[0] < errors[1] && errors[0] < errors[2], "{errors:?}");
}

#[test]
fn segments_give_the_same_bits_for_every_order_and_number_of_threads() {
    let (_, mut segments) = segments();
    let fit_on = |threads: usize, segments: &BTreeMap<String, Vec<Summary>>| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit::by_segment(segments).unwrap())
    };

    let first = fit_on(1, &segments);
    for customers in segments.values_mut() {
        customers.reverse();
    }

    assert_eq!(fit_on(4, &segments), first);
}

#[test]
fn one_model_alone_comes_out_as_beside_the_other() {
    let (_, segments) = segments();
    let both = fit::by_segment(&segments).unwrap();
    let rows = |summaries: &Vec<Summary>| fit::rows(summaries.iter().copied());
    let purchases = segments.iter().map(|(name, of)| (name.clone(), rows(of).0)).collect();
    let spends: BTreeMap<_, _> = segments.iter().map(|(name, of)| (name.clone(), rows(of).1)).collect();

    let bg_nbd = fit::bg_nbd_by_segment(&both.diagnostics.bg_nbd, &purchases);
    let gamma_gamma = fit::gamma_gamma_by_segment(&both.diagnostics.gamma_gamma, &spends);

    for (name, fit) in &both.segments {
        let own = &bg_nbd[name];
        assert_eq!(own.fit.model, fit.parameters.bg_nbd);
        assert_eq!(own.weight_of_parent.to_bits(), fit.purchases.weight_of_parent.to_bits());
        let by_hand: f64 = purchases[name]
            .iter()
            .map(|row| row.customers as f64 * own.fit.model.log_likelihood(row.x, row.t_x, row.age))
            .sum();
        assert!((own.fit.log_likelihood / by_hand - 1.0).abs() < 1e-12);
        assert_eq!(gamma_gamma[name].fit.model, fit.parameters.gamma_gamma);
        let buyers = spends[name].iter().map(|row| row.customers).sum::<u64>();
        let is_large = buyers >= FEWEST_BUYERS_OF_A_SEGMENT;
        assert!(is_large == (gamma_gamma[name].weight_of_parent < 1.0), "{name}");
    }
    let error = |place: usize| bg_nbd[&format!("segment {place}")].fit.standard_errors[0];
    let parent = both.diagnostics.bg_nbd.standard_errors[0];
    assert!(parent < error(8) && error(8) < error(3));
    assert_eq!(error(0).to_bits(), parent.to_bits());
}

#[test]
fn segments_of_the_modified_model_are_the_nearer_to_their_parent_the_smaller_they_are() {
    let (_, segments) = segments();
    let rows = |summaries: &Vec<Summary>| fit::rows(summaries.iter().copied()).0;
    let rows: BTreeMap<_, _> = segments.iter().map(|(name, of)| (name.clone(), rows(of))).collect();
    let parent = fit::mbg_nbd(&rows.values().flatten().copied().collect::<Vec<_>>()).unwrap();

    let fits = fit::mbg_nbd_by_segment(&parent, &rows);

    let weight = |place: usize| fits[&format!("segment {place}")].weight_of_parent;
    assert!(weight(8) < weight(5) && weight(5) < weight(2) && weight(2) < 1.0);
    let (small, large) = (&fits["segment 1"], &fits["segment 8"]);
    assert_eq!((small.fit.model, small.weight_of_parent.to_bits()), (parent.model, 1.0_f64.to_bits()));
    let alone = fit::mbg_nbd(&rows["segment 8"]).unwrap();
    let of_parent: f64 = rows["segment 8"]
        .iter()
        .map(|row| row.customers as f64 * parent.model.log_likelihood(row.x, row.t_x, row.age))
        .sum();
    assert!(of_parent < large.fit.log_likelihood && large.fit.log_likelihood <= alone.log_likelihood);
}

#[test]
fn a_segment_in_which_nobody_bought_again_has_its_parents_spends() {
    let customers = Chance(3).customers(&cdnow_like(), 3000);
    let (_, spends) = fit::rows(customers);
    let parent = fit::gamma_gamma(&spends).unwrap();

    let fits = fit::gamma_gamma_by_segment(
        &parent,
        &BTreeMap::from([("all".to_owned(), spends), ("none".to_owned(), Vec::new())]),
    );

    let none = &fits["none"];
    assert_eq!(none.fit.model, parent.model);
    assert_eq!((none.fit.customers, none.fit.log_likelihood.to_bits()), (0, 0.0_f64.to_bits()));
    assert!(fits["all"].weight_of_parent < 1.0);
}

#[test]
fn one_segment_is_its_own_parent() {
    let customers = Chance(3).customers(&cdnow_like(), 3000);

    let fits = fit::by_segment(&BTreeMap::from([("all".to_owned(), customers)])).unwrap();

    let (fit, parent) = (fits.segments["all"].parameters, fits.parent);
    assert!((fit.bg_nbd.r() / parent.bg_nbd.r() - 1.0).abs() < 1e-6);
    assert!((fit.gamma_gamma.q() / parent.gamma_gamma.q() - 1.0).abs() < 1e-6);
}
