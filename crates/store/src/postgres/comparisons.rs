//! Comparisons of runs: taken, worked out piece by piece, completed.
//!
//! # Failure by failure
//!
//! * **Whoever works on one is killed.** Each piece is one statement, with how far the comparison has come; the next that
//!   takes it goes on from there once the lease has expired.
//! * **Two work on one.** Whoever took it last has the higher attempt; what the other one adds finds no row and adds
//!   nothing.
//! * **The answer to a piece is lost.** Whoever asks again finds the comparison further than it thought, and has lost it;
//!   the next that takes it goes on.
//! * **A run is opened meanwhile.** The piece at hand says so, and none is taken until no run is open.
//! * **What moved does not add up** to the difference of the segments' sums. [`Error::Invalid`](crate::Error::Invalid),
//!   and nothing of it is told.
//! * **The run before is dropped, or was written by a release that kept less.** The same.

use std::collections::HashMap;
use std::time::Duration;

use batch::{Attempt, CustomerId, Movements, RunId};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::attempts::customers;
use super::row::get;
use super::value_row::read_values;
use super::{Fault, Postgres};
use crate::Result;
use crate::encoding::segments;
use crate::movement::{Both, Comparison, Comparisons, GoOn, Held, Past, Piece, Span};
use crate::record::{History, Reading, Valued};

/// Whether a run is open.
const IS_BUSY: &str = "exists (select from fleet.runs where state in ('planned', 'running'))";

impl Comparisons for Postgres {
    async fn take_comparison(&self, by: &str, lease: Duration) -> Result<Option<Comparison>> {
        self.short("take a comparison", async |client| {
            let Some(row) = take(client, by, lease).await? else { return Ok(None) };
            let (run, before) =
                (RunId(get(&row, "run_id")?), get::<Option<i64>>(&row, "before_run_id")?.map(RunId));
            let names_before = match before {
                Some(before) => names(client, before).await?,
                None => Vec::new(),
            };
            Ok(Some(Comparison {
                run,
                before,
                obstacle: get(&row, "obstacle")?,
                attempt: Attempt(get(&row, "attempt")?),
                after: get::<Option<i64>>(&row, "after_customer")?.map(CustomerId),
                segments: Both { before: names_before, now: names(client, run).await? },
            }))
        })
        .await
    }

    async fn next_piece(&self, comparison: &Comparison, after: Option<CustomerId>) -> Result<Option<Piece>> {
        // The end of the next chunk in either run.
        const END: &str = "
            select min(last_customer) as up_to
              from (select run_id, min(last_customer) as last_customer
                      from fleet.chunks
                     where run_id = any($1)
                       and last_customer > $2
                     group by run_id) as next";
        let after = after.map_or(i64::MIN, |customer| customer.0);
        let runs: Vec<i64> = comparison.before.into_iter().chain([comparison.run]).map(|run| run.0).collect();
        self.call("read a piece of two runs", self.config.bulk_limit, async |client| {
            let end = client.query_one(END, &[&runs, &after]).await?;
            let Some(up_to) = get::<Option<i64>>(&end, "up_to")? else { return Ok(None) };
            let before = match comparison.before {
                Some(before) => {
                    held(client, before, (after, up_to), comparison.segments.before.len()).await?
                }
                None => Vec::new(),
            };
            let now = held(client, comparison.run, (after, up_to), comparison.segments.now.len()).await?;
            Ok(Some(Piece { up_to: CustomerId(up_to), customers: merge(before, now) }))
        })
        .await
    }

    async fn read_past(&self, past: &Past<'_>) -> Result<Vec<History>> {
        if past.customers.is_empty() {
            return Ok(Vec::new());
        }
        let reading = Reading {
            customers: past.customers,
            run: None,
            is_whole: false,
            as_of: past.until,
            currency: past.currency,
            contracts: past.contracts,
        };
        self.read_or_reject(&reading, past.observed_until).await
    }

