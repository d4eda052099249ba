//! How a night gets done: the rules of runs, chunks, attempts, leases, retries and deadlines.
//!
//! This crate is for deciding. It knows no clock, socket, random source, async or wire format: everything it
//! needs comes in as a value, and what should happen goes out as a value. Look first at [`plan`] (how a base is
//! cut into chunks), [`supervise`] (what the coordinator does about what it sees) and [`ChunkSnapshot::after`] (which
//! transitions there are).
//!
//! # Words
//!
//! One word per thing, everywhere: code, SQL, log, metric, page.
//!
//! | word | meaning |
//! |---|---|
//! | run | one execution over a set of customers, for one `as_of` |
//! | chunk | a set of customers; the unit of work, retry and commit |
//! | plan | the chunks of a run |
//! | attempt | one try at a chunk, numbered from 1; the number is the fencing token |
//! | lease | until when an attempt is believed to be alive |
//! | rescue | another attempt for a chunk whose lease expired |
//! | verdict | what follows a failed or lost attempt: a retry at a time, or a dead letter |
//! | pass, snapshot | one look of the coordinator, and what it saw |
//! | presence | from when to when a process is known to have lived |
//! | outcome | how an attempt ended: done, failed, lost, excused, given back |
//! | request | an urgent question of one or some customers |
//! | answer, reply | what was committed for a request, and the message that says so to whoever asked |
//! | stake | value × staleness × urgency of a customer who waits |
//! | turn | when it is whose turn of what waits: by when it came, how urgent it is, and what it has had |
//! | lane | what keeps slots and a connection of a worker for some priorities |
//! | installation | a database and all that works for it; its identity is in messages, and in the names of queues and keys |
//! | rejection | a customer that could not be valued, and why |
//! | culprit | a customer over whose rows a read fails |
//! | open run | a run that is not over |
//! | pace | how fast a run's work is committed, on the mean since the plan |
//! | forecast | the end to which the pace leads, and its outlook |
//! | outlook | on track, at risk, infeasible, missed |
//! | guard | what compares a settled run with the run before, within its limits, before it is shown |
//! | deviation | what of a run lies beyond its limits |
//! | hold | a run with deviations waits for a person; whoever releases it has it shown, whoever rejects it has it dropped |
//! | movement | why a segment's value changed since the run before: a cause, its customers, their sum |

mod deadline;
mod fingerprint;
mod guard;
mod identity;
mod isolation;
mod movement;
mod order;
mod plan;
mod presence;
mod priority;
mod request;
mod retry;
mod snapshot;
mod state;
mod supervise;
mod transition;
mod turn;

pub use deadline::{DeadlinePolicy, Forecast, Outlook, forecast};
pub use fingerprint::Fingerprint;
pub use guard::{
    Before, Deviation, Evidence, Figures, Limits, Measure, NoShare, RowCount, Share, SourceChange,
    SourceCounts, judge,
};
pub use identity::{
    Attempt, AttemptId, ChunkId, ChunkRef, CustomerId, InstallationId, NotAnInstallation, RequestId, RunId,
};
pub use isolation::{Finding, Isolation};
pub use movement::{Cause, InRun, Moved, Movements, Steps, UnknownCause, Worth};
pub use order::{OrderPolicy, Stake, order};
pub use plan::{Plan, PlanError, PlanPolicy, PlannedChunk, WorkSample, plan};
pub use presence::{Presence, given_name, namesakes};
pub use priority::{PerPriority, Priority, UnknownPriority};
pub use request::{RequestAttempt, RequestEvent, RequestRefusal, RequestSnapshot, RequestState};
pub use retry::{RetryPolicy, Verdict};
pub use snapshot::{ChunkSnapshot, OpenRun, OpenRuns, Progress, RunSnapshot, Snapshot};
pub use state::{ChunkState, Outcome, RunState, UnknownState};
pub use supervise::{Action, LEASES, LONGEST_LEASE, MEANWHILE, PublishCause, SupervisePolicy, supervise};
pub use transition::{ChunkEvent, Refusal, RunEvent};
pub use turn::{Turn, TurnPolicy, Waits};
