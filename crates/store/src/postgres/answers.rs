//! Answers: in behind the fence, out as the newest that is known of a customer, and away when runs have something newer.

use std::cmp::Reverse;
use std::sync::LazyLock;
use std::time::Duration;

use batch::{CustomerId, RequestAttempt, RequestId, RunId};
use deadpool_postgres::ClientWrapper;
use futures_util::future::{try_join, try_join_all};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::answer_rows::{columns, known, unnested};
use super::requests::records;
use super::row::get;
use super::value_row::{FIGURE_TYPES, figures};
use super::values::forget_old_runs;
use super::{Fault, Postgres};
use crate::Result;
use crate::record::{CommitOutcome, ModelVersionId, ResultRows};
use crate::request::{Absorbed, Answer, Known};

/// The fence and the rows behind it: where the attempt is not the latest, or the rows are not as many as the customers,
/// nothing is written. Whoever is named twice is refused by the primary key, and with him all else.
static ANSWER: LazyLock<String> = LazyLock::new(|| {
    let (figures, rows) = (figures(), unnested(6));
    format!(
        "with answered as (
             update fleet.requests
                set state = 'answered',
                    leased_until = null,
                    settled_at = now(),
                    value_count = $4,
                    rejection_count = $5
              where request_id = $1
                and attempt = $2
                and as_of = $3
                and state = 'leased'
                and customer_count = $4::integer + $5::integer
          returning request_id, as_of, model_version
         )
         insert into fleet.answers (request_id, as_of, model_version, customer_id, reason, {figures})
         select answered.request_id, answered.as_of, answered.model_version, rows.*
           from answered,
                unnest({rows}) as rows (customer_id, reason, {figures})"
    )
});

/// The newest answer of each customer.
static ANSWERED: LazyLock<String> = LazyLock::new(|| {
    let figures = figures();
    format!(
        "select newest.*
           from unnest($1::bigint[]) as asked (customer_id)
          cross join lateral (
                select customer_id, null::bigint as run_id, request_id, as_of, model_version, reason, {figures}
                  from fleet.answers a
                 where a.customer_id = asked.customer_id
                 order by as_of desc, request_id desc
                 limit 1) as newest"
    )
});

/// A run that readers see.
struct Seen {
    run: RunId,
    as_of: Timestamp,
    model_version: ModelVersionId,
}

/// The runs that readers see, as [`Supervision::visible_runs`](crate::Supervision::visible_runs) names them.
async fn seen(client: &ClientWrapper) -> Result<Vec<Seen>, Fault> {
    const SEEN: &str = "
        with base as (
            select as_of, run_id
              from fleet.runs
             where state = 'finished'
               and is_whole
             order by as_of desc, run_id desc
             limit 1
        )
        select run_id, as_of, model_version
          from fleet.runs r
         where state = 'finished'
           and not exists (select from base b where (b.as_of, b.run_id) > (r.as_of, r.run_id))
         order by as_of desc, run_id desc";
    let seen = |row: &Row| {
        Ok(Seen {
            run: RunId(get(row, "run_id")?),
            as_of: get(row, "as_of")?,
            model_version: ModelVersionId(get(row, "model_version")?),
        })
    };
    client.query(&client.prepare_cached(SEEN).await?, &[]).await?.iter().map(seen).collect()
}

/// What a run holds about customers, values and rejections. The run is written into the statement, which says so to the
/// planner: that it looks at one partition, and not at all there are.
async fn of_run(
    client: &ClientWrapper,
    Seen { run, as_of, model_version }: &Seen,
    customers: &[i64],
) -> Result<Vec<Known>, Fault> {
    let (figures, none) = (figures(), ["null"; FIGURE_TYPES.len()].join(", "));
    let held = format!(
        "select customer_id, run_id, null::bigint as request_id, $2::timestamptz as as_of,
                $3::bigint as model_version, null as reason, {figures}
           from fleet.values
          where run_id = {run}
            and customer_id = any($1)
          union all
         select customer_id, run_id, null, $2, $3, reason, {none}
           from fleet.rejections
          where run_id = {run}
            and customer_id = any($1)"
    );
    let held = client.prepare_cached(&held).await?;
    client.query(&held, &[&customers, as_of, &model_version.0]).await?.iter().map(known).collect()
}

/// The newest of each customer, ascending; a run's where two are for the same moment.
fn newest(mut known: Vec<Known>) -> Vec<Known> {
    known.sort_by_key(|known| (known.customer, Reverse((known.as_of, known.origin))));
    known.dedup_by_key(|known| known.customer);
    known
}

