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
//! Every key expires `time_to_live` after its last write. No write depends on what it replaces, but for that of
//! the visible runs, which compares versions, and that of progress, which compares what grows in a run: every call
//! can be repeated, and one that arrives late does no harm.
//!
//! # Failure by failure
//!
//! - *Redis is down, at the start or later*: [`Redis::connect`] returns all the same, and goes on connecting for as
//!   long as a handle lives. Until it is connected, each call fails at once without being queued, so nothing piles
//!   up and nothing is sent late; enough of them open the breaker. The error says why the last connection failed.
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
//! - *`put_progress` arrives out of order, or from a coordinator that was held up*: a script compares in Redis what
//!   is held with what is offered, and the one that is behind changes nothing. The same one renews the expiry. What
//!   an earlier release wrote is the same JSON and is compared too; what is no progress is replaced.
//! - *Bytes that are not ours* (another release's, another program's): `Malformed`; nothing but progress that cannot
//!   be read is overwritten.

mod config;
pub mod floor;
mod link;

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use batch::{CustomerId, Progress, RunId};
use bytes::{Bytes, BytesMut};
use fred::clients::Client;
use fred::error::ErrorKind;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, LuaInterface};
use fred::types::config::Options;
use fred::types::{ClusterHash, CustomCommand, Key, Value};
use resilience::{Blame, Breaker, Elapsed, InvalidConfig, Name, within};
use tokio::time::Instant;

pub use config::RedisConfig;

use self::config::{client_builder, inner_limit};
use self::link::Link;
use crate::packed::{self, Bucket, VALUE_LEN};
use crate::{Cache, CachedValue, Error, Valued, VisibleRuns, metrics};

/// How many hashes go into one pipeline: a dense chunk of 5,000 is one, a sparse one is several.
const HASHES_PER_PIPELINE: usize = 256;

/// Writes the visible runs unless the same or a newer version is there.
const PUT_VISIBLE: &str = "
    local held = tonumber(redis.call('HGET', KEYS[1], 'version'))
    local offered = tonumber(ARGV[1])
    if held == nil or held < offered then
        redis.call('HSET', KEYS[1], 'version', ARGV[1], 'runs', ARGV[2])
        redis.call('EXPIRE', KEYS[1], ARGV[3])
        return 1
    end
    if held == offered then
        redis.call('EXPIRE', KEYS[1], ARGV[3])
    end
    return 0";

/// Writes the progress of a run unless what is there is further: [`Progress::is_further_than`], in Lua.
const PUT_PROGRESS: &str = "
    local offered = cjson.decode(ARGV[1])
    local function reached(progress)
        return { progress.done, progress.values + progress.rejections, progress.dead }
    end
    local function is_further(json)
        local held = cjson.decode(json)
        if held.chunks ~= offered.chunks or held.customers ~= offered.customers then
            return false
        end
        local there, here = reached(held), reached(offered)
        for place = 1, 3 do
            if there[place] ~= here[place] then
                return there[place] > here[place]
            end
        end
        return false
    end
    -- Nothing, or what is no progress, is an error here and keeps nobody out.
    local is_progress, stays = pcall(is_further, redis.call('GET', KEYS[1]))
    if is_progress and stays then
        return 0
    end
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
    return 1";

/// Looks a customer up in the visible runs, newest first, in one round trip.
const VALUE: &str = "
    local runs = redis.call('HGET', KEYS[1], 'runs')
    if not runs then
        return false
    end
    for run in string.gmatch(runs, '%S+') do
        local packed = redis.call('HGET', ARGV[1] .. run .. ':' .. ARGV[2], ARGV[3])
        if packed then
            return {run, packed}
        end
    end
    return false";

