//! The guard before a run is shown: what a settled run is judged by, runs that are held, and what a person says.
//!
//! What is compared costs next to nothing: each chunk's row has what its attempt read and came to, so that the sums of a
//! run are a look at some hundreds of rows, and its rejections by reason are one scan of those. The rows of the source
//! are estimated by the planner, in less than a millisecond, whatever the relation is; a table of which it believes that
//! it is small is counted.

use std::collections::BTreeMap;

use batch::{Before, Evidence, Figures, Limits, RowCount, RunId, SourceChange, SourceCounts};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::row::{get, json, json_if_any, word_if_any};
use super::supervision::{end_writers, lock_to_end, progress};
use super::{Fault, Postgres};
use crate::Result;
use crate::guard::{Decision, DecisionKind, Guarded, Hold, NewDecision};
use crate::keys::Effect;
use crate::record::{DEAD_CHUNK, Term};

/// What a run is judged by: its limits, the source's rows at its plan and at its end, and whether they were looked at
/// there.
type Judged = (Limits, (Option<SourceCounts>, Option<SourceCounts>), bool);

/// Up to so many rows a table is counted: some 20 ms.
const COUNTED_ROWS: f64 = 200_000.0;

impl Postgres {
    /// Counts the rows of the source, if it can be done now: no run waits for a load that holds a table, and none is lost
    /// for want of a count.
    pub(super) async fn source_counts_if_any(&self) -> Option<SourceCounts> {
        const BEGIN: &str = "begin; set local lock_timeout = '1s'";
        const SUBSCRIPTIONS: &str = "source.subscriptions";
        let (source, limit) = (self.source(), self.config.call_limit);
        let counted = source.transact("count the source's rows", limit, BEGIN, async |client| {
            let customers = count(client, "source.customers").await?;
            let transactions = count(client, "source.transactions").await?;
            client.batch_execute("commit").await?;
            Ok((customers, transactions))
        });
        let (customers, transactions) = match counted.await {
            Ok(counts) => counts,
            Err(error) => {
                tracing::warn!(%error, "the source's rows are not counted");
                return None;
            }
        };
        // By themselves, so that they take nothing with them.
        let counted = source.transact("count the source's subscriptions", limit, BEGIN, async |client| {
            let subscriptions = if may_read(client, SUBSCRIPTIONS).await? {
                Some(count(client, SUBSCRIPTIONS).await?)
            } else {
                None
            };
            client.batch_execute("commit").await?;
            Ok(subscriptions)
        });
        let subscriptions = counted.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the source's subscriptions are not counted");
            None
        });
        Some(SourceCounts { customers, transactions, subscriptions })
    }

    pub(super) async fn evidence_about(&self, run: RunId) -> Result<Option<Evidence>> {
        const GUARDED: &str = "
            select limits, source_at_plan, source_at_end, source_at_end is not null as has_ended
              from fleet.runs
             where run_id = $1
               and state in ('planned', 'running')
               and limits is not null
               and decision is null";
        let guarded = self
            .short("find what a run is judged by", async |client| {
                let row = client.query_opt(GUARDED, &[&run.0]).await?;
                let read = |row: Row| {
                    let [at_plan, at_end] = ["source_at_plan", "source_at_end"];
                    let counts = (json_if_any(&row, at_plan)?, json_if_any(&row, at_end)?);
                    Ok((json(&row, "limits")?, counts, get(&row, "has_ended")?))
                };
                row.map(read).transpose()
            })
            .await?;
        let Some((limits, (at_plan, at_end), has_ended)): Option<Judged> = guarded else {
            return Ok(None);
        };
        let at_end = if has_ended { at_end } else { self.count_at_end(run).await? };
        let source = Option::zip(at_plan, at_end).map(|(at_plan, at_end)| SourceChange { at_plan, at_end });
        self.call("compare a run", self.config.bulk_limit, async |client| {
            let now = figures(client, run).await?;
            Ok(Some(Evidence { limits, now, before: before(client, run).await?, source }))
        })
        .await
    }

    /// Counts the source's rows once, when a run is settled: what is loaded while its end is tried again is not the
    /// run's. That they could not be counted is on record too, as a null of JSON.
    async fn count_at_end(&self, run: RunId) -> Result<Option<SourceCounts>> {
        // A chunk that was put back to work meanwhile has them counted later.
        const COUNTED: &str = "
            update fleet.runs
               set source_at_end = coalesce(source_at_end, $2)
             where run_id = $1
               and state in ('planned', 'running')
               and not exists (select from fleet.chunks
                                where run_id = $1 and state not in ('done', 'dead'))
         returning source_at_end";
        let counted = self.source_counts_if_any().await;
        self.short("record the source's rows", async |client| {
            let counts = serde_json::to_value(counted).map_err(Fault::nonsense)?;
            match client.query_opt(COUNTED, &[&run.0, &counts]).await? {
                Some(row) => json_if_any(&row, "source_at_end"),
                None => Ok(counted),
            }
        })
        .await
    }

    pub(super) async fn hold(&self, term: Term, run: RunId, hold: &Hold) -> Result<bool> {
        const HOLD: &str = "
            update fleet.runs
               set state = 'held', held_at = clock_timestamp(), hold = $2
             where run_id = $1";
        self.transact("hold a run", self.config.call_limit, "begin", async |client| {
            let is_ours = lock_to_end(client, term, run).await?.is_some();
            let is_held = is_ours && progress(client, run).await?.is_settled();
            if is_held {
                let hold = serde_json::to_value(hold).map_err(Fault::nonsense)?;
                client.execute(HOLD, &[&run.0, &hold]).await?;
                client.batch_execute(&format!("notify fleet_runs, '{run} held'")).await?;
            }
            client.batch_execute(if is_held { "commit" } else { "rollback" }).await?;
            Ok(is_held)
        })
        .await
    }

    pub(super) async fn decide_about(&self, run: RunId, new: &NewDecision) -> Result<bool> {
        const DECIDE: &str = "
            update fleet.runs
               set state = case when $2 = 'release' then 'running' else 'rejected' end,
                   decision = $2,
                   decided_at = clock_timestamp(),
                   decided_by = coalesce($3, current_user),
                   decided_because = $4,
                   finished_at = case when $2 = 'reject' then clock_timestamp() end,
                   night = case when $2 = 'reject' then night || ' (rejected run ' || run_id || ')' else night end
             where run_id = $1
               and state = 'held'";
        self.locking("decide about a run", self.config.call_limit, async |client| {
            let is_decided =
                client.execute(DECIDE, &[&run.0, &new.kind.as_str(), &new.by, &new.reason]).await? == 1;
            if is_decided && new.kind == DecisionKind::Reject {
                end_writers(client, run).await?;
                client.batch_execute(&format!("drop table fleet.values_{run}")).await?;
            }
            if is_decided {
                self.keep_in(client, &Effect::Decided { run, kind: new.kind, is_new: true }).await?;
            }
            client.batch_execute("commit").await?;
            Ok(is_decided)
        })
        .await
    }
}

