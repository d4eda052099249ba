//! What a pass of the coordinator looks at, and what it does about it.
//!
//! Leadership saves work; it is not what keeps a night correct. Every action is guarded by what it expects to
//! find, and by the term, so that a leader which was stopped and came back does nothing.

use std::time::Duration;

use batch::{
    Attempt, AttemptId, ChunkId, ChunkSnapshot, CustomerId, Evidence, LEASES, LONGEST_LEASE, MEANWHILE,
    OpenRun, OpenRuns, Presence, Progress, RunId, Verdict,
};
use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::attempts::{customers, stored};
use super::row::{get, word};
use super::value_row::read_values;
use super::{Fault, Postgres};
use crate::guard::Hold;
use crate::record::{DEAD_CHUNK, FinishedRun, Term, Valued, VisibleRuns};
use crate::{Result, Supervision};

/// The sums over a run's chunks, as columns.
pub(super) const SUMS: &str = "
           count(*) as chunks,
           count(*) filter (where state = 'done') as done,
           count(*) filter (where state = 'dead') as dead,
           coalesce(sum(customers), 0)::bigint as customers,
           coalesce(sum(value_count), 0)::bigint as values,
           coalesce(sum(rejection_count), 0)::bigint as rejections,
           coalesce(sum(work), 0)::float8 as work,
           coalesce(sum(work) filter (where state in ('done', 'dead')), 0)::float8 as work_settled";

impl Supervision for Postgres {
    async fn lead(&self, leader: &str, lease: Duration) -> Result<Option<Term>> {
        const LEAD: &str = "
            insert into fleet.leadership as l (role, leader, term, expires_at, renewed_at)
            values ('coordinator', $1, 1, now() + $2::float8 * interval '1 second', now())
                on conflict (role) do update
               set leader = excluded.leader,
                   term = case when l.leader = excluded.leader and l.expires_at > now()
                               then l.term
                               else l.term + 1
                          end,
                   expires_at = excluded.expires_at,
                   renewed_at = excluded.renewed_at
             where l.leader = excluded.leader
                or l.expires_at <= now()
                or l.expires_at > excluded.expires_at + $3::float8 * interval '1 second'
         returning term";
        self.short("lead", async |client| {
            let lead = client.prepare_cached(LEAD).await?;
            let row =
                client.query_opt(&lead, &[&leader, &lease.as_secs_f64(), &MEANWHILE.as_secs_f64()]).await?;
            row.map(|row| Ok(Term(get(&row, "term")?))).transpose()
        })
        .await
    }

    async fn leader(&self) -> Result<Option<String>> {
        self.short("ask who leads", async |client| leads(client).await).await
    }

    async fn abdicate(&self, leader: &str, term: Term) -> Result<()> {
        const ABDICATE: &str = "
            update fleet.leadership
               set expires_at = now()
             where role = 'coordinator'
               and leader = $1
               and term = $2";
        self.short("abdicate", async |client| {
            client.execute(ABDICATE, &[&leader, &term.0]).await?;
            Ok(())
        })
        .await
    }

    async fn snapshot(&self) -> Result<OpenRuns> {
        const SNAPSHOT: &str = "begin isolation level repeatable read read only";
        const CLOCK: &str = "
            select now() as taken_at, pg_postmaster_start_time() as store_well_since,
                   (select count(*) from fleet.runs where state = 'held') as held";
        const RUNS: &str = "
            select run_id, state, priority, planned_at, deadline_at
              from fleet.runs
             where state in ('planned', 'running')
             order by run_id";
        self.transact("take a snapshot", self.config.call_limit, SNAPSHOT, async |client| {
            // One transaction, so that all parts show the same moment.
            let clock = client.query_one(CLOCK, &[]).await?;
            let rows = client.query(RUNS, &[]).await?;
            let mut runs = Vec::with_capacity(rows.len());
            for row in &rows {
                let run = RunId(get(row, "run_id")?);
                runs.push(OpenRun {
                    run,
                    state: word(row, "state")?,
                    priority: word(row, "priority")?,
                    planned_at: get(row, "planned_at")?,
                    deadline_at: get(row, "deadline_at")?,
                    progress: progress(client, run).await?,
                    open_chunks: open_chunks(client, run).await?,
                });
            }
            client.batch_execute("commit").await?;
            let (taken_at, store_well_since) = (get(&clock, "taken_at")?, get(&clock, "store_well_since")?);
            Ok(OpenRuns { taken_at, store_well_since, runs, held: get::<i64>(&clock, "held")? as u64 })
        })
        .await
    }