/// Keeps what may be lost in Redis. A clone shares the connection and the breaker.
#[derive(Clone, Debug)]
pub struct Redis {
    config: Arc<RedisConfig>,
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
            tracing::warn!(reason, "redis is not there yet; connecting goes on");
        }
        Ok(Self { config: Arc::new(config), breaker, link })
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
            let client = self
                .link
                .client()
                .map_err(|reason| Error::Unavailable(format!("{call}: not connected: {reason}")))?;
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

    fn values_key_start(&self) -> String {
        format!("{}:values:", self.config.prefix)
    }

    fn visible_key(&self) -> String {
        format!("{}:visible", self.config.prefix)
    }

    fn progress_key(&self, run: RunId) -> String {
        format!("{}:progress:{run}", self.config.prefix)
    }
}

impl Cache for Redis {
    async fn put_values(&self, run: RunId, values: &[Valued]) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let call = Call::PutValues { run, count: values.len() };
        self.request(call, |client| async move {
            let key_start = format!("{}{run}:", self.values_key_start());
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
                client.eval(PUT_VISIBLE, self.visible_key(), arguments).await
            })
            .await?;
        Ok(was_newer == 1)
    }

    async fn visible(&self) -> Result<Option<VisibleRuns>, Error> {
        let (version, runs): (Option<Bytes>, Option<Bytes>) = self
            .request(Call::Visible, |client| async move {
                client.hmget(self.visible_key(), vec!["version", "runs"]).await
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
            Value::from(self.values_key_start()),
            Value::from(bucket.to_string()),
            Value::Bytes(slot.field()),
        ];
        let found: Option<(Bytes, Bytes)> = self
            .request(call, |client| async move { client.eval(VALUE, self.visible_key(), arguments).await })
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
                client.eval(PUT_PROGRESS, self.progress_key(run), arguments).await
            })
            .await?;
        Ok(())
    }

    async fn progress(&self, run: RunId) -> Result<Option<Progress>, Error> {
        let call = Call::Progress(run);
        let json: Option<Bytes> =
            self.request(call, |client| async move { client.get(self.progress_key(run)).await }).await?;
        json.map(|json| packed::read_progress(&json))
            .transpose()
            .map_err(|reason| Error::Malformed(format!("{call}: {reason}")))
    }

    async fn check(&self) -> Result<(), Error> {
        self.request(Call::Check, |client| async move { client.ping::<Value>(None).await.map(drop) }).await
    }
}

/// Cuts a chunk into hashes: the key, and the arguments of its `HSET`.
///
/// Customers that follow one another and share a bucket go into one hash; a chunk in any other order is written
/// just as well, in more commands. All values are slices of one allocation and all keys of another, because a
/// chunk has thousands of customers and the night has millions.
struct Hashes<'a> {
    values: &'a [Valued],
    packed: Bytes,
    keys: BytesMut,
    key_start: &'a str,
}

impl<'a> Hashes<'a> {
    fn pack(key_start: &'a str, values: &'a [Valued]) -> Self {
        let mut packed = BytesMut::with_capacity(values.len() * VALUE_LEN);
        for Valued { value, .. } in values {
            packed::put_value(&mut packed, value);
        }
        Self { values, packed: packed.freeze(), keys: BytesMut::new(), key_start }
    }
}

impl Iterator for Hashes<'_> {
    type Item = (Key, Vec<Value>);

    fn next(&mut self) -> Option<Self::Item> {
        let (bucket, _) = Bucket::of(self.values.first()?.customer);
        let is_here = |valued: &&Valued| Bucket::of(valued.customer).0 == bucket;
        let size = self.values.iter().take_while(is_here).count();
        let (here, rest) = self.values.split_at(size);
        self.values = rest;

        let Bucket(number) = bucket;
        write!(self.keys, "{}{number}", self.key_start).expect("a buffer grows");
        let key = self.keys.split().freeze();
        let mut arguments = Vec::with_capacity(1 + 2 * size);
        arguments.push(Value::Bytes(key.clone()));
        for Valued { customer, .. } in here {
            let (_, slot) = Bucket::of(*customer);
            arguments.push(Value::Bytes(slot.field()));
            arguments.push(Value::Bytes(self.packed.split_to(VALUE_LEN)));
        }
        Some((Key::from(key), arguments))
    }
}

