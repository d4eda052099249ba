//! Histories from elsewhere: a server for the relations of `source` that is not the fleet's own.
//!
//! Runs, chunks and values stay in the fleet's database. Whoever reads `source` asks for what it **needs** ([`Needed`]);
//! that becomes a **mark** in the fleet's database: how far its WAL had come, and what its clock said. The server says
//! its **place**: what it is, and how far it has come itself. It is asked on the connection of the read and before the
//! snapshot of the read is taken, so that what is read holds everything up to that place.
//!
//! | what the server is | how it is known | it is read when |
//! |---|---|---|
//! | the fleet's own server, by whatever name | the cluster's identifier, and the moment when it was started | at once |
//! | a replica of the fleet's database, or of another one of its cluster | the identifier, and that it is in recovery on the fleet's timeline | it has replayed the fleet's WAL up to the mark: no clock is asked |
//! | a copy of the fleet's cluster that goes on by itself: a snapshot of its disk, a replica that was promoted | the identifier alone | never: what was committed at the fleet's since then is not there, and its WAL is its own, however far that has come |
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
//! * **The replica was promoted,** or the server was started from a snapshot of the fleet's disk. It is of the fleet's
//!   cluster, and its history is not the fleet's any more: [`Error::Unavailable`] until it is a replica again. What was
//!   remembered of the mark is forgotten, in case it is the fleet's server that was started again.
//! * **The replica follows another server than the fleet's:** one that was promoted beside it. It is on another timeline,
//!   as its receiver says, or without a right to ask that (`pg_monitor`) its last restart point, which lags behind by
//!   minutes after a failover: [`Error::Unavailable`] until it is on the fleet's. A copy of the fleet's disk on the same
//!   timeline with replicas of its own is beyond what can be told: its replica is taken for the fleet's.
//! * **The fleet's own database fails over.** A replica that follows the server that was promoted is on its timeline, and a
//!   mark from before is not: the mark is forgotten and asked for again, and the next read goes on.
//! * **Several servers behind one name.** Each read asks the one that it reads. Not so behind a pooler that hands each
//!   transaction to another server: name one pool for each.

mod place;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::RunId;
use deadpool_postgres::ClientWrapper;
use resilience::{InvalidConfig, ServerUrl};
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use self::place::{Lack, Mark, Place, Wal, lacking};
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

    fn marks(&self) -> MutexGuard<'_, HashMap<RunId, Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
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
            Some(lack) => SourceStanding::Behind(lack.reason),
            None => SourceStanding::Complete(match (place.cluster == mark.cluster, place.is_replica) {
                (true, true) => "it is a replica, and has replayed all of the fleet's WAL",
                (true, false) => "it is the fleet's own server",
                (false, true) => "it is a replica of another cluster, and has replayed all of that",
                (false, false) => "it is another database: what it holds is taken to be complete",
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
        answer.map_err(|Lack { reason, may_be_of_mark }| {
            if let Needed::Run(run) = needed
                && may_be_of_mark
            {
                elsewhere.marks().remove(&run);
            }
            let reason = format!("the source at {}: {reason}", elsewhere.server.config.url);
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
    ) -> Result<Option<Lack>, Fault> {
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
        match needed {
            Needed::Nothing => Ok(None),
            Needed::Now => self.ask_mark(None).await.map(Some),
            Needed::Run(run) => {
                let known = elsewhere.marks().get(&run).cloned();
                if known.is_some() {
                    return Ok(known);
                }
                let mark = self.ask_mark(Some(run)).await?;
                let mut marks = elsewhere.marks();
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
                   pg_postmaster_start_time() as started,
                   ('x' || left(pg_walfile_name(next), 8))::bit(32)::integer as timeline,
                   (next - pg_lsn '0/0')::bigint as next,
                   current_setting('wal_block_size')::bigint as page,
                   pg_size_bytes(current_setting('wal_segment_size')) as file,
                   coalesce((select planned_at from fleet.runs where run_id = $1), clock_timestamp()) as moment
              from (select pg_current_wal_insert_lsn() as next) as wal";
        self.short("mark how far the fleet is", async |client| {
            let row = client.query_one(MARK, &[&run.map(|run| run.0)]).await?;
            Ok(Mark {
                cluster: get(&row, "cluster")?,
                started: get(&row, "started")?,
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
               pg_postmaster_start_time() as started,
               is_replica,
               case when not is_replica
                    then ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer
                    else coalesce((select received_tli from pg_stat_wal_receiver),
                                  greatest((select timeline_id from pg_control_checkpoint()),
                                           (select min_recovery_end_timeline from pg_control_recovery())))
               end as timeline,
               (case when is_replica
                     then pg_last_wal_replay_lsn()
                     else pg_current_wal_insert_lsn()
                end - pg_lsn '0/0')::bigint as wal,
               greatest(pg_last_xact_replay_timestamp(),
                        (select last_msg_send_time
                           from pg_stat_wal_receiver
                          where latest_end_lsn <= pg_last_wal_replay_lsn())) as moment
          from (select pg_is_in_recovery() as is_replica) as server";
    let row = client.query_one(PLACE, &[]).await?;
    Ok(Place {
        cluster: get(&row, "cluster")?,
        started: get(&row, "started")?,
        is_replica: get(&row, "is_replica")?,
        timeline: get(&row, "timeline")?,
        wal: get::<Option<i64>>(&row, "wal")?.map(Wal),
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
