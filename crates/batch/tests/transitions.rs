//! Any sequence of events, applied to a run of one chunk as a store would, against a plain model of the same.

use std::time::Duration;

use batch::{
    Attempt, ChunkEvent, ChunkId, ChunkRef, ChunkSnapshot, ChunkState, Outcome, Progress, Refusal,
    RetryPolicy, RunEvent, RunId, RunState, Verdict,
};
use jiff::Timestamp;
use proptest::prelude::*;

const CHUNK: ChunkRef = ChunkRef { run: RunId(7), chunk: ChunkId(1) };

fn policy() -> RetryPolicy {
    RetryPolicy { max_failures: 3, ..RetryPolicy::default() }
}

/// What somebody does. An attempt is named by how many came after it, so that most names mean one.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish {
        back: i32,
    },
    Begin {
        worker: u8,
        is_repeat: bool,
        lease: i64,
    },
    Renew {
        back: i32,
        lease: i64,
    },
    /// The worker of an attempt that was taken for lost comes back.
    Return {
        back: i32,
    },
    Commit {
        back: i32,
    },
    Fail {
        back: i32,
    },
    GiveBack {
        back: i32,
    },
    Rescue {
        back: i32,
    },
    Redrive,
    Cancel,
    Finish,
    Wait {
        seconds: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly the latest attempt, so that histories get somewhere.
    let back = || prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(-1)];
    let begin = (0..2_u8, prop::bool::weighted(0.3), 1..30_i64);
    let step = prop_oneof![
        6 => back().prop_map(|back| Step::Publish { back }),
        9 => begin.prop_map(|(worker, is_repeat, lease)| Step::Begin { worker, is_repeat, lease }),
        3 => (back(), 1..30_i64).prop_map(|(back, lease)| Step::Renew { back, lease }),
        2 => back().prop_map(|back| Step::Return { back }),
        1 => back().prop_map(|back| Step::Commit { back }),
        3 => back().prop_map(|back| Step::Fail { back }),
        2 => back().prop_map(|back| Step::GiveBack { back }),
        6 => back().prop_map(|back| Step::Rescue { back }),
        2 => Just(Step::Redrive),
        1 => prop::bool::weighted(0.2).prop_map(|is_cancel| if is_cancel { Step::Cancel } else { Step::Finish }),
        6 => (1..30_i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..60)
}

/// A store in miniature: it asks [`ChunkSnapshot::after`] and [`RunState::after`], and keeps what they say.
struct Store {
    now: i64,
    run: RunState,
    chunk: ChunkSnapshot,
    /// The worker of each attempt, from the first on, and how it ended.
    attempts: Vec<(u8, Option<Outcome>)>,
}

impl Store {
    fn new() -> Self {
        let chunk = ChunkSnapshot::pending(CHUNK.chunk);
        Self { now: 1_000, run: RunState::Planned, chunk, attempts: Vec::new() }
    }

    fn attempt(&self, back: i32) -> Attempt {
        Attempt((self.attempts.len() as i32 - back).max(0))
    }

    fn failures(&self) -> u32 {
        self.attempts.iter().filter(|(_, outcome)| outcome.is_some_and(Outcome::counts)).count() as u32
    }

    fn verdict(&self) -> Verdict {
        policy().verdict(CHUNK, self.failures() + 1, at(self.now))
    }

    fn event(&self, step: Step) -> Option<ChunkEvent> {
        let until = |lease: i64| at(self.now + lease);
        Some(match step {
            Step::Publish { back } => ChunkEvent::Published(self.attempt(back)),
            Step::Begin { worker, is_repeat, lease } => {
                let is_own = is_repeat && self.attempts.last() == Some(&(worker, None));
                ChunkEvent::Begun { leased_until: until(lease), is_own }
            }
            Step::Renew { back, lease } => {
                ChunkEvent::Renewed { attempt: self.attempt(back), leased_until: until(lease) }
            }
            Step::Commit { back } => ChunkEvent::Committed(self.attempt(back)),
            Step::Fail { back } => ChunkEvent::Failed(self.attempt(back), self.verdict()),
            Step::GiveBack { back } => ChunkEvent::GivenBack(self.attempt(back)),
            Step::Rescue { back } => ChunkEvent::Rescued(self.attempt(back), self.verdict()),
            Step::Redrive => ChunkEvent::Redriven,
            Step::Return { .. } | Step::Cancel | Step::Finish | Step::Wait { .. } => return None,
        })
    }

