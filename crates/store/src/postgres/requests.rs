//! Requests: ask, begin, renew, fail, give back, abandon, look. Every transition shows its guard.
//!
//! Where nothing goes wrong each call is one statement and one round trip. What is answered waits for the disk, and so
//! does a question with a key. What a begin says may be forgotten by a crash, as `batch::RequestAttempt` tells, and so
//! may a question whose asker waits: the wait for the disk is most of what either would cost.

use std::time::Duration;

use batch::{
    Attempt, CustomerId, MEANWHILE, RequestAttempt, RequestId, RequestSnapshot, RequestState, RetryPolicy,
    Verdict,
};
use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::row::{get, json, word};
use super::{Fault, Postgres};
use crate::encoding::members;
use crate::record::{CommitOutcome, ModelVersionId, ResultRows, Standing};
use crate::request::{
    Absorbed, Answer, Asked, Known, NewRequest, Pinned, RequestAssignment, RequestBegin, RequestClaim,
    RequestRecord,
};
use crate::{Requests, Result};

impl Requests for Postgres {
    async fn ask(&self, new: &NewRequest) -> Result<Asked> {
        new.check()?;
        self.short("record a request", async |client| {
            if let Some(request) = insert(client, new).await? {
                return Ok(Asked::New(request));
            }
            ask_again(client, new).await?;
            known_by_key(client, new).await
        })
        .await
    }

    async fn begin_request(&self, request: RequestId, claim: &RequestClaim<'_>) -> Result<RequestBegin> {
        self.short("begin a request", async |client| match begin(client, request, claim).await? {
            Some(assignment) => Ok(RequestBegin::Assigned(Box::new(assignment))),
            None => why_not(client, request, claim).await,
        })
        .await
    }

    async fn answer_request(&self, attempt: RequestAttempt, rows: &ResultRows) -> Result<CommitOutcome> {
        self.answer(attempt, rows).await
    }

    async fn fail_request(
        &self,
        attempt: RequestAttempt,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        const LOOK: &str = "
            select now() as now, failures + cardinality(lost_by) as failures, expires_at
              from fleet.requests
             where request_id = $1
               and attempt = $2
               and as_of = $3
               and state = 'leased'
               for update";
        const FAIL: &str = "
            update fleet.requests
               set state = $4,
                   retry_at = $5,
                   leased_until = null,
                   failures = failures + 1,
                   reason = $6,
                   settled_at = case when $4 = 'failed' then now() end
             where request_id = $1
               and attempt = $2
               and as_of = $3
               and state = 'leased'";
        let RequestAttempt { request, attempt, as_of } = attempt;
        self.transact("record a failed request", self.config.call_limit, "begin", async |client| {
            let Some(row) = client.query_opt(LOOK, &[&request.0, &attempt.0, &as_of]).await? else {
                client.batch_execute("rollback").await?;
                return Ok(None);
            };
            let held = RequestSnapshot {
                failures: get::<i32>(&row, "failures")? as u32,
                ..RequestSnapshot::asked(request, get(&row, "expires_at")?)
            };
            let verdict = held.verdict(policy, get(&row, "now")?);
            let (state, retry_at) = match verdict {
                Verdict::RetryAt(due) => ("waiting", Some(due)),
                Verdict::DeadLetter => ("failed", None),
            };
            let fail: [&(dyn ToSql + Sync); 6] = [&request.0, &attempt.0, &as_of, &state, &retry_at, &reason];
            client.execute(FAIL, &fail).await?;
            client.batch_execute("commit").await?;
            Ok(Some(verdict))
        })
        .await
    }

    async fn give_back_request(&self, attempt: RequestAttempt) -> Result<()> {
        const GIVE_BACK: &str = "
            update fleet.requests
               set state = 'waiting', leased_until = null
             where request_id = $1
               and attempt = $2
               and as_of = $3
               and state = 'leased'";
        let RequestAttempt { request, attempt, as_of } = attempt;
        self.short("give a request back", async |client| {
            client.execute(GIVE_BACK, &[&request.0, &attempt.0, &as_of]).await?;
            Ok(())
        })
        .await
    }

