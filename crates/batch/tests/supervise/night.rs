//! A night without servers, whatever happens to it.

use super::*;

/// What happens to a night beside the passes of its coordinator.
#[derive(Clone, Copy, Debug)]
enum Luck {
    /// A worker takes a message; what becomes of its attempt is drawn later.
    Take,
    Commit(usize),
    Fail(usize),
    GiveBack(usize),
    /// A worker of some attempt dies, or stands still past its lease.
    Vanish(usize),
    Purge,
    BrokerIsSilent,
    Wait(u64),
    /// The store's clock is set back.
    SetBack(u64),
    Pass,
}

fn lucks() -> impl Strategy<Value = Vec<Luck>> {
    let luck = prop_oneof![
        5 => Just(Luck::Take),
        2 => (0..9_usize).prop_map(Luck::Commit),
        2 => (0..9_usize).prop_map(Luck::Fail),
        1 => (0..9_usize).prop_map(Luck::GiveBack),
        2 => (0..9_usize).prop_map(Luck::Vanish),
        1 => Just(Luck::Purge),
        1 => Just(Luck::BrokerIsSilent),
        4 => (1..25_u64).prop_map(Luck::Wait),
        1 => (1..7_200_u64).prop_map(Luck::SetBack),
        5 => Just(Luck::Pass),
    ];
    prop::collection::vec(luck, 0..80)
}

/// A night without servers: the rules of this crate, a queue that may lose everything, and workers that may.
struct Night {
    snapshot: Snapshot,
    policy: SupervisePolicy,
    queue: Vec<ChunkId>,
    /// Attempts that somebody is still at work on.
    held: Vec<(ChunkId, Attempt)>,
    commits: Vec<ChunkId>,
}

impl Night {
    fn new(chunks: i32, policy: SupervisePolicy) -> Self {
        let open_chunks: Vec<_> =
            (1..=chunks).map(|number| ChunkSnapshot::pending(ChunkId(number))).collect();
        let run = OpenRun {
            run: RunId(1),
            state: RunState::Planned,
            priority: Priority::Normal,
            planned_at: at(NOW),
            deadline_at: at(NOW + 1_800),
            progress: Progress { chunks: chunks as u64, ..Progress::default() },
            open_chunks,
        };
        let waiting = PerPriority::from_fn(|_| Some(0));
        let open = OpenRuns { taken_at: at(NOW), store_well_since: at(0), runs: vec![run], held: 0 };
        let snapshot = Snapshot::new(open, waiting, &policy.deadline);
        Self { snapshot, policy, queue: Vec::new(), held: Vec::new(), commits: Vec::new() }
    }

    fn run(&mut self) -> &mut OpenRun {
        &mut self.snapshot.runs[0].recorded
    }

    /// Applies an event to a chunk that is not settled; whether it happened.
    fn happens(&mut self, id: ChunkId, event: ChunkEvent) -> bool {
        let now = self.snapshot.taken_at;
        let run = self.run();
        let Some(chunk) = run.open_chunks.iter_mut().find(|chunk| chunk.chunk == id) else { return false };
        let Ok(after) = chunk.after(event, run.state, now) else { return false };
        *chunk = after;
        chunk.failures += u32::from(event.ends().is_some_and(|(_, outcome)| Outcome::counts(outcome)));
        let progress = &mut run.progress;
        match after.state {
            ChunkState::Done => progress.done += 1,
            ChunkState::Dead => progress.dead += 1,
            _ => {}
        }
        run.open_chunks.retain(|chunk| !chunk.state.is_settled());
        true
    }

    fn take(&mut self) {
        let Some(id) = self.queue.pop() else { return };
        let leased_until = self.snapshot.taken_at + self.policy.lease_duration;
        if self.happens(id, ChunkEvent::Begun { leased_until, is_own: false }) {
            let chunk = self.run().open_chunks.iter().find(|chunk| chunk.chunk == id);
            let attempt = chunk.expect("it was begun").attempt;
            self.held.push((id, attempt));
        }
    }

    fn commit(&mut self, index: usize) {
        if let Some((id, attempt)) = self.let_go(index)
            && self.happens(id, ChunkEvent::Committed(attempt))
        {
            self.commits.push(id);
        }
    }