    /// Does a step; whether it was refused.
    fn take(&mut self, step: Step) -> Result<(), Refusal> {
        if let Some(event) = self.event(step) {
            self.chunk = self.chunk.after(event, self.run, at(self.now))?;
            if let Some((Attempt(attempt), outcome)) = event.ends() {
                self.end(attempt as usize - 1, outcome);
            }
        }
        match step {
            Step::Publish { .. } => self.run = self.run.after(RunEvent::Published).unwrap_or(self.run),
            Step::Begin { worker, is_repeat, .. } => {
                for attempt in 0..self.attempts.len() {
                    let (who, outcome) = self.attempts[attempt];
                    if outcome.is_none() || is_repeat && who == worker && outcome == Some(Outcome::Lost) {
                        self.end(attempt, Outcome::Excused);
                    }
                }
                self.attempts.push((worker, None));
            }
            Step::Return { back } => {
                let Attempt(attempt) = self.attempt(back);
                let index = usize::try_from(attempt - 1).unwrap_or(usize::MAX);
                if self.attempts.get(index).is_some_and(|(_, outcome)| *outcome == Some(Outcome::Lost)) {
                    self.end(index, Outcome::Excused);
                }
            }
            Step::Redrive => {
                for attempt in 0..self.attempts.len() {
                    if self.attempts[attempt].1.is_some_and(Outcome::counts) {
                        self.end(attempt, Outcome::Excused);
                    }
                }
            }
            Step::Cancel => self.run = self.run.after(RunEvent::Cancelled)?,
            Step::Finish => self.run = self.run.after(RunEvent::Finished(self.progress()))?,
            Step::Wait { seconds } => self.now += seconds,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, attempt: usize, outcome: Outcome) {
        let earlier = self.attempts[attempt].1;
        assert!(outcome.may_follow(earlier), "{outcome} after {earlier:?}");
        self.attempts[attempt].1 = Some(outcome);
    }

    fn progress(&self) -> Progress {
        let is = |state| u64::from(self.chunk.state == state);
        Progress { chunks: 1, done: is(ChunkState::Done), dead: is(ChunkState::Dead), ..Progress::default() }
    }
}

/// The same in the plainest words: nothing but where the chunk is and who is at work on it.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Pending,
    Published,
    Leased { attempt: i32, until: i64 },
    Retryable { due: Timestamp },
    Done,
    Dead,
}

impl Model {
    /// Where the chunk goes; `None` where nothing happens. `latest` is the number of attempts so far.
    fn step(&self, step: Step, store: &Store) -> Option<Model> {
        let latest = store.attempts.len() as i32;
        let is_open = matches!(store.run, RunState::Planned | RunState::Running);
        let named = |back: i32| (latest - back).max(0);
        let follows = |verdict| match verdict {
            Verdict::RetryAt(due) => Model::Retryable { due },
            Verdict::DeadLetter => Model::Dead,
        };
        match (step, self) {
            (Step::Publish { back }, Model::Pending | Model::Published | Model::Retryable { .. }) => {
                (named(back) == latest).then_some(Model::Published)
            }
            (Step::Begin { worker, is_repeat, lease }, place) => {
                let may = match place {
                    Model::Pending | Model::Published => true,
                    Model::Retryable { due } => *due <= at(store.now),
                    Model::Leased { .. } => is_repeat && store.attempts[latest as usize - 1].0 == worker,
                    Model::Done | Model::Dead => false,
                };
                (may && is_open).then_some(Model::Leased { attempt: latest + 1, until: store.now + lease })
            }
            (Step::Renew { back, lease }, Model::Leased { attempt, .. }) => (named(back) == *attempt
                && is_open)
                .then_some(Model::Leased { attempt: *attempt, until: store.now + lease }),
            (Step::Commit { back }, Model::Leased { attempt, .. }) => {
                (named(back) == *attempt && is_open).then_some(Model::Done)
            }
            (Step::Fail { back }, Model::Leased { attempt, .. }) => {
                (named(back) == *attempt).then(|| follows(store.verdict()))
            }
            (Step::GiveBack { back }, Model::Leased { attempt, .. }) => {
                (named(back) == *attempt).then_some(Model::Published)
            }
            (Step::Rescue { back }, Model::Leased { attempt, until }) => {
                (named(back) == *attempt && *until <= store.now).then(|| follows(store.verdict()))
            }
            (Step::Redrive, Model::Dead) => is_open.then_some(Model::Retryable { due: at(store.now) }),
            _ => None,
        }
    }