    async fn add_piece(
        &self,
        comparison: &Comparison,
        span: Span,
        moved: &Movements,
        lease: Duration,
    ) -> Result<GoOn> {
        let add = format!(
            "with ours as (
                 update fleet.comparisons
                    set after_customer = $4,
                        customers = customers + $5,
                        leased_until = now() + $6::float8 * interval '1 second'
                  where run_id = $1
                    and attempt = $2
                    and state = 'open'
                    and after_customer is not distinct from $3
              returning run_id
             ), added as (
                 insert into fleet.movements (run_id, segment, cause, customers, value_minor)
                 select ours.run_id, moved.*
                   from ours,
                        unnest($7::text[], $8::text[], $9::bigint[], $10::bigint[])
                            as moved (segment, cause, customers, value_minor)
             )
             select exists (select from ours) as is_ours, {IS_BUSY} as is_busy"
        );
        self.call("add what moved", self.config.call_limit, async |client| {
            let (mut segments, mut causes, mut customers, mut values) = (vec![], vec![], vec![], vec![]);
            for (segment, cause, of) in moved.iter() {
                segments.push(segment);
                causes.push(cause.as_str());
                customers.push(of.customers as i64);
                values.push(
                    i64::try_from(of.value_minor)
                        .map_err(|_| Fault::nonsense("what moved is more than a number holds"))?,
                );
            }
            let (after, counted) = (span.after.map(|customer| customer.0), span.customers as i64);
            let parameters: [&(dyn ToSql + Sync); 10] = [
                &comparison.run.0,
                &comparison.attempt.0,
                &after,
                &span.up_to.0,
                &counted,
                &lease.as_secs_f64(),
                &segments,
                &causes,
                &customers,
                &values,
            ];
            let add = client.prepare_cached(&add).await?;
            let row = client.query_one(&add, &parameters).await?;
            Ok(match (get(&row, "is_ours")?, get(&row, "is_busy")?) {
                (false, _) => GoOn::Lost,
                (true, true) => GoOn::Later,
                (true, false) => GoOn::Next,
            })
        })
        .await
    }

    async fn complete_comparison(&self, comparison: &Comparison, after: Option<CustomerId>) -> Result<bool> {
        const COMPLETE: &str = "
            update fleet.comparisons
               set state = 'complete', ended_at = clock_timestamp(), leased_until = null
             where run_id = $1
               and attempt = $2
               and state = 'open'
               and after_customer is not distinct from $3";
        let after = after.map(|customer| customer.0);
        self.transact("complete a comparison", self.config.bulk_limit, "begin", async |client| {
            let is_ours =
                client.execute(COMPLETE, &[&comparison.run.0, &comparison.attempt.0, &after]).await? == 1;
            if !is_ours {
                client.batch_execute("rollback").await?;
                return Ok(false);
            }
            add_up(client, comparison).await?;
            client.batch_execute("commit").await?;
            Ok(true)
        })
        .await
    }

    async fn give_up_comparison(&self, comparison: &Comparison, reason: &str) -> Result<()> {
        const GIVE_UP: &str = "
            with given_up as (
                update fleet.comparisons
                   set state = 'impossible', ended_at = now(), leased_until = null, reason = $3
                 where run_id = $1
                   and attempt = $2
                   and state = 'open'
             returning run_id
            )
            delete from fleet.movements m
             using given_up
             where m.run_id = given_up.run_id";
        self.short("give a comparison up", async |client| {
            client.execute(GIVE_UP, &[&comparison.run.0, &comparison.attempt.0, &reason]).await?;
            Ok(())
        })
        .await
    }

    async fn put_comparisons_back(&self, by: &str) -> Result<()> {
        const PUT_BACK: &str = "
            update fleet.comparisons
               set leased_until = null
             where worker = $1
               and state = 'open'";
        self.short("put a comparison back", async |client| {
            client.execute(PUT_BACK, &[&by]).await?;
            Ok(())
        })
        .await
    }
}

/// Takes a comparison that was begun, or begins the next one. A run before whose figures are not there yet is waited for.
async fn take(client: &ClientWrapper, by: &str, lease: Duration) -> Result<Option<Row>, Fault> {
    let next = format!(
        "with next as (
             select f.run_id, before.run_id as before_run_id
               from fleet.figures f
               join fleet.runs r on r.run_id = f.run_id and r.state = 'finished'
               left join fleet.comparisons c on c.run_id = f.run_id
               left join lateral (
                     select b.run_id
                       from fleet.runs b
                      where b.selection = r.selection
                        and b.state = 'finished'
                        and (b.as_of, b.run_id) < (r.as_of, r.run_id)
                      order by b.as_of desc, b.run_id desc
                      limit 1) as before on true
              where f.reason is null
                and (r.is_whole or r.selection like 'segment %')
                and (c.run_id is null
                     or c.state = 'open' and (c.leased_until is null or c.leased_until <= now()))
                and (before.run_id is null
                     or exists (select from fleet.figures bf where bf.run_id = before.run_id))
                and not {IS_BUSY}
              order by f.run_id desc
              limit 1
         ), taken as (
             insert into fleet.comparisons as c (run_id, before_run_id, attempt, worker, leased_until)
             select run_id, before_run_id, 1, $1, now() + $2::float8 * interval '1 second'
               from next
                 on conflict (run_id) do update
                set attempt = c.attempt + 1,
                    worker = excluded.worker,
                    leased_until = excluded.leased_until
              where c.state = 'open'
                and (c.leased_until is null or c.leased_until <= now())
          returning run_id, before_run_id, attempt, after_customer
         )
         select taken.*, bf.reason as obstacle
           from taken
           left join fleet.figures bf on bf.run_id = taken.before_run_id"
    );
    Ok(client.query_opt(&next, &[&by, &lease.as_secs_f64()]).await?)
}

