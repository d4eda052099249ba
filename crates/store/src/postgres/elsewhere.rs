//! Histories from elsewhere: a server for the relations of `source` that is not the fleet's own.
//!
//! Runs, chunks and values stay in the fleet's database. Whoever reads `source` asks for what it **needs** ([`Needed`]);
//! that becomes a **mark** in the fleet's database: how far its WAL had come, and what its clock said. The server says
//! its **place**: what it is, and how far it has come itself. It is asked on the connection of the read and before the
//! snapshot of the read is taken, so that what is read holds everything up to that place.
//!
//! | what the server is | how it is known | it is read when |
//! |---|---|---|
//! | a replica of the fleet's database, or of another one of its cluster | the cluster's identifier | it has replayed the fleet's WAL up to the mark: no clock is asked |
//! | a replica of another cluster | it is in recovery | it has replayed all that was committed there up to the mark's moment: a clock of that cluster's is compared with the fleet's |
//! | another database: a copy, a warehouse, a logical replica | neither | at once. That it is complete is the word of whoever named it |
//!
//! A run needs all that was committed when it was planned, which is never before its `as_of` unless that lies ahead. So
//! a chunk sees what its plan saw, and a load that ended before the night was ordered is in it, however late it is
//! replayed. A process asks for a run's mark once; asked later than the plan, it is only stricter.
//!
//! # Failure by failure
//!
//! * **The replica lags behind the mark.** It is waited for, [`READ_PATIENCE`] with a chunk in hand, [`PLAN_PATIENCE`]
//!   for a plan; then [`Error::Unavailable`] with both places. The server is well, so its breaker hears of no failure.
//!   A worker keeps its attempt and asks again, which charges nobody; a dispatcher gives up.
//! * **A replica does not say how far it is.** The same, with the right that lets it say so.
//! * **The replica's recovery cancels a read** (`40001`, `40P01`), because rows that it looks at were vacuumed on the
//!   primary. It is read again at once, over a newer snapshot, [`CONFLICTS`] times within the same call; then, or if
//!   the connection was ended, as any server that is not well.
//! * **The server is away.** [`Error::Unavailable`], and a breaker of its own opens: workers take no chunk that they
//!   could not read. What was computed is committed all the same.
//! * **The replica was promoted.** It is of the fleet's cluster, and its history is not the fleet's any more:
//!   [`Error::Unavailable`] until it is a replica again.
//! * **Several servers behind one name.** Each read asks the one that it reads. Not so behind a pooler that hands each
//!   transaction to another server: name one pool for each.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batch::RunId;
use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use resilience::{InvalidConfig, ServerUrl};
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use super::connect::BEGIN_IN_UTC;
use super::row::get;
use super::{Fault, Postgres, PostgresConfig, with_causes};
use crate::{Error, Result, metrics};

/// How long a chunk's read waits for a replica before it says so.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// How long a plan waits for one. The primary of an idle cluster tells its replicas every half minute that there is
/// nothing new.
const PLAN_PATIENCE: Duration = Duration::from_secs(40);

/// The pause between two looks at a replica that lags behind.
const LOOK: Duration = Duration::from_millis(100);

/// How often a read that recovery cancels is repeated within a call.
const CONFLICTS: u32 = 5;

/// Runs whose marks are remembered. They are asked for again when there are more.
const MARKS: usize = 256;

/// What a read of the source has to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// Whatever is there.
    Nothing,
    /// What is committed now.
    Now,
    /// What was committed when the run was planned.
    Run(RunId),
}

/// The server that is not the fleet's own. A clone is another handle to the same connections.
#[derive(Clone)]
pub(super) struct Elsewhere {
    server: Arc<Postgres>,
    marks: Arc<Mutex<HashMap<RunId, Mark>>>,
}

impl Elsewhere {
    pub(super) fn server(&self) -> &Postgres {
        &self.server
    }
}

/// How the server elsewhere stands to what is committed now, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceStanding {
    /// It holds all of it, for this reason.
    Complete(&'static str),
    /// It lacks this.
    Behind(String),
}

/// How far the fleet's database had come.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    cluster: i64,
    timeline: String,
    wal: Wal,
    moment: Timestamp,
}

