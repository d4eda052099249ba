//! The floor under a night.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use batch::RunId;
use cache::Valued;
use cache::floor::{EncodedChunk, FloorLane as CacheLane, encode_chunk};
use model::{Observation, Valuer};
use resilience::ServerUrl;
use store::postgres::{FloorChunk, Postgres};
use store::{Archive, Values};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::BenchFleetArgs;

/// A finished run, ready to be done again without thinking.
pub(super) struct Floor {
    store: Postgres,
    run: RunId,
    lanes: u16,
    cache_url: ServerUrl,
    chunks: Arc<Vec<(FloorChunk, EncodedChunk)>>,
    bytes_read: Arc<AtomicU64>,
}

impl Floor {
    /// Reads what the run did and encodes what it wrote.
    pub(super) async fn prepare(store: &Postgres, args: &BenchFleetArgs, run: RunId) -> anyhow::Result<Self> {
        let chunks = store.floor_chunks(run).await?;
        let chunks = chunks
            .into_iter()
            .map(|chunk| {
                let values: Vec<Valued> =
                    chunk.values.iter().map(|valued| Valued::of(valued.customer, &valued.value)).collect();
                let encoded = encode_chunk("floor", run, &values);
                (chunk, encoded)
            })
            .collect();
        Ok(Self {
            store: store.clone(),
            run,
            lanes: args.workers,
            cache_url: args.cache.redis_url.clone(),
            chunks: Arc::new(chunks),
            bytes_read: Arc::default(),
        })
    }

    /// Does it once: all lanes at work until no chunk is left, then the primary key.
    pub(super) async fn run(&self) -> anyhow::Result<Duration> {
        self.store.floor_begin(self.run).await?;
        self.bytes_read.store(0, Ordering::Relaxed);
        let next = Arc::new(AtomicUsize::new(0));
        let mut lanes = Vec::new();
        for _ in 0..self.lanes {
            let cache = CacheLane::connect(&self.cache_url).await.context("the floor's way to redis")?;
            lanes.push((self.store.floor_lane().await?, cache));
        }

        let began = Instant::now();
        let mut at_work = JoinSet::new();
        for (store, mut cache) in lanes {
            let (chunks, next, bytes_read) =
                (Arc::clone(&self.chunks), Arc::clone(&next), Arc::clone(&self.bytes_read));
            at_work.spawn(async move {
                while let Some((chunk, encoded)) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bytes_read.fetch_add(store.read_and_write(chunk).await?, Ordering::Relaxed);
                    cache.write(encoded).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(lane) = at_work.join_next().await {
            lane??;
        }
        self.store.floor_end().await?;
        Ok(began.elapsed())
    }

    /// Bytes of histories read the last time.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Values every customer of the run on one thread, beginning with empty tables; customers a second.
    pub(super) async fn mathematics(&self, store: &Postgres, run: RunId) -> anyhow::Result<f64> {
        let record = store.run(run).await?.context("the run is there")?;
        let model = store.model_version(record.model_version).await?.context("its model is there")?;
        let chunks = Arc::clone(&self.chunks);
        tokio::task::spawn_blocking(move || {
            let last_day = Observation::new(record.as_of.as_microsecond(), model.currency).last_day();
            let valuer = Valuer::new(model.models, record.terms, last_day);
            let began = Instant::now();
            let (mut customers, mut total) = (0_u64, 0_i64);
            for valued in chunks.iter().flat_map(|(chunk, _)| &chunk.values) {
                let value = valuer.value(&valued.account)?;
                customers += 1;
                total = total.wrapping_add(value.value_minor());
            }
            std::hint::black_box(total);
            anyhow::Ok(customers as f64 / began.elapsed().as_secs_f64())
        })
        .await?
    }

    /// Throws away what the floor wrote.
    pub(super) async fn clean_up(&self, store: &Postgres) -> anyhow::Result<()> {
        Ok(store.floor_drop().await?)
    }
}
