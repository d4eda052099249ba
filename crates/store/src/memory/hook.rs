//! What a harness may do to a call: let it through, hold it up, lose it or its answer.

use std::time::Duration;

/// A call to the store, by the name of its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Call {
    Now,
    Selected,
    WorkSample,
    ModelVersionToPin,
    RunOfNight,
    TraceOf,
    CreateRun,
    MarkPublished,
    BeginAttempt,
    RenewLeases,
    ResumeAttempt,
    FailAttempt,
    GiveBack,
    WaitUntilAvailable,
    ReadHistories,
    CommitAttempt,
    ModelVersion,
    Lead,
    Abdicate,
    Snapshot,
    Rescue,
    FinishRun,
    ValuesAfter,
    VisibleRuns,
    SaveModelVersion,
    Promote,
    RollBack,
    CancelRun,
    Redrive,
    /// What only people ask, and what changes nothing.
    Ask,
}

impl Call {
    /// The call in words, as errors name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "read the clock",
            Self::Selected => "select the customers",
            Self::WorkSample => "sample the transactions",
            Self::ModelVersionToPin => "find the model version",
            Self::RunOfNight => "find the run of the night",
            Self::TraceOf => "read the trace of a run",
            Self::CreateRun => "record the run",
            Self::MarkPublished => "mark chunks published",
            Self::BeginAttempt => "begin an attempt",
            Self::RenewLeases => "renew leases",
            Self::ResumeAttempt => "resume an attempt",
            Self::FailAttempt => "record a failed attempt",
            Self::GiveBack => "give a chunk back",
            Self::WaitUntilAvailable => "wait until the store is well",
            Self::ReadHistories => "read histories",
            Self::CommitAttempt => "commit an attempt",
            Self::ModelVersion => "read a model version",
            Self::Lead => "lead",
            Self::Abdicate => "abdicate",
            Self::Snapshot => "take a snapshot",
            Self::Rescue => "rescue a chunk",
            Self::FinishRun => "finish a run",
            Self::ValuesAfter => "read a page of values",
            Self::VisibleRuns => "list the visible runs",
            Self::SaveModelVersion => "store a model version",
            Self::Promote => "promote a model version",
            Self::RollBack => "roll back a model version",
            Self::CancelRun => "cancel a run",
            Self::Redrive => "redrive dead chunks",
            Self::Ask => "look something up",
        }
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It takes effect and is answered.
    #[default]
    Answered,
    /// It never arrives: [`Unavailable`](crate::Error::Unavailable), and nothing has happened.
    Lost,
    /// It takes effect, and its answer is lost: [`Unavailable`](crate::Error::Unavailable).
    Unheard,
    /// The store works and will not do it: [`Broken`](crate::Error::Broken), and nothing has happened.
    Broken,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How long it takes to arrive: it takes effect after that.
    pub before: Duration,
    /// How it ends.
    pub ending: Ending,
    /// How long its answer takes.
    pub after: Duration,
}

/// Something that decides what becomes of each call. Asked once, when a call is first polled, before anything else.
///
/// It is told who calls where the handle was made with [`Memory::as_caller`](super::Memory::as_caller).
pub trait Hook: Send + Sync + 'static {
    /// Decides what becomes of a call.
    fn fate(&self, call: Call, caller: &str) -> Fate;
}