/// What a server is, and how far it has come.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    cluster: i64,
    /// Of a server that is in recovery it is not asked.
    timeline: Option<String>,
    replayed: Option<Wal>,
    /// Everything that was committed before is there.
    moment: Option<Timestamp>,
}

/// A place in a cluster's WAL, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wal(i64);

impl Wal {
    /// The place where the last record before one ends: what is inserted next goes behind the header of its page, and
    /// of its file, which nobody replays before there is a record.
    fn of_last_record(next: i64, page: i64, file: i64) -> Self {
        /// The headers of a page, and of a page that begins a file.
        const HEADERS: (i64, i64) = (24, 40);
        let header = if next % file < page { HEADERS.1 } else { HEADERS.0 };
        Self(if next % page == header { next - header } else { next })
    }
}

impl fmt::Display for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// What a place lacks of a mark, in words; `None` if nothing.
fn lacking(place: &Place, mark: &Mark) -> Option<String> {
    let is_replica = place.timeline.is_none();
    if place.cluster == mark.cluster {
        return match (&place.timeline, place.replayed) {
            (Some(timeline), _) if *timeline == mark.timeline => None,
            (Some(_), _) => {
                Some("it was promoted, and is no replica of the fleet's database any more".into())
            }
            (None, Some(replayed)) if replayed >= mark.wal => None,
            (None, Some(replayed)) => Some(format!(
                "it lags behind: it has replayed the fleet's WAL up to {replayed}, and {} is needed",
                mark.wal
            )),
            (None, None) => Some("it does not say how far it has replayed the fleet's WAL".into()),
        };
    }
    match place.moment {
        _ if !is_replica => None,
        Some(moment) if moment >= mark.moment => None,
        Some(moment) => Some(format!(
            "it lags behind: it is known to have replayed what was committed until {moment}, and {} is needed{MONITOR}",
            mark.moment
        )),
        None => Some(format!(
            "it lags behind, or does not say how far it has replayed: what was committed until {} is needed{MONITOR}",
            mark.moment
        )),
    }
}

const MONITOR: &str = " (its role sees that of a primary at rest only with `grant pg_monitor`)";

impl Postgres {
    /// The same store, which reads the customer's own relations from another server.
    pub fn with_source(self, url: ServerUrl) -> std::result::Result<Self, InvalidConfig> {
        let config = PostgresConfig { url, ..self.config.clone() };
        let server = Self::open(config, "source").map_err(|error| error.of("source"))?;
        Ok(Self { elsewhere: Some(Elsewhere { server: Arc::new(server), marks: Arc::default() }), ..self })
    }

    /// The store on the server that the customer's own relations are read from, if it is not the fleet's own.
    pub fn source_server(&self) -> Option<&Self> {
        self.elsewhere.as_ref().map(Elsewhere::server)
    }

    /// Where the customer's own relations are.
    pub(super) fn source(&self) -> &Self {
        self.source_server().unwrap_or(self)
    }

    /// Looks what the server elsewhere is and how it stands; `None` if there is none.
    pub async fn look_at_source(&self) -> Result<Option<SourceStanding>> {
        let Some(elsewhere) = &self.elsewhere else { return Ok(None) };
        let mark = self.ask_mark(None).await?;
        let place = elsewhere.server.short("look at the source", place).await?;
        Ok(Some(match lacking(&place, &mark) {
            Some(lack) => SourceStanding::Behind(lack),
            None => SourceStanding::Complete(match place.timeline {
                _ if place.cluster == mark.cluster => "it has replayed all of the fleet's WAL",
                None => "it is a replica of another cluster, and has replayed all of that",
                Some(_) => "it is another database: what it holds is taken to be complete",
            }),
        }))
    }

    /// Reads the source in one call and over one snapshot, in which a moment without a zone is one of UTC, when it holds
    /// what is needed. `read` makes a read, since it may have to be done more than once.
    pub(super) async fn read_source<T, Read>(
        &self,
        what: &'static str,
        needed: Needed,
        read: impl Fn() -> Read,
    ) -> Result<T>
    where
        Read: AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    {
        self.read_source_by_itself(what, needed, || {
            async |client: &ClientWrapper| {
                self.source().begin(client, BEGIN_IN_UTC).await?;
                let found = read()(client).await?;
                client.batch_execute("commit").await?;
                Ok(found)
            }
        })
        .await
    }

