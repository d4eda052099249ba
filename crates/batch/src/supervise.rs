//! What the coordinator does about what it sees.
//!
//! # Failure by failure
//!
//! * **The dispatcher died before it had published everything.** Its chunks are still pending some time after
//!   the plan: publish them.
//! * **A message was lost** (queue purged, broker wiped, confirm for a message that never arrived). The chunk
//!   is published, nobody has begun it, and nothing waits on its queue any more: publish it again. While
//!   messages wait there it may be one of them, so nothing is done. A message that was only slow becomes a
//!   duplicate, which costs its receiver one query.
//! * **A worker died or hangs.** Its lease expires: rescue the chunk. The rescue is guarded by the attempt's
//!   number, so that two coordinators rescue once. The lost attempt counts, since a chunk that kills its worker
//!   looks just like this; a worker that comes back and says so takes the count back.
//! * **The store was down, or failed over.** Nobody could renew a lease: all of them get a full lease of grace from
//!   the moment since when it has been well.
//! * **The store's clock was set back.** What was written before lies in the future, and nothing is believed beyond what
//!   it can be from now: a lease that was given before ends as long after now as it was given for (it is shortened, so
//!   that a worker that lives has the time to renew it), a retry is due, a message may be lost, a dispatcher dead.
//! * **A worker has longer leases than its coordinator was told of.** They are its own, and are believed.
//! * **An attempt failed.** The worker has recorded when the retry is due: publish it then.
//! * **Everything is settled.** Finish the run, if the guard has nothing against it.
//!
//! Each action is idempotent in the store, so a pass that died half-way is simply repeated.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    AttemptId, ChunkRef, ChunkSnapshot, ChunkState, DeadlinePolicy, OpenRun, RetryPolicy, RunId, RunSnapshot,
    Snapshot, Verdict,
};

/// Something the coordinator should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish a message for a chunk.
    Publish {
        /// The chunk and the attempt that is known.
        attempt: AttemptId,
        /// Why.
        cause: PublishCause,
    },
    /// Let a lease that was given before the clock was set back end as long after now as it was given for.
    Shorten(AttemptId),
    /// Take a chunk from an attempt whose lease has expired.
    Rescue {
        /// The attempt that was lost.
        attempt: AttemptId,
        /// What follows for the chunk.
        verdict: Verdict,
    },
    /// Judge a settled run; check its counts and make its values visible, or hold it.
    Finish(RunId),
}

/// Why a chunk is published by the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishCause {
    /// The dispatcher has not done it.
    Unpublished,
    /// The message was lost.
    Lost,
    /// A retry is due.
    RetryDue,
}

impl PublishCause {
    /// The word for it in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unpublished => "unpublished",
            Self::Lost => "lost",
            Self::RetryDue => "retry_due",
        }
    }
}

/// How patient the coordinator is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SupervisePolicy {
    /// How long the dispatcher may take to publish a chunk after the plan.
    pub publish_grace: Duration,
    /// How long a published chunk may be with nobody while nothing waits on its queue.
    pub lost_after: Duration,
    /// How long a lease lasts; the grace that every lease gets when the store has restarted.
    pub lease_duration: Duration,
    /// How often and how soon a chunk is tried again.
    pub retry: RetryPolicy,
    /// From where on a run is no longer on track.
    pub deadline: DeadlinePolicy,
}

impl Default for SupervisePolicy {
    fn default() -> Self {
        Self {
            publish_grace: Duration::from_secs(10),
            lost_after: Duration::from_secs(10),
            lease_duration: Duration::from_secs(20),
            retry: RetryPolicy::default(),
            deadline: DeadlinePolicy::default(),
        }
    }
}

/// Decides what to do about a snapshot.
///
/// At most one action for each chunk, and none twice for the same cause: what an action changes is what its
/// condition looks at.
pub fn supervise(snapshot: &Snapshot, policy: &SupervisePolicy) -> Vec<Action> {
    snapshot.runs.iter().flat_map(|run| supervise_run(snapshot, run, policy)).collect()
}

