//! Attempts at chunks: begin, renew, resume, fail, give back. Every transition shows its guard.

use std::time::Duration;

use batch::{Attempt, AttemptId, ChunkId, ChunkRef, CustomerId, RetryPolicy, RunId, Verdict};
use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::row::{get, json, word};
use super::{Fault, Postgres};
use crate::encoding::members;
use crate::record::{Assignment, Begin, ModelVersionId, Standing};
use crate::{Attempts, Result};

/// What a begin says of the program, so that the schema can refuse one that cannot read what it would begin: the number
/// of the migration that it was made for. The statement says it itself, for its own transaction and before the attempt's
/// row comes to the trigger that asks: what a connection says of itself a pooler may drop.
const RELEASE: &str = "4";

impl Attempts for Postgres {
    async fn begin_attempt(
        &self,
        chunk: ChunkRef,
        worker: &str,
        lease: Duration,
        is_repeat: bool,
    ) -> Result<Begin> {
        const BEGIN: &str = "
            with begun as (
                update fleet.chunks c
                   set state = 'leased',
                       attempt = c.attempt + 1,
                       leased_at = now(),
                       leased_until = now() + $4::float8 * interval '1 second',
                       retry_at = null
                  from fleet.runs r
                 where c.run_id = $1
                   and c.chunk_id = $2
                   and r.run_id = c.run_id
                   and r.state in ('planned', 'running')
                   and (   c.state in ('pending', 'published')
                        or c.state = 'retryable' and c.retry_at <= now()
                        or c.state = 'leased' and $5 and exists (
                               select from fleet.attempts a
                                where a.run_id = c.run_id
                                  and a.chunk_id = c.chunk_id
                                  and a.attempt = c.attempt
                                  and a.worker = $3
                                  and a.outcome is null))
             returning c.run_id, c.chunk_id, c.attempt, c.first_customer, c.customers, c.members,
                       r.is_whole, r.as_of, r.model_version, r.terms
            ), told as (
                insert into fleet.attempts (run_id, chunk_id, attempt, worker)
                select run_id, chunk_id, attempt, $3
                  from begun,
                       (select set_config('ltv.release', $6, true) as release) as said
                 where said.release = $6
            ), excused as (
                update fleet.attempts a
                   set outcome = 'excused', ended_at = now(), reason = 'its begin was not answered'
                  from begun
                 where a.run_id = begun.run_id
                   and a.chunk_id = begun.chunk_id
                   and a.attempt < begun.attempt
                   and (a.outcome is null or $5 and a.worker = $3 and a.outcome = 'lost')
            )
            select begun.*,
                   case when attempt > 1
                        then (select count(*)
                                from fleet.attempts a
                               where a.run_id = begun.run_id
                                 and a.chunk_id = begun.chunk_id
                                 and a.outcome = 'lost')
                        else 0
                   end as losses
              from begun";
        // Where nothing is begun again; it may have been done by others in the meantime. All its losses: a worker's name
        // is that of one process, and whatever it was missed at, it is there.
        const EXCUSE: &str = "
            update fleet.attempts
               set outcome = 'excused', ended_at = now(), reason = 'its begin was not answered'
             where run_id = $1
               and chunk_id = $2
               and worker = $3
               and outcome = 'lost'";
        self.short("begin an attempt", async |client| {
            let begin = client.prepare_cached(BEGIN).await?;
            let lease = lease.as_secs_f64();
            let parameters: [&(dyn ToSql + Sync); 6] =
                [&chunk.run.0, &chunk.chunk.0, &worker, &lease, &is_repeat, &RELEASE];
            let begun = client.query_opt(&begin, &parameters).await?;
            let begun = match begun {
                // The begin that was not answered may have been committed while this one waited for it, and then
                // this one did not see the attempt that it left.
                None if is_repeat => client.query_opt(&begin, &parameters).await?,
                begun => begun,
            };
            if let Some(row) = begun {
                return Ok(Begin::Assigned(Box::new(assignment(&row)?)));
            }
            if is_repeat {
                client.execute(EXCUSE, &[&chunk.run.0, &chunk.chunk.0, &worker]).await?;
            }
            why_not(client, chunk).await
        })
        .await
    }