    async fn renew_requests(
        &self,
        worker: &str,
        held: &[RequestAttempt],
        lease: Duration,
    ) -> Result<Vec<Standing>> {
        const RENEW: &str = "
            with asked as (
                select *
                  from unnest($1::bigint[], $2::integer[], $3::timestamptz[])
                       with ordinality as asked (request_id, attempt, as_of, position)
            ), renewed as (
                update fleet.requests r
                   set leased_until = now() + $5::float8 * interval '1 second',
                       leased_at = now()
                  from asked
                 where r.request_id = asked.request_id
                   and r.attempt = asked.attempt
                   and r.as_of = asked.as_of
                   and r.state = 'leased'
             returning r.request_id, r.attempt, r.as_of
            ), excused as (
                update fleet.requests r
                   set lost_by = array_remove(lost_by, $4)
                 where $4 = any(lost_by)
                   and request_id = any($1)
                   and request_id not in (select request_id from renewed)
            )
            select renewed.request_id is not null as is_held, r.request_id is not null as is_answered
              from asked
              left join renewed using (request_id, attempt, as_of)
              left join fleet.requests r
                     on r.request_id = asked.request_id
                    and r.attempt = asked.attempt
                    and r.as_of = asked.as_of
                    and r.state = 'answered'
             order by position";
        let requests: Vec<i64> = held.iter().map(|held| held.request.0).collect();
        let attempts: Vec<i32> = held.iter().map(|held| held.attempt.0).collect();
        let moments: Vec<Timestamp> = held.iter().map(|held| held.as_of).collect();
        self.short("renew requests", async |client| {
            let renew = client.prepare_cached(RENEW).await?;
            let parameters: [&(dyn ToSql + Sync); 5] =
                [&requests, &attempts, &moments, &worker, &lease.as_secs_f64()];
            client.query(&renew, &parameters).await?.iter().map(standing).collect()
        })
        .await
    }

    async fn abandon(&self, request: RequestId) -> Result<bool> {
        const ABANDON: &str = "
            update fleet.requests
               set state = 'abandoned', retry_at = null
             where request_id = $1
               and state = 'waiting'
               and expires_at > now()";
        self.short("abandon a request", async |client| Ok(client.execute(ABANDON, &[&request.0]).await? == 1))
            .await
    }

    async fn look(&self, requests: &[RequestId]) -> Result<Vec<RequestRecord>> {
        let numbers: Vec<i64> = requests.iter().map(|request| request.0).collect();
        self.short("look at requests", async |client| records(client, &numbers).await).await
    }

    async fn answer_of(&self, request: RequestId) -> Result<Option<Answer>> {
        self.read_answer(request).await
    }

    async fn latest(&self, customers: &[CustomerId]) -> Result<Vec<Known>> {
        self.read_latest(customers).await
    }

    async fn stale(&self, valued: &[(CustomerId, Timestamp)]) -> Result<Vec<CustomerId>> {
        self.look_for_stale(valued).await
    }

    async fn absorb(&self, after: RequestId, retention: Duration, limit: u32) -> Result<Absorbed> {
        self.clear_away(after, retention, limit).await
    }
}

async fn insert(client: &ClientWrapper, new: &NewRequest) -> Result<Option<RequestId>, Fault> {
    const INSERT: &str = "
        insert into fleet.requests
               (asked_by, idempotency_key, fingerprint, first_customer, customer_count, members, expires_at, trace)
        select $1::text, $2::text, $3::bytea, $4::bigint, $5::integer, $6::bytea,
               now() + $7::float8 * interval '1 second', $8::jsonb
          from (select set_config('synchronous_commit',
                                  case when $9 then 'off' else current_setting('synchronous_commit') end,
                                  true) as synchronous) as said
         where said.synchronous is not null
            on conflict (asked_by, idempotency_key) do nothing
        returning request_id";
    let insert = client.prepare_cached(INSERT).await?;
    let row = client
        .query_opt(
            &insert,
            &[
                &new.asked_by,
                &new.key,
                &new.fingerprint,
                &new.customers[0].0,
                &(new.customers.len() as i32),
                &members::encode(&new.customers),
                &new.lasts.as_secs_f64(),
                &serde_json::to_value(&new.trace).map_err(Fault::nonsense)?,
                &new.may_be_forgotten(),
            ],
        )
        .await?;
    row.map(|row| Ok(RequestId(get(&row, "request_id")?))).transpose()
}

/// Puts what was asked under the same key, and was abandoned or has expired, back to where it began. Its attempts count
/// on: the fence never goes back.
async fn ask_again(client: &ClientWrapper, new: &NewRequest) -> Result<(), Fault> {
    const ASK_AGAIN: &str = "
        update fleet.requests
           set state = 'waiting',
               asked_at = now(),
               expires_at = now() + $4::float8 * interval '1 second',
               leased_until = null,
               retry_at = null,
               failures = 0,
               reason = null,
               lost_by = '{}',
               as_of = null,
               model_version = null,
               terms = null
         where asked_by = $1
           and idempotency_key = $2
           and fingerprint = $3
           and (   state = 'abandoned'
                or state = 'waiting' and expires_at <= now()
                or state = 'leased' and expires_at <= now() and leased_until <= now())";
    client.execute(ASK_AGAIN, &[&new.asked_by, &new.key, &new.fingerprint, &new.lasts.as_secs_f64()]).await?;
    Ok(())
}