/// How a run stands with the guard, from its row.
pub(super) fn guarded(row: &Row) -> Result<Guarded, Fault> {
    let held_at = get(row, "held_at")?;
    let hold: Option<Hold> = json_if_any(row, "hold")?;
    Ok(Guarded {
        limits: json_if_any(row, "limits")?,
        source_at_plan: json_if_any(row, "source_at_plan")?,
        source_at_end: json_if_any(row, "source_at_end")?,
        held: Option::zip(held_at, hold),
        decision: decision(row)?,
    })
}

/// What a person said about a run, from its row.
pub(super) fn decision(row: &Row) -> Result<Option<Decision>, Fault> {
    let Some(kind) = word_if_any(row, "decision")? else { return Ok(None) };
    let (at, by, reason) = (get(row, "decided_at")?, get(row, "decided_by")?, get(row, "decided_because")?);
    Ok(Some(Decision { kind, at, by, reason }))
}

/// The run before: the latest finished one of the same selection whose moment comes before.
async fn before(client: &ClientWrapper, run: RunId) -> Result<Option<Before>, Fault> {
    const BEFORE: &str = "
        select b.run_id, b.terms = r.terms and bm.currency = rm.currency as is_same_money
          from fleet.runs r
          join fleet.model_versions rm on rm.model_version = r.model_version
          join fleet.runs b
            on b.selection = r.selection
           and b.state = 'finished'
           and (b.as_of, b.run_id) < (r.as_of, r.run_id)
          join fleet.model_versions bm on bm.model_version = b.model_version
         where r.run_id = $1
         order by b.as_of desc, b.run_id desc
         limit 1";
    let Some(row) = client.query_opt(BEFORE, &[&run.0]).await? else { return Ok(None) };
    let run = RunId(get(&row, "run_id")?);
    let (figures, is_same_money) = (figures(client, run).await?, get(&row, "is_same_money")?);
    Ok(Some(Before { run, figures, is_same_money }))
}

