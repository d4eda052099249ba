//! What the coordinator does about any snapshot, and that doing it settles the matter.

mod night;

use std::collections::HashSet;
use std::time::Duration;

use batch::{
    Action, Attempt, AttemptId, ChunkEvent, ChunkId, ChunkRef, ChunkSnapshot, ChunkState, DeadlinePolicy,
    MEANWHILE, OpenRun, OpenRuns, Outcome, PerPriority, Priority, Progress, PublishCause, RetryPolicy,
    RunEvent, RunId, RunState, Snapshot, SupervisePolicy, Verdict, supervise,
};
use jiff::Timestamp;
use proptest::prelude::*;

/// The moments of a snapshot lie around this one.
const NOW: i64 = 10_000;

const OPEN: [ChunkState; 4] =
    [ChunkState::Pending, ChunkState::Published, ChunkState::Leased, ChunkState::Retryable];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("it is a moment")
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (NOW - 60..NOW + 60).prop_map(at)
}

fn policies() -> impl Strategy<Value = SupervisePolicy> {
    ((1..40_u64, 1..40_u64, 1..40_u64), (1..6_u32, 1..2_000_u64, 1.0..4.0_f64, 1..30_u64)).prop_map(
        |((publish_grace, lost_after, lease), (max_failures, first_delay, factor, max_delay))| {
            SupervisePolicy {
                publish_grace: Duration::from_secs(publish_grace),
                lost_after: Duration::from_secs(lost_after),
                lease_duration: Duration::from_secs(lease),
                retry: RetryPolicy {
                    max_failures,
                    first_delay: Duration::from_millis(first_delay),
                    factor,
                    max_delay: Duration::from_secs(max_delay),
                },
                deadline: DeadlinePolicy::default(),
            }
        },
    )
}

/// A chunk as a store can hold it: a moment stands where the state gives it a meaning.
fn chunks() -> impl Strategy<Value = ChunkSnapshot> {
    let lease = (moment(), 1..100_u64, prop::bool::weighted(0.9));
    let moments = (prop::option::weighted(0.9, moment()), lease, moment());
    (prop::sample::select(&OPEN[..]), 0..5_i32, 0..6_u32, moments).prop_map(
        |(state, attempt, failures, (published_at, (leased_at, lasts, is_recorded), retry_at))| {
            let is_leased = state == ChunkState::Leased;
            ChunkSnapshot {
                chunk: ChunkId(0),
                state,
                attempt: Attempt(attempt),
                failures,
                published_at,
                leased_at: (is_leased && is_recorded).then_some(leased_at),
                leased_until: is_leased.then_some(leased_at + Duration::from_secs(lasts)),
                retry_at: (state == ChunkState::Retryable).then_some(retry_at),
            }
        },
    )
}

fn runs() -> impl Strategy<Value = OpenRun> {
    let standing = (prop::sample::select(&RunState::ALL[..]), prop::sample::select(&Priority::ALL[..]));
    let counts = (0..3_u64, 0..3_u64, 0..2_u64);
    (standing, moment(), counts, prop::collection::vec(chunks(), 0..6)).prop_map(
        |((state, priority), planned_at, (done, dead, hidden), mut open_chunks)| {
            for (chunk, number) in open_chunks.iter_mut().zip(1..) {
                chunk.chunk = ChunkId(number);
            }
            let chunks = done + dead + hidden + open_chunks.len() as u64;
            OpenRun {
                run: RunId(0),
                state,
                priority,
                planned_at,
                deadline_at: planned_at + Duration::from_mins(30),
                progress: Progress { chunks, done, dead, ..Progress::default() },
                open_chunks,
            }
        },
    )
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let waiting = prop::collection::vec(prop::option::of(0..2_u64), 3);
    (moment(), waiting, prop::collection::vec(runs(), 0..4)).prop_map(
        |(store_well_since, waiting, mut runs)| {
            for (run, number) in runs.iter_mut().zip(1..) {
                run.run = RunId(number);
            }
            let waiting = PerPriority::from_fn(|priority| waiting[priority as usize]);
            let open = OpenRuns { taken_at: at(NOW), store_well_since, runs, held: 0 };
            Snapshot::new(open, waiting, &DeadlinePolicy::default())
        },
    )
}