    /// The same for a read that begins and ends its transaction by itself.
    pub(super) async fn read_source_by_itself<T, Read>(
        &self,
        what: &'static str,
        needed: Needed,
        read: impl Fn() -> Read,
    ) -> Result<T>
    where
        Read: AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
    {
        let limit = self.config.bulk_limit;
        let Some(elsewhere) = &self.elsewhere else {
            return self.converse(what, limit, async |client| read()(client).await).await;
        };
        let mark = self.mark(elsewhere, needed).await?;
        let patience = if matches!(needed, Needed::Run(_)) { READ_PATIENCE } else { PLAN_PATIENCE };
        let answer = elsewhere
            .server
            .converse(what, limit + patience, async |client| {
                if let Some(mark) = &mark
                    && let Some(lack) = elsewhere.server.wait_for(client, mark, patience).await?
                {
                    return Ok(Err(lack));
                }
                through_conflicts(client, &read).await.map(Ok)
            })
            .await?;
        answer.map_err(|lack| {
            let reason = format!("the source at {}: {lack}", elsewhere.server.config.url);
            let error = Error::Unavailable { what: what.into(), reason };
            metrics::failed(what, &error);
            error
        })
    }

    /// Waits until this server has come to a mark; returns what it lacks if that takes too long.
    async fn wait_for(
        &self,
        client: &ClientWrapper,
        mark: &Mark,
        patience: Duration,
    ) -> Result<Option<String>, Fault> {
        let began = Instant::now();
        loop {
            let lack = lacking(&self.whole(client, place).await?, mark);
            if lack.is_none() || began.elapsed() >= patience {
                return Ok(lack);
            }
            sleep(LOOK).await;
        }
    }

    async fn mark(&self, elsewhere: &Elsewhere, needed: Needed) -> Result<Option<Mark>> {
        let marks = || elsewhere.marks.lock().unwrap_or_else(PoisonError::into_inner);
        match needed {
            Needed::Nothing => Ok(None),
            Needed::Now => self.ask_mark(None).await.map(Some),
            Needed::Run(run) => {
                let known = marks().get(&run).cloned();
                if known.is_some() {
                    return Ok(known);
                }
                let mark = self.ask_mark(Some(run)).await?;
                let mut marks = marks();
                if marks.len() >= MARKS {
                    marks.clear();
                }
                // Of two that ask at once the first is less strict, and right.
                Ok(Some(marks.entry(run).or_insert(mark).clone()))
            }
        }
    }

    /// Asks the fleet's database how far it has come; of a run, when it was planned.
    async fn ask_mark(&self, run: Option<RunId>) -> Result<Mark> {
        const MARK: &str = "
            select (select system_identifier from pg_control_system()) as cluster,
                   left(pg_walfile_name(next), 8) as timeline,
                   (next - pg_lsn '0/0')::bigint as next,
                   current_setting('wal_block_size')::bigint as page,
                   pg_size_bytes(current_setting('wal_segment_size')) as file,
                   coalesce((select planned_at from fleet.runs where run_id = $1), clock_timestamp()) as moment
              from (select pg_current_wal_insert_lsn() as next) as wal";
        self.short("mark how far the fleet is", async |client| {
            let row = client.query_one(MARK, &[&run.map(|run| run.0)]).await?;
            Ok(Mark {
                cluster: get(&row, "cluster")?,
                timeline: get(&row, "timeline")?,
                wal: Wal::of_last_record(get(&row, "next")?, get(&row, "page")?, get(&row, "file")?),
                moment: get(&row, "moment")?,
            })
        })
        .await
    }
}

/// Asks a server for its place.
///
/// A replica has all that was committed up to its last transaction; and if it has replayed all that its primary had when
/// it last sent something, up to then.
async fn place(client: &ClientWrapper) -> Result<Place, Fault> {
    const PLACE: &str = "
        select (select system_identifier from pg_control_system()) as cluster,
               case when not pg_is_in_recovery()
                    then left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
               end as timeline,
               (pg_last_wal_replay_lsn() - pg_lsn '0/0')::bigint as replayed,
               greatest(pg_last_xact_replay_timestamp(),
                        (select last_msg_send_time
                           from pg_stat_wal_receiver
                          where latest_end_lsn <= pg_last_wal_replay_lsn())) as moment";
    let row = client.query_one(PLACE, &[]).await?;
    Ok(Place {
        cluster: get(&row, "cluster")?,
        timeline: get(&row, "timeline")?,
        replayed: get::<Option<i64>>(&row, "replayed")?.map(Wal),
        moment: get(&row, "moment")?,
    })
}

