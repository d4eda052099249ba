//! The cache in one Redis server, and the only place that knows its commands.
//!
//! # What stands where
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ltv:values:{run}:{bucket}` | hash | slot → packed value, of up to a hundred neighbouring customers |
//! | `ltv:members:{run}` | hash | of a partial run: page → which of its buckets hold whose values; and `pages`, how many there are |
//! | `ltv:visible` | hash | `version` and `runs`, the runs that readers may see, newest first; and `sum`, of the two |
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
//! | `answers` | what a reader is told of what was found |
//! | `partial` | whether all of a partial run is here, as it was written |
//! | `standing` | what the server refuses, and whether it evicts: looked at once |
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
//!   The values of a whole run do not come back; it is published again by repeating `put_visible`, and until the next
//!   night readers ask the store. Scripts are sent as text each time, so there is none to lose.
//! - *Redis loses some keys and keeps others* (`maxmemory-policy` other than `noeviction`; a second flush while it is
//!   filled again): a reader passes a run by only where its directory says that it holds nothing of him
//!   ([`members`](crate::members)), so he is told the newest value or none. The policy is told at the start.
//! - *Redis is full* (`OOM`), read-only, loading, or refuses the password: `Unavailable`, with what it said. It
//!   counts against the breaker: a server that refuses to serve is sick.
//! - *A chunk is written in part*: the rest of its customers miss, and the chunk may be written again.
//! - *The members of a run are written in part, or late, or by two at once*: each page is the same whoever writes it, and a
//!   reader needs only his own.
//! - *A chunk is written twice, by two attempts*: both write the same bits, since both computed from the same
//!   inputs, and the second renews the expiry.
//! - *`put_visible` arrives out of order, or twice*: a script compares versions in Redis; the older one changes
//!   nothing and is told so, the same one renews the expiry. Lua compares in floating point, which is exact up to
//!   version 2^53 and beyond that may take a newer version for the same one, never an older for a newer.
//! - *The store went back* (a backup was restored), and the list that is held has a version that it has yet to reach:
//!   nobody but the coordinator can know. It has the list replaced, which compares, so that one that was written
//!   meanwhile stays; behind the new one nothing comes back that was told before and arrives late.
//! - *`put_progress` arrives out of order, or from a coordinator that was held up*: a script compares in Redis what
//!   is held with what is offered, and the one that is behind changes nothing. The same one renews the expiry. What
//!   an earlier release wrote is the same JSON and is compared too; what is no progress is replaced.
//! - *Bytes that are not ours* (another program's), or not where they were written: a value is answered by `None`, counted
//!   as damaged, and seen by whoever looks through its run ([`Cache::holds_all`]); `visible` and `progress` are
//!   `Malformed`. What stands in the way of a write is replaced by it, of whatever type it is, and the log says so once.
//!   The list is replaced only as it was seen: what another coordinator wrote meanwhile is compared by its version.
//! - *A value that another release may have written*, whose format begins with another number: answered by `None`, and left
//!   to those who can read it.

mod answers;
mod calls;
mod config;
pub mod floor;
mod hashes;
mod keys;
mod link;
mod partial;
mod scripts;
mod standing;
mod url;

use std::sync::Arc;
use std::{iter, mem};

use batch::{CustomerId, Progress, RunId};
use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, LuaInterface};
use fred::types::config::Options;
use fred::types::{ClusterHash, CustomCommand, Value};
use resilience::{Breaker, InvalidConfig, Name, within};
use tokio::time::Instant;

pub use config::{RedisConfig, names};
pub use standing::{Eviction, Standing};

use self::answers::{Fields, read_found, read_visible, visible_fields};
use self::calls::{Call, blame, failure};
use self::config::{client_builder, inner_limit};
use self::hashes::Hashes;
use self::keys::Keys;
use self::link::Link;
use self::scripts::{CLEAR, PUT_PROGRESS, PUT_VISIBLE, REPLACE_VISIBLE, VALUE};
use crate::members::{self, Held};
use crate::packed::{self, Bucket};
use crate::{Cache, CachedValue, Error, Holds, Valued, VisibleRuns, metrics};

/// How many hashes go into one pipeline: a dense chunk of 5,000 is one, a sparse one is several.
const HASHES_PER_PIPELINE: usize = 256;

/// How many pages of a directory go into one request, and into one command; and how many are looked through at a time.
const PAGES_PER_REQUEST: usize = 2_048;
const PAGES_PER_COMMAND: usize = 64;

/// The field of a directory that says how many pages it has.
const PAGES: &str = "pages";

/// What the log says when it was so.
pub const REPLACED: &str =
    "something that is not the fleet's stood under its names in redis, and was replaced";

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

    /// Writes a chunk, a pipeline at a time.
    async fn write_values(
        &self,
        client: Client,
        run: RunId,
        values: &[Valued],
    ) -> Result<(), fred::error::Error> {
        let key_start = self.keys.values_of(run);
        let mut hashes = Hashes::pack(&key_start, run, values).peekable();
        let options = self.bulk_options();
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
    }

    /// Removes what is no hash and stands where the values of a chunk belong.
    async fn clear(&self, call: Call, run: RunId, values: &[Valued]) -> Result<(), Error> {
        let key_start = self.keys.values_of(run);
        let keys: Vec<_> = Hashes::pack(&key_start, run, values).map(|(key, _)| key).collect();
        for keys in keys.chunks(HASHES_PER_PIPELINE) {
            let keys = keys.to_vec();
            let cleared: i64 = self
                .request(call, |client| async move { client.eval(CLEAR, keys, Vec::<Value>::new()).await })
                .await?;
            if cleared > 0 {
                tracing::warn!(run.id = %run, keys = cleared, "{REPLACED}");
            }
        }
        Ok(())
    }

    /// Writes a part of a run's directory.
    async fn write_pages(&self, run: RunId, is_first: bool, fields: &[(Bytes, Bytes)]) -> Result<(), Error> {
        let key = self.keys.members_of(run);
        self.request(Call::PutMembers(run), |client| async move {
            let options = self.bulk_options();
            let pipeline = client.pipeline().with_options(&options);
            if is_first {
                let () = pipeline.del(&key).await?;
            }
            for fields in fields.chunks(PAGES_PER_COMMAND) {
                let pairs = fields.iter().flat_map(|(field, page)| [field.clone(), page.clone()]);
                let arguments: Vec<Value> =
                    iter::once(Value::from(&key)).chain(pairs.map(Value::Bytes)).collect();
                let hset = CustomCommand::new_static("HSET", ClusterHash::FirstKey, false);
                let () = pipeline.custom(hset, arguments).await?;
            }
            let () = pipeline.expire(&key, self.config.expiry_seconds(), None).await?;
            pipeline.all::<Value>().await.map(drop)
        })
        .await
    }

    /// What a pipeline that writes or reads much is sent with.
    fn bulk_options(&self) -> Options {
        Options {
            timeout: Some(inner_limit(self.config.bulk_limit)),
            max_attempts: Some(1),
            ..Options::default()
        }
    }
}

impl Cache for Redis {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let call = Call::PutValues { run, count: values.len() };
        let write = async || self.request(call, |client| self.write_values(client, run, values)).await;
        match write().await {
            Err(Error::Malformed(_)) => {
                self.clear(call, run, values).await?;
                write().await
            }
            written => written,
        }
    }

    async fn put_members(&self, run: RunId, customers: &[CustomerId]) -> Result<(), Error> {
        let (count, pages) = members::pages(customers);
        let digits = |number: u32| Bytes::from(number.to_string());
        let pages = (0..).zip(&pages).map(|(number, page)| (digits(number), page.write(run, count, number)));
        let mut fields =
            iter::once((Bytes::from_static(PAGES.as_bytes()), digits(count.count()))).chain(pages);
        let mut is_first = true;
        loop {
            let part: Vec<_> = fields.by_ref().take(PAGES_PER_REQUEST).collect();
            if part.is_empty() {
                return Ok(());
            }
            self.write_pages(run, mem::take(&mut is_first), &part).await?;
        }
    }

    async fn holds_all(&self, run: RunId) -> Result<Holds, Error> {
        match self.look_through(run).await {
            // Of another type.
            Err(Error::Malformed(_)) => Ok(Holds::Damaged),
            looked => looked,
        }
    }

    async fn put_visible(&self, visible: &VisibleRuns) -> Result<bool, Error> {
        let mut arguments = visible_fields(visible).map(Value::from).to_vec();
        arguments.push(Value::from(self.config.expiry_seconds()));
        let put = async |arguments: Vec<Value>| -> Result<Fields, Error> {
            self.request(Call::PutVisible(visible.version), |client| async move {
                client.eval(PUT_VISIBLE, self.keys.visible(), arguments).await
            })
            .await
        };
        let mut said = put(arguments.clone()).await?;
        if let [Some(_), held @ ..] = &said[..]
            && !held.is_empty()
            && read_visible(held).is_none()
        {
            arguments.extend(
                (0..3).map(|place| Value::Bytes(held.get(place).cloned().flatten().unwrap_or_default())),
            );
            said = put(arguments).await?;
        }
        let said = said.first().and_then(Option::as_deref).unwrap_or_default();
        if said == b"replaced" {
            tracing::warn!(key = self.keys.visible(), "{REPLACED}");
        }
        Ok(said != b"kept")
    }

    async fn replace_visible(&self, held: &VisibleRuns, with: &VisibleRuns) -> Result<bool, Error> {
        let [version, runs, _] = visible_fields(held);
        let mut arguments = vec![Value::from(version), Value::from(runs)];
        arguments.extend(visible_fields(with).map(Value::from));
        arguments.push(Value::from(self.config.expiry_seconds()));
        let was_there: i64 = self
            .request(Call::ReplaceVisible(held.version), |client| async move {
                client.eval(REPLACE_VISIBLE, self.keys.visible(), arguments).await
            })
            .await?;
        Ok(was_there == 1)
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        let fields: Fields = self
            .request(Call::Visible, |client| async move {
                client.hmget(self.keys.visible(), vec!["version", "runs", "sum"]).await
            })
            .await?;
        if fields.iter().all(Option::is_none) {
            return Ok(None);
        }
        read_visible(&fields)
            .map(Some)
            .ok_or_else(|| Error::Malformed(format!("{}: not as they were written", Call::Visible)))
    }

    async fn value(&self, customer: CustomerId) -> Result<Option<(RunId, CachedValue)>, Error> {
        let call = Call::Value(customer);
        let (Bucket(bucket), slot) = Bucket::of(customer);
        let arguments = vec![
            Value::from(self.keys.values()),
            Value::from(self.keys.members()),
            Value::from(bucket.to_string()),
            Value::Bytes(slot.field()),
            Value::from(members::mixed(Bucket(bucket)).to_string()),
        ];
        let found: Fields = self
            .request(call, |client| async move { client.eval(VALUE, self.keys.visible(), arguments).await })
            .await?;
        let (run, held) = read_found(customer, &found);
        metrics::lookup(&held);
        match held {
            Held::Value(value) => Ok(run.map(|run| (run, value))),
            Held::Damaged(reason) => {
                tracing::debug!(reason, "{call}");
                Ok(None)
            }
            Held::NoMember | Held::Unknown => Ok(None),
        }
    }

    async fn put_progress(&self, run: RunId, progress: &Progress) -> Result<(), Error> {
        let arguments =
            vec![Value::from(packed::progress_json(progress)), Value::from(self.config.expiry_seconds())];
        let said: Bytes = self
            .request(Call::PutProgress(run), |client| async move {
                client.eval(PUT_PROGRESS, self.keys.progress(run), arguments).await
            })
            .await?;
        if said == "replaced" {
            tracing::warn!(key = self.keys.progress(run), "{REPLACED}");
        }
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