    async fn renew_leases(&self, held: &[AttemptId], lease: Duration) -> Result<Vec<AttemptId>> {
        const RENEW: &str = "
            update fleet.chunks c
               set leased_at = now(),
                   leased_until = now() + $4::float8 * interval '1 second'
              from unnest($1::bigint[], $2::integer[], $3::integer[]) as held (run_id, chunk_id, attempt),
                   fleet.runs r
             where c.run_id = held.run_id
               and c.chunk_id = held.chunk_id
               and c.attempt = held.attempt
               and c.state = 'leased'
               and r.run_id = c.run_id
               and r.state in ('planned', 'running')
         returning c.run_id, c.chunk_id, c.attempt";
        let runs: Vec<i64> = held.iter().map(|held| held.chunk.run.0).collect();
        let chunks: Vec<i32> = held.iter().map(|held| held.chunk.chunk.0).collect();
        let attempts: Vec<i32> = held.iter().map(|held| held.attempt.0).collect();
        self.short("renew leases", async |client| {
            let renew = client.prepare_cached(RENEW).await?;
            let rows = client.query(&renew, &[&runs, &chunks, &attempts, &lease.as_secs_f64()]).await?;
            rows.iter().map(attempt_id).collect()
        })
        .await
    }

    async fn resume_attempt(&self, attempt: AttemptId, lease: Duration) -> Result<Standing> {
        const RESUME: &str = "
            with held as (
                update fleet.chunks c
                   set leased_at = now(),
                       leased_until = now() + $4::float8 * interval '1 second'
                  from fleet.runs r
                 where c.run_id = $1
                   and c.chunk_id = $2
                   and c.attempt = $3
                   and c.state = 'leased'
                   and r.run_id = c.run_id
                   and r.state in ('planned', 'running')
             returning c.chunk_id
            ), excused as (
                update fleet.attempts
                   set outcome = 'excused', reason = 'its worker came back after it was taken for lost'
                 where run_id = $1
                   and chunk_id = $2
                   and attempt = $3
                   and outcome = 'lost'
            )
            select exists (select from held) as is_held,
                   exists (select from fleet.attempts
                            where run_id = $1
                              and chunk_id = $2
                              and attempt = $3
                              and outcome = 'done') as is_done";
        self.short("resume an attempt", async |client| {
            let resume = client.prepare_cached(RESUME).await?;
            let (chunk, lease) = (attempt.chunk, lease.as_secs_f64());
            let row = client
                .query_one(&resume, &[&chunk.run.0, &chunk.chunk.0, &attempt.attempt.0, &lease])
                .await?;
            Ok(match (get(&row, "is_held")?, get(&row, "is_done")?) {
                (true, _) => Standing::Held,
                (_, true) => Standing::Committed,
                _ => Standing::Superseded,
            })
        })
        .await
    }

    async fn fail_attempt(
        &self,
        attempt: AttemptId,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        const LOOK: &str = "
            select now() as now,
                   (select count(*)
                      from fleet.attempts a
                     where a.run_id = c.run_id
                       and a.chunk_id = c.chunk_id
                       and a.outcome in ('failed', 'lost')) as failures
              from fleet.chunks c
             where c.run_id = $1
               and c.chunk_id = $2
               and c.attempt = $3
               and c.state = 'leased'
               for update";
        const FAIL: &str = "
            with failed as (
                update fleet.attempts
                   set outcome = 'failed', ended_at = now(), reason = $4
                 where run_id = $1
                   and chunk_id = $2
                   and attempt = $3
            )
            update fleet.chunks
               set state = $5,
                   retry_at = $6,
                   leased_at = null,
                   leased_until = null,
                   settled_at = case when $5 = 'dead' then now() end
             where run_id = $1
               and chunk_id = $2
               and attempt = $3
               and state = 'leased'";
        let (chunk, number) = (attempt.chunk, attempt.attempt.0);
        self.transact("record a failed attempt", self.config.call_limit, "begin", async |client| {
            let Some(row) = client.query_opt(LOOK, &[&chunk.run.0, &chunk.chunk.0, &number]).await? else {
                client.batch_execute("rollback").await?;
                return Ok(None);
            };
            let (now, failures): (Timestamp, i64) = (get(&row, "now")?, get(&row, "failures")?);
            let verdict = policy.verdict(chunk, failures as u32 + 1, now);
            let (state, retry_at) = stored(verdict);
            client
                .execute(FAIL, &[&chunk.run.0, &chunk.chunk.0, &number, &reason, &state, &retry_at])
                .await?;
            client.batch_execute("commit").await?;
            Ok(Some(verdict))
        })
        .await
    }