    fn let_go(&mut self, index: usize) -> Option<(ChunkId, Attempt)> {
        let index = index.checked_rem(self.held.len())?;
        Some(self.held.swap_remove(index))
    }

    fn pass(&mut self) -> Vec<Action> {
        let actions = supervise(&self.snapshot, &self.policy);
        for action in &actions {
            match *action {
                Action::Publish { attempt, .. } => {
                    self.queue.push(attempt.chunk.chunk);
                    assert!(self.happens(attempt.chunk.chunk, ChunkEvent::Published(attempt.attempt)));
                    let run = self.run();
                    run.state = run.state.after(RunEvent::Published).expect("it is open");
                }
                Action::Rescue { attempt, verdict } => {
                    let event = ChunkEvent::Rescued(attempt.attempt, verdict);
                    assert!(self.happens(attempt.chunk.chunk, event));
                }
                Action::Shorten(attempt) => {
                    let now = self.snapshot.taken_at;
                    let (_, event) = shortened(attempt, &self.snapshot.runs[0].recorded, now, &self.policy);
                    assert!(self.happens(attempt.chunk.chunk, event));
                }
                Action::Finish(_) => apply(&mut self.snapshot, action, &self.policy),
            }
        }
        self.snapshot.waiting = PerPriority::from_fn(|_| Some(self.queue.len() as u64));
        actions
    }

    fn meets(&mut self, luck: Luck) {
        match luck {
            Luck::Take => self.take(),
            Luck::Commit(index) => self.commit(index),
            Luck::Fail(index) => {
                let Some((id, attempt)) = self.let_go(index) else { return };
                let failures = self.run().open_chunks.iter().find(|chunk| chunk.chunk == id);
                let failures = failures.map_or(0, |chunk| chunk.failures) + 1;
                let chunk = ChunkRef { run: RunId(1), chunk: id };
                let verdict = self.policy.retry.verdict(chunk, failures, self.snapshot.taken_at);
                self.happens(id, ChunkEvent::Failed(attempt, verdict));
            }
            Luck::GiveBack(index) => {
                let Some((id, attempt)) = self.let_go(index) else { return };
                self.happens(id, ChunkEvent::GivenBack(attempt));
            }
            Luck::Vanish(index) => drop(self.let_go(index)),
            Luck::Purge => self.queue.clear(),
            Luck::BrokerIsSilent => {
                self.snapshot.waiting = PerPriority::from_fn(|_| None);
                return;
            }
            Luck::Wait(seconds) => self.snapshot.taken_at += Duration::from_secs(seconds),
            // The store has been up for longer than that.
            Luck::SetBack(seconds) => {
                let back = self.snapshot.taken_at - Duration::from_secs(seconds);
                self.snapshot.taken_at = back.max(at(60));
            }
            Luck::Pass => drop(self.pass()),
        }
        self.snapshot.waiting = PerPriority::from_fn(|_| Some(self.queue.len() as u64));
    }
}

proptest! {
    #[test]
    fn a_night_ends_whatever_happened_to_it(
        chunks in 1..6_i32,
        policy in policies(),
        lucks in lucks(),
    ) {
        let mut night = Night::new(chunks, policy);
        for luck in lucks {
            night.meets(luck);
        }

        // From now on nothing goes wrong. Each chunk needs a lease, a retry and a message at most, then an attempt.
        for _ in 0..10 {
            night.meets(Luck::Wait(60));
            night.pass();
            while !night.queue.is_empty() {
                night.take();
                while !night.held.is_empty() {
                    night.commit(0);
                }
            }
            night.meets(Luck::Wait(0));
        }

        let run = &night.snapshot.runs[0].recorded;
        prop_assert_eq!(run.state, RunState::Finished, "{:?}", run);
        prop_assert_eq!(run.progress.done + run.progress.dead, chunks as u64);
        let different: HashSet<_> = night.commits.iter().collect();
        prop_assert_eq!(night.commits.len(), different.len(), "a chunk is committed once");
        prop_assert_eq!(night.commits.len() as u64, run.progress.done);
        prop_assert_eq!(night.pass(), []);
    }
}
