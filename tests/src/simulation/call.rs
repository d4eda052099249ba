//! The calls by which a process does anything to the world, and how much goes wrong with each.

use std::fmt;

/// A call to a server.
#[expect(missing_docs, reason = "each has its word in `as_str`")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Select,
    SampleWork,
    FindModelVersion,
    FindRun,
    CreateRun,
    MarkPublished,
    ReadTrace,
    Begin,
    Renew,
    Resume,
    Fail,
    GiveBack,
    ReadModelVersion,
    ReadHistories,
    Commit,
    Lead,
    Abdicate,
    Snapshot,
    Rescue,
    Compare,
    Hold,
    Finish,
    ReadValues,
    ListVisible,
    Publish,
    CountWaiting,
    Ack,
    Requeue,
    DeadLetter,
    PutValues,
    PutMembers,
    HoldsAll,
    PutVisible,
    ReplaceVisible,
    ReadVisible,
    PutProgress,
    AskRequest,
    BeginRequest,
    AnswerRequest,
    FailRequest,
    GiveBackRequest,
    RenewRequests,
    AbandonRequest,
    LookAtRequests,
    ReadAnswer,
    ReadLatest,
    SendRequest,
    Reply,
}

/// A server that can be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    Store,
    Broker,
    Cache,
}

impl Call {
    /// Every call that a role makes in a night.
    pub const ALL: [Self; 48] = [
        Self::Select,
        Self::SampleWork,
        Self::FindModelVersion,
        Self::FindRun,
        Self::CreateRun,
        Self::MarkPublished,
        Self::ReadTrace,
        Self::Begin,
        Self::Renew,
        Self::Resume,
        Self::Fail,
        Self::GiveBack,
        Self::ReadModelVersion,
        Self::ReadHistories,
        Self::Commit,
        Self::Lead,
        Self::Abdicate,
        Self::Snapshot,
        Self::Rescue,
        Self::Compare,
        Self::Hold,
        Self::Finish,
        Self::ReadValues,
        Self::ListVisible,
        Self::Publish,
        Self::CountWaiting,
        Self::Ack,
        Self::Requeue,
        Self::DeadLetter,
        Self::PutValues,
        Self::PutMembers,
        Self::HoldsAll,
        Self::PutVisible,
        Self::ReplaceVisible,
        Self::ReadVisible,
        Self::PutProgress,
        Self::AskRequest,
        Self::BeginRequest,
        Self::AnswerRequest,
        Self::FailRequest,
        Self::GiveBackRequest,
        Self::RenewRequests,
        Self::AbandonRequest,
        Self::LookAtRequests,
        Self::ReadAnswer,
        Self::ReadLatest,
        Self::SendRequest,
        Self::Reply,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select the customers",
            Self::SampleWork => "sample the work",
            Self::FindModelVersion => "find a model version",
            Self::FindRun => "find the night's run",
            Self::CreateRun => "create a run",
            Self::MarkPublished => "mark published",
            Self::ReadTrace => "read a trace",
            Self::Begin => "begin",
            Self::Renew => "renew leases",
            Self::Resume => "resume",
            Self::Fail => "record a failure",
            Self::GiveBack => "give back",
            Self::ReadModelVersion => "read a model version",
            Self::ReadHistories => "read histories",
            Self::Commit => "commit",
            Self::Lead => "lead",
            Self::Abdicate => "abdicate",
            Self::Snapshot => "take a snapshot",
            Self::Rescue => "rescue",
            Self::Compare => "compare",
            Self::Hold => "hold",
            Self::Finish => "finish",
            Self::ReadValues => "read values",
            Self::ListVisible => "list visible runs",
            Self::Publish => "publish",
            Self::CountWaiting => "count what waits",
            Self::Ack => "ack",
            Self::Requeue => "requeue",
            Self::DeadLetter => "dead-letter",
            Self::PutValues => "put values",
            Self::PutMembers => "put members",
            Self::HoldsAll => "look what is held",
            Self::PutVisible => "put visible runs",
            Self::ReplaceVisible => "replace visible runs",
            Self::ReadVisible => "read visible runs",
            Self::PutProgress => "put progress",
            Self::AskRequest => "ask",
            Self::BeginRequest => "begin a request",
            Self::AnswerRequest => "answer a request",
            Self::FailRequest => "record a failed request",
            Self::GiveBackRequest => "give a request back",
            Self::RenewRequests => "renew requests",
            Self::AbandonRequest => "abandon a request",
            Self::LookAtRequests => "look at requests",
            Self::ReadAnswer => "read an answer",
            Self::ReadLatest => "read what is known",
            Self::SendRequest => "send a request",
            Self::Reply => "reply",
        }
    }

    /// Who answers it.
    pub(super) fn server(self) -> Server {
        match self {
            Self::Publish
            | Self::CountWaiting
            | Self::Ack
            | Self::Requeue
            | Self::DeadLetter
            | Self::SendRequest
            | Self::Reply => Server::Broker,
            Self::PutValues
            | Self::PutMembers
            | Self::HoldsAll
            | Self::PutVisible
            | Self::ReplaceVisible
            | Self::ReadVisible
            | Self::PutProgress => Server::Cache,
            _ => Server::Store,
        }
    }

    /// How often a fault befalls it, compared with the others. Most calls of a night are made by those who wait for
    /// something to do: without weights nearly everything would go wrong where nothing is at stake, and next to nothing
    /// where a chunk is taken, given back or finished.
    pub(super) fn weight(self) -> f64 {
        match self {
            Self::Lead
            | Self::Snapshot
            | Self::ListVisible
            | Self::CountWaiting
            | Self::ReadVisible
            | Self::PutProgress => 0.1,
            Self::Select
            | Self::SampleWork
            | Self::FindModelVersion
            | Self::FindRun
            | Self::CreateRun
            | Self::MarkPublished
            | Self::ReadTrace
            | Self::Resume
            | Self::Fail
            | Self::Rescue
            | Self::Compare
            | Self::Finish
            | Self::PutVisible
            | Self::AnswerRequest
            | Self::Reply
            | Self::ReadAnswer
            | Self::ReadLatest => 5.0,
            Self::PutMembers => 10.0,
            Self::Hold => 60.0,
            Self::GiveBack
            | Self::Abdicate
            | Self::Requeue
            | Self::DeadLetter
            | Self::ReplaceVisible
            | Self::FailRequest
            | Self::AbandonRequest => 25.0,
            Self::GiveBackRequest => 100.0,
            _ => 1.0,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
