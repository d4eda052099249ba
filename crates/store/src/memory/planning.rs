//! The plan of a run.

use std::collections::BTreeMap;

use batch::{ChunkId, ChunkState, CustomerId, RunState, WorkSample};
use jiff::Timestamp;
use tokio::task::consume_budget;

use super::rows::{Chunk, Rows, Run};
use super::{Memory, invalid, later};
use crate::guard::Guarded;
use crate::record::{CreatedRun, ModelVersionId, NewRun, Selection};
use crate::{Planning, Result};

impl Planning for Memory {
    async fn now(&self) -> Result<Timestamp> {
        self.call(|_, now| Ok(now)).await
    }

    async fn selected(&self, selection: &Selection, as_of: Timestamp) -> Result<Vec<CustomerId>> {
        let base = self.base();
        let is_there = |place: &usize| base.customer(*place).acquired_at <= as_of;
        consume_budget().await;
        let id = |place| base.id(place);
        Ok(match selection {
            Selection::All => (0..base.len()).filter(is_there).map(id).collect(),
            Selection::Segment(segment) => {
                let is_in = |place: &usize| base.customer(*place).segment == segment;
                (0..base.len()).filter(|place| is_in(place) && is_there(place)).map(id).collect()
            }
            Selection::Customers(named) => {
                named.iter().filter_map(|&customer| base.place(customer)).filter(is_there).map(id).collect()
            }
        })
    }

    /// None: what is known of a customer is there in one piece, and nobody costs more than another.
    async fn work_sample(&self) -> Result<WorkSample> {
        self.call(|_, _| Ok(WorkSample::none())).await
    }

    async fn model_version_to_pin(&self, named: Option<ModelVersionId>) -> Result<Option<ModelVersionId>> {
        self.call(|rows, _| {
            let in_force = || rows.promotions.last().map(|row| row.promotion.version);
            let latest = || rows.model_versions.last().map(|version| version.version);
            Ok(match named {
                Some(named) => rows.model_version(named).map(|version| version.version),
                None => in_force().or_else(latest),
            })
        })
        .await
    }

    async fn run_of_night(&self, night: &str) -> Result<Option<CreatedRun>> {
        self.call(|rows, _| Ok(found(rows, night))).await
    }

    async fn create_run(&self, new: &NewRun) -> Result<CreatedRun> {
        self.call_once("record the run", |rows, now| {
            if let Some(found) = new.night.as_deref().and_then(|night| found(rows, night)) {
                return Ok((found, None));
            }
            if rows.model_version(new.model_version).is_none() {
                return Err(invalid(
                    "record the run",
                    format_args!("there is no model version {}", new.model_version),
                ));
            }
            let run = rows.add_run(planned(new, now));
            if let Some(night) = &new.night {
                rows.nights.insert(night.clone(), run);
            }
            let unpublished = (1..=new.plan.chunks.len() as i32).map(ChunkId).collect();
            let created = CreatedRun { run, is_new: true, unpublished, priority: new.priority };
            Ok((created, Some(new.dispatched(run))))
        })
        .await
    }
}

fn planned(new: &NewRun, now: Timestamp) -> Run {
    let chunks = (1..).map(ChunkId).zip(&new.plan.chunks);
    let chunks: Vec<Chunk> = chunks.map(|(id, planned)| Chunk::planned(id, planned)).collect();
    Run {
        night: new.night.clone(),
        selection: new.selection.to_string(),
        is_whole: new.selection == Selection::All,
        priority: new.priority,
        state: RunState::Planned,
        as_of: new.as_of,
        model_version: new.model_version,
        terms: new.terms,
        planned_at: now,
        deadline_at: later(now, new.deadline),
        finished_at: None,
        visible_version: None,
        customers: chunks.iter().map(|chunk| u64::from(chunk.customers)).sum(),
        trace: new.trace.clone(),
        guard: Guarded { limits: new.limits, ..Guarded::default() },
        chunks,
        values: Vec::new(),
        accounts: BTreeMap::new(),
        rejections: BTreeMap::new(),
    }
}

/// The run of a night with what is left to publish.
fn found(rows: &Rows, night: &str) -> Option<CreatedRun> {
    let &id = rows.nights.get(night)?;
    let run = rows.run(id)?;
    let pending = run.chunks().filter(|(_, chunk)| chunk.snapshot.state == ChunkState::Pending);
    let unpublished = pending.map(|(chunk, _)| chunk).collect();
    Some(CreatedRun { run: id, is_new: false, unpublished, priority: run.priority })
}
