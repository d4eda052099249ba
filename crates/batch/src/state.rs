//! The states of runs and chunks, and who moves each one on; how an attempt ends.
//!
//! ```text
//! run:    planned ──► running ──► finished
//!             │        │ ▲ │
//!             │        │ │ └ beyond its limits ► held ──► rejected
//!             │        │ └── released, redriven ──┘
//!             └────────┴────────► cancelled
//!
//! chunk:  pending ──► published ──► leased ──► done
//!                       ▲     ▲       │
//!                       │     └───────┤ given back
//!                       │             │
//!                       └─ retryable ◄┤ failed or lost
//!                              ▲      │
//!                      redrive │      ▼
//!                              └──── dead
//! ```
//!
//! What guards each arrow is in [`ChunkSnapshot::after`](crate::ChunkSnapshot::after).

use serde::{Deserialize, Serialize};

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkState {
    /// Planned, but no broker has confirmed a message for it. The dispatcher publishes it; if the dispatcher
    /// died, the coordinator does.
    Pending,
    /// The broker has confirmed a message for it. The worker that receives the message begins an attempt; if
    /// the message was lost, the coordinator publishes it again.
    Published,
    /// An attempt is at work on it. Its worker moves it to done, retryable or dead, or gives it back; if the
    /// worker is gone, the coordinator rescues it once the lease has expired.
    Leased,
    /// An attempt failed or was lost. The coordinator publishes it again when its retry is due.
    Retryable,
    /// Its values and rejections are committed. Nobody moves it on.
    Done,
    /// It used up its attempts. A person may redrive it; its customers are rejections if the
    /// run finishes first.
    Dead,
}

impl ChunkState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Published, Self::Leased, Self::Retryable, Self::Done, Self::Dead];

    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Published => "published",
            Self::Leased => "leased",
            Self::Retryable => "retryable",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Whether nothing more will happen to the chunk by itself.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Done | Self::Dead)
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Its chunks are recorded; not all of them are published yet.
    Planned,
    /// Its chunks are on the queues.
    Running,
    /// It is settled, and so far from the run before that a person has to look at it. A release has the coordinator
    /// finish it; a redrive of its dead chunks has it judged anew.
    Held,
    /// Its counts were checked and its values became visible, all at once.
    Finished,
    /// A person stopped it; its values never become visible.
    Cancelled,
    /// A person looked at it while it was held, and refused it; its values never become visible.
    Rejected,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Planned, Self::Running, Self::Held, Self::Finished, Self::Cancelled, Self::Rejected];

    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Held => "held",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
        }
    }

    /// Whether the run is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Rejected)
    }

    /// Whether there is work to do for it, or may be.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Planned | Self::Running)
    }
}

/// How an attempt ended. One without an outcome is at work, or nobody has missed it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its values are committed.
    Done,
    /// The chunk's own fault.
    Failed,
    /// Its lease expired and nobody came back.
    Lost,
    /// It was taken for lost, but its worker came back; or its begin was not answered; or it was forgiven by a
    /// redrive.
    Excused,
    /// Its worker was draining.
    GivenBack,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Done, Self::Failed, Self::Lost, Self::Excused, Self::GivenBack];

    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Excused => "excused",
            Self::GivenBack => "given_back",
        }
    }

    /// Whether it counts towards the chunk's dead letter.
    pub fn counts(self) -> bool {
        matches!(self, Self::Failed | Self::Lost)
    }

    /// Whether an attempt that ended as `earlier`, or has not ended, may be recorded as ended in this way.
    ///
    /// An attempt ends once. What counted may be excused afterwards; nothing else is ever taken back.
    pub fn may_follow(self, earlier: Option<Self>) -> bool {
        match earlier {
            None => true,
            Some(earlier) => self == Self::Excused && earlier.counts(),
        }
    }
}

/// A word that is not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state {0:?}")]
pub struct UnknownState(pub(crate) String);

macro_rules! word_of {
    ($state:ty) => {
        impl std::fmt::Display for $state {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $state {
            type Err = $crate::UnknownState;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .into_iter()
                    .find(|state| state.as_str() == text)
                    .ok_or_else(|| $crate::UnknownState(text.to_owned()))
            }
        }
    };
}

pub(crate) use word_of;

word_of!(ChunkState);
word_of!(RunState);
word_of!(Outcome);
