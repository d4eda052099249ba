//! Why a run is held, what a person said about it, and what its source did meanwhile.

use batch::{Measure, RunId, SourceCounts};
use jiff::Timestamp;
use serde::Serialize;
use store::{DecisionKind, Guarded};
use utoipa::ToSchema;

use crate::{Digits, shape};

/// A run that waits for a person, or had to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Hold {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub held_at: Timestamp,
    /// The run that it was compared with.
    #[schema(value_type = Option<Digits>)]
    pub compared_with: Option<RunId>,
    /// What lies beyond its limits.
    pub deviations: Vec<Deviation>,
    /// What the person said.
    pub decision: Option<Decision>,
}

/// Something that lies beyond a run's limits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Deviation {
    /// What it is about: `rejected`, `customers`, `transactions`, `value`, `source_customers`, `source_transactions`,
    /// `source_subscriptions`.
    pub what: &'static str,
    /// The code of the reason, where it is about the customers rejected by one.
    pub reason: Option<String>,
    /// The run before, or the source at the plan.
    pub before: i64,
    /// This run, or the source at its end.
    pub now: i64,
}

/// What a person said about a run that was held.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Decision {
    /// Whether it was to be shown.
    #[schema(value_type = shape::DecisionKind)]
    pub kind: DecisionKind,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// How many rows the source held, where that is known.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Source {
    /// When the run was planned.
    #[schema(value_type = Option<shape::SourceCounts>)]
    pub at_plan: Option<SourceCounts>,
    /// When it was settled.
    #[schema(value_type = Option<shape::SourceCounts>)]
    pub at_end: Option<SourceCounts>,
}

/// What became of a decision about a run.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Decided {
    /// The run.
    #[schema(value_type = Digits)]
    pub run: RunId,
    /// What was decided.
    #[schema(value_type = shape::DecisionKind)]
    pub decision: DecisionKind,
    /// Whether it was decided now, and not before.
    pub is_new: bool,
}

impl Hold {
    /// The hold of a run, if there was one.
    pub(crate) fn of(guard: &Guarded) -> Option<Self> {
        let (held_at, hold) = guard.held.as_ref()?;
        let decision = guard.decision.as_ref().map(|decision| Decision {
            kind: decision.kind,
            at: decision.at,
            by: decision.by.clone(),
            reason: decision.reason.clone(),
        });
        let deviations = hold.deviations.iter().map(Deviation::from).collect();
        Some(Self { held_at: *held_at, compared_with: hold.compared_with, deviations, decision })
    }
}

impl From<&batch::Deviation> for Deviation {
    fn from(deviation: &batch::Deviation) -> Self {
        let (what, reason) = match &deviation.what {
            Measure::RejectedAs(reason) => ("rejected", Some(reason.clone())),
            Measure::Rejected => ("rejected", None),
            Measure::Customers => ("customers", None),
            Measure::Transactions => ("transactions", None),
            Measure::Value => ("value", None),
            Measure::SourceCustomers => ("source_customers", None),
            Measure::SourceTransactions => ("source_transactions", None),
            Measure::SourceSubscriptions => ("source_subscriptions", None),
        };
        Self { what, reason, before: deviation.before, now: deviation.now }
    }
}