/// The segments of a run by their number. Number 0 has no name.
async fn names(client: &ClientWrapper, run: RunId) -> Result<Vec<Option<String>>, Fault> {
    const NAMES: &str = "
        select number, segment
          from fleet.segment_figures
         where run_id = $1
           and number > 0
         order by number";
    let mut names = vec![None];
    for row in client.query(NAMES, &[&run.0]).await? {
        let number: i32 = get(&row, "number")?;
        if usize::try_from(number) != Ok(names.len()) {
            return Err(Fault::nonsense(format!("the segments of run {run} are not numbered one by one")));
        }
        names.push(get(&row, "segment")?);
    }
    Ok(names)
}

/// What a run holds of the customers between two, the second included.
async fn held(
    client: &ClientWrapper,
    run: RunId,
    (after, up_to): (i64, i64),
    segments: usize,
) -> Result<Vec<Held>, Fault> {
    const CHUNKS: &str = "
        select c.first_customer, c.customers, c.members, p.segments
          from fleet.chunks c
          join fleet.pinned_segments p using (run_id, chunk_id)
         where c.run_id = $1
           and c.last_customer > $2
           and c.first_customer <= $3
         order by c.first_customer";
    let values = read_values(
        client,
        &format!("where run_id = {run} and customer_id > {after} and customer_id <= {up_to}"),
    )
    .await?;
    let mut values: HashMap<CustomerId, Valued> =
        values.into_iter().map(|valued| (valued.customer, valued)).collect();
    let mut held = Vec::new();
    for row in client.query(CHUNKS, &[&run.0, &after, &up_to]).await? {
        let members = customers(&row)?;
        let mut numbers = Vec::new();
        segments::decode_into(&mut numbers, members.len(), segments, get(&row, "segments")?)
            .map_err(Fault::nonsense)?;
        let within = |customer: &CustomerId| customer.0 > after && customer.0 <= up_to;
        let here = members.into_iter().zip(numbers).filter(|(customer, _)| within(customer));
        held.extend(here.map(|(customer, segment)| Held {
            customer,
            segment,
            valued: values.remove(&customer),
        }));
    }
    if !values.is_empty() {
        return Err(Fault::nonsense(format!(
            "run {run} holds values of customers whose segments are not on record"
        )));
    }
    Ok(held)
}

/// Puts together what two runs hold of the same customers, both in their order.
fn merge(before: Vec<Held>, now: Vec<Held>) -> Vec<Both<Option<Held>>> {
    let (mut before, mut now) = (before.into_iter().peekable(), now.into_iter().peekable());
    let mut both = Vec::new();
    while let Some(next) = [before.peek(), now.peek()].into_iter().flatten().map(|held| held.customer).min() {
        both.push(Both {
            before: before.next_if(|held| held.customer == next),
            now: now.next_if(|held| held.customer == next),
        });
    }
    both
}

/// Makes one sum for each cause in a segment out of the pieces', and holds them against what the segments came to.
async fn add_up(client: &ClientWrapper, comparison: &Comparison) -> Result<(), Fault> {
    const ADD_UP: &str = "
        with parts as (
            delete from fleet.movements
             where run_id = $1
         returning segment, cause, customers, value_minor
        )
        insert into fleet.movements (run_id, segment, cause, customers, value_minor)
        select $1, segment, cause, sum(customers)::bigint, sum(value_minor)::bigint
          from parts
         group by segment, cause";
    const WRONG: &str = "
        select coalesce(segment, '') as segment, sum(value_minor)::text as off
          from (select segment, value_minor from fleet.movements where run_id = $1
                 union all
                select segment, value_minor from fleet.segment_figures where run_id = $2 and number >= 0
                 union all
                select segment, -value_minor from fleet.segment_figures where run_id = $1 and number >= 0) as sums
         group by segment
        having sum(value_minor) <> 0
         order by 1
         limit 1";
    let (run, before) = (comparison.run.0, comparison.before.map(|before| before.0));
    client.execute(ADD_UP, &[&run]).await?;
    if let Some(row) = client.query_opt(WRONG, &[&run, &before]).await? {
        let (segment, off): (String, String) = (get(&row, "segment")?, get(&row, "off")?);
        return Err(Fault::nonsense(format!(
            "what moved in segment {segment:?} of run {run} is off by {off} from the difference of its sums"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(customers: &[i64]) -> Vec<Held> {
        let held = |&customer| Held { customer: CustomerId(customer), segment: 0, valued: None };
        customers.iter().map(held).collect()
    }

    #[test]
    fn customers_of_two_runs_are_put_together_in_their_order() {
        let both = merge(held(&[1, 3, 4, 9]), held(&[2, 3, 4, 5]));

        let numbers: Vec<_> = both
            .iter()
            .map(|both| [&both.before, &both.now].map(|held| held.as_ref().map(|held| held.customer.0)))
            .collect();
        let expected = [
            [Some(1), None],
            [None, Some(2)],
            [Some(3), Some(3)],
            [Some(4), Some(4)],
            [None, Some(5)],
            [Some(9), None],
        ];
        assert_eq!(numbers, expected);
        assert!(merge(Vec::new(), Vec::new()).is_empty());
    }
}
