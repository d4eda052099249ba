//! Figures of segments, as people read them; and the pins, for whoever compares runs customer by customer.

use batch::RunId;
use deadpool_postgres::ClientWrapper;
use model::Currency;
use tokio_postgres::Row;

use super::attempts::customers;
use super::row::{get, json};
use super::{Fault, Postgres};
use crate::Result;
use crate::archive::SegmentValue;
use crate::encoding::segments;
use crate::figures::{
    ComputedFigures, FRESH_FOR, Figure, FiguredRun, Figures, FiguresStanding, PastFigures, Percentiles,
    PinnedSegments, RunFigures, Summaries,
};
use crate::record::ModelVersionId;

impl Summaries for Postgres {
    async fn figures(&self, run: RunId) -> Result<Option<RunFigures>> {
        self.short("read the figures of a run", async |client| figures(client, run).await).await
    }

    async fn latest_figures(&self) -> Result<Option<RunFigures>> {
        const LATEST: &str = "
            select (select run_id from fleet.figures
                     where is_whole and reason is null
                     order by as_of desc, run_id desc limit 1) as figured,
                   (select run_id from fleet.runs
                     where is_whole and state = 'finished'
                     order by as_of desc, run_id desc limit 1) as visible";
        self.short("read the latest figures", async |client| {
            let row = client.query_one(LATEST, &[]).await?;
            let run: Option<i64> = get(&row, "figured")?;
            let Some(run) = run.or(get(&row, "visible")?) else { return Ok(None) };
            figures(client, RunId(run)).await
        })
        .await
    }

    async fn past_figures(&self, of: &Figure, limit: u32, with_partial: bool) -> Result<Vec<PastFigures>> {
        let (which, name) = match of {
            Figure::All => ("s.number = -1 and $1::text is null", None),
            Figure::WithoutSegment => ("s.number = 0 and $1::text is null", None),
            Figure::Segment(name) => ("s.segment = $1", Some(name.as_str())),
        };
        let past = format!(
            "select *
               from fleet.segment_figures s
               join fleet.figures f using (run_id)
              where {which}
                and (f.is_whole or $2)
              order by f.as_of desc, f.run_id desc
              limit $3"
        );
        self.short("read the history of a segment", async |client| {
            let rows = client.query(&past, &[&name, &with_partial, &i64::from(limit)]).await?;
            rows.iter()
                .map(|row| {
                    Ok(PastFigures {
                        run: run_of(row)?,
                        computed_at: get(row, "computed_at")?,
                        figures: figures_of(row)?,
                    })
                })
                .collect()
        })
        .await
    }
}

impl Postgres {
    /// In which segment each customer of a run was when it became visible; none if that is not, or never was, on record.
    pub async fn pinned_segments(&self, run: RunId) -> Result<Option<PinnedSegments>> {
        const NAMES: &str = "
            select number, segment from fleet.segment_figures where run_id = $1 and number > 0 order by number";
        const PINS: &str = "
            select first_customer, customers, members, segments
              from fleet.chunks
              left join fleet.pinned_segments using (run_id, chunk_id)
             where run_id = $1
             order by first_customer";
        self.call("read who was in which segment", self.config.bulk_limit, async |client| {
            let mut names = vec![None];
            for row in &client.query(NAMES, &[&run.0]).await? {
                if get::<i32>(row, "number")? as usize != names.len() {
                    return Err(Fault::nonsense(format!(
                        "run {run} lacks the name of segment {}",
                        names.len()
                    )));
                }
                names.push(get(row, "segment")?);
            }
            let mut pinned = PinnedSegments { customers: Vec::new(), numbers: Vec::new(), names };
            for row in &client.query(PINS, &[&run.0]).await? {
                let Some(bytes) = get::<Option<&[u8]>>(row, "segments")? else { return Ok(None) };
                let members = customers(row)?;
                let known = pinned.names.len();
                segments::decode_into(&mut pinned.numbers, members.len(), known, bytes)
                    .map_err(Fault::nonsense)?;
                pinned.customers.extend(members);
            }
            Ok((!pinned.customers.is_empty()).then_some(pinned))
        })
        .await
    }
}

