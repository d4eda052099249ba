//! Requests: where one stands, which transitions there are, and what guards each.
//!
//! ```text
//! waiting ──► leased ──► answered
//!  │ ▲ ▲        │  │
//!  │ │ └────────┘  └───► failed
//!  │ │  given back; failed or lost, and to be tried again
//!  ▼ │ asked again
//! abandoned
//! ```
//!
//! A request has a time within which it is worth an answer. One that is open when it is over, and that nobody is at
//! work on, is **expired**: that is read off the clock, and nobody has to write it down. Who is at work then goes on,
//! since what it found is worth keeping.
//!
//! As with chunks, a store applies an event to what it holds at that moment, in one step; what is refused changes
//! nothing.
//!
//! | event | from | guard | to |
//! |---|---|---|---|
//! | begun | waiting, once due; leased, if it is the asking worker's own | its time is not over | leased, under the next attempt |
//! | lost | leased, and the lease has expired | its time is not over | waiting or failed |
//! | shortened | leased, by a lease from before the clock was set back | | leased for as long from now on |
//! | renewed | leased | the attempt is the latest | leased for longer |
//! | answered | leased | the attempt is the latest | answered |
//! | failed | leased | the attempt is the latest | waiting or failed |
//! | given back | leased | the attempt is the latest | waiting |
//! | abandoned | waiting | its time is not over | abandoned |
//! | asked again | abandoned, expired | | waiting |
//!
//! A request has no coordinator. Whoever asks for the work finds that the worker before was lost, and takes over in the
//! same step; and what is to be tried again is sent again by whoever waits for it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::word_of;
use crate::supervise::{after, is_too_far};
use crate::{Attempt, RequestId, RetryPolicy, Verdict};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestState {
    /// It was asked, or is to be tried again. The worker that receives its message begins an attempt.
    Waiting,
    /// An attempt is at work on it, or was when it was last heard of.
    Leased,
    /// Its answer is committed. Nobody moves it on.
    Answered,
    /// It used up its attempts, or the next one would come too late. Nobody moves it on.
    Failed,
    /// Its time was over before an answer was there. Under its key it may be asked again.
    Expired,
    /// Whoever asked has left. Under its key it may be asked again.
    Abandoned,
}

impl RequestState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Leased, Self::Answered, Self::Failed, Self::Expired, Self::Abandoned];

    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether there is work to do for it, or may be.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Leased)
    }
}

word_of!(RequestState);

/// An attempt at a request: what a store holds everything that its worker says against.
///
/// The moment goes with the number. A store need not wait until a begin is on its disk; where it crashes and forgets one,
/// the next begin has the same number. If that was the first, it pins another moment, and the fence tells the two apart.
/// If it was not, all attempts share the moment and what else was pinned, and whichever of the two answers first answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestAttempt {
    /// The request.
    pub request: RequestId,
    /// The attempt's number within it, from 1.
    pub attempt: Attempt,
    /// The moment that the customers are valued for.
    pub as_of: Timestamp,
}

/// A request at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSnapshot {
    /// Its number.
    pub request: RequestId,
    /// Where it stands, as it is written down: never [expired](RequestState::Expired).
    pub state: RequestState,
    /// The latest attempt.
    pub attempt: Attempt,
    /// Attempts that failed or were lost.
    pub failures: u32,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// Until when the latest attempt is believed to be alive.
    pub leased_until: Option<Timestamp>,
    /// When it was last said to be alive, where that is recorded.
    pub leased_at: Option<Timestamp>,
    /// Before when it is not tried again.
    pub retry_at: Option<Timestamp>,
}

