//! What a person asks about: runs, their story, their values, dead chunks.

use batch::{AttemptId, ChunkId, ChunkRef, CustomerId, Progress, RunId};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::attempts::{attempt_id, customers};
use super::copy::read_rows;
use super::figures::segment_values;
use super::guard::{decision, guarded};
use super::row::{get, json, word, word_if_any};
use super::supervision::{end_writers, leads, progress};
use super::value_row::{COLUMNS, read_value, read_values};
use super::{Fault, Postgres};
use crate::archive::{DeadChunk, Explained, Named, Rank, RunSummary, SegmentValue, Staffing, TopCustomer};
use crate::guard::NewDecision;
use crate::keys::Effect;
use crate::record::{AttemptRecord, ModelVersionId, RunRecord, Valued};
use crate::{Archive, Result};

impl Archive for Postgres {
    async fn run(&self, run: RunId) -> Result<Option<RunRecord>> {
        const FIND: &str = "select * from fleet.runs where run_id = $1";
        self.short("read a run", async |client| {
            let Some(row) = client.query_opt(FIND, &[&run.0]).await? else { return Ok(None) };
            Ok(Some(run_record(&row, progress(client, run).await?)?))
        })
        .await
    }

    async fn runs(&self, limit: u32) -> Result<Vec<RunRecord>> {
        self.list_runs(None, limit).await
    }

    async fn runs_before(&self, before: RunId, limit: u32) -> Result<Vec<RunRecord>> {
        self.list_runs(Some(before), limit).await
    }

    async fn staffing(&self, run: RunId) -> Result<Staffing> {
        const HELD: &str = "
            select count(*) as held from fleet.chunks where run_id = $1 and state = 'leased'";
        self.short("ask who is at work", async |client| {
            let held = client.query_one(HELD, &[&run.0]).await?;
            Ok(Staffing { leader: leads(client).await?, held: get::<i64>(&held, "held")? as u64 })
        })
        .await
    }

    async fn summary(&self, run: RunId, top: u32) -> Result<RunSummary> {
        const REJECTIONS: &str = "
            select reason, count(*) as customers
              from fleet.rejections
             where run_id = $1
             group by reason
             order by 2 desc, 1";
        let is_elsewhere = self.source_server().is_some();
        let (segments, mut summary) = self
            .call("summarise a run", self.config.bulk_limit, async |client| {
                // As they were when the run became visible, where that is known.
                let segments = match segment_values(client, run).await? {
                    None if !is_elsewhere => Some(joined_segments(client, run).await?),
                    pinned => pinned,
                };
                let top = if is_elsewhere { Vec::new() } else { top_customers(client, run, top).await? };
                let rejections = client.query(REJECTIONS, &[&run.0]).await?;
                let rejections = rejections
                    .iter()
                    .map(|row| Ok((get(row, "reason")?, get::<i64>(row, "customers")? as u64)))
                    .collect::<Result<_, Fault>>()?;
                Ok((segments, RunSummary { segments: Vec::new(), top, rejections }))
            })
            .await?;
        summary.segments = match segments {
            Some(segments) => segments,
            None => self.segments_elsewhere(run).await?,
        };
        if is_elsewhere {
            summary.top = self.top_elsewhere(run, top).await?;
        }
        Ok(summary)
    }

    async fn ranked(&self, run: RunId, after: Option<Rank>, limit: u32) -> Result<Vec<Valued>> {
        self.rank_after(run, after, limit).await
    }

    async fn names(&self, customers: &[CustomerId]) -> Result<Vec<Named>> {
        self.names_of(customers).await
    }

    async fn explain(&self, run: RunId, customer: CustomerId) -> Result<Explained> {
        const REJECTION: &str = "select reason from fleet.rejections where run_id = $1 and customer_id = $2";
        let value = format!("where run_id = {run} and customer_id = {customer}");
        self.short("explain a value", async |client| {
            if let Some(valued) = read_values(client, &value).await?.pop() {
                return Ok(Explained::Valued(valued));
            }
            Ok(match client.query_opt(REJECTION, &[&run.0, &customer.0]).await? {
                Some(row) => Explained::Rejected(get(&row, "reason")?),
                None => Explained::Absent,
            })
        })
        .await
    }

    async fn customer_named(&self, external_id: &str) -> Result<Option<CustomerId>> {
        const FIND: &str = "select customer_id::bigint from source.customers where external_id::text = $1";
        self.source()
            .short("find a customer", async |client| {
                let row = client.query_opt(FIND, &[&external_id]).await?;
                row.map(|row| Ok(CustomerId(get(&row, "customer_id")?))).transpose()
            })
            .await
    }

