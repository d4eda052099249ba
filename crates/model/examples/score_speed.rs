//! How fast customers are folded and valued, and parameters fitted, on one core:
//! `cargo run --release -p model --example score_speed`.

#![expect(clippy::disallowed_methods, reason = "this program measures itself; nothing depends on the clock")]

use std::hint::black_box;
use std::time::Instant;

use model::{
    BgNbd, Currency, GammaGamma, HistoryFold, Observation, Parameters, Scorer, Season, Summary, Terms, fit,
};

const CUSTOMERS: usize = 1_000_000;

fn main() {
    let parameters = Parameters {
        bg_nbd: BgNbd::new(0.2426, 4.4135, 0.7929, 2.4258).expect("in the domain"),
        gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0).expect("in the domain"),
    };
    let customers = customers();

    let started = Instant::now();
    for x in 0..100 {
        black_box(parameters.bg_nbd.alive_curve(x, &Terms::default()));
    }
    println!("a curve            {:8.1} us", started.elapsed().as_secs_f64() * 1e6 / 100.0);

    let curve = parameters.bg_nbd.alive_curve(3, &Terms::default());
    let started = Instant::now();
    for day in 0..10_000_u32 {
        black_box(curve.purchases(f64::from(day % 1500) / 7.0));
    }
    println!("an entry           {:8.2} us", started.elapsed().as_secs_f64() * 1e6 / 1e4);

    let season = wedding_season();
    let outlook = season.outlook(20_000, &Terms::default());
    let curve = parameters.bg_nbd.seasonal_curve(3, &outlook);
    let started = Instant::now();
    for day in 0..10_000_u32 {
        black_box(curve.purchases_over(f64::from(day % 1500) / 7.0, &outlook));
    }
    println!("an entry in season {:8.2} us", started.elapsed().as_secs_f64() * 1e6 / 1e4);

    let scorer = Scorer::in_season(parameters, Terms::default(), &season, 20_000);
    for tables in ["cold", "warm", "warm"] {
        let started = Instant::now();
        let total: i64 = customers.iter().map(|c| scorer.value(c).map_or(0, |value| value.value_minor)).sum();
        let nanoseconds = started.elapsed().as_secs_f64() * 1e9 / CUSTOMERS as f64;
        println!("score in season, {tables} tables {nanoseconds:8.1} ns a customer ({total})");
    }

    let scorer = Scorer::new(parameters, Terms::default());
    for tables in ["cold", "warm", "warm"] {
        let started = Instant::now();
        let total: i64 = customers.iter().map(|c| scorer.value(c).map_or(0, |value| value.value_minor)).sum();
        let seconds = started.elapsed().as_secs_f64();
        let rate = CUSTOMERS as f64 / seconds / 1e6;
        println!(
            "score, {tables} tables {:8.1} ns a customer, {rate:.1} M/s ({total})",
            seconds * 1e9 / CUSTOMERS as f64
        );
    }

    let observation = Observation::new(1500 * 86_400_000_000, Currency::parse("USD").expect("three letters"));
    let mut fold = HistoryFold::new();
    let started = Instant::now();
    for customer in 0..CUSTOMERS as i64 {
        for line in 0..10 {
            fold.push(((customer % 97) + line * 13) * 86_400_000_000 + line, 1000 + line, black_box(*b"USD"));
        }
        let _ = black_box(fold.finish(&observation));
    }
    println!("fold               {:8.1} ns a line", started.elapsed().as_secs_f64() * 1e8 / CUSTOMERS as f64);

    let started = Instant::now();
    let (purchases, spends) = fit::rows(customers.iter().copied());
    println!(
        "count equal rows   {:8.2} s, {} and {} are left",
        started.elapsed().as_secs_f64(),
        purchases.len(),
        spends.len()
    );
    let started = Instant::now();
    match fit::bg_nbd(&purchases) {
        Ok(fit) => {
            let seconds = started.elapsed().as_secs_f64();
            let each = seconds * 1e9 / f64::from(fit.evaluations) / purchases.len() as f64;
            println!(
                "fit bg_nbd         {seconds:8.2} s, {} evaluations of {each:.0} ns a row",
                fit.evaluations
            );
        }
        Err(error) => println!("{error}"),
    }
}

/// A million customers of a known BG/NBD, up to four years old, in no order.
fn customers() -> Vec<Summary> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) + 1) as f64 / (1_u64 << 53) as f64
    };
    let mut customer = || {
        // Gamma(1, 70 days) and Beta(1, 4): both can be drawn by inverting a power or an exponential.
        let rate = -uniform().ln() / 70.0;
        let dropout = 1.0 - uniform().powf(0.25);
        let age_days = (uniform() * 1460.0) as u32;
        let (mut frequency, mut recency_days, mut now) = (0, 0, 0.0);
        while frequency == 0 || uniform() > dropout {
            now += -uniform().ln() / rate;
            if now.ceil() > f64::from(age_days) {
                break;
            }
            if now.ceil() as u32 > recency_days {
                (frequency, recency_days) = (frequency + 1, now.ceil() as u32);
            }
        }
        let cents = 500 + (uniform() * 10_000.0) as i64;
        Summary { frequency, recency_days, age_days, repeat_spend_minor: i64::from(frequency) * cents }
    };
    (0..CUSTOMERS).map(|_| customer()).collect()
}

/// From May to October, hardly anything in winter.
fn wedding_season() -> Season {
    let activity = std::array::from_fn(|week| {
        let from_july = (week as f64 - 27.5) / 52.0;
        (2.5 * (std::f64::consts::TAU * from_july).cos()).exp()
    });
    Season::of_activity(&activity).expect("positive")
}