/// A request as it is recorded, with how it stands now.
const RECORD: &str = "
    select *,
           case when expires_at <= now()
                 and (state = 'waiting' or state = 'leased' and leased_until <= now())
                then 'expired'
                else state
           end as standing,
           extract(epoch from expires_at - now())::float8 as left,
           extract(epoch from leased_until - now())::float8 as leased_for,
           extract(epoch from leased_at - now())::float8 as leased_in,
           extract(epoch from retry_at - now())::float8 as due_in
      from fleet.requests";

async fn known_by_key(client: &ClientWrapper, new: &NewRequest) -> Result<Asked, Fault> {
    let find = format!("{RECORD} where asked_by = $1 and idempotency_key = $2");
    let row = client.query_opt(&find, &[&new.asked_by, &new.key]).await?;
    let row = row.ok_or_else(|| Fault::nonsense("the key was taken, and then its request was not there"))?;
    if get::<&[u8]>(&row, "fingerprint")? != new.fingerprint {
        return Ok(Asked::KeyReused);
    }
    Ok(Asked::Known(Box::new(record(&row)?)))
}

/// Where requests stand, by their number.
pub(super) async fn records(client: &ClientWrapper, requests: &[i64]) -> Result<Vec<RequestRecord>, Fault> {
    let look =
        client.prepare_cached(&format!("{RECORD} where request_id = any($1) order by request_id")).await?;
    client.query(&look, &[&requests]).await?.iter().map(record).collect()
}

fn record(row: &Row) -> Result<RequestRecord, Fault> {
    let as_of: Option<Timestamp> = get(row, "as_of")?;
    let pinned = |as_of| {
        Ok::<_, Fault>(Pinned {
            as_of,
            model_version: ModelVersionId(get(row, "model_version")?),
            terms: json(row, "terms")?,
        })
    };
    let lost_by: Vec<&str> = get(row, "lost_by")?;
    Ok(RequestRecord {
        request: RequestId(get(row, "request_id")?),
        asked_by: get(row, "asked_by")?,
        key: get(row, "idempotency_key")?,
        customers: get::<i32>(row, "customer_count")? as u64,
        state: word(row, "standing")?,
        asked_at: get(row, "asked_at")?,
        expires_at: get(row, "expires_at")?,
        left: lasting(get(row, "left")?).unwrap_or_default(),
        leased_for: lasting(get(row, "leased_for")?),
        pinned: as_of.map(pinned).transpose()?,
        failures: get::<i32>(row, "failures")? as u32 + lost_by.len() as u32,
        reason: get(row, "reason")?,
        settled_at: get(row, "settled_at")?,
        values: get::<i32>(row, "value_count")? as u64,
        rejections: get::<i32>(row, "rejection_count")? as u64,
    })
}

/// How long something still lasts, if it does.
fn lasting(seconds: Option<f64>) -> Option<Duration> {
    let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

async fn begin(
    client: &ClientWrapper,
    request: RequestId,
    claim: &RequestClaim<'_>,
) -> Result<Option<RequestAssignment>, Fault> {
    // Whoever asks is there, whatever it was missed at. A pause longer than any was decided on before the clock was set
    // back.
    const BEGIN: &str = "
        update fleet.requests r
           set state = 'leased',
               attempt = r.attempt + 1,
               worker = $2,
               leased_until = now() + $3::float8 * interval '1 second',
               leased_at = now(),
               retry_at = null,
               lost_by = array_remove(r.lost_by, $2)
                         || case when r.state = 'leased' and r.worker <> $2
                                 then array[r.worker]
                                 else '{}'
                            end,
               as_of = coalesce(r.as_of, now()),
               model_version = coalesce(r.model_version, said.in_force),
               terms = coalesce(r.terms,
                                (select terms
                                   from fleet.runs
                                  where state = 'finished'
                                    and is_whole
                                    and terms ? 'contract_margin'
                                  order by as_of desc, run_id desc
                                  limit 1),
                                $6)
          from (select set_config('synchronous_commit', 'off', true) as synchronous,
                       coalesce((select model_version from fleet.promotions order by promotion desc limit 1),
                                (select max(model_version) from fleet.model_versions)) as in_force) as said
         where r.request_id = $1
           and r.expires_at > now()
           and (   r.state = 'waiting'
                   and (   r.retry_at is null
                        or r.retry_at <= now()
                        or r.retry_at > now() + $7::float8 * interval '1 second')
                or r.state = 'leased' and r.worker = $2 and ($4 or r.leased_until <= now())
                or r.state = 'leased' and r.worker <> $2 and r.leased_until <= now()
                   and r.failures + cardinality(array_remove(r.lost_by, $2)) + 1 < $5::bigint)
           and coalesce(r.model_version, said.in_force) is not null
           and said.synchronous = 'off'
     returning r.request_id, r.attempt, r.as_of, r.first_customer, r.customer_count, r.members, r.model_version,
               r.terms, r.trace, cardinality(r.lost_by) as losses,
               extract(epoch from r.expires_at - now())::float8 as left";
    let begin = client.prepare_cached(BEGIN).await?;
    let terms = serde_json::to_value(claim.terms).map_err(Fault::nonsense)?;
    let longest_pause = RetryPolicy::default().max_delay + MEANWHILE;
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &request.0,
        &claim.worker,
        &claim.lease.as_secs_f64(),
        &claim.is_repeat,
        &i64::from(claim.max_failures),
        &terms,
        &longest_pause.as_secs_f64(),
    ];
    client.query_opt(&begin, &parameters).await?.as_ref().map(assignment).transpose()
}