    async fn customers_named(&self, external_ids: &[String]) -> Result<Vec<(String, CustomerId)>> {
        const FIND: &str = "
            select external_id::text as external_id, customer_id::bigint as customer_id
              from source.customers
             where external_id::text = any($1)";
        self.source()
            .short("find customers by name", async |client| {
                let find = client.prepare_cached(FIND).await?;
                let named = |row: &Row| Ok((get(row, "external_id")?, CustomerId(get(row, "customer_id")?)));
                client.query(&find, &[&external_ids]).await?.iter().map(named).collect()
            })
            .await
    }

    async fn customers_there(&self, customers: &[CustomerId]) -> Result<Vec<CustomerId>> {
        const FIND: &str = "
            select distinct customer_id::bigint as customer_id
              from source.customers
             where customer_id::bigint = any($1)
             order by customer_id";
        let customers: Vec<i64> = customers.iter().map(|customer| customer.0).collect();
        self.source()
            .short("find customers", async |client| {
                let find = client.prepare_cached(FIND).await?;
                let there = |row: &Row| Ok(CustomerId(get(row, "customer_id")?));
                client.query(&find, &[&customers]).await?.iter().map(there).collect()
            })
            .await
    }

    async fn troubled_attempts(&self, run: RunId, limit: u32) -> Result<Vec<(AttemptId, AttemptRecord)>> {
        const STORY: &str = "
            select a.*
              from fleet.attempts a
             where a.run_id = $1
               and exists (select from fleet.attempts b
                            where b.run_id = a.run_id
                              and b.chunk_id = a.chunk_id
                              and b.outcome is not null
                              and b.outcome <> 'done')
             order by a.chunk_id, a.attempt
             limit $2";
        self.short("read the story of a run", async |client| {
            let rows = client.query(STORY, &[&run.0, &i64::from(limit)]).await?;
            rows.iter().map(|row| Ok((attempt_id(row)?, attempt_record(row)?))).collect()
        })
        .await
    }

    async fn dead_chunks(&self, limit: u32) -> Result<Vec<DeadChunk>> {
        const DEAD: &str = "
            select c.run_id, c.chunk_id, c.customers, c.settled_at, a.reason,
                   r.state in ('planned', 'running', 'held') as is_open
              from fleet.chunks c
              join fleet.runs r using (run_id)
              left join fleet.attempts a using (run_id, chunk_id, attempt)
             where c.state = 'dead'
             order by c.run_id desc, c.chunk_id
             limit $1";
        self.short("list dead chunks", async |client| {
            client.query(DEAD, &[&i64::from(limit)]).await?.iter().map(dead_chunk).collect()
        })
        .await
    }

    async fn dead_customers(&self, run: RunId) -> Result<Vec<CustomerId>> {
        const DEAD: &str = "
            select first_customer, customers, members
              from fleet.chunks
             where run_id = $1 and state = 'dead'
             order by first_customer";
        self.short("read dead chunks", async |client| {
            let mut all = Vec::new();
            for row in client.query(DEAD, &[&run.0]).await? {
                all.extend(customers(&row)?);
            }
            Ok(all)
        })
        .await
    }

    async fn redrive(&self, run: RunId) -> Result<u64> {
        // It is judged anew when they are settled, also where a person has released it: that was about other rows. Who
        // said so and why stays in the story of the attempts that are forgiven.
        const LOCK: &str = "
            select decision, decided_at, decided_by, decided_because
              from fleet.runs
             where run_id = $1
               for update";
        const REOPEN: &str = "
            update fleet.runs r
               set state = case when state = 'held' then 'running' else state end,
                   hold = null, held_at = null,
                   decision = null, decided_at = null, decided_by = null, decided_because = null,
                   source_at_end = null
             where run_id = $1
               and state in ('planned', 'running', 'held')
               and exists (select from fleet.chunks c where c.run_id = r.run_id and c.state = 'dead')";
        const REDRIVE: &str = "
            with redriven as (
                update fleet.chunks c
                   set state = 'retryable', retry_at = now(), settled_at = null
                  from fleet.runs r
                 where c.run_id = $1
                   and c.state = 'dead'
                   and r.run_id = c.run_id
                   and r.state in ('planned', 'running')
             returning c.run_id, c.chunk_id
            ), forgiven as (
                update fleet.attempts a
                   set outcome = 'excused', reason = 'redriven after: ' || coalesce(a.reason, a.outcome) || $2::text
                  from redriven d
                 where a.run_id = d.run_id
                   and a.chunk_id = d.chunk_id
                   and a.outcome in ('failed', 'lost')
            )
            select count(*) as chunks from redriven";
        self.transact("redrive dead chunks", self.config.call_limit, "begin", async |client| {
            // Not while the run is being finished.
            let row = client.query_opt(LOCK, &[&run.0]).await?;
            let said = row.as_ref().map(decision).transpose()?.flatten();
            let said = said.map(|said| said.taken_back()).unwrap_or_default();
            client.execute(REOPEN, &[&run.0]).await?;
            let redriven = client.query_one(REDRIVE, &[&run.0, &said]).await?;
            let chunks = get::<i64>(&redriven, "chunks")? as u64;
            if chunks > 0 {
                self.keep_in(client, &Effect::Redriven { run, chunks }).await?;
            }
            client.batch_execute("commit").await?;
            Ok(chunks)
        })
        .await
    }