/// From when on there is something to do about a chunk, if nothing happens to it; `None` for never.
fn due(
    snapshot: &Snapshot,
    run: &OpenRun,
    chunk: &ChunkSnapshot,
    policy: &SupervisePolicy,
) -> Option<Timestamp> {
    // What cannot have been written by now was written before the clock was set back.
    let now = snapshot.taken_at;
    let unless_too_far = |moment: Timestamp, ahead: Duration, due: Timestamp| {
        if moment > now + ahead + MEANWHILE { now } else { due }
    };
    let over = |since, time| unless_too_far(since, Duration::ZERO, since + time);
    match chunk.state {
        ChunkState::Pending => Some(over(run.planned_at, policy.publish_grace)),
        ChunkState::Published => (snapshot.waiting[run.priority] == Some(0))
            .then(|| over(chunk.published_at.unwrap_or(run.planned_at), policy.lost_after)),
        ChunkState::Leased => chunk.leased_until.map(|until| {
            let grace_until = snapshot.store_well_since + policy.lease_duration;
            let due = until.max(grace_until);
            match chunk.leased_at {
                Some(given_at) => unless_too_far(given_at, Duration::ZERO, due),
                None => unless_too_far(until, 2 * policy.lease_duration, due),
            }
        }),
        ChunkState::Retryable => chunk.retry_at.map(|due| unless_too_far(due, policy.retry.max_delay, due)),
        ChunkState::Done | ChunkState::Dead => None,
    }
}

/// A lease that is shortened.
fn shortened(
    attempt: AttemptId,
    run: &OpenRun,
    now: Timestamp,
    policy: &SupervisePolicy,
) -> (AttemptId, ChunkEvent) {
    let chunk = run.open_chunks.iter().find(|chunk| chunk.chunk == attempt.chunk.chunk);
    let leased_until = chunk.and_then(|chunk| chunk.lease_from_before(policy.lease_duration, now));
    let leased_until = leased_until.expect("it was given before the clock was set back");
    (attempt, ChunkEvent::Renewed { attempt: attempt.attempt, leased_until })
}

fn subject(action: &Action) -> Option<ChunkRef> {
    match action {
        Action::Publish { attempt, .. } | Action::Shorten(attempt) | Action::Rescue { attempt, .. } => {
            Some(attempt.chunk)
        }
        Action::Finish(_) => None,
    }
}

/// What is recorded of the runs of a snapshot.
fn recorded(snapshot: &Snapshot) -> impl Iterator<Item = &OpenRun> {
    snapshot.runs.iter().map(|run| &run.recorded)
}

/// The same, to be changed; no action depends on a forecast, so those stay as they were.
fn recorded_mut(snapshot: &mut Snapshot) -> impl Iterator<Item = &mut OpenRun> {
    snapshot.runs.iter_mut().map(|run| &mut run.recorded)
}

