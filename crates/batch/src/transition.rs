//! Which transitions there are, and what guards each: the rule that every store follows.
//!
//! A store applies an event to what it holds *at that moment*, in one step that nobody can come between: the
//! PostgreSQL backend as a guarded `update`, whose `where` is the guard and whose `set` is the transition. What
//! is refused changes nothing.
//!
//! | event of a chunk | from | guard | to | its attempt ends as |
//! |---|---|---|---|---|
//! | published | pending, published, retryable | the sender knew the latest attempt | published | |
//! | begun | pending, published; retryable, once due; leased, if it is the asking worker's own | the run is open | leased, under the next attempt | those without an outcome: excused |
//! | renewed | leased | the attempt is the latest, the run is open | leased for longer | |
//! | committed | leased | the attempt is the latest, the run is open | done | done |
//! | failed | leased | the attempt is the latest | retryable or dead | failed |
//! | given back | leased | the attempt is the latest | published | given back |
//! | rescued | leased, and the lease has expired | the attempt is the latest | retryable or dead | lost |
//! | redriven | dead | the run is open | retryable, due now | those failed or lost: excused |
//!
//! What only records that something went wrong asks for no open run: in a run that is over it makes nothing
//! visible, and it need not be told from the rest.

use jiff::Timestamp;

use crate::{Attempt, ChunkSnapshot, ChunkState, Outcome, Progress, RunState, Verdict};

/// Something that happens to a chunk, and what whoever does it expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEvent {
    /// The broker confirmed a message, whose sender knew of this attempt.
    Published(Attempt),
    /// A worker begins an attempt.
    Begun {
        /// Until when the attempt is believed to be alive.
        leased_until: Timestamp,
        /// Whether the latest attempt is the asking worker's own, which never heard that it had begun.
        is_own: bool,
    },
    /// The worker of an attempt shows that it is alive.
    Renewed {
        /// The attempt.
        attempt: Attempt,
        /// Until when it is believed to be alive from now on.
        leased_until: Timestamp,
    },
    /// The values and rejections of an attempt are to become durable, in the same step.
    Committed(Attempt),
    /// An attempt failed through the chunk's own fault.
    Failed(Attempt, Verdict),
    /// The worker of an attempt is draining.
    GivenBack(Attempt),
    /// The lease of an attempt has expired.
    Rescued(Attempt, Verdict),
    /// A person puts a dead chunk back to work.
    Redriven,
}

impl ChunkEvent {
    /// The attempt that this event ends, and how, where it is not refused.
    pub fn ends(self) -> Option<(Attempt, Outcome)> {
        match self {
            Self::Committed(attempt) => Some((attempt, Outcome::Done)),
            Self::Failed(attempt, _) => Some((attempt, Outcome::Failed)),
            Self::GivenBack(attempt) => Some((attempt, Outcome::GivenBack)),
            Self::Rescued(attempt, _) => Some((attempt, Outcome::Lost)),
            Self::Published(_) | Self::Begun { .. } | Self::Renewed { .. } | Self::Redriven => None,
        }
    }
}

/// Something that happens to a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunEvent {
    /// The broker confirmed a message for one of its chunks.
    Published,
    /// Its values are to become visible; these are its sums.
    Finished(Progress),
    /// It lies beyond its limits; these are its sums.
    Held(Progress),
    /// A person has it shown though it was held.
    Released,
    /// A person refuses it while it is held.
    Rejected,
    /// A person puts dead chunks of it back to work.
    Redriven,
    /// A person stops it.
    Cancelled,
}

/// Why an event does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run is finished, cancelled or rejected.
    #[error("the run is over")]
    RunOver,
    /// The run waits for a person.
    #[error("the run is held")]
    RunHeld,
    /// The run does not wait for a person.
    #[error("the run is not held")]
    NotHeld,
    /// Chunks of the run are neither done nor dead.
    #[error("the run is not settled")]
    NotSettled,
    /// The chunk is done or dead.
    #[error("the chunk is settled")]
    Settled,
    /// The chunk is not dead, so there is nothing to put back.
    #[error("the chunk is not dead")]
    NotDead,
    /// Another attempt is at work on the chunk.
    #[error("another attempt is at work on the chunk")]
    Leased,
    /// Nobody is at work on the chunk.
    #[error("no attempt is at work on the chunk")]
    NotLeased,
    /// There was an attempt after this one.
    #[error("the attempt was superseded")]
    Superseded,
    /// The chunk's retry is not due yet.
    #[error("the retry is not due")]
    NotDue,
    /// The attempt is believed to be alive.
    #[error("the lease has not expired")]
    NotExpired,
}