fn supervise_run(snapshot: &Snapshot, run: &RunSnapshot, policy: &SupervisePolicy) -> Vec<Action> {
    let run = &run.recorded;
    if !run.state.is_open() {
        return Vec::new();
    }
    if run.progress.is_settled() && run.open_chunks.is_empty() {
        return vec![Action::Finish(run.run)];
    }
    run.open_chunks.iter().filter_map(|chunk| supervise_chunk(snapshot, run, chunk, policy)).collect()
}

fn supervise_chunk(
    snapshot: &Snapshot,
    run: &OpenRun,
    chunk: &ChunkSnapshot,
    policy: &SupervisePolicy,
) -> Option<Action> {
    let now = snapshot.taken_at;
    let id = ChunkRef { run: run.run, chunk: chunk.chunk };
    let attempt = AttemptId { chunk: id, attempt: chunk.attempt };
    let publish = |cause| Some(Action::Publish { attempt, cause });

    match chunk.state {
        ChunkState::Pending if is_over(run.planned_at, policy.publish_grace, now) => {
            publish(PublishCause::Unpublished)
        }
        ChunkState::Published => {
            let is_alone = snapshot.waiting[run.priority] == Some(0);
            let published_at = chunk.published_at.unwrap_or(run.planned_at);
            (is_alone && is_over(published_at, policy.lost_after, now))
                .then_some(Action::Publish { attempt, cause: PublishCause::Lost })
        }
        ChunkState::Leased if chunk.lease_from_before(policy.lease_duration, now).is_some() => {
            Some(Action::Shorten(attempt))
        }
        ChunkState::Leased => {
            let grace_until = after(snapshot.store_well_since, policy.lease_duration);
            let expires_at = chunk.leased_until.unwrap_or(run.planned_at).max(grace_until);
            (now >= expires_at).then(|| Action::Rescue {
                attempt,
                verdict: policy.retry.verdict(id, chunk.failures.saturating_add(1), now),
            })
        }
        ChunkState::Retryable
            if chunk
                .retry_at
                .is_none_or(|due| now >= due || is_too_far(due, policy.retry.max_delay, now)) =>
        {
            publish(PublishCause::RetryDue)
        }
        ChunkState::Pending | ChunkState::Retryable | ChunkState::Done | ChunkState::Dead => None,
    }
}

/// How many of the coordinator's leases one lasts at the most of which is not recorded when it was given: a worker of the
/// release before may have been given longer ones than its coordinator was told of.
pub const LEASES: u32 = 2;

/// What no lease lasts: one that is recorded as longer was renewed, and one that is recorded as ending before it began was
/// given, by a worker of the release before, which does not record when.
pub const LONGEST_LEASE: Duration = Duration::from_hours(24);

impl ChunkSnapshot {
    /// When its lease is to end, if it was given, or renewed, before the clock was set back: as long after now as it was
    /// given for. How long that is is its worker's matter, and says nothing about the clock. `lease` is the coordinator's
    /// own, for one of which it is not recorded when it was given, or not believed ([`LONGEST_LEASE`]).
    pub fn lease_from_before(&self, lease: Duration, now: Timestamp) -> Option<Timestamp> {
        let until = self.leased_until?;
        let recorded = self.leased_at.and_then(|given_at| {
            let lasts = Duration::try_from(until.duration_since(given_at)).ok()?;
            (lasts <= LONGEST_LEASE).then_some((given_at, lasts))
        });
        let (given_at, lasts) = match recorded {
            Some(recorded) => recorded,
            None => (before(until, lease.saturating_mul(LEASES)), lease),
        };
        is_too_far(given_at, Duration::ZERO, now).then(|| after(now, lasts))
    }
}

/// How much later a moment may be than `now` though the clock was not set back: another transaction wrote it, which began
/// after the one that looks.
pub const MEANWHILE: Duration = Duration::from_secs(1);

/// Whether a time has passed since a moment. One that has not come yet was written before the clock was set back.
fn is_over(since: Timestamp, time: Duration, now: Timestamp) -> bool {
    now >= after(since, time) || is_too_far(since, Duration::ZERO, now)
}

