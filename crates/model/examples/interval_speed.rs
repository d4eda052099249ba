//! How long the intervals of a customer take: cheap ones, and exact ones.
//!
//!     cargo run --release -p model --example interval_speed

use std::hint::black_box;
use std::time::{Duration, Instant};

use model::{BgNbd, GammaGamma, Level, SpendDistribution, SpendInterval};

const LEVELS: [Level; 2] = [Level::EIGHTY, Level::NINETY];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spend = GammaGamma::new(6.25, 3.74, 1544.0)?;
    let purchases = BgNbd::new(0.243, 4.414, 0.793, 2.426)?.purchase_distribution(3, 30.0, 38.86, 52.0);
    let exact = SpendDistribution::new(&spend, 3, 3000.0, &purchases);
    let moments = exact.moments()?;
    for p_zero in [0.01, 0.07, 0.5, 0.85] {
        report(&format!("two cheap intervals, P(Y = 0) = {p_zero}"), 10_000, || {
            black_box(SpendInterval::from_moments(black_box(p_zero), black_box(&moments), LEVELS));
        });
    }
    report("moments of the total spend", 10_000, || {
        let posterior = black_box(&spend).posterior(black_box(3), black_box(3000.0));
        let _ = black_box(posterior.total_spend(black_box(1.2), black_box(2.0)));
    });
    report("two exact intervals", 20, || {
        black_box(LEVELS.map(|level| black_box(&exact).interval(level)));
    });
    Ok(())
}

fn report(what: &str, times: u32, mut once: impl FnMut()) {
    let best = (0..300).map(|_| time(times, &mut once)).min().unwrap_or_default();
    println!("{what}: {:.1} ns", best.as_nanos() as f64 / f64::from(times));
}

fn time(times: u32, once: &mut impl FnMut()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "measures real time, without tokio")]
    let now = Instant::now;
    let start = now();
    (0..times).for_each(|_| once());
    now() - start
}
