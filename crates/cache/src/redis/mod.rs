//! The cache in one Redis server, and the only place that knows its commands.
//!
//! # What stands where
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ltv:values:{run}:{bucket}` | hash | slot → packed value, of up to a hundred neighbouring customers |
//! | `ltv:visible` | hash | `version` and `runs`, the runs that readers may see, newest first |
//! | `ltv:progress:{run}` | string | JSON |
//!
//! Between the prefix and the rest stands the installation: `ltv:9f86d081884c7d65:visible`. So two installations that
//! share a Redis share no key, and what one wrote under an identity that it gave up is not read again.
//!
//! Every key expires `time_to_live` after its last write. No write depends on what it replaces, but for that of
//! the visible runs, which compares versions, and that of progress, which compares what grows in a run: every call
//! can be repeated, and one that arrives late does no harm.
//!
//! | file | what it tells |
//! |---|---|
//! | `config`, `url`, `link` | the server, its address, the connection to it |
//! | `calls` | what each call is named, how long it may take, whose fault its failure is |
//! | `keys`, `hashes`, `scripts` | what stands where, and what Redis compares before it writes |
//! | `floor` | what writing a chunk costs at least, for benchmarks |
//!
//! # Failure by failure
//!
//! - *Redis is down, at the start or later*: [`Redis::connect`] returns all the same, and goes on connecting for as
//!   long as a handle lives. Until it is connected, each call fails at once without being queued, so nothing piles
//!   up and nothing is sent late; enough of them open the breaker. The error says why the last connection failed.
//! - *The way cannot be secured*, or a password is refused: the same; both are read anew for each try.
//! - *The connection breaks under a call*: the call fails; fred does not send it again (`max_command_attempts` is
//!   1). The caller may.
//! - *Redis is slow*: each call has a limit, ours around fred's. What became of a write is then unknown. fred's own
//!   limit is a little shorter, because only then does it drop a command that still waits in its queue.
//! - *Redis hangs, or the network swallows packets*: calls time out, the breaker opens. [`link`] replaces a client
//!   from which nothing but time-outs comes, because fred does not always notice.
//! - *Redis restarts, or is flushed*: it is empty. `visible`, `value` and `progress` give `None`, never an error.
//!   The values of a run do not come back; it is published again by repeating `put_visible`, and until the next
//!   night readers ask the store. Scripts are sent as text each time, so there is none to lose.
//! - *Redis is full* (`OOM`), read-only, loading, or refuses the password: `Unavailable`, with what it said. It
//!   counts against the breaker: a server that refuses to serve is sick.
//! - *A chunk is written in part*: the rest of its customers miss, and the chunk may be written again. A customer
//!   who is in no hash of a *partial* run falls back to the whole run; see [`Cache::put_visible`].
//! - *A chunk is written twice, by two attempts*: both write the same bits, since both computed from the same
//!   inputs, and the second renews the expiry.
//! - *`put_visible` arrives out of order, or twice*: a script compares versions in Redis; the older one changes
//!   nothing and is told so, the same one renews the expiry. Lua compares in floating point, which is exact up to
//!   version 2^53 and beyond that may take a newer version for the same one, never an older for a newer.
//! - *The store went back* (a backup was restored), and the list that is held has a version that it has yet to reach:
//!   nobody but the coordinator can know. It has the list forgotten, which compares, so that one that was written
//!   meanwhile stays.
//! - *`put_progress` arrives out of order, or from a coordinator that was held up*: a script compares in Redis what
//!   is held with what is offered, and the one that is behind changes nothing. The same one renews the expiry. What
//!   an earlier release wrote is the same JSON and is compared too; what is no progress is replaced.
//! - *Bytes that are not ours* (another release's, another program's): `Malformed`; nothing but progress that cannot
//!   be read is overwritten.

mod calls;
mod config;
pub mod floor;
mod hashes;
mod keys;
mod link;
mod scripts;
mod url;

use std::sync::Arc;

use batch::{CustomerId, Progress, RunId};
use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, LuaInterface};
use fred::types::config::Options;
use fred::types::{ClusterHash, CustomCommand, Value};
use resilience::{Breaker, InvalidConfig, Name, within};
use tokio::time::Instant;

pub use config::{RedisConfig, names};

use self::calls::{Call, blame, failure};
use self::config::{client_builder, inner_limit};
use self::hashes::Hashes;
use self::keys::Keys;
use self::link::Link;
use self::scripts::{FORGET_VISIBLE, PUT_PROGRESS, PUT_VISIBLE, VALUE};
use crate::packed::{self, Bucket};
use crate::{Cache, CachedValue, Error, Valued, VisibleRuns, metrics};

/// How many hashes go into one pipeline: a dense chunk of 5,000 is one, a sparse one is several.
const HASHES_PER_PIPELINE: usize = 256;

/// Keeps what may be lost in Redis. A clone shares the connection and the breaker.
#[derive(Clone, Debug)]
pub struct Redis {
    config: Arc<RedisConfig>,
    keys: Keys,
    breaker: Breaker,
    link: Link,
}

impl Redis {
    /// Starts to connect, and waits for it a moment. Only a configuration that can never work is an error: a Redis
    /// that is down is logged, and connected to as soon as it is up.
    pub async fn connect(config: RedisConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let name = Name { dependency: "redis", role: config.role };
        let breaker = Breaker::new(name, config.breaker)?;
        let link = Link::open(client_builder(&config)?)
            .map_err(|error| InvalidConfig::new("url", format!("redis: {}", error.details())))?;

        let _ = within(config.connect_limit, "connect", link.connected()).await;
        if let Err(reason) = link.client() {
            tracing::warn!(reason, url = %config.url, "redis is not there yet; connecting goes on");
        }
        let keys = Keys::new(&config.names());
        Ok(Self { config: Arc::new(config), keys, breaker, link })
    }

    /// The breaker that every call goes through: its state, and where to wait until Redis is back.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Sends a request under the breaker and within the call's limit, and counts how it ended.
    async fn request<T, Request>(
        &self,
        call: Call,
        request: impl FnOnce(Client) -> Request,
    ) -> Result<T, Error>
    where
        Request: Future<Output = Result<T, fred::error::Error>>,
    {
        let start = Instant::now();
        let limit = call.limit(&self.config);
        let guarded = async {
            let client = self.link.client().map_err(|reason| {
                Error::Unavailable(format!("{call}: not connected to {}: {reason}", self.config.url))
            })?;
            // Boxed, because fred's futures are some seven kilobytes, and each layer of ours would hold them again.
            let answer = Box::pin(request(client));
            let result = match within(limit, call, answer).await {
                Ok(answer) => answer.map_err(|error| failure(call, limit, &error)),
                Err(elapsed) => Err(Error::TimedOut(elapsed)),
            };
            match result {
                Ok(_) | Err(Error::Malformed(_)) => self.link.answered(),
                Err(Error::TimedOut(_)) => self.link.timed_out(),
                // A full queue is no answer, so this may be either.
                Err(Error::Unavailable(_)) => {}
            }
            result
        };
        let result = self.breaker.call(guarded, blame).await;
        metrics::call(call.label(), &result, start.elapsed());
        result
    }
}

impl Cache for Redis {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let call = Call::PutValues { run, count: values.len() };
        self.request(call, |client| async move {
            let key_start = self.keys.values_of(run);
            let mut hashes = Hashes::pack(&key_start, values).peekable();
            let options = Options {
                timeout: Some(inner_limit(self.config.bulk_limit)),
                max_attempts: Some(1),
                ..Options::default()
            };
            while hashes.peek().is_some() {
                let pipeline = client.pipeline().with_options(&options);
                for (key, fields) in hashes.by_ref().take(HASHES_PER_PIPELINE) {
                    let hset = CustomCommand::new_static("HSET", ClusterHash::FirstKey, false);
                    let () = pipeline.custom(hset, fields).await?;
                    let () = pipeline.expire(key, self.config.expiry_seconds(), None).await?;
                }
                let () = pipeline.all::<Value>().await.map(drop)?;
            }
            Ok(())
        })
        .await
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        let VisibleRuns { version, runs } = visible;
        let runs: Vec<String> = runs.iter().map(RunId::to_string).collect();
        let arguments = vec![
            Value::from(version.to_string()),
            Value::from(runs.join(" ")),
            Value::from(self.config.expiry_seconds()),
        ];
        let was_newer: i64 = self
            .request(Call::PutVisible(*version), |client| async move {
                client.eval(PUT_VISIBLE, self.keys.visible(), arguments).await
            })
            .await?;
        Ok(was_newer == 1)
    }

    async fn forget_visible(&self, held: &VisibleRuns) -> Result<bool, Error> {
        let runs: Vec<String> = held.runs.iter().map(RunId::to_string).collect();
        let arguments = vec![Value::from(held.version.to_string()), Value::from(runs.join(" "))];
        let was_there: i64 = self
            .request(Call::ForgetVisible(held.version), |client| async move {
                client.eval(FORGET_VISIBLE, self.keys.visible(), arguments).await
            })
            .await?;
        Ok(was_there == 1)
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        let (version, runs): (Option<Bytes>, Option<Bytes>) = self
            .request(Call::Visible, |client| async move {
                client.hmget(self.keys.visible(), vec!["version", "runs"]).await
            })
            .await?;
        let (Some(version), Some(runs)) = (version, runs) else {
            return Ok(None);
        };
        read_visible(&version, &runs)
            .map(Some)
            .ok_or_else(|| Error::Malformed(format!("{}: not a version and runs", Call::Visible)))
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        let call = Call::Value(customer);
        let (Bucket(bucket), slot) = Bucket::of(customer);
        let arguments = vec![
            Value::from(self.keys.values()),
            Value::from(bucket.to_string()),
            Value::Bytes(slot.field()),
        ];
        let found: Option<(Bytes, Bytes)> = self
            .request(call, |client| async move { client.eval(VALUE, self.keys.visible(), arguments).await })
            .await?;
        metrics::lookup(found.is_some());

        let Some((run, packed)) = found else {
            return Ok(None);
        };
        let run = read_number(&run).ok_or_else(|| Error::Malformed(format!("{call}: not a run")))?;
        let value = packed::read_value(&packed)
            .map_err(|reason| Error::Malformed(format!("{call}: run {run}: {reason}")))?;
        Ok(Some((RunId(run), value)))
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        let arguments =
            vec![Value::from(packed::progress_json(progress)), Value::from(self.config.expiry_seconds())];
        let _was_written: i64 = self
            .request(Call::PutProgress(run), |client| async move {
                client.eval(PUT_PROGRESS, self.keys.progress(run), arguments).await
            })
            .await?;
        Ok(())
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        let call = Call::Progress(run);
        let json: Option<Bytes> =
            self.request(call, |client| async move { client.get(self.keys.progress(run)).await }).await?;
        json.map(|json| packed::read_progress(&json))
            .transpose()
            .map_err(|reason| Error::Malformed(format!("{call}: {reason}")))
    }

    async fn check(&self) -> Result<(), Error> {
        self.request(Call::Check, |client| async move { client.ping::<Value>(None).await.map(drop) }).await
    }
}

fn read_visible(version: &[u8], runs: &[u8]) -> Option<VisibleRuns> {
    let runs = str::from_utf8(runs).ok()?;
    let runs = runs.split_whitespace().map(|run| run.parse().ok());
    Some(VisibleRuns { version: read_number(version)?, runs: runs.collect::<Option<_>>()? })
}

fn read_number(digits: &[u8]) -> Option<i64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn visible_runs_are_read_or_refused() {
        let check = |version: &str, runs: &str, expected: Option<(i64, &[i64])>| {
            let read = read_visible(version.as_bytes(), runs.as_bytes());
            let expected = expected.map(|(version, runs)| VisibleRuns {
                version,
                runs: runs.iter().copied().map(RunId).collect(),
            });
            assert_eq!(read, expected, "{version} {runs}");
        };

        check("7", "3 2 1", Some((7, &[3, 2, 1])));
        check("7", "", Some((7, &[])));
        check("", "1", None);
        check("7", "3,2", None);
        check("7.0", "1", None);
        assert_eq!(read_visible(b"7", b"\xff"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_visible_runs_or_refused(version: Vec<u8>, runs: Vec<u8>) {
            let _ = read_visible(&version, &runs);
        }

        #[test]
        fn visible_runs_come_back(version: i64, runs: Vec<i64>) {
            let text: Vec<String> = runs.iter().map(ToString::to_string).collect();

            let read = read_visible(version.to_string().as_bytes(), text.join(" ").as_bytes());

            let runs = runs.into_iter().map(RunId).collect();
            prop_assert_eq!(read, Some(VisibleRuns { version, runs }));
        }
    }
}