impl Postgres {
    pub(super) async fn answer(&self, attempt: RequestAttempt, rows: &ResultRows) -> Result<CommitOutcome> {
        let (values, rejections) = (rows.values.len() as i32, rows.rejections.len() as i32);
        self.call("answer a request", self.config.bulk_limit, async |client| {
            let columns = columns(rows)?;
            let RequestAttempt { request, attempt, as_of } = attempt;
            let mut parameters: Vec<&(dyn ToSql + Sync)> =
                vec![&request.0, &attempt.0, &as_of, &values, &rejections];
            parameters.extend(columns.iter().map(|column| column as &(dyn ToSql + Sync)));
            let answer = client.prepare_cached(&ANSWER).await?;
            let written = client.execute(&answer, &parameters).await?;
            Ok(if written == 0 { CommitOutcome::Refused } else { CommitOutcome::Committed })
        })
        .await
    }

    /// In two round trips, however many the customers are: answers and which runs are seen, then what those hold.
    pub(super) async fn read_latest(&self, customers: &[CustomerId]) -> Result<Vec<Known>> {
        let customers: Vec<i64> = customers.iter().map(|customer| customer.0).collect();
        self.call("read the latest values", self.config.bulk_limit, async |client| {
            forget_old_runs(client);
            let answered = client.prepare_cached(&ANSWERED).await?;
            let answered = async { client.query(&answered, &[&customers]).await.map_err(Fault::from) };
            let (seen, answered) = try_join(seen(client), answered).await?;
            let of_runs = seen.iter().map(|seen| of_run(client, seen, &customers));
            let of_runs = try_join_all(of_runs).await?.into_iter().flatten().map(Ok);
            let all = answered.iter().map(known).chain(of_runs).collect::<Result<_, Fault>>()?;
            Ok(newest(all))
        })
        .await
    }

    pub(super) async fn read_answer(&self, request: RequestId) -> Result<Option<Answer>> {
        let read = format!(
            "select customer_id, null::bigint as run_id, request_id, as_of, model_version, reason, {}
               from fleet.answers
              where request_id = $1
              order by customer_id",
            figures()
        );
        self.call("read an answer", self.config.bulk_limit, async |client| {
            let read = client.prepare_cached(&read).await?;
            // In one round trip, the request first: if it is answered there, the rows are there.
            let answer = async { client.query(&read, &[&request.0]).await.map_err(Fault::from) };
            let (mut records, rows) = try_join(records(client, &[request.0]), answer).await?;
            let Some(record) = records.pop() else { return Ok(None) };
            Ok(Some(Answer { record, rows: rows.iter().map(known).collect::<Result<_, _>>()? }))
        })
        .await
    }

    /// Each step looks at what the one before leaves, which no statement sees of itself: it is counted.
    pub(super) async fn clear_away(
        &self,
        after: RequestId,
        retention: Duration,
        limit: u32,
    ) -> Result<Absorbed> {
        self.call("absorb answers", self.config.bulk_limit, async |client| {
            let parameters: [&(dyn ToSql + Sync); 3] =
                [&after.0, &retention.as_secs_f64(), &i64::from(limit)];
            let row = client.query_one(&absorb(&seen(client).await?), &parameters).await?;
            Ok(Absorbed {
                answers: get::<i64>(&row, "answers")? as u64,
                requests: get::<i64>(&row, "requests")? as u64,
                after: get::<Option<i64>>(&row, "after")?.map(RequestId),
            })
        })
        .await
    }
}

/// The statement that clears away, given which runs are seen.
fn absorb(seen: &[Seen]) -> String {
    let held = |Seen { run, as_of, .. }: &Seen| {
        format!(
            "or a.as_of <= '{as_of}'
                and (   exists (select from fleet.values v
                                 where v.run_id = {run} and v.customer_id = a.customer_id)
                     or exists (select from fleet.rejections r
                                 where r.run_id = {run} and r.customer_id = a.customer_id))"
        )
    };
    let or_held = seen.iter().map(held).collect::<Vec<_>>().join("\n");
    format!(
        "with next as (
             select request_id,
                    coalesce(settled_at, expires_at) <= now() - $2::float8 * interval '1 second' as is_old
               from fleet.requests
              where request_id > $1
              order by request_id
              limit $3
         ), absorbed as (
             delete from fleet.answers a
              using next
              where a.request_id = next.request_id
                and next.is_old
                and (   exists (select from fleet.answers newer
                                 where newer.customer_id = a.customer_id
                                   and (newer.as_of, newer.request_id) > (a.as_of, a.request_id))
                     {or_held})
          returning a.request_id
         ), forgotten as (
             delete from fleet.requests r
              using next
              where r.request_id = next.request_id
                and next.is_old
                and (select count(*) from fleet.answers a where a.request_id = r.request_id)
                    = (select count(*) from absorbed a where a.request_id = r.request_id)
          returning r.request_id
         )
         select (select count(*) from absorbed) as answers,
                (select count(*) from forgotten) as requests,
                (select max(request_id) from next having bool_and(is_old) and count(*) = $3) as after"
    )
}