/// Names a call in errors, and says how long it may take.
#[derive(Clone, Copy, Debug)]
enum Call {
    PutValues { run: RunId, count: usize },
    PutVisible(i64),
    Visible,
    Value(CustomerId),
    PutProgress(RunId),
    Progress(RunId),
    Check,
}

impl Call {
    fn label(self) -> &'static str {
        match self {
            Self::PutValues { .. } => "put_values",
            Self::PutVisible(_) => "put_visible",
            Self::Visible => "visible",
            Self::Value(_) => "value",
            Self::PutProgress(_) => "put_progress",
            Self::Progress(_) => "progress",
            Self::Check => "check",
        }
    }

    fn limit(self, config: &RedisConfig) -> Duration {
        match self {
            Self::PutValues { .. } => config.bulk_limit,
            _ => config.call_limit,
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutValues { run, count } => write!(f, "redis: put {count} values of run {run}"),
            Self::PutVisible(version) => write!(f, "redis: make version {version} visible"),
            Self::Visible => write!(f, "redis: read the visible runs"),
            Self::Value(customer) => write!(f, "redis: read the value of customer {customer}"),
            Self::PutProgress(run) => write!(f, "redis: put the progress of run {run}"),
            Self::Progress(run) => write!(f, "redis: read the progress of run {run}"),
            Self::Check => write!(f, "redis: ping"),
        }
    }
}

/// Turns fred's error into ours.
fn failure(call: Call, limit: Duration, error: &fred::error::Error) -> Error {
    match error.kind() {
        ErrorKind::Timeout => Error::TimedOut(Elapsed { what: call.to_string(), limit }),
        // WRONGTYPE, or an answer of another shape than asked for.
        ErrorKind::InvalidArgument | ErrorKind::Parse | ErrorKind::NotFound => {
            Error::Malformed(format!("{call}: {}", error.details()))
        }
        _ => Error::Unavailable(format!("{call}: {}", error.details())),
    }
}

/// Whoever does not answer, or refuses to serve, is to blame; what it holds is not its fault.
fn blame(error: &Error) -> Blame {
    if error.is_transient() { Blame::Dependency } else { Blame::Caller }
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
    fn neighbours_go_into_one_hash_and_every_value_to_its_own_slot() {
        let values: Vec<Valued> = [98, 99, 100, -1, -100, 101].map(valued).to_vec();

        let hashes: Vec<(String, Vec<(u8, i64)>)> =
            Hashes::pack("ltv:values:7:", &values).map(|(_, arguments)| read_back(arguments)).collect();

        assert_eq!(
            hashes,
            [
                ("ltv:values:7:0".into(), vec![(98, 98), (99, 99)]),
                ("ltv:values:7:1".into(), vec![(0, 100)]),
                ("ltv:values:7:-1".into(), vec![(99, -1), (0, -100)]),
                ("ltv:values:7:1".into(), vec![(1, 101)]),
            ]
        );
    }

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

    fn valued(number: i64) -> Valued {
        let value = CachedValue {
            value_minor: number,
            value_36_minor: 3 * number,
            historic_minor: 0,
            between_80: None,
            expected_purchases: 1.0,
            p_alive: Some(0.5),
            grade: model::Grade::A,
        };
        Valued { customer: CustomerId(number), value }
    }

    /// Takes the arguments of an `HSET` apart: the key, then slots and the values' minor units.
    fn read_back(arguments: Vec<Value>) -> (String, Vec<(u8, i64)>) {
        let arguments: Vec<Bytes> = arguments.into_iter().map(|it| it.convert().unwrap()).collect();
        let (key, fields) = arguments.split_first().unwrap();
        let pair = |pair: &[Bytes]| (pair[0][0], packed::read_value(&pair[1]).unwrap().value_minor);
        (String::from_utf8(key.to_vec()).unwrap(), fields.chunks(2).map(pair).collect())
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