/// Something that happens to a request, and what whoever does it expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEvent {
    /// A worker begins an attempt.
    Begun {
        /// Until when the attempt is believed to be alive.
        leased_until: Timestamp,
        /// Whether the latest attempt is the asking worker's own, which never heard that it had begun or was missed.
        is_own: bool,
    },
    /// Another worker asks for it after the lease has expired.
    Lost(Verdict),
    /// Another worker asks for it, and the lease was given before the clock was set back.
    Shortened,
    /// The worker of an attempt shows that it is alive.
    Renewed {
        /// The attempt.
        attempt: Attempt,
        /// Until when it is believed to be alive from now on.
        leased_until: Timestamp,
    },
    /// The answer of an attempt is to become durable, in the same step.
    Answered(Attempt),
    /// An attempt failed through the request's own fault.
    Failed(Attempt, Verdict),
    /// The worker of an attempt is draining.
    GivenBack(Attempt),
    /// Whoever asked has left.
    Abandoned,
    /// It is asked again under its key.
    AskedAgain {
        /// When its time is over from now on.
        expires_at: Timestamp,
    },
}

/// Why an event does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// It is answered or failed.
    #[error("the request is settled")]
    Settled,
    /// Whoever asked has left.
    #[error("the request is abandoned")]
    Abandoned,
    /// Its time is over.
    #[error("the request has expired")]
    Expired,
    /// An attempt is at work on it.
    #[error("an attempt is at work on the request")]
    AtWork,
    /// It is to be tried again, but not yet.
    #[error("the retry is not due")]
    NotDue,
    /// Nobody is at work on it.
    #[error("no attempt is at work on the request")]
    NotLeased,
    /// There was an attempt after this one.
    #[error("the attempt was superseded")]
    Superseded,
    /// It is neither abandoned nor expired.
    #[error("the request is still good")]
    StillGood,
}

impl RequestSnapshot {
    /// A request that is asked now.
    pub fn asked(request: RequestId, expires_at: Timestamp) -> Self {
        let state = RequestState::Waiting;
        Self {
            request,
            state,
            attempt: Attempt(0),
            failures: 0,
            expires_at,
            leased_until: None,
            leased_at: None,
            retry_at: None,
        }
    }

    /// Where it stands at `now`, by the store's clock.
    pub fn state_at(&self, now: Timestamp) -> RequestState {
        let is_at_work = self.leased_until.is_some_and(|until| now < until);
        let is_expired = self.state.is_open() && !is_at_work && self.expires_at <= now;
        if is_expired { RequestState::Expired } else { self.state }
    }

    /// What follows one more failure: none that comes when its time is over.
    pub fn verdict(&self, policy: &RetryPolicy, now: Timestamp) -> Verdict {
        match policy.verdict_of_request(self.request, self.failures + 1, now) {
            Verdict::RetryAt(due) if due < self.expires_at => Verdict::RetryAt(due),
            Verdict::RetryAt(_) | Verdict::DeadLetter => Verdict::DeadLetter,
        }
    }

    /// What follows when the worker before never came back: as the lease was waited for, the next may begin at once.
    pub fn verdict_of_loss(&self, max_failures: u32, now: Timestamp) -> Verdict {
        if self.failures + 1 < max_failures { Verdict::RetryAt(now) } else { Verdict::DeadLetter }
    }