    fn of(store: &Store) -> Self {
        let chunk = &store.chunk;
        match chunk.state {
            ChunkState::Pending => Self::Pending,
            ChunkState::Published => Self::Published,
            ChunkState::Leased => Self::Leased {
                attempt: chunk.attempt.0,
                until: chunk.leased_until.expect("what is leased has a lease").as_second(),
            },
            ChunkState::Retryable => {
                Self::Retryable { due: chunk.retry_at.expect("what is retryable has a moment") }
            }
            ChunkState::Done => Self::Done,
            ChunkState::Dead => Self::Dead,
        }
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds as u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_history_goes_as_the_plain_model_says(steps in steps()) {
        let mut store = Store::new();
        let mut model = Model::Pending;
        for step in steps {
            let is_of_the_run =
                matches!(step, Step::Return { .. } | Step::Cancel | Step::Finish | Step::Wait { .. });
            let expected = model.step(step, &store);
            let before = (store.chunk, store.run);

            let taken = store.take(step);

            if !is_of_the_run {
                prop_assert_eq!(taken.is_ok(), expected.is_some(), "{:?} of {:?}: {:?}", step, model, taken);
            }
            if taken.is_err() {
                prop_assert_eq!((store.chunk, store.run), before, "what is refused changes nothing");
            }
            model = expected.unwrap_or(model);
            prop_assert_eq!(Model::of(&store), model.clone());
        }
    }

    #[test]
    fn whatever_happens_the_invariants_hold(steps in steps()) {
        let mut store = Store::new();
        let mut commits = 0;
        for step in steps {
            let (chunk, run, attempts) = (store.chunk, store.run, store.attempts.clone());

            let taken = store.take(step);

            // Attempts are counted before any work, one by one, and by a begin alone.
            let is_begin = matches!(step, Step::Begin { .. }) && taken.is_ok();
            prop_assert_eq!(store.chunk.attempt.0, chunk.attempt.0 + i32::from(is_begin));
            prop_assert_eq!(store.chunk.attempt.0 as usize, store.attempts.len());

            // Only the latest attempt of a leased chunk commits, and no chunk is done twice.
            if let (Step::Commit { back }, Ok(())) = (step, taken) {
                commits += 1;
                prop_assert!(back <= 0 && chunk.state == ChunkState::Leased && !run.is_over());
            }
            prop_assert_eq!(commits, i32::from(store.chunk.state == ChunkState::Done));

            // What is settled stays so, unless a person redrives it; a run that is over stays as it is.
            if chunk.state == ChunkState::Done {
                prop_assert_eq!(store.chunk, chunk);
            }
            if chunk.state == ChunkState::Dead && store.chunk != chunk {
                prop_assert!(matches!(step, Step::Redrive));
            }
            if run.is_over() {
                prop_assert_eq!(store.run, run);
            }
            if store.run == RunState::Finished {
                prop_assert!(store.chunk.state.is_settled());
            }

            // A moment stands where the state gives it a meaning, and nowhere else.
            prop_assert_eq!(store.chunk.leased_until.is_some(), store.chunk.state == ChunkState::Leased);
            prop_assert_eq!(store.chunk.leased_at.is_some(), store.chunk.state == ChunkState::Leased);
            prop_assert_eq!(store.chunk.retry_at.is_some(), store.chunk.state == ChunkState::Retryable);

            // The latest attempt alone is at work, while the chunk is leased.
            let at_work: Vec<usize> = (0..store.attempts.len())
                .filter(|&attempt| store.attempts[attempt].1.is_none())
                .collect();
            let latest = (store.chunk.state == ChunkState::Leased).then(|| store.attempts.len() - 1);
            prop_assert_eq!(at_work, Vec::from_iter(latest));

            // A chunk dies of as many failures as the policy allows, and of nothing else.
            if store.chunk.state == ChunkState::Dead && chunk.state != ChunkState::Dead {
                prop_assert_eq!(store.failures(), policy().max_failures);
            }

            // What is once recorded of an attempt is never taken back, but for an excuse.
            for (before, after) in attempts.iter().zip(&store.attempts) {
                prop_assert!(before == after || after.1.is_some_and(|after| after.may_follow(before.1)));
            }
        }
    }

    #[test]
    fn only_a_failure_or_a_loss_counts(outcome in prop::sample::select(&Outcome::ALL[..])) {
        let text = outcome.to_string();

        prop_assert_eq!(text.parse::<Outcome>(), Ok(outcome));
        prop_assert_eq!(outcome.counts(), text == "failed" || text == "lost");
        // Nothing follows what is good or forgiven.
        let last = Outcome::ALL.iter().any(|later| later.may_follow(Some(outcome)));
        prop_assert_eq!(last, outcome.counts());
    }
}

#[test]
fn a_run_goes_from_planned_to_running_to_finished_or_is_cancelled() {
    let (settled, open) = (RunEvent::Finished(sums(1)), RunEvent::Finished(sums(0)));

    for from in [RunState::Planned, RunState::Running] {
        goes(from, RunEvent::Published, Ok(RunState::Running));
        goes(from, RunEvent::Cancelled, Ok(RunState::Cancelled));
        goes(from, settled, Ok(RunState::Finished));
        goes(from, open, Err(Refusal::NotSettled));
    }
    for from in [RunState::Finished, RunState::Cancelled, RunState::Rejected] {
        for event in [RunEvent::Published, RunEvent::Cancelled, RunEvent::Redriven, settled, open] {
            goes(from, event, Err(Refusal::RunOver));
        }
    }
}

#[test]
fn a_settled_run_may_be_held_until_a_person_decides() {
    for from in [RunState::Planned, RunState::Running] {
        goes(from, RunEvent::Held(sums(1)), Ok(RunState::Held));
        goes(from, RunEvent::Held(sums(0)), Err(Refusal::NotSettled));
        goes(from, RunEvent::Redriven, Ok(from));
    }
    goes(RunState::Held, RunEvent::Released, Ok(RunState::Running));
    goes(RunState::Held, RunEvent::Redriven, Ok(RunState::Running));
    goes(RunState::Held, RunEvent::Rejected, Ok(RunState::Rejected));
    for event in
        [RunEvent::Published, RunEvent::Cancelled, RunEvent::Finished(sums(1)), RunEvent::Held(sums(1))]
    {
        goes(RunState::Held, event, Err(Refusal::RunHeld));
    }
    for from in RunState::ALL.into_iter().filter(|&state| state != RunState::Held) {
        goes(from, RunEvent::Released, Err(Refusal::NotHeld));
        goes(from, RunEvent::Rejected, Err(Refusal::NotHeld));
    }
}

#[track_caller]
fn goes(from: RunState, event: RunEvent, expected: Result<RunState, Refusal>) {
    assert_eq!(from.after(event), expected, "{from} {event:?}");
}

/// The sums over two chunks, of which one is done.
fn sums(dead: u64) -> Progress {
    Progress { chunks: 2, done: 1, dead, ..Progress::default() }
}
