//! Measures how fast the values of a night go into Redis, against what hand-written RESP takes on the same server.
//!
//! ```text
//! cargo run --release -p cache --example throughput -- redis://127.0.0.1:6379 [customers] [connections]
//! ```
//!
//! Both ways write the same hashes: dense chunks of 5,000, one chunk at a time on each connection.

use std::error::Error;
use std::time::Duration;

use batch::{CustomerId, RunId};
use cache::floor::{FloorLane, encode_chunk};
use cache::{Cache, CachedValue, Redis, RedisConfig, Valued, VisibleRuns};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CHUNK: i64 = 5_000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the first argument is the URL of a Redis")?;
    let customers: i64 = arguments.next().map_or(Ok(1_000_000), |number| number.parse())?;
    let connections: i64 = arguments.next().map_or(Ok(1), |number| number.parse())?;

    for round in 1..=3 {
        let by_hand = chunks_by_hand(&url, customers, connections).await?;
        let ours = chunks_through_the_cache(&url, customers, connections).await?;
        println!("round {round}: by hand {:.0}/s, cache {:.0}/s, {:.2} of it", by_hand, ours, ours / by_hand);
    }
    lookups(&url).await
}

async fn chunks_through_the_cache(url: &str, customers: i64, connections: i64) -> Outcome<f64> {
    let mut caches = Vec::new();
    for _ in 0..connections {
        caches.push(Redis::connect(config(url)).await?);
    }

    let start = Instant::now();
    let mut writers = JoinSet::new();
    for (connection, cache) in caches.into_iter().enumerate() {
        writers.spawn(async move {
            for first in firsts(customers, connections, connection as i64) {
                cache.put_values(RunId(1), &chunk(first)).await?;
            }
            Ok::<_, cache::Error>(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok(customers as f64 / start.elapsed().as_secs_f64())
}

async fn chunks_by_hand(url: &str, customers: i64, connections: i64) -> Outcome<f64> {
    let mut lanes = Vec::new();
    for _ in 0..connections {
        lanes.push(FloorLane::connect(&url.into()).await?);
    }

    let start = Instant::now();
    let mut writers = JoinSet::new();
    for (connection, mut lane) in lanes.into_iter().enumerate() {
        writers.spawn(async move {
            for first in firsts(customers, connections, connection as i64) {
                lane.write(&encode_chunk("floor", RunId(1), &chunk(first))).await?;
            }
            Ok::<_, std::io::Error>(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok(customers as f64 / start.elapsed().as_secs_f64())
}

async fn lookups(url: &str) -> Outcome<()> {
    const LOOKUPS: i64 = 20_000;
    let cache = Redis::connect(config(url)).await?;
    // A newer run that holds every hundredth of as many customers again: each lookup passes it by.
    let members: Vec<CustomerId> = (LOOKUPS..2 * LOOKUPS).map(|number| CustomerId(number * 100)).collect();
    let start = Instant::now();
    cache.put_members(RunId(2), &members).await?;
    println!("{} buckets of a run's members in {:?}", members.len(), start.elapsed());
    cache.put_visible(&VisibleRuns { version: 1, runs: vec![RunId(2), RunId(1)] }).await?;

    let start = Instant::now();
    let mut hits = 0;
    for customer in 0..LOOKUPS {
        hits += i64::from(cache.value(CustomerId(customer)).await?.is_some());
    }
    println!(
        "{hits} of {LOOKUPS} lookups hit, one after the other, {:?} each",
        start.elapsed() / LOOKUPS as u32
    );
    Ok(())
}

fn config(url: &str) -> RedisConfig {
    RedisConfig {
        prefix: "throughput".into(),
        bulk_limit: Duration::from_secs(5),
        ..RedisConfig::new(url, "bench")
    }
}

/// The first customers of every chunk that a connection writes.
fn firsts(customers: i64, connections: i64, connection: i64) -> impl Iterator<Item = i64> {
    (0..customers / CHUNK).filter(move |chunk| chunk % connections == connection).map(|chunk| chunk * CHUNK)
}

fn chunk(first: i64) -> Vec<Valued> {
    let valued = |number: i64| Valued {
        customer: CustomerId(number),
        value: CachedValue {
            value_minor: number * 37,
            value_36_minor: number * 100,
            historic_minor: number,
            between_80: None,
            expected_purchases: number as f64 / 7.0,
            p_alive: Some(0.5),
            grade: model::Grade::B,
        },
    };
    (first..first + CHUNK).map(valued).collect()
}