    /// The request after an event at `now`, by the store's clock; or why it does not happen.
    pub fn after(&self, event: RequestEvent, now: Timestamp) -> Result<Self, RequestRefusal> {
        match event {
            RequestEvent::Begun { leased_until, is_own } => self.begun(leased_until, is_own, now),
            RequestEvent::Lost(verdict) => {
                self.require_time(now)?;
                require(self.state == RequestState::Leased, RequestRefusal::NotLeased)?;
                require(self.leased_until.is_some_and(|until| until <= now), RequestRefusal::AtWork)?;
                Ok(self.judged(verdict))
            }
            RequestEvent::Shortened => {
                require(self.state == RequestState::Leased, RequestRefusal::NotLeased)?;
                let leased_until = Some(self.lease_from_before(now).ok_or(RequestRefusal::AtWork)?);
                Ok(Self { leased_until, leased_at: Some(now), ..*self })
            }
            RequestEvent::Renewed { attempt, leased_until } => {
                self.require_held(attempt)?;
                Ok(Self { leased_until: Some(leased_until), leased_at: Some(now), ..*self })
            }
            RequestEvent::Answered(attempt) => {
                self.require_held(attempt)?;
                Ok(Self { state: RequestState::Answered, leased_until: None, ..*self })
            }
            RequestEvent::Failed(attempt, verdict) => {
                self.require_held(attempt)?;
                Ok(self.judged(verdict))
            }
            RequestEvent::GivenBack(attempt) => {
                self.require_held(attempt)?;
                Ok(Self { state: RequestState::Waiting, leased_until: None, ..*self })
            }
            RequestEvent::Abandoned => {
                self.require_time(now)?;
                require(self.state == RequestState::Waiting, RequestRefusal::AtWork)?;
                Ok(Self { state: RequestState::Abandoned, retry_at: None, ..*self })
            }
            RequestEvent::AskedAgain { expires_at } => {
                let state = self.state_at(now);
                let is_over = matches!(state, RequestState::Abandoned | RequestState::Expired);
                require(is_over, RequestRefusal::StillGood)?;
                Ok(Self { attempt: self.attempt, ..Self::asked(self.request, expires_at) })
            }
        }
    }

    /// When its lease is to end, if it was given, or renewed, before the clock was set back: as long after now as it was
    /// given for. A worker that is alive renews it until then; one that died before never will.
    fn lease_from_before(&self, now: Timestamp) -> Option<Timestamp> {
        let (given_at, until) = (self.leased_at?, self.leased_until?);
        let lasts = Duration::try_from(until.duration_since(given_at)).ok()?;
        is_too_far(given_at, Duration::ZERO, now).then(|| after(now, lasts))
    }

    /// Whether it is due. A pause that is longer than any was decided on before the clock was set back.
    fn is_due(&self, now: Timestamp) -> bool {
        let longest = RetryPolicy::default().max_delay;
        self.retry_at.is_none_or(|due| due <= now || is_too_far(due, longest, now))
    }

    fn begun(&self, leased_until: Timestamp, is_own: bool, now: Timestamp) -> Result<Self, RequestRefusal> {
        self.require_time(now)?;
        require(self.state != RequestState::Leased || is_own, RequestRefusal::AtWork)?;
        require(self.is_due(now), RequestRefusal::NotDue)?;
        Ok(Self {
            state: RequestState::Leased,
            attempt: Attempt(self.attempt.0 + 1),
            leased_until: Some(leased_until),
            leased_at: Some(now),
            retry_at: None,
            ..*self
        })
    }

    fn judged(&self, verdict: Verdict) -> Self {
        let (state, retry_at) = match verdict {
            Verdict::RetryAt(due) => (RequestState::Waiting, Some(due)),
            Verdict::DeadLetter => (RequestState::Failed, None),
        };
        Self { state, retry_at, leased_until: None, failures: self.failures + 1, ..*self }
    }

    /// It is open, and its time is not over.
    fn require_time(&self, now: Timestamp) -> Result<(), RequestRefusal> {
        match self.state {
            RequestState::Answered | RequestState::Failed => Err(RequestRefusal::Settled),
            RequestState::Abandoned => Err(RequestRefusal::Abandoned),
            RequestState::Waiting | RequestState::Leased | RequestState::Expired => {
                require(now < self.expires_at, RequestRefusal::Expired)
            }
        }
    }

    /// The fence.
    fn require_held(&self, attempt: Attempt) -> Result<(), RequestRefusal> {
        require(self.attempt == attempt, RequestRefusal::Superseded)?;
        require(self.state == RequestState::Leased, RequestRefusal::NotLeased)
    }
}

fn require(holds: bool, otherwise: RequestRefusal) -> Result<(), RequestRefusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}
