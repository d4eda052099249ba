//! What is recorded of a run that the guard has looked at, and what a person said about it.

use std::fmt;
use std::str::FromStr;

use batch::{Deviation, Limits, RunId, SourceCounts};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a run stands with the guard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guarded {
    /// How far it may lie from the run before; none if it is compared with no run.
    pub limits: Option<Limits>,
    /// The source's rows when it was planned.
    pub source_at_plan: Option<SourceCounts>,
    /// The source's rows when it was settled.
    pub source_at_end: Option<SourceCounts>,
    /// Since when it has waited for a person, or had to, and why.
    pub held: Option<(Timestamp, Hold)>,
    /// What the person said.
    pub decision: Option<Decision>,
}

/// Why a run is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The run that it was compared with.
    pub compared_with: Option<RunId>,
    /// What lies beyond its limits.
    pub deviations: Vec<Deviation>,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, deviation) in self.deviations.iter().enumerate() {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{deviation}")?;
        }
        match self.compared_with {
            Some(run) => write!(f, " (compared with run {run})"),
            None => Ok(()),
        }
    }
}

/// What a person says about a run that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDecision {
    /// Whether it is to be shown.
    pub kind: DecisionKind,
    /// Who says so; the database's user unless given.
    pub by: Option<String>,
    /// Why.
    pub reason: String,
}

/// What a person said about a run that was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it was to be shown.
    pub kind: DecisionKind,
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Decision {
    /// What is added to the story of a run when dead chunks of it are put back to work, and what was said holds no more.
    pub(crate) fn taken_back(&self) -> String {
        let kind = match self.kind {
            DecisionKind::Release => "released",
            DecisionKind::Reject => "rejected",
        };
        format!(" (the run was {kind} by {} at {}: {})", self.by, self.at, self.reason)
    }
}

/// Whether a run that is held is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// It is shown as it is.
    Release,
    /// It never is.
    Reject,
}

impl DecisionKind {
    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Reject => "reject",
        }
    }
}

impl FromStr for DecisionKind {
    type Err = UnknownDecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Release, Self::Reject]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownDecision(text.to_owned()))
    }
}

/// A word that is no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown decision {0:?}")]
pub struct UnknownDecision(String);
