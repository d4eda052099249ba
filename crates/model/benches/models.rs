//! What the models cost: a fit of ten million customers on all cores, and their forecasts on one.
//!
//!     cargo bench -p model                    both; the fit needs about 2 GB of memory
//!     cargo bench -p model -- scoring         one of them

mod customers;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{
    BgNbd, ContractModel, ContractModels, GammaGamma, Models, Parameters, Sbg, Scorer, Summary, Terms,
    ValueTerms, Valuer, fit,
};

const WEEKS: f64 = 104.0;

fn fitting(criterion: &mut Criterion) {
    let base = customers::summaries(10_000_000, WEEKS, 1);
    let mut group = criterion.benchmark_group("fit");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .throughput(Throughput::Elements(base.len() as u64));
    group.bench_function("bg_nbd, 10 million customers", |bencher| {
        bencher.iter(|| {
            let (purchases, _) = fit::rows(base.iter().copied());
            fit::bg_nbd(&purchases).expect("a generated base has a maximum")
        });
    });
    group.finish();
    if let Some(peak) = peak_memory() {
        println!("peak memory of the fit, base included: {peak}");
    }
}

fn scoring(criterion: &mut Criterion) {
    let base = customers::summaries(1_000_000, WEEKS, 2);
    let parameters = parameters(&base);
    let mut group = criterion.benchmark_group("scoring");
    group.sample_size(10).throughput(Throughput::Elements(base.len() as u64));
    group.bench_function("value, one thread, cold tables", |bencher| {
        bencher.iter(|| {
            let scorer = Scorer::new(parameters, Terms::default());
            base.iter()
                .filter_map(|summary| scorer.value(summary).ok())
                .map(|value| value.value_minor)
                .sum::<i64>()
        });
    });
    group.bench_function(
        "forecast: with variance, P(0) and both intervals, one thread, cold tables",
        |bencher| {
            bencher.iter(|| {
                let scorer = Scorer::new(parameters, Terms::default());
                let prospects = base.iter().filter_map(|summary| scorer.prospect(summary).ok());
                prospects
                    .filter_map(|prospect| prospect.spend_intervals)
                    .map(|[eighty, _]| eighty.upper)
                    .sum::<f64>()
            });
        },
    );
    group.finish();
}

fn valuing(criterion: &mut Criterion) {
    let base = customers::accounts(1_000_000, WEEKS, 3);
    let models = Models {
        purchases: Parameters {
            bg_nbd: BgNbd::new(0.9, 3.0, 0.6, 9.0).expect("in the domain"),
            gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0).expect("in the domain"),
        },
        season: None,
        contracts: ContractModels {
            others: Some(ContractModel::Sbg(Sbg::new(0.7, 6.0).expect("in the domain"))),
            ..ContractModels::default()
        },
    };
    let purchases = base.iter().filter_map(|account| account.purchases);
    let repeats: f64 = purchases.map(|summary| f64::from(summary.frequency)).sum();
    println!("repeat purchases of a customer: {:.1}", repeats / base.len() as f64);
    let mut group = criterion.benchmark_group("valuing");
    group.sample_size(10).throughput(Throughput::Elements(base.len() as u64));
    let new_valuer = || Valuer::new(models.clone(), ValueTerms::default(), 20_000);
    let value_all = |valuer: &Valuer| {
        let values = base.iter().filter_map(|account| valuer.value(account).ok());
        values.map(|value| value.value_minor()).sum::<i64>()
    };
    group.bench_function(
        "account: purchases, contracts, intervals, payback, one thread, cold tables",
        |bencher| {
            bencher.iter(|| value_all(&new_valuer()));
        },
    );
    let warm = new_valuer();
    group.bench_function("the same, warm tables", |bencher| bencher.iter(|| value_all(&warm)));
    group.finish();
}

fn parameters(base: &[Summary]) -> Parameters {
    fit::parameters(base.iter().copied().take(100_000)).expect("a generated base has a maximum").0
}

/// The most memory that this process ever had, as Linux says it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}

criterion_group!(benches, fitting, scoring, valuing);
criterion_main!(benches);
