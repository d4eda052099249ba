//! What a server may not be asked, and what it does by itself that costs queries: looked at once, when it is first reached.
//!
//! # Failure by failure
//!
//! - *A command is refused* (the user's rights, a read-only replica, a full memory): each that the cache needs is tried on a
//!   key of its own, which expires, and those that are refused are named with what the server said. The night goes on.
//! - *The server is a part of a cluster*: its scripts would read keys of other nodes. Said.
//! - *The server evicts*: said. `INFO` knows, and where that is refused `CONFIG`; where both are, that it is not known.
//! - *The server goes away meanwhile, or is not to be asked yet* (it loads its data, its master is not there, a script keeps
//!   it busy): it is looked at again, as a whole. Nothing is said of what passes by itself.

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Value};
use resilience::{Delays, within};

use super::Redis;

/// What there is to say of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The commands that it refuses, and what it said.
    pub refused: Vec<(&'static str, String)>,
    /// Whether it is a part of a cluster, as far as it tells.
    pub is_cluster: bool,
    /// What it does when it is full.
    pub eviction: Eviction,
}

/// What a server does when it is full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// It takes no more.
    #[default]
    Never,
    /// It drops keys by this policy.
    By(String),
    /// It does not tell, and says why.
    Unknown(String),
}

impl Standing {
    /// What an operator has to be told, each by itself; nothing if all is well.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.refused.is_empty() {
            let refused: Vec<String> =
                self.refused.iter().map(|(command, reason)| format!("{command} ({reason})")).collect();
            remarks.push(format!(
                "redis refuses what the cache needs: {}; until it is allowed, values and progress are not cached and \
                 readers ask PostgreSQL",
                refused.join(", ")
            ));
        }
        if self.is_cluster {
            remarks.push(
                "redis is a cluster, where the keys that a script (EVAL) needs lie on different nodes: name a server that \
                 is none, or nothing is cached"
                    .into(),
            );
        }
        match &self.eviction {
            Eviction::Never => {}
            Eviction::By(policy) => remarks.push(format!(
                "redis drops keys when it is full (maxmemory-policy {policy}): readers ask PostgreSQL for what is gone; \
                 give it memory for two nights"
            )),
            Eviction::Unknown(reason) => remarks.push(format!(
                "it is not known whether redis drops keys when it is full (maxmemory-policy): it tells neither by INFO \
                 nor by CONFIG ({reason})"
            )),
        }
        remarks
    }
}

impl Redis {
    /// Waits until the server can be asked, for as long as it takes, and looks how it stands.
    pub async fn look(&self) -> Standing {
        let mut delays = Delays::reconnect();
        loop {
            if let Ok(client) = self.link.client()
                && let Ok(standing) = self.look_by(&client).await
            {
                return standing;
            }
            delays.pause().await;
        }
    }

    async fn look_by(&self, client: &Client) -> Result<Standing, Away> {
        let mut standing = Standing::default();
        let key = |name: &str| self.keys.tried(name);
        let (hash, text) = (key("hash"), key("text"));
        let tried: [(&str, &[&str]); 9] = [
            ("HSET", &[&hash, "0", ""]),
            ("EXPIRE", &[&hash, "60"]),
            ("HGET", &[&hash, "0"]),
            ("HMGET", &[&hash, "0"]),
            ("DEL", &[&hash]),
            ("SET", &[&text, "", "EX", "60"]),
            ("GET", &[&text]),
            ("TYPE", &[&text]),
            ("EVAL", &["return redis.call('TYPE', KEYS[1])", "1", &text]),
        ];
        for (command, arguments) in tried {
            if let Err(reason) = self.try_out(client, command, arguments).await? {
                standing.refused.push((command, reason));
            }
        }
        let cluster = self.try_out(client, "INFO", &["cluster"]).await?;
        standing.is_cluster = cluster.is_ok_and(|said| field(&said, "cluster_enabled") == Some("1"));
        standing.eviction = self.eviction(client).await?;
        Ok(standing)
    }

    async fn eviction(&self, client: &Client) -> Result<Eviction, Away> {
        let by_info = self.try_out(client, "INFO", &["memory"]).await?;
        let policy = by_info.and_then(|said| {
            field(&said, "maxmemory_policy").map(str::to_owned).ok_or_else(|| "INFO does not name it".into())
        });
        let policy = match policy {
            Ok(policy) => Ok(policy),
            Err(by_info) => {
                let by_config = self.try_out(client, "CONFIG", &["GET", "maxmemory-policy"]).await?;
                match by_config {
                    Ok(said) => said.lines().nth(1).map(str::to_owned).ok_or(by_info),
                    Err(by_config) => Err(format!("{by_info}, {by_config}")),
                }
            }
        };
        Ok(match policy {
            Ok(policy) if policy == "noeviction" => Eviction::Never,
            Ok(policy) => Eviction::By(policy),
            Err(reason) => Eviction::Unknown(reason),
        })
    }