    async fn cancel_run(&self, run: RunId) -> Result<bool> {
        const CANCEL: &str = "
            update fleet.runs
               set state = 'cancelled',
                   finished_at = now(),
                   night = night || ' (cancelled run ' || run_id || ')'
             where run_id = $1
               and state in ('planned', 'running')";
        self.locking("cancel a run", self.config.call_limit, async |client| {
            let is_cancelled = client.execute(CANCEL, &[&run.0]).await? == 1;
            if is_cancelled {
                end_writers(client, run).await?;
                client.batch_execute(&format!("drop table fleet.values_{run}")).await?;
                self.keep_in(client, &Effect::Cancelled { run, is_new: true }).await?;
            }
            client.batch_execute("commit").await?;
            Ok(is_cancelled)
        })
        .await
    }

    async fn decide(&self, run: RunId, new: &NewDecision) -> Result<bool> {
        self.decide_about(run, new).await
    }
}

fn dead_chunk(row: &Row) -> Result<DeadChunk, Fault> {
    Ok(DeadChunk {
        chunk: ChunkRef { run: RunId(get(row, "run_id")?), chunk: ChunkId(get(row, "chunk_id")?) },
        customers: get::<i32>(row, "customers")? as u64,
        died_at: get(row, "settled_at")?,
        reason: get(row, "reason")?,
        is_open: get(row, "is_open")?,
    })
}

pub(super) fn run_record(row: &Row, progress: Progress) -> Result<RunRecord, Fault> {
    Ok(RunRecord {
        run: RunId(get(row, "run_id")?),
        night: get(row, "night")?,
        selection: get(row, "selection")?,
        is_whole: get(row, "is_whole")?,
        priority: word(row, "priority")?,
        state: word(row, "state")?,
        as_of: get(row, "as_of")?,
        model_version: ModelVersionId(get(row, "model_version")?),
        terms: json(row, "terms")?,
        planned_at: get(row, "planned_at")?,
        deadline_at: get(row, "deadline_at")?,
        finished_at: get(row, "finished_at")?,
        guard: guarded(row)?,
        progress,
    })
}

fn attempt_record(row: &Row) -> Result<AttemptRecord, Fault> {
    Ok(AttemptRecord {
        attempt: batch::Attempt(get(row, "attempt")?),
        worker: get(row, "worker")?,
        began_at: get(row, "began_at")?,
        ended_at: get(row, "ended_at")?,
        outcome: word_if_any(row, "outcome")?,
        reason: get(row, "reason")?,
    })
}

/// The value of each segment as its customers are in it today, the most valuable first.
async fn joined_segments(client: &ClientWrapper, run: RunId) -> Result<Vec<SegmentValue>, Fault> {
    const SEGMENTS: &str = "
        select coalesce(c.segment::text, '') as segment, count(*) as customers,
               sum(v.value_minor)::bigint as value_minor,
               coalesce(sum(v.contract_12_minor), 0)::bigint as contract_minor,
               sum(v.historic_minor)::bigint as historic_minor
          from fleet.values v
          join source.customers c using (customer_id)
         where v.run_id = $1
         group by 1
         order by 3 desc, 1";
    client.query(SEGMENTS, &[&run.0]).await?.iter().map(segment_value).collect()
}

fn segment_value(row: &Row) -> Result<SegmentValue, Fault> {
    Ok(SegmentValue {
        segment: get(row, "segment")?,
        customers: get::<i64>(row, "customers")? as u64,
        value_minor: get(row, "value_minor")?,
        contract_minor: get(row, "contract_minor")?,
        historic_minor: get(row, "historic_minor")?,
    })
}

async fn top_customers(client: &ClientWrapper, run: RunId, top: u32) -> Result<Vec<TopCustomer>, Fault> {
    let copy = format!(
        "copy (select c.external_id::text, c.segment::text, {COLUMNS}
                 from (select {COLUMNS}
                         from fleet.values
                        where run_id = {run} and grade is not null
                        order by value_minor desc, customer_id
                        limit {top}) v
                 join (select customer_id, external_id, segment from source.customers) c using (customer_id)
                order by value_minor desc, customer_id)
           to stdout (format binary)"
    );
    let mut customers = Vec::new();
    read_rows(client, &copy, |fields| {
        let external_id = fields.text()?.unwrap_or_default().to_owned();
        let segment = fields.text()?.unwrap_or_default().to_owned();
        customers.push(TopCustomer { external_id, segment, valued: read_value(fields)? });
        Ok(())
    })
    .await?;
    Ok(customers)
}
