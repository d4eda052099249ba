//! What goes wrong in a night, by kind, and how often at worst.

use std::collections::BTreeMap;

use super::call::Call;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call fails before it takes effect.
    Refused,
    /// A call takes effect, and the answer is lost.
    LostAnswer,
    /// A call takes seconds.
    Slow,
    /// A server is away for a while.
    Outage,
    /// The store refuses a call to everybody until somebody mends it: a relation or a right is missing.
    Broken,
    /// Somebody reads a settled run's table.
    Locked,
    /// A process dies before a call takes effect.
    KilledBefore,
    /// A process dies after a call took effect.
    KilledAfter,
    /// A process stands still for a while.
    Hang,
    /// A worker is asked to drain.
    Drain,
    /// A message is confirmed and lost.
    LostMessage,
    /// A message arrives twice.
    DuplicatedMessage,
    /// A message is confirmed now and arrives late.
    DelayedMessage,
    /// A message arrives before those that were there.
    OvertakingMessage,
    /// Bytes that are no message arrive instead of one.
    Garbage,
    /// A message of another installation arrives instead of one, about a chunk of the same number.
    ForeignMessage,
    /// The broker takes no messages for a while.
    Blocked,
    /// No queue is there to take a message.
    Unroutable,
    /// A confirm is lost, with the message or without.
    LostConfirm,
    /// A message is lost on its way to a consumer.
    LostDelivery,
    /// A message is long on its way to a consumer.
    DelayedDelivery,
    /// All consumers' connections are cut.
    CutConnection,
    /// An ack, or a requeue, is lost.
    LostAck,
    /// The broker forgets every message.
    Amnesia,
    /// The cache forgets everything.
    Flush,
    /// The cache forgets everything, and once more while it is filled again.
    TwoFlushes,
    /// The cache forgets what stands under one name.
    Eviction,
    /// The cache takes a part of what it is given, and fails.
    PartialPut,
    /// The cache takes a part of what it is given, fails, and takes the rest long after.
    LatePut,
    /// The cache names runs that the store will never know, or not for long: the store went back to a backup.
    ForeignList,
    /// A reply is lost.
    LostReply,
    /// A reply arrives twice.
    DoubledReply,
    /// A reply is long on its way.
    LateReply,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 33] = [
        Self::Refused,
        Self::LostAnswer,
        Self::Slow,
        Self::Outage,
        Self::Broken,
        Self::Locked,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Hang,
        Self::Drain,
        Self::LostMessage,
        Self::DuplicatedMessage,
        Self::DelayedMessage,
        Self::OvertakingMessage,
        Self::Garbage,
        Self::ForeignMessage,
        Self::Blocked,
        Self::Unroutable,
        Self::LostConfirm,
        Self::LostDelivery,
        Self::DelayedDelivery,
        Self::CutConnection,
        Self::LostAck,
        Self::Amnesia,
        Self::Flush,
        Self::TwoFlushes,
        Self::Eviction,
        Self::PartialPut,
        Self::LatePut,
        Self::ForeignList,
        Self::LostReply,
        Self::DoubledReply,
        Self::LateReply,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LostAnswer => "lost_answer",
            Self::Slow => "slow",
            Self::Outage => "outage",
            Self::Broken => "broken",
            Self::Locked => "locked",
            Self::KilledBefore => "killed_before",
            Self::KilledAfter => "killed_after",
            Self::Hang => "hang",
            Self::Drain => "drain",
            Self::LostMessage => "lost_message",
            Self::DuplicatedMessage => "duplicated_message",
            Self::DelayedMessage => "delayed_message",
            Self::OvertakingMessage => "overtaking_message",
            Self::Garbage => "garbage",
            Self::ForeignMessage => "foreign_message",
            Self::Blocked => "blocked",
            Self::Unroutable => "unroutable",
            Self::LostConfirm => "lost_confirm",
            Self::LostDelivery => "lost_delivery",
            Self::DelayedDelivery => "delayed_delivery",
            Self::CutConnection => "cut_connection",
            Self::LostAck => "lost_ack",
            Self::Amnesia => "amnesia",
            Self::Flush => "flush",
            Self::TwoFlushes => "two_flushes",
            Self::Eviction => "eviction",
            Self::PartialPut => "partial_put",
            Self::LatePut => "late_put",
            Self::ForeignList => "foreign_list",
            Self::LostReply => "lost_reply",
            Self::DoubledReply => "doubled_reply",
            Self::LateReply => "late_reply",
        }
    }
}

/// How many faults of each kind there were.
pub type Faults = BTreeMap<&'static str, u64>;

/// How many processes died before, and how many after, each call took effect.
pub type Deaths = BTreeMap<(Call, Fault), u64>;

impl Fault {
    /// The highest probability at each call. What ends a process or a server for long is rarer than what costs a call.
    pub(super) fn worst_rate(self) -> f64 {
        match self {
            Self::Refused | Self::LostAnswer | Self::Slow | Self::PartialPut | Self::Eviction => 0.1,
            Self::Outage | Self::Broken | Self::Flush | Self::TwoFlushes => 0.005,
            Self::KilledBefore
            | Self::KilledAfter
            | Self::Hang
            | Self::Drain
            | Self::Amnesia
            | Self::ForeignList => 0.02,
            Self::CutConnection | Self::Blocked | Self::Unroutable => 0.05,
            Self::Locked
            | Self::LostMessage
            | Self::DuplicatedMessage
            | Self::DelayedMessage
            | Self::OvertakingMessage
            | Self::Garbage
            | Self::ForeignMessage
            | Self::LostConfirm
            | Self::LostDelivery
            | Self::DelayedDelivery
            | Self::LatePut
            | Self::LostReply
            | Self::DoubledReply
            | Self::LateReply
            | Self::LostAck => 0.3,
        }
    }
}