    async fn give_back(&self, attempt: AttemptId) -> Result<()> {
        const GIVE_BACK: &str = "
            with given_back as (
                update fleet.chunks
                   set state = 'published', leased_at = null, leased_until = null, published_at = now()
                 where run_id = $1
                   and chunk_id = $2
                   and attempt = $3
                   and state = 'leased'
             returning run_id, chunk_id, attempt
            )
            update fleet.attempts a
               set outcome = 'given_back', ended_at = now(), reason = 'its worker was draining'
              from given_back g
             where a.run_id = g.run_id
               and a.chunk_id = g.chunk_id
               and a.attempt = g.attempt";
        let chunk = attempt.chunk;
        self.short("give a chunk back", async |client| {
            client.execute(GIVE_BACK, &[&chunk.run.0, &chunk.chunk.0, &attempt.attempt.0]).await?;
            Ok(())
        })
        .await
    }

    async fn wait_until_available(&self) {
        self.breaker.ready().await;
        // What cannot be read is not begun.
        self.source().breaker.ready().await;
    }
}

/// A verdict as the chunk's state and retry.
pub(super) fn stored(verdict: Verdict) -> (&'static str, Option<Timestamp>) {
    match verdict {
        Verdict::RetryAt(due) => ("retryable", Some(due)),
        Verdict::DeadLetter => ("dead", None),
    }
}

pub(super) fn attempt_id(row: &Row) -> Result<AttemptId, Fault> {
    let chunk = ChunkRef { run: RunId(get(row, "run_id")?), chunk: ChunkId(get(row, "chunk_id")?) };
    Ok(AttemptId { chunk, attempt: Attempt(get(row, "attempt")?) })
}

/// Reads the planned customers of a chunk.
pub(super) fn customers(row: &Row) -> Result<Vec<CustomerId>, Fault> {
    let first = CustomerId(get(row, "first_customer")?);
    let count: i32 = get(row, "customers")?;
    members::decode(first, count.max(0) as usize, get(row, "members")?).map_err(Fault::nonsense)
}

fn assignment(row: &Row) -> Result<Assignment, Fault> {
    Ok(Assignment {
        attempt: attempt_id(row)?,
        customers: customers(row)?,
        losses: get::<i64>(row, "losses")? as u32,
        is_whole: get(row, "is_whole")?,
        as_of: get(row, "as_of")?,
        model_version: ModelVersionId(get(row, "model_version")?),
        terms: json(row, "terms")?,
    })
}

/// Why there is nothing to begin.
async fn why_not(client: &ClientWrapper, chunk: ChunkRef) -> Result<Begin, Fault> {
    use batch::{ChunkState, RunState};

    const LOOK: &str = "
        select c.state, r.state as run_state
          from fleet.chunks c
          join fleet.runs r using (run_id)
         where c.run_id = $1
           and c.chunk_id = $2";
    let look = client.prepare_cached(LOOK).await?;
    let Some(row) = client.query_opt(&look, &[&chunk.run.0, &chunk.chunk.0]).await? else {
        return Ok(Begin::NoRun);
    };
    if !word::<RunState>(&row, "run_state")?.is_open() {
        return Ok(Begin::NoRun);
    }
    Ok(match word(&row, "state")? {
        ChunkState::Done | ChunkState::Dead => Begin::Settled,
        ChunkState::Retryable => Begin::NotDue,
        // It was taken, or came free, between the two looks: either way this message has done its work, and a
        // chunk that is left over is published again.
        ChunkState::Pending | ChunkState::Published | ChunkState::Leased => Begin::Leased,
    })
}