    async fn presences(&self, runs: &[RunId]) -> Result<Vec<Presence>> {
        const PRESENCES: &str = "
            select worker,
                   min(began_at) as began_at,
                   max(greatest(began_at, case when outcome in ('done', 'failed', 'given_back')
                                               then ended_at
                                          end)) as seen_at
              from fleet.attempts
             where run_id = any($1)
             group by worker
             order by worker";
        let runs: Vec<i64> = runs.iter().map(|run| run.0).collect();
        self.short("ask who worked", async |client| {
            let rows = client.query(PRESENCES, &[&runs]).await?;
            let presence = |row| {
                Ok(Presence {
                    name: get(row, "worker")?,
                    from: get(row, "began_at")?,
                    to: get(row, "seen_at")?,
                })
            };
            rows.iter().map(presence).collect()
        })
        .await
    }

    async fn shorten_lease(&self, term: Term, attempt: AttemptId, lease: Duration) -> Result<bool> {
        const SHORTEN: &str = "
            update fleet.chunks
               set leased_until = now() + case when leased_until - leased_at between interval '0'
                                                     and $8::float8 * interval '1 second'
                                               then leased_until - leased_at
                                               else $4::float8 * interval '1 second'
                                          end,
                   leased_at = now()
             where run_id = $1
               and chunk_id = $2
               and attempt = $3
               and state = 'leased'
               and case when leased_until - leased_at between interval '0' and $8::float8 * interval '1 second'
                        then leased_at
                        else leased_until - $6::float8 * interval '1 second'
                   end
                   > now() + $7::float8 * interval '1 second'
               and exists (select from fleet.leadership
                            where role = 'coordinator' and term = $5 and expires_at > now())";
        let (longest, meanwhile) = (lease.saturating_mul(LEASES).as_secs_f64(), MEANWHILE.as_secs_f64());
        let (chunk, lease) = (attempt.chunk, lease.as_secs_f64());
        self.short("shorten a lease", async |client| {
            let shortened = client
                .execute(
                    SHORTEN,
                    &[
                        &chunk.run.0,
                        &chunk.chunk.0,
                        &attempt.attempt.0,
                        &lease,
                        &term.0,
                        &longest,
                        &meanwhile,
                        &LONGEST_LEASE.as_secs_f64(),
                    ],
                )
                .await?;
            Ok(shortened == 1)
        })
        .await
    }

    async fn rescue(&self, term: Term, attempt: AttemptId, verdict: Verdict) -> Result<bool> {
        const RESCUE: &str = "
            with rescued as (
                update fleet.chunks
                   set state = $4,
                       retry_at = $5,
                       leased_at = null,
                       leased_until = null,
                       settled_at = case when $4 = 'dead' then now() end
                 where run_id = $1
                   and chunk_id = $2
                   and attempt = $3
                   and state = 'leased'
                   and leased_until <= now()
                   and exists (select from fleet.leadership
                                where role = 'coordinator' and term = $6 and expires_at > now())
             returning run_id, chunk_id, attempt
            )
            update fleet.attempts a
               set outcome = 'lost', ended_at = now(), reason = 'its lease expired'
              from rescued r
             where a.run_id = r.run_id
               and a.chunk_id = r.chunk_id
               and a.attempt = r.attempt
               and a.outcome is null";
        let (chunk, (state, retry_at)) = (attempt.chunk, stored(verdict));
        self.short("rescue a chunk", async |client| {
            let rescue = client.prepare_cached(RESCUE).await?;
            let rescued = client
                .execute(
                    &rescue,
                    &[&chunk.run.0, &chunk.chunk.0, &attempt.attempt.0, &state, &retry_at, &term.0],
                )
                .await?;
            Ok(rescued == 1)
        })
        .await
    }

    async fn evidence(&self, run: RunId) -> Result<Option<Evidence>> {
        self.evidence_about(run).await
    }

    async fn hold_run(&self, term: Term, run: RunId, hold: &Hold) -> Result<bool> {
        self.hold(term, run, hold).await
    }

    async fn finish_run(&self, term: Term, run: RunId) -> Result<Option<FinishedRun>> {
        self.locking("finish a run", self.config.finish_limit, async |client| {
            let finished = finish(client, term, run).await?;
            client.batch_execute(if finished.is_some() { "commit" } else { "rollback" }).await?;
            Ok(finished)
        })
        .await
    }

    async fn values_after(&self, run: RunId, after: Option<CustomerId>, limit: u32) -> Result<Vec<Valued>> {
        let after = after.map_or(i64::MIN, |customer| customer.0);
        let page =
            format!("where run_id = {run} and customer_id > {after} order by customer_id limit {limit}");
        self.call("read a page of values", self.config.bulk_limit, async |client| {
            read_values(client, &page).await
        })
        .await
    }