/// Reads, and reads again what the server's recovery has cancelled.
async fn through_conflicts<T, Read>(client: &ClientWrapper, read: impl Fn() -> Read) -> Result<T, Fault>
where
    Read: AsyncFnOnce(&ClientWrapper) -> Result<T, Fault>,
{
    for _ in 0..CONFLICTS {
        match read()(client).await {
            Err(Fault::Driver(error)) if is_conflict(&error) && !client.is_closed() => {
                tracing::info!(
                    error = %with_causes(&error),
                    "the source's recovery cancelled a read, which is done again"
                );
                client.batch_execute("rollback").await?;
            }
            answer => return answer,
        }
    }
    read()(client).await
}

fn is_conflict(error: &tokio_postgres::Error) -> bool {
    let states = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|state| states.contains(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn mark() -> Mark {
        Mark { cluster: 7, timeline: "00000001".into(), wal: Wal(1_000), moment: at("2026-11-28T02:00:00Z") }
    }

    fn check(place: &Place, expected: Option<&str>) {
        let lack = lacking(place, &mark());
        let is_expected = match (&lack, expected) {
            (None, None) => true,
            (Some(lack), Some(expected)) => lack.contains(expected),
            _ => false,
        };
        assert!(is_expected, "{place:?}: {lack:?}");
    }

    #[test]
    fn a_replica_of_the_fleets_cluster_is_told_by_its_wal_and_by_no_clock() {
        let replica = Place {
            cluster: 7,
            timeline: None,
            replayed: Some(Wal(1_000)),
            moment: Some(at("1970-01-01T00:00:00Z")),
        };

        check(&replica, None);
        check(
            &Place { replayed: Some(Wal(999)), moment: Some(at("2030-01-01T00:00:00Z")), ..replica.clone() },
            Some("up to 0/3E7, and 0/3E8 is needed"),
        );
        check(&Place { replayed: None, ..replica.clone() }, Some("does not say"));
        check(&Place { timeline: Some("00000001".into()), ..replica.clone() }, None);
        check(&Place { timeline: Some("00000002".into()), ..replica }, Some("promoted"));
    }

    #[test]
    fn a_replica_of_another_cluster_is_told_by_what_was_committed_there() {
        let replica = Place {
            cluster: 8,
            timeline: None,
            replayed: Some(Wal(5)),
            moment: Some(at("2026-11-28T02:00:00Z")),
        };

        check(&replica, None);
        check(
            &Place { moment: Some(at("2026-11-28T01:59:59Z")), ..replica.clone() },
            Some("until 2026-11-28T01:59:59Z"),
        );
        check(&Place { moment: None, ..replica }, Some("pg_monitor"));
    }

    #[test]
    fn another_database_is_believed() {
        check(&Place { cluster: 8, timeline: Some("00000009".into()), replayed: None, moment: None }, None);
    }

    #[test]
    fn what_comes_next_behind_a_header_is_where_the_last_record_ends() {
        const PAGE: i64 = 8_192;
        const FILE: i64 = 16 << 20;
        let check = |next: i64, expected: i64| {
            assert_eq!(Wal::of_last_record(next, PAGE, FILE), Wal(expected), "{next}");
        };

        check(FILE + 3 * PAGE + 1_000, FILE + 3 * PAGE + 1_000);
        check(FILE + 3 * PAGE + 24, FILE + 3 * PAGE);
        check(FILE + 3 * PAGE + 40, FILE + 3 * PAGE + 40);
        check(FILE + 40, FILE);
        check(FILE + 24, FILE + 24);
    }

    #[test]
    fn a_place_is_written_as_postgresql_writes_it() {
        assert_eq!(Wal((2 << 32) + 0xAB_CDEF).to_string(), "2/ABCDEF");
    }
}