    /// Sends a command, beside the breaker: what is refused here is no sign of a sick server. Gives its answer as lines, or
    /// what it said instead of one.
    async fn try_out(
        &self,
        client: &Client,
        command: &'static str,
        arguments: &[&str],
    ) -> Result<Result<String, String>, Away> {
        let arguments: Vec<Value> = arguments.iter().map(|&argument| Value::from(argument)).collect();
        let call = client.custom::<Value, Value>(
            CustomCommand::new_static(command, ClusterHash::FirstKey, false),
            arguments,
        );
        let answer = within(self.config.connect_limit, command, Box::pin(call)).await.map_err(|_| Away)?;
        match answer {
            Ok(answer) => Ok(Ok(lines(&answer))),
            Err(error) if has_answered(&error) => Ok(Err(error.details().to_owned())),
            Err(_) => Err(Away),
        }
    }
}

/// The server did not answer, or only for now.
#[derive(Debug)]
struct Away;

/// What a server begins an answer with that it would not give a moment later.
const PASSING: [&str; 4] = ["LOADING", "MASTERDOWN", "BUSY", "TRYAGAIN"];

/// Whether it is an answer, and will be the same the next time.
fn has_answered(error: &Error) -> bool {
    let is_passing = error.details().split_whitespace().next().is_some_and(|code| PASSING.contains(&code));
    !is_passing
        && !matches!(
            error.kind(),
            ErrorKind::IO
                | ErrorKind::Timeout
                | ErrorKind::Canceled
                | ErrorKind::Tls
                | ErrorKind::Backpressure
        )
}

fn lines(answer: &Value) -> String {
    match answer {
        Value::Array(values) => values.iter().map(lines).collect::<Vec<_>>().join("\n"),
        value => {
            let bytes: Bytes = value.clone().convert().unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}

/// A field of what `INFO` tells.
fn field<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_is_told_names_the_command_the_policy_and_the_reason() {
        let check = |standing: Standing, expected: &[&[&str]]| {
            let remarks = standing.remarks();
            assert_eq!(remarks.len(), expected.len(), "{remarks:?}");
            for (remark, words) in remarks.iter().zip(expected) {
                assert!(words.iter().all(|word| remark.contains(word)), "{remark}");
            }
        };

        check(Standing::default(), &[]);
        let refused = vec![("DEL", "NOPERM no".into()), ("EVAL", "NOPERM never".into())];
        check(Standing { refused, ..Standing::default() }, &[&["DEL (NOPERM no), EVAL (NOPERM never)"]]);
        check(Standing { is_cluster: true, ..Standing::default() }, &[&["cluster", "EVAL"]]);
        let eviction = Eviction::By("allkeys-lru".into());
        check(Standing { eviction, ..Standing::default() }, &[&["maxmemory-policy allkeys-lru"]]);
        let eviction = Eviction::Unknown("NOPERM".into());
        check(
            Standing { eviction, is_cluster: true, ..Standing::default() },
            &[&[], &["not known", "(NOPERM)"]],
        );
    }

    #[test]
    fn what_passes_by_itself_is_no_refusal() {
        let check = |kind: ErrorKind, said: &'static str, expected: bool| {
            assert_eq!(has_answered(&Error::new(kind, said)), expected, "{said}");
        };

        check(ErrorKind::Unknown, "LOADING Redis is loading the dataset in memory", false);
        check(ErrorKind::Unknown, "MASTERDOWN Link with MASTER is down", false);
        check(ErrorKind::Unknown, "BUSY Redis is busy running a script", false);
        check(ErrorKind::Cluster, "TRYAGAIN Multiple keys request during rehashing of slot", false);
        check(ErrorKind::IO, "connection reset", false);
        check(ErrorKind::Auth, "NOPERM this user has no permissions to run the 'hset' command", true);
        check(ErrorKind::Unknown, "READONLY You can't write against a read only replica.", true);
        check(ErrorKind::Unknown, "ERR unknown command `EVAL`, not BUSY", true);
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let said = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";

        assert_eq!(field(said, "maxmemory_policy"), Some("noeviction"));
        assert_eq!(field(said, "maxmemory"), Some("0"));
        assert_eq!(field(said, "max"), None);
    }
}