    async fn visible_runs(&self) -> Result<VisibleRuns> {
        const VISIBLE: &str = "
            with finished as (
                select run_id, as_of, is_whole
                  from fleet.runs
                 where state = 'finished'
            ), base as (
                select as_of, run_id
                  from finished
                 where is_whole
                 order by as_of desc, run_id desc
                 limit 1
            )
            select coalesce((select max(visible_version) from fleet.runs), 0) as version,
                   array(select run_id
                           from finished f
                          where not exists (select from base b
                                             where (b.as_of, b.run_id) > (f.as_of, f.run_id))
                          order by as_of desc, run_id desc) as runs";
        self.short("list the visible runs", async |client| {
            let row = client.query_one(VISIBLE, &[]).await?;
            let runs: Vec<i64> = get(&row, "runs")?;
            Ok(VisibleRuns { version: get(&row, "version")?, runs: runs.into_iter().map(RunId).collect() })
        })
        .await
    }
}

/// Who leads; nobody whose lease was given before the clock was set back.
pub(super) async fn leads(client: &ClientWrapper) -> Result<Option<String>, Fault> {
    const LEADS: &str = "
        select leader
          from fleet.leadership
         where role = 'coordinator'
           and expires_at > now()
           and coalesce(renewed_at, now()) <= now() + $1::float8 * interval '1 second'";
    let row = client.query_opt(LEADS, &[&MEANWHILE.as_secs_f64()]).await?;
    row.map(|row| get(&row, "leader")).transpose()
}

/// Reads the sums over a run's chunks.
pub(super) async fn progress(client: &ClientWrapper, run: RunId) -> Result<Progress, Fault> {
    let progress = format!("select {SUMS} from fleet.chunks where run_id = $1");
    let progress = client.prepare_cached(&progress).await?;
    sums(&client.query_one(&progress, &[&run.0]).await?)
}

/// Reads sums over chunks from their columns.
pub(super) fn sums(row: &Row) -> Result<Progress, Fault> {
    let count = |column| get::<i64>(row, column).map(|count| count as u64);
    Ok(Progress {
        chunks: count("chunks")?,
        done: count("done")?,
        dead: count("dead")?,
        customers: count("customers")?,
        values: count("values")?,
        rejections: count("rejections")?,
        work: get(row, "work")?,
        work_settled: get(row, "work_settled")?,
    })
}

async fn open_chunks(client: &ClientWrapper, run: RunId) -> Result<Vec<ChunkSnapshot>, Fault> {
    const OPEN: &str = "
        select chunk_id, state, attempt, published_at, leased_at, leased_until, retry_at,
               case when state = 'leased' and leased_until <= now()
                    then (select count(*)
                            from fleet.attempts a
                           where a.run_id = c.run_id
                             and a.chunk_id = c.chunk_id
                             and a.outcome in ('failed', 'lost'))
                    else 0
               end as failures
          from fleet.chunks c
         where run_id = $1
           and state not in ('done', 'dead')
         order by chunk_id";
    let open = client.prepare_cached(OPEN).await?;
    client.query(&open, &[&run.0]).await?.iter().map(chunk_snapshot).collect()
}

fn chunk_snapshot(row: &Row) -> Result<ChunkSnapshot, Fault> {
    Ok(ChunkSnapshot {
        chunk: ChunkId(get(row, "chunk_id")?),
        state: word(row, "state")?,
        attempt: Attempt(get(row, "attempt")?),
        failures: get::<i64>(row, "failures")? as u32,
        published_at: get(row, "published_at")?,
        leased_at: get(row, "leased_at")?,
        leased_until: get(row, "leased_until")?,
        retry_at: get(row, "retry_at")?,
    })
}