/// What a run comes to. The customers of dead chunks are rejections, though they become so when it is finished.
async fn figures(client: &ClientWrapper, run: RunId) -> Result<Figures, Fault> {
    const SUMS: &str = "
        select coalesce(sum(customers), 0)::bigint as customers,
               case when count(*) filter (where state = 'done' and transactions is null) = 0
                    then coalesce(sum(transactions), 0)::bigint
               end as transactions,
               case when count(*) filter (where state = 'done' and value_minor is null) = 0
                    then least(coalesce(sum(value_minor), 0), 9223372036854775807)::bigint
               end as value_minor
          from fleet.chunks
         where run_id = $1";
    const REJECTIONS: &str = "
        select reason, count(*) as customers
          from fleet.rejections
         where run_id = $1
         group by reason
         union all
        select $2, sum(customers)
          from fleet.chunks
         where run_id = $1
           and state = 'dead'
           and rejection_count = 0
        having count(*) > 0";
    let sums = client.query_one(SUMS, &[&run.0]).await?;
    let mut rejections = BTreeMap::new();
    for row in client.query(REJECTIONS, &[&run.0, &DEAD_CHUNK]).await? {
        *rejections.entry(get(&row, "reason")?).or_default() += get::<i64>(&row, "customers")? as u64;
    }
    Ok(Figures {
        customers: get::<i64>(&sums, "customers")? as u64,
        rejections,
        transactions: get::<Option<i64>>(&sums, "transactions")?.map(|count| count as u64),
        value_minor: get(&sums, "value_minor")?,
    })
}

/// Whether a relation is there, and may be read: whoever dispatches or coordinates needs no subscriptions for anything
/// else.
async fn may_read(client: &ClientWrapper, relation: &str) -> Result<bool, Fault> {
    let may = format!("select coalesce(has_table_privilege(to_regclass('{relation}'), 'select'), false)");
    Ok(client.query_one(&may, &[]).await?.try_get(0)?)
}

/// Counts the rows of a relation if it is a table and small, and takes the planner's word for it otherwise.
async fn count(client: &ClientWrapper, relation: &str) -> Result<RowCount, Fault> {
    let believed = client.query_one(&format!("explain (format json) select from {relation}"), &[]).await?;
    let believed: serde_json::Value = believed.try_get(0)?;
    let believed = believed.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_f64);
    let believed = believed.ok_or_else(|| Fault::nonsense(format!("no rows in the plan of {relation}")))?;
    let is_table =
        format!("select relkind in ('r', 'p', 'm') from pg_class where oid = '{relation}'::regclass");
    let is_table: bool = client.query_one(&is_table, &[]).await?.try_get(0)?;
    if !is_table || believed > COUNTED_ROWS {
        return Ok(RowCount { rows: believed as u64, is_exact: false });
    }
    let rows: i64 = client.query_one(&format!("select count(*) from {relation}"), &[]).await?.try_get(0)?;
    Ok(RowCount { rows: rows as u64, is_exact: true })
}