fn assignment(row: &Row) -> Result<RequestAssignment, Fault> {
    let first = CustomerId(get(row, "first_customer")?);
    let count: i32 = get(row, "customer_count")?;
    Ok(RequestAssignment {
        attempt: RequestAttempt {
            request: RequestId(get(row, "request_id")?),
            attempt: Attempt(get(row, "attempt")?),
            as_of: get(row, "as_of")?,
        },
        customers: members::decode(first, count.max(0) as usize, get(row, "members")?)
            .map_err(Fault::nonsense)?,
        losses: get::<i32>(row, "losses")? as u32,
        left: lasting(get(row, "left")?).unwrap_or_default(),
        model_version: ModelVersionId(get(row, "model_version")?),
        terms: json(row, "terms")?,
        trace: json(row, "trace")?,
    })
}

/// Why there is nothing to begin.
async fn why_not(
    client: &ClientWrapper,
    request: RequestId,
    claim: &RequestClaim<'_>,
) -> Result<RequestBegin, Fault> {
    const EXCUSE: &str = "
        update fleet.requests
           set lost_by = array_remove(lost_by, $2)
         where request_id = $1
           and $2 = any(lost_by)";
    const LOSE: &str = "
        update fleet.requests
           set state = 'failed',
               leased_until = null,
               settled_at = now(),
               reason = 'its workers never came back',
               lost_by = lost_by || array[worker]
         where request_id = $1
           and state = 'leased'
           and worker <> $2
           and leased_until <= now()
           and expires_at > now()
           and failures + cardinality(lost_by) + 1 >= $3::bigint";
    const SHORTEN: &str = "
        update fleet.requests
           set leased_until = now() + (leased_until - leased_at),
               leased_at = now()
         where request_id = $1
           and state = 'leased'
           and leased_at > now() + $2::float8 * interval '1 second'
     returning extract(epoch from leased_until - now())::float8 as left";
    if claim.is_repeat {
        client.execute(EXCUSE, &[&request.0, &claim.worker]).await?;
    }
    let look = client.prepare_cached(&format!("{RECORD} where request_id = $1")).await?;
    let Some(row) = client.query_opt(&look, &[&request.0]).await? else { return Ok(RequestBegin::NotThere) };
    let due_in = lasting(get(&row, "due_in")?);
    if lasting(get(&row, "leased_in")?).is_some_and(|leased_in| leased_in > MEANWHILE)
        && let Some(row) = client.query_opt(SHORTEN, &[&request.0, &MEANWHILE.as_secs_f64()]).await?
    {
        return Ok(RequestBegin::AtWork(lasting(get(&row, "left")?).unwrap_or_default()));
    }
    let record = record(&row)?;
    Ok(match record.state {
        RequestState::Leased => {
            let lose: [&(dyn ToSql + Sync); 3] = [&request.0, &claim.worker, &i64::from(claim.max_failures)];
            let is_lost = record.leased_for.is_none() && client.execute(LOSE, &lose).await? == 1;
            match record.leased_for {
                _ if is_lost => RequestBegin::Over(RequestState::Failed),
                left => RequestBegin::AtWork(left.unwrap_or_default()),
            }
        }
        RequestState::Waiting => match due_in {
            Some(left) => RequestBegin::NotDue(left),
            None if record.pinned.is_none() => RequestBegin::NoModel,
            // It came free between the two looks.
            None => RequestBegin::AtWork(Duration::ZERO),
        },
        over => RequestBegin::Over(over),
    })
}

fn standing(row: &Row) -> Result<Standing, Fault> {
    Ok(match (get(row, "is_held")?, get(row, "is_answered")?) {
        (true, _) => Standing::Held,
        (_, true) => Standing::Committed,
        _ => Standing::Superseded,
    })
}
