//! A run, and what it comes to.

use std::collections::BTreeMap;

use batch::{CustomerId, Priority, RunId, RunState};
use jiff::Timestamp;
use model::ValueTerms;
use serde::Serialize;
use store::{ModelVersionId, RunRecord, SegmentValue};
use utoipa::ToSchema;

use crate::value::Numbers;
use crate::{Digits, Hold, ModelVersion, Source, Value, shape};

/// A run as it is recorded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Run {
    /// Its number.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// The night it is the run of, if it is one's.
    pub night: Option<String>,
    /// Which customers it covers, in words.
    pub selection: String,
    /// Whether that is the whole base.
    pub is_whole: bool,
    /// The queue for its chunks.
    #[schema(value_type = shape::Priority)]
    pub priority: Priority,
    /// Where it stands.
    #[schema(value_type = shape::RunState)]
    pub state: RunState,
    /// The moment that it values the customers for.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Timestamp,
    /// The model version that it pins.
    #[schema(value_type = Digits)]
    pub model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin.
    #[schema(value_type = shape::Terms)]
    pub terms: ValueTerms,
    /// When it was planned.
    #[schema(value_type = String, format = DateTime)]
    pub planned_at: Timestamp,
    /// When it has to be finished.
    #[schema(value_type = String, format = DateTime)]
    pub deadline_at: Timestamp,
    /// When its values became visible, or when it was cancelled or rejected.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How long that took from the plan on.
    pub seconds: Option<f64>,
    /// Its chunks.
    pub chunks: u64,
    /// Those that are done.
    pub chunks_done: u64,
    /// Those that used up their attempts.
    pub chunks_dead: u64,
    /// The customers that are planned.
    pub customers: u64,
    /// Those with a value.
    pub values: u64,
    /// Those without one.
    pub rejections: u64,
    /// Why a person has to look at it before it is shown, or had to.
    pub hold: Option<Hold>,
    /// How many rows the source held.
    pub source: Source,
}

impl From<&RunRecord> for Run {
    fn from(record: &RunRecord) -> Self {
        let progress = &record.progress;
        let took = |end: Timestamp| end.duration_since(record.planned_at).as_secs_f64();
        Self {
            run: record.run,
            night: record.night.clone(),
            selection: record.selection.clone(),
            is_whole: record.is_whole,
            priority: record.priority,
            state: record.state,
            as_of: record.as_of,
            model_version: record.model_version,
            terms: record.terms,
            planned_at: record.planned_at,
            deadline_at: record.deadline_at,
            finished_at: record.finished_at,
            seconds: record.finished_at.map(took),
            chunks: progress.chunks,
            chunks_done: progress.done,
            chunks_dead: progress.dead,
            customers: progress.customers,
            values: progress.values,
            rejections: progress.rejections,
            hold: Hold::of(&record.guard),
            source: Source { at_plan: record.guard.source_at_plan, at_end: record.guard.source_at_end },
        }
    }
}

/// A run with its model and what it comes to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunSummary {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The model version that it pins.
    pub model: ModelVersion,
    /// Value by segment, the most valuable first.
    pub segments: Vec<Segment>,
    /// The most valuable customers.
    pub top: Vec<TopCustomer>,
    /// How many customers were rejected, by the reason's code.
    pub rejection_reasons: BTreeMap<String, u64>,
}

impl RunSummary {
    /// Puts together what the store says of a run.
    pub fn new(run: &RunRecord, model: &store::ModelVersion, summary: &store::RunSummary) -> Self {
        Self {
            run: run.into(),
            model: model.into(),
            segments: summary.segments.iter().map(Segment::from).collect(),
            top: summary.top.iter().map(TopCustomer::from).collect(),
            rejection_reasons: summary.rejections.iter().cloned().collect(),
        }
    }
}

/// What the customers of a segment are worth.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Segment {
    /// Its name.
    pub segment: String,
    /// Those of its customers with a value.
    pub customers: u64,
    /// Their value.
    pub value_minor: i64,
    /// What of it comes from contracts.
    pub contract_minor: i64,
    /// What they contributed so far, where the run tells.
    pub historic_minor: Option<i64>,
}

impl From<&SegmentValue> for Segment {
    fn from(of: &SegmentValue) -> Self {
        Self {
            segment: of.segment.clone(),
            customers: of.customers,
            value_minor: of.value_minor,
            contract_minor: of.contract_minor,
            historic_minor: of.historic_minor,
        }
    }
}

/// One of the most valuable customers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TopCustomer {
    /// His number.
    #[schema(value_type = Digits)]
    pub customer: CustomerId,
    /// His name in the business's own books.
    pub external_id: String,
    /// His segment.
    pub segment: String,
    /// What he is worth.
    #[serde(flatten)]
    #[schema(value_type = Numbers)]
    pub value: Value,
}

impl From<&store::TopCustomer> for TopCustomer {
    fn from(top: &store::TopCustomer) -> Self {
        Self {
            customer: top.valued.customer,
            external_id: top.external_id.clone(),
            segment: top.segment.clone(),
            value: Value::new(&top.valued.value, &top.valued.account),
        }
    }
}
