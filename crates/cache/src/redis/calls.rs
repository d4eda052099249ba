//! The calls: what each is named in errors, how long it may take, and what its failure means.

use std::fmt::{self, Display};
use std::time::Duration;

use batch::{CustomerId, RunId};
use fred::error::ErrorKind;
use resilience::{Blame, Elapsed};

use super::RedisConfig;
use crate::Error;

/// Names a call in errors, and says how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    PutValues { run: RunId, count: usize },
    PutMembers(RunId),
    HoldsAll(RunId),
    PutVisible(i64),
    ReplaceVisible(i64),
    Visible,
    Value(CustomerId),
    PutProgress(RunId),
    Progress(RunId),
    Check,
}

impl Call {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::PutValues { .. } => "put_values",
            Self::PutMembers(_) => "put_members",
            Self::HoldsAll(_) => "holds_all",
            Self::PutVisible(_) => "put_visible",
            Self::ReplaceVisible(_) => "replace_visible",
            Self::Visible => "visible",
            Self::Value(_) => "value",
            Self::PutProgress(_) => "put_progress",
            Self::Progress(_) => "progress",
            Self::Check => "check",
        }
    }

    pub(super) fn limit(self, config: &RedisConfig) -> Duration {
        match self {
            Self::PutValues { .. } | Self::PutMembers(_) | Self::HoldsAll(_) => config.bulk_limit,
            _ => config.call_limit,
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutValues { run, count } => write!(f, "redis: put {count} values of run {run}"),
            Self::PutMembers(run) => write!(f, "redis: put the members of run {run}"),
            Self::HoldsAll(run) => write!(f, "redis: look what is here of run {run}"),
            Self::PutVisible(version) => write!(f, "redis: make version {version} visible"),
            Self::ReplaceVisible(version) => write!(f, "redis: replace version {version}"),
            Self::Visible => write!(f, "redis: read the visible runs"),
            Self::Value(customer) => write!(f, "redis: read the value of customer {customer}"),
            Self::PutProgress(run) => write!(f, "redis: put the progress of run {run}"),
            Self::Progress(run) => write!(f, "redis: read the progress of run {run}"),
            Self::Check => write!(f, "redis: ping"),
        }
    }
}

/// Turns fred's error into ours.
pub(super) fn failure(call: Call, limit: Duration, error: &fred::error::Error) -> Error {
    match error.kind() {
        ErrorKind::Timeout => Error::TimedOut(Elapsed { what: call.to_string(), limit }),
        // WRONGTYPE, or an answer of another shape than asked for.
        ErrorKind::InvalidArgument | ErrorKind::Parse | ErrorKind::NotFound => {
            Error::Malformed(format!("{call}: {}", error.details()))
        }
        _ => Error::Unavailable(format!("{call}: {}", error.details())),
    }
}

/// Whoever does not answer, or refuses to serve, is to blame; what it holds is not its fault.
pub(super) fn blame(error: &Error) -> Blame {
    if error.is_transient() { Blame::Dependency } else { Blame::Caller }
}