/// The values of a run by segment, the most valuable first, if they are on record.
pub(super) async fn segment_values(
    client: &ClientWrapper,
    run: RunId,
) -> Result<Option<Vec<SegmentValue>>, Fault> {
    const VALUES: &str = "
        select number, coalesce(segment, '') as segment, customers, value_minor, contract_minor, historic_minor
          from fleet.segment_figures
         where run_id = $1
         order by value_minor desc, segment";
    let rows = client.query(VALUES, &[&run.0]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(rows.len());
    for row in &rows {
        let customers = get::<i64>(row, "customers")? as u64;
        if get::<i32>(row, "number")? < 0 || customers == 0 {
            continue;
        }
        values.push(SegmentValue {
            segment: get(row, "segment")?,
            customers,
            value_minor: get(row, "value_minor")?,
            contract_minor: get(row, "contract_minor")?,
            historic_minor: Some(get(row, "historic_minor")?),
        });
    }
    Ok(Some(values))
}

async fn figures(client: &ClientWrapper, run: RunId) -> Result<Option<RunFigures>, Fault> {
    const KNOWN: &str = "
        select *, computed_at + $2::float8 * interval '1 second' > now() as is_fresh
          from fleet.figures
         where run_id = $1";
    const DUE: &str = "
        select *
          from fleet.runs
          join fleet.model_versions using (model_version)
         where run_id = $1
           and state = 'finished'";
    const NEWER: &str = "
        select run_id
          from fleet.runs
         where state = 'finished'
           and is_whole
           and (as_of, run_id) > ($1, $2)
         order by as_of desc, run_id desc
         limit 1";
    let (run, standing) = match client.query_opt(KNOWN, &[&run.0, &FRESH_FOR.as_secs_f64()]).await? {
        Some(row) => (run_of(&row)?, standing(client, run, &row).await?),
        None => match client.query_opt(DUE, &[&run.0]).await? {
            Some(row) => (run_of(&row)?, FiguresStanding::Due),
            None => return Ok(None),
        },
    };
    let newer = client.query_opt(NEWER, &[&run.as_of, &run.run.0]).await?;
    let newer = newer.as_ref().map(|row| get(row, "run_id").map(RunId)).transpose()?;
    Ok(Some(RunFigures { run, standing, newer }))
}

async fn standing(client: &ClientWrapper, run: RunId, row: &Row) -> Result<FiguresStanding, Fault> {
    // The collation of the names is the database's own; the order is to be the same in each.
    const SEGMENTS: &str = r#"
        select *
          from fleet.segment_figures
         where run_id = $1
         order by number >= 0, value_minor desc, segment collate "C" nulls last"#;
    if let Some(reason) = get(row, "reason")? {
        return Ok(FiguresStanding::Never(reason));
    }
    let rows = client.query(SEGMENTS, &[&run.0]).await?;
    let Some((all, segments)) = rows.split_first() else {
        return Err(Fault::nonsense(format!("the figures of run {run} are gone")));
    };
    let segments = segments.iter().map(|row| Ok((get(row, "segment")?, figures_of(row)?)));
    Ok(FiguresStanding::Computed(ComputedFigures {
        computed_at: get(row, "computed_at")?,
        is_fresh: get(row, "is_fresh")?,
        all: figures_of(all)?,
        segments: segments.collect::<Result<_, Fault>>()?,
    }))
}

fn run_of(row: &Row) -> Result<FiguredRun, Fault> {
    Ok(FiguredRun {
        run: RunId(get(row, "run_id")?),
        selection: get(row, "selection")?,
        is_whole: get(row, "is_whole")?,
        as_of: get(row, "as_of")?,
        model_version: ModelVersionId(get(row, "model_version")?),
        currency: Currency::parse(get(row, "currency")?).map_err(Fault::nonsense)?,
        finished_at: get(row, "finished_at")?,
    })
}

fn figures_of(row: &Row) -> Result<Figures, Fault> {
    let percentiles = [get(row, "p10_minor")?, get(row, "p50_minor")?, get(row, "p90_minor")?];
    let percentiles = match percentiles {
        [Some(p10_minor), Some(p50_minor), Some(p90_minor)] => {
            Some(Percentiles { p10_minor, p50_minor, p90_minor })
        }
        _ => None,
    };
    Ok(Figures {
        customers: get::<i64>(row, "customers")? as u64,
        value_minor: get(row, "value_minor")?,
        contract_minor: get(row, "contract_minor")?,
        historic_minor: get(row, "historic_minor")?,
        percentiles,
        share_alive: get(row, "share_alive")?,
        rejections: json(row, "rejections")?,
    })
}