impl ChunkSnapshot {
    /// The chunk after an event at `now`, by the store's clock, within a run that is in `run`; or why it does
    /// not happen.
    ///
    /// `failures` is left as it is: it is a sum over the attempts whose outcome [counts](Outcome::counts).
    pub fn after(&self, event: ChunkEvent, run: RunState, now: Timestamp) -> Result<Self, Refusal> {
        match event {
            ChunkEvent::Published(known) => self.published(known, now),
            ChunkEvent::Begun { leased_until, is_own } => self.begun(leased_until, is_own, run, now),
            ChunkEvent::Renewed { attempt, leased_until } => {
                self.require_open_and_held(attempt, run)?;
                Ok(Self { leased_at: Some(now), leased_until: Some(leased_until), ..*self })
            }
            ChunkEvent::Committed(attempt) => {
                self.require_open_and_held(attempt, run)?;
                Ok(Self { state: ChunkState::Done, leased_at: None, leased_until: None, ..*self })
            }
            ChunkEvent::Failed(attempt, verdict) => {
                self.require_held(attempt)?;
                Ok(self.judged(verdict))
            }
            ChunkEvent::GivenBack(attempt) => {
                self.require_held(attempt)?;
                Ok(Self {
                    state: ChunkState::Published,
                    published_at: Some(now),
                    leased_at: None,
                    leased_until: None,
                    ..*self
                })
            }
            ChunkEvent::Rescued(attempt, verdict) => {
                self.require_held(attempt)?;
                require(self.leased_until.is_some_and(|until| until <= now), Refusal::NotExpired)?;
                Ok(self.judged(verdict))
            }
            ChunkEvent::Redriven => {
                require_open(run)?;
                require(self.state == ChunkState::Dead, Refusal::NotDead)?;
                Ok(Self { state: ChunkState::Retryable, retry_at: Some(now), ..*self })
            }
        }
    }

    fn published(&self, known: Attempt, now: Timestamp) -> Result<Self, Refusal> {
        match self.state {
            ChunkState::Done | ChunkState::Dead => return Err(Refusal::Settled),
            ChunkState::Leased => return Err(Refusal::Leased),
            ChunkState::Pending | ChunkState::Published | ChunkState::Retryable => {}
        }
        require(self.attempt == known, Refusal::Superseded)?;
        Ok(Self { state: ChunkState::Published, published_at: Some(now), retry_at: None, ..*self })
    }

    fn begun(
        &self,
        leased_until: Timestamp,
        is_own: bool,
        run: RunState,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        require_open(run)?;
        match self.state {
            ChunkState::Done | ChunkState::Dead => return Err(Refusal::Settled),
            ChunkState::Leased if !is_own => return Err(Refusal::Leased),
            ChunkState::Retryable if self.retry_at.is_none_or(|due| now < due) => {
                return Err(Refusal::NotDue);
            }
            ChunkState::Pending | ChunkState::Published | ChunkState::Leased | ChunkState::Retryable => {}
        }
        Ok(Self {
            state: ChunkState::Leased,
            attempt: Attempt(self.attempt.0 + 1),
            leased_at: Some(now),
            leased_until: Some(leased_until),
            retry_at: None,
            ..*self
        })
    }

    fn judged(&self, verdict: Verdict) -> Self {
        let (state, retry_at) = match verdict {
            Verdict::RetryAt(due) => (ChunkState::Retryable, Some(due)),
            Verdict::DeadLetter => (ChunkState::Dead, None),
        };
        Self { state, retry_at, leased_at: None, leased_until: None, ..*self }
    }

    /// The fence.
    fn require_held(&self, attempt: Attempt) -> Result<(), Refusal> {
        require(self.attempt == attempt, Refusal::Superseded)?;
        require(self.state == ChunkState::Leased, Refusal::NotLeased)
    }

    fn require_open_and_held(&self, attempt: Attempt, run: RunState) -> Result<(), Refusal> {
        require_open(run)?;
        self.require_held(attempt)
    }
}

impl RunState {
    /// The run after an event; or why it does not happen.
    pub fn after(self, event: RunEvent) -> Result<Self, Refusal> {
        match (event, self) {
            (RunEvent::Released | RunEvent::Redriven, Self::Held) => return Ok(Self::Running),
            (RunEvent::Rejected, Self::Held) => return Ok(Self::Rejected),
            (RunEvent::Released | RunEvent::Rejected, _) => return Err(Refusal::NotHeld),
            _ => require_open(self)?,
        }
        match event {
            RunEvent::Finished(progress) | RunEvent::Held(progress) if !progress.is_settled() => {
                Err(Refusal::NotSettled)
            }
            RunEvent::Finished(_) => Ok(Self::Finished),
            RunEvent::Held(_) => Ok(Self::Held),
            RunEvent::Cancelled => Ok(Self::Cancelled),
            RunEvent::Published => Ok(Self::Running),
            RunEvent::Redriven | RunEvent::Released | RunEvent::Rejected => Ok(self),
        }
    }
}

fn require_open(run: RunState) -> Result<(), Refusal> {
    require(run != RunState::Held, Refusal::RunHeld)?;
    require(!run.is_over(), Refusal::RunOver)
}

fn require(holds: bool, otherwise: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}
