//! Measures how fast the values of a night go into Redis, against what hand-written RESP takes on the same server.
//!
//! ```text
//! cargo run --release -p cache --example throughput -- redis://127.0.0.1:6379 [customers] [connections]
//! ```
//!
//! Both ways write the same hashes: dense chunks of 5,000, one chunk at a time on each connection.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use batch::{CustomerId, RunId};
use cache::{Cache, Redis, RedisConfig, Valued, VisibleRuns};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
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
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(TcpStream::connect(url.trim_start_matches("redis://")).await?);
    }

    let start = Instant::now();
    let mut writers = JoinSet::new();
    for (connection, mut stream) in streams.into_iter().enumerate() {
        writers.spawn(async move {
            let (mut request, mut answer) = (Vec::new(), vec![0; 64 * 1024]);
            for first in firsts(customers, connections, connection as i64) {
                let commands = encode(&mut request, &chunk(first))?;
                stream.write_all(&request).await?;
                let mut lines = 0;
                while lines < commands {
                    let read = stream.read(&mut answer).await?;
                    lines += answer[..read].split(|byte| *byte == b'\n').count() - 1;
                }
            }
            Ok::<_, std::io::Error>(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok(customers as f64 / start.elapsed().as_secs_f64())
}

/// Writes the commands of a dense chunk and returns how many they are.
fn encode(request: &mut Vec<u8>, values: &[Valued]) -> std::io::Result<usize> {
    request.clear();
    for hundred in values.chunks(100) {
        let key = format!("floor:values:1:{}", hundred[0].customer.0.div_euclid(100));
        write!(request, "*{}\r\n$4\r\nHSET\r\n${}\r\n{key}\r\n", 2 + 2 * hundred.len(), key.len())?;
        for Valued { customer, value } in hundred {
            request.extend_from_slice(b"$1\r\n");
            request.push(customer.0.rem_euclid(100) as u8);
            request.extend_from_slice(b"\r\n$25\r\n\x01");
            request.extend_from_slice(&value.value_minor.to_le_bytes());
            request.extend_from_slice(&value.expected_purchases.to_le_bytes());
            request.extend_from_slice(&value.p_alive.to_le_bytes());
            request.extend_from_slice(b"\r\n");
        }
        write!(request, "*3\r\n$6\r\nEXPIRE\r\n${}\r\n{key}\r\n$6\r\n259200\r\n", key.len())?;
    }
    Ok(2 * values.len().div_ceil(100))
}

async fn lookups(url: &str) -> Outcome<()> {
    const LOOKUPS: i64 = 20_000;
    let cache = Redis::connect(config(url)).await?;
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
        chunk_timeout: Duration::from_secs(5),
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
        value: model::Value {
            value_minor: number * 37,
            expected_purchases: number as f64 / 7.0,
            p_alive: 0.5,
        },
    };
    (first..first + CHUNK).map(valued).collect()
}
