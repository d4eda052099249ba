//! What moved between two runs, as people read it.

use std::collections::BTreeMap;

use batch::RunId;
use deadpool_postgres::ClientWrapper;
use model::Currency;

use super::row::{get, word};
use super::{Fault, Postgres};
use crate::Result;
use crate::movement::{Both, ComparisonStanding, Moves, RunMovements, SegmentMovements, SegmentWorth};

impl Moves for Postgres {
    async fn movements(&self, run: RunId) -> Result<Option<RunMovements>> {
        self.short("read what moved", async |client| movements(client, run).await).await
    }
}

async fn movements(client: &ClientWrapper, run: RunId) -> Result<Option<RunMovements>, Fault> {
    const STANDING: &str = "
        select c.before_run_id, coalesce(c.state, 'open') as state, coalesce(c.customers, 0) as customers,
               coalesce(c.reason, f.reason) as reason, c.ended_at, m.currency::text as currency
          from fleet.runs r
          join fleet.model_versions m using (model_version)
          left join fleet.comparisons c using (run_id)
          left join fleet.figures f using (run_id)
         where r.run_id = $1
           and r.state = 'finished'
           and (r.is_whole or r.selection like 'segment %')";
    let Some(row) = client.query_opt(STANDING, &[&run.0]).await? else { return Ok(None) };
    let before = get::<Option<i64>>(&row, "before_run_id")?.map(RunId);
    let standing = match (get(&row, "state")?, get(&row, "reason")?) {
        ("complete", _) => ComparisonStanding::Complete(get(&row, "ended_at")?),
        (_, Some(reason)) => ComparisonStanding::Never(reason),
        _ => ComparisonStanding::Due { customers: get::<i64>(&row, "customers")? as u64 },
    };
    let currency = Currency::parse(get(&row, "currency")?).map_err(Fault::nonsense)?;
    let segments = match (&standing, before) {
        (ComparisonStanding::Complete(_), Some(before)) => segments(client, run, before).await?,
        _ => Vec::new(),
    };
    Ok(Some(RunMovements { run, before, currency, standing, segments }))
}

async fn segments(client: &ClientWrapper, run: RunId, before: RunId) -> Result<Vec<SegmentMovements>, Fault> {
    const WORTH: &str = "
        select run_id, segment, customers, value_minor
          from fleet.segment_figures
         where run_id in ($1, $2)
           and number >= 0";
    const MOVED: &str = "
        select segment, cause, customers, value_minor
          from fleet.movements
         where run_id = $1";
    let mut segments: BTreeMap<Option<String>, SegmentMovements> = BTreeMap::new();
    let of =
        |name: Option<String>| SegmentMovements { segment: name, worth: Both::default(), causes: Vec::new() };
    for row in client.query(WORTH, &[&run.0, &before.0]).await? {
        let name: Option<String> = get(&row, "segment")?;
        let segment = segments.entry(name.clone()).or_insert_with(|| of(name));
        let worth = SegmentWorth {
            customers: get::<i64>(&row, "customers")? as u64,
            value_minor: get(&row, "value_minor")?,
        };
        let is_now = get::<i64>(&row, "run_id")? == run.0;
        *(if is_now { &mut segment.worth.now } else { &mut segment.worth.before }) = worth;
    }
    for row in client.query(MOVED, &[&run.0]).await? {
        let name: Option<String> = get(&row, "segment")?;
        let segment = segments.entry(name.clone()).or_insert_with(|| of(name));
        let customers = get::<i64>(&row, "customers")? as u64;
        segment.causes.push((word(&row, "cause")?, customers, get(&row, "value_minor")?));
    }
    let mut segments: Vec<_> = segments.into_values().collect();
    for segment in &mut segments {
        segment.causes.sort_unstable();
    }
    Ok(segments)
}