/// Whether a moment lies further ahead than what is written now can, and so was written before the clock was set back.
pub(crate) fn is_too_far(moment: Timestamp, ahead: Duration, now: Timestamp) -> bool {
    moment > after(now, ahead.saturating_add(MEANWHILE))
}

pub(crate) fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

fn before(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attempt, ChunkId, OpenRuns, PerPriority, Priority, Progress, RunState};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn chunk(state: ChunkState) -> ChunkSnapshot {
        ChunkSnapshot {
            chunk: ChunkId(3),
            state,
            attempt: Attempt(2),
            failures: 1,
            published_at: Some(at(100)),
            leased_at: Some(at(100)),
            leased_until: Some(at(120)),
            retry_at: Some(at(120)),
        }
    }

    fn snapshot(now: i64, chunks: &[ChunkSnapshot]) -> Snapshot {
        let run = OpenRun {
            run: RunId(1),
            state: RunState::Running,
            priority: Priority::Normal,
            planned_at: at(100),
            deadline_at: at(1_900),
            progress: Progress { chunks: 5, done: 5 - chunks.len() as u64, ..Progress::default() },
            open_chunks: chunks.to_vec(),
        };
        let open = OpenRuns { taken_at: at(now), store_well_since: at(0), runs: vec![run], held: 0 };
        Snapshot::new(open, PerPriority::from_fn(|_| Some(0)), &DeadlinePolicy::default())
    }

    fn check(snapshot: &Snapshot, expected: &[Action]) {
        assert_eq!(supervise(snapshot, &SupervisePolicy::default()), expected);
    }

    const ATTEMPT: AttemptId =
        AttemptId { chunk: ChunkRef { run: RunId(1), chunk: ChunkId(3) }, attempt: Attempt(2) };

    fn publish(cause: PublishCause) -> Action {
        Action::Publish { attempt: ATTEMPT, cause }
    }

    #[test]
    fn a_chunk_that_the_dispatcher_left_pending_is_published() {
        check(&snapshot(109, &[chunk(ChunkState::Pending)]), &[]);
        check(&snapshot(110, &[chunk(ChunkState::Pending)]), &[publish(PublishCause::Unpublished)]);
    }

    #[test]
    fn a_message_is_lost_when_nothing_waits_on_its_queue() {
        let mut waits = snapshot(110, &[chunk(ChunkState::Published)]);
        check(&waits, &[publish(PublishCause::Lost)]);

        waits.waiting[Priority::Normal] = Some(1);
        check(&waits, &[]);
        waits.waiting[Priority::Normal] = None;
        check(&waits, &[]);
    }

    #[test]
    fn a_retry_is_published_when_it_is_due() {
        check(&snapshot(119, &[chunk(ChunkState::Retryable)]), &[]);
        check(&snapshot(120, &[chunk(ChunkState::Retryable)]), &[publish(PublishCause::RetryDue)]);
    }

    #[test]
    fn an_expired_lease_is_rescued_and_the_lost_attempt_counts() {
        let lost_for_the_last_time = ChunkSnapshot { failures: 4, ..chunk(ChunkState::Leased) };

        check(&snapshot(119, &[chunk(ChunkState::Leased)]), &[]);
        let retry = SupervisePolicy::default().retry.verdict(ATTEMPT.chunk, 2, at(120));
        check(
            &snapshot(120, &[chunk(ChunkState::Leased)]),
            &[Action::Rescue { attempt: ATTEMPT, verdict: retry }],
        );
        check(
            &snapshot(120, &[lost_for_the_last_time]),
            &[Action::Rescue { attempt: ATTEMPT, verdict: Verdict::DeadLetter }],
        );
    }

    #[test]
    fn leases_get_a_full_lease_of_grace_after_the_store_restarted() {
        let mut restarted = snapshot(130, &[chunk(ChunkState::Leased)]);
        restarted.store_well_since = at(115);

        check(&restarted, &[]);

        restarted.taken_at = at(135);
        assert_eq!(supervise(&restarted, &SupervisePolicy::default()).len(), 1);
    }

    /// Nothing that was written before is believed beyond what it can be from now.
    #[test]
    fn after_the_clock_was_set_back_nothing_waits_for_it_to_come_round() {
        let back = 90; // before everything that is recorded

        check(&snapshot(99, &[chunk(ChunkState::Pending)]), &[]);
        check(&snapshot(back, &[chunk(ChunkState::Pending)]), &[publish(PublishCause::Unpublished)]);
        check(&snapshot(back, &[chunk(ChunkState::Published)]), &[publish(PublishCause::Lost)]);
        check(&snapshot(back, &[chunk(ChunkState::Retryable)]), &[publish(PublishCause::RetryDue)]);
        check(&snapshot(98, &[chunk(ChunkState::Leased)]), &[Action::Shorten(ATTEMPT)]);
        check(&snapshot(99, &[chunk(ChunkState::Leased)]), &[]);
    }

    #[test]
    fn a_lease_is_not_shortened_for_being_longer_than_the_coordinators() {
        let an_hour = ChunkSnapshot { leased_until: Some(at(3_700)), ..chunk(ChunkState::Leased) };

        check(&snapshot(101, &[an_hour]), &[]);
        check(&snapshot(90, &[an_hour]), &[Action::Shorten(ATTEMPT)]);
        assert_eq!(an_hour.lease_from_before(Duration::from_secs(20), at(90)), Some(at(3_690)));
    }

    /// Of the release before.
    #[test]
    fn a_lease_of_which_nobody_recorded_when_it_was_given_lasts_two_of_the_coordinators_at_most() {
        let lease = ChunkSnapshot { leased_at: None, ..chunk(ChunkState::Leased) };

        check(&snapshot(78, &[lease]), &[Action::Shorten(ATTEMPT)]);
        check(&snapshot(79, &[lease]), &[]);
        assert_eq!(lease.lease_from_before(Duration::from_secs(20), at(78)), Some(at(98)));
    }

    /// Of that release, which leaves what is recorded as it finds it.
    #[test]
    fn when_a_lease_was_given_is_not_believed_where_the_lease_ends_before_or_lasts_longer_than_any() {
        const DAY: i64 = 86_400;
        let lease = |leased_at, leased_until| ChunkSnapshot {
            leased_at: Some(at(leased_at)),
            leased_until: Some(at(leased_until)),
            ..chunk(ChunkState::Leased)
        };
        let check = |lease: ChunkSnapshot, now, expected: Option<i64>| {
            assert_eq!(lease.lease_from_before(Duration::from_secs(20), at(now)), expected.map(at), "{now}");
        };
        // Begun anew after the clock was set back: it goes as it should.
        check(lease(7_300, 120), 100, None);
        check(lease(7_300, 120), 78, Some(98));
        // Renewed for longer than a day, and then the clock was set back by an hour.
        check(lease(100, 100 + DAY + 1), 100 + DAY - 3_600, Some(100 + DAY - 3_580));
        check(lease(100, 100 + DAY), 100 + DAY - 3_600, None);
    }

    #[test]
    fn a_store_that_started_in_the_future_gives_no_grace() {
        let mut snapshot = snapshot(130, &[chunk(ChunkState::Leased)]);
        let open =
            |since| OpenRuns { taken_at: at(130), store_well_since: at(since), runs: Vec::new(), held: 0 };
        let seen = |since| Snapshot::new(open(since), snapshot.waiting, &DeadlinePolicy::default());

        let (future, past) = (seen(7_330).store_well_since, seen(115).store_well_since);
        snapshot.store_well_since = future;

        assert!(future < at(0));
        assert_eq!(past, at(115));
        assert_eq!(supervise(&snapshot, &SupervisePolicy::default()).len(), 1);
    }

    #[test]
    fn a_settled_run_is_finished_and_a_run_that_is_over_is_left_alone() {
        let mut settled = snapshot(130, &[]);
        check(&settled, &[Action::Finish(RunId(1))]);

        settled.runs[0].recorded.state = RunState::Cancelled;
        check(&settled, &[]);
    }
}