/// Finishes a run within the transaction that is open.
///
/// The primary key proves that no customer has two values, the count proves that none is missing, and becoming
/// a partition and `finished` in one commit is what makes the run visible all at once.
async fn finish(client: &ClientWrapper, term: Term, run: RunId) -> Result<Option<FinishedRun>, Fault> {
    const FINISH: &str = "
        update fleet.runs
           set state = 'finished',
               finished_at = clock_timestamp(),
               visible_version = nextval('fleet.visible_versions')
         where run_id = $1
     returning finished_at";
    let Some(locked) = lock_to_end(client, term, run).await? else { return Ok(None) };
    let planned: i64 = get(&locked, "customers")?;

    if !progress(client, run).await?.is_settled() {
        return Ok(None); // A dead letter was put back meanwhile.
    }
    // Before anything is done that would be done again by the next try.
    end_writers(client, run).await?;
    take_locks(client, run).await?;
    reject_dead_chunks(client, run).await?;
    let progress = progress(client, run).await?;
    client.batch_execute(&format!("alter table fleet.values_{run} add primary key (customer_id)")).await?;
    let stored: i64 =
        client.query_one(&format!("select count(*) from fleet.values_{run}"), &[]).await?.try_get(0)?;
    if stored as u64 != progress.values || progress.values + progress.rejections != planned as u64 {
        return Err(Fault::nonsense(format!(
            "run {run} planned {planned} customers, its chunks counted {} values and {} rejections, and \
             {stored} values are stored",
            progress.values, progress.rejections
        )));
    }
    client
        .batch_execute(&format!(
            "set local lock_timeout = '{ATTACH_LIMIT_SECONDS}s';
             alter table fleet.values attach partition fleet.values_{run} for values in ({run});
             alter table fleet.values_{run} reset (autovacuum_enabled)"
        ))
        .await?;

    let finished_at: Timestamp = get(&client.query_one(FINISH, &[&run.0]).await?, "finished_at")?;
    client.batch_execute(&format!("notify fleet_runs, '{run} finished'")).await?;
    let planned_at: Timestamp = get(&locked, "planned_at")?;
    let took = finished_at.duration_since(planned_at).unsigned_abs();
    Ok(Some(FinishedRun { run, progress, took }))
}

/// Locks an open run for whoever leads, so that nobody else ends it or puts dead chunks of it back to work.
pub(super) async fn lock_to_end(
    client: &ClientWrapper,
    term: Term,
    run: RunId,
) -> Result<Option<Row>, Fault> {
    const LOCK: &str = "
        select customers, planned_at
          from fleet.runs
         where run_id = $1
           and state in ('planned', 'running')
           and exists (select from fleet.leadership
                        where role = 'coordinator' and term = $2 and expires_at > now())
           for update";
    Ok(client.query_opt(LOCK, &[&run.0, &term.0]).await?)
}

/// How long the table of all values is waited for once the primary key is there: losing that work costs more.
const ATTACH_LIMIT_SECONDS: u32 = 30;

/// Takes the lock on a run's table that its end needs, and sees that nobody keeps the table of all values, which is
/// needed for a moment at the very end: it is let go of at once, so that another run can be finished meanwhile.
async fn take_locks(client: &ClientWrapper, run: RunId) -> Result<(), Fault> {
    client
        .batch_execute(&format!(
            "savepoint look;
             lock table only fleet.values in share update exclusive mode;
             rollback to savepoint look;
             release savepoint look;
             lock table fleet.values_{run} in access exclusive mode"
        ))
        .await?;
    Ok(())
}

/// Ends the connections that are still writing into a run's table. Whoever they belong to was superseded, or the run is being
/// cancelled: nothing of theirs may be committed. A worker that was stopped in the middle of a COPY would keep the
/// table locked for as long as it is stopped, and no time limit of the server's ends a COPY that waits for its
/// client.
pub(super) async fn end_writers(client: &ClientWrapper, run: RunId) -> Result<(), Fault> {
    const END: &str = "
        select pg_terminate_backend(l.pid)
          from pg_locks l
          join pg_stat_activity a using (pid)
         where l.locktype = 'relation'
           and l.mode = 'RowExclusiveLock'
           and l.relation = to_regclass($1)
           and l.database = (select oid from pg_database where datname = current_database())
           and a.usename = current_user
           and l.pid <> pg_backend_pid()";
    client.execute(END, &[&format!("fleet.values_{run}")]).await?;
    Ok(())
}

/// Records a rejection for each customer of a dead chunk, so that every planned customer is accounted for.
async fn reject_dead_chunks(client: &ClientWrapper, run: RunId) -> Result<(), Fault> {
    const DEAD: &str = "
        select chunk_id, first_customer, customers, members
          from fleet.chunks
         where run_id = $1
           and state = 'dead'
           and rejection_count = 0";
    const REJECT: &str = "
        with rejected as (
            insert into fleet.rejections (run_id, chunk_id, customer_id, reason)
            select $1, $2, customer_id, $4
              from unnest($3::bigint[]) as dead (customer_id)
        )
        update fleet.chunks
           set rejection_count = customers
         where run_id = $1
           and chunk_id = $2
           and state = 'dead'";
    for row in client.query(DEAD, &[&run.0]).await? {
        let chunk: i32 = get(&row, "chunk_id")?;
        let dead: Vec<i64> = customers(&row)?.into_iter().map(|customer| customer.0).collect();
        client.execute(REJECT, &[&run.0, &chunk, &dead, &DEAD_CHUNK]).await?;
    }
    Ok(())
}