/// Does to a snapshot what an action does to the store.
fn apply(snapshot: &mut Snapshot, action: &Action, policy: &SupervisePolicy) {
    let now = snapshot.taken_at;
    let (attempt, event) = match *action {
        Action::Finish(run) => {
            let run = recorded_mut(snapshot).find(|it| it.run == run).expect("it was in the snapshot");
            run.state = run.state.after(RunEvent::Finished(run.progress)).expect("it is settled");
            return;
        }
        Action::Publish { attempt, .. } => (attempt, ChunkEvent::Published(attempt.attempt)),
        Action::Shorten(attempt) => {
            let of_run = |run: &&OpenRun| run.run == attempt.chunk.run;
            shortened(attempt, recorded(snapshot).find(of_run).expect("it was in the snapshot"), now, policy)
        }
        Action::Rescue { attempt, verdict } => (attempt, ChunkEvent::Rescued(attempt.attempt, verdict)),
    };
    let of_run = |run: &&mut OpenRun| run.run == attempt.chunk.run;
    let run = recorded_mut(snapshot).find(of_run).expect("it was in the snapshot");
    let of_chunk = |chunk: &&mut ChunkSnapshot| chunk.chunk == attempt.chunk.chunk;
    let chunk = run.open_chunks.iter_mut().find(of_chunk).expect("it was in the snapshot");
    *chunk = chunk.after(event, run.state, now).expect("an action is what the store will do");
    if chunk.state == ChunkState::Dead {
        run.progress.dead += 1;
        run.open_chunks.retain(|chunk| chunk.chunk != attempt.chunk.chunk);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_chunk_is_acted_on_once_and_exactly_when_something_is_due(
        snapshot in snapshots(),
        policy in policies(),
    ) {
        let actions = supervise(&snapshot, &policy);

        let subjects: Vec<ChunkRef> = actions.iter().filter_map(subject).collect();
        let different: HashSet<ChunkRef> = subjects.iter().copied().collect();
        prop_assert_eq!(subjects.len(), different.len(), "one action for each chunk");
        for run in recorded(&snapshot) {
            for chunk in &run.open_chunks {
                let is_due = due(&snapshot, run, chunk, &policy).is_some_and(|due| due <= snapshot.taken_at);
                let id = ChunkRef { run: run.run, chunk: chunk.chunk };
                prop_assert_eq!(different.contains(&id), is_due && run.state.is_open(), "{:?}", chunk);
            }
        }
    }

    #[test]
    fn an_action_fits_its_cause(snapshot in snapshots(), policy in policies()) {
        for action in supervise(&snapshot, &policy) {
            let Some(id) = subject(&action) else { continue };
            let run = recorded(&snapshot).find(|run| run.run == id.run).unwrap();
            let chunk = run.open_chunks.iter().find(|chunk| chunk.chunk == id.chunk).unwrap();
            match action {
                Action::Publish { attempt, cause } => {
                    prop_assert_eq!(attempt.attempt, chunk.attempt);
                    let expected = match chunk.state {
                        ChunkState::Pending => PublishCause::Unpublished,
                        ChunkState::Published => PublishCause::Lost,
                        _ => PublishCause::RetryDue,
                    };
                    prop_assert_eq!(cause, expected);
                }
                Action::Shorten(attempt) => {
                    prop_assert_eq!((attempt.attempt, chunk.state), (chunk.attempt, ChunkState::Leased));
                    let ends = chunk.lease_from_before(policy.lease_duration, snapshot.taken_at);
                    prop_assert!(ends.is_some() && ends < chunk.leased_until, "it ends sooner");
                    prop_assert!(ends > Some(snapshot.taken_at), "there is time to renew it");
                }
                Action::Rescue { attempt, verdict } => {
                    prop_assert_eq!((attempt.attempt, chunk.state), (chunk.attempt, ChunkState::Leased));
                    let is_last = chunk.failures + 1 >= policy.retry.max_failures;
                    prop_assert_eq!(verdict == Verdict::DeadLetter, is_last);
                    let grace_until = snapshot.store_well_since + policy.lease_duration;
                    prop_assert!(snapshot.taken_at >= grace_until, "rescued within the grace");
                }
                Action::Finish(_) => {}
            }
        }
    }

    #[test]
    fn a_run_is_finished_exactly_when_it_is_settled(snapshot in snapshots(), policy in policies()) {
        let actions = supervise(&snapshot, &policy);

        for run in recorded(&snapshot) {
            let Progress { chunks, done, dead, .. } = run.progress;
            let is_settled = run.open_chunks.is_empty() && done + dead == chunks && run.state.is_open();
            let finishes = actions.iter().filter(|action| **action == Action::Finish(run.run)).count();
            prop_assert_eq!(finishes, usize::from(is_settled), "{:?}", run);
        }
    }

    #[test]
    fn nothing_is_done_twice_for_one_cause(
        mut snapshot in snapshots(),
        policy in policies(),
        later in 0..60_000_i64,
    ) {
        let actions = supervise(&snapshot, &policy);
        for action in &actions {
            apply(&mut snapshot, action, &policy);
        }

        // A run that lost its last open chunk in this pass is finished in the next one.
        let again = supervise(&snapshot, &policy);
        prop_assert!(again.iter().all(|action| !actions.contains(action)), "{:?} after {:?}", again, actions);
        prop_assert!(again.iter().all(|action| subject(action).is_none()), "{:?} after {:?}", again, actions);

        // Nor later, until something new is due.
        snapshot.taken_at += Duration::from_millis(later as u64);
        for action in supervise(&snapshot, &policy) {
            let Some(id) = subject(&action) else { continue };
            let run = recorded(&snapshot).find(|run| run.run == id.run).unwrap();
            let chunk = run.open_chunks.iter().find(|chunk| chunk.chunk == id.chunk).unwrap();
            let due = due(&snapshot, run, chunk, &policy);
            prop_assert!(due.is_some_and(|due| at(NOW) < due && due <= snapshot.taken_at), "{:?}", action);
        }
    }

    #[test]
    fn no_moment_and_no_number_is_too_large(
        mut snapshot in snapshots(),
        mut policy in policies(),
        moments: [i64; 3],
        counts: [u64; 3],
        failures: u32,
        seconds: u64,
    ) {
        let anywhen = |second: i64| at(second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second()));
        policy.publish_grace = Duration::from_secs(seconds);
        policy.lost_after = Duration::from_secs(seconds);
        policy.lease_duration = Duration::from_secs(seconds);
        snapshot.taken_at = anywhen(moments[0]);
        snapshot.store_well_since = anywhen(moments[1]);
        for run in recorded_mut(&mut snapshot) {
            run.planned_at = anywhen(moments[2]);
            let [chunks, done, dead] = counts;
            run.progress = Progress { chunks, done, dead, ..run.progress };
            run.open_chunks.iter_mut().for_each(|chunk| chunk.failures = failures);
        }

        let actions = supervise(&snapshot, &policy);

        let runs_and_chunks: usize = recorded(&snapshot).map(|run| 1 + run.open_chunks.len()).sum();
        prop_assert!(actions.len() <= runs_and_chunks);
    }
}
