//! What a pass of the coordinator sees: rows of the store, lengths of the queues, and when.

use jiff::Timestamp;

use crate::{
    Attempt, ChunkId, ChunkState, DeadlinePolicy, Forecast, PerPriority, Priority, RunId, RunState, forecast,
};

/// Everything that a pass decides from: the store's part, the queues' lengths beside it, and where that leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When it was taken, by the store's clock.
    pub taken_at: Timestamp,
    /// Since when the store has been well: it started then, or was last seen to fail. While it was not, no lease
    /// could be renewed, so none counts as expired until its worker has had a full lease of time to come back.
    pub store_well_since: Timestamp,
    /// Messages waiting on each queue; `None` where the broker did not say.
    pub waiting: PerPriority<Option<u64>>,
    /// The runs that are not over.
    pub runs: Vec<RunSnapshot>,
}

impl Snapshot {
    /// Puts together what the store and the queues say, and forecasts each run.
    pub fn new(open: OpenRuns, waiting: PerPriority<Option<u64>>, policy: &DeadlinePolicy) -> Self {
        let OpenRuns { taken_at, store_well_since, runs, held: _ } = open;
        // A start in the future was before the clock was set back, who knows when.
        let store_well_since = if store_well_since > taken_at { Timestamp::MIN } else { store_well_since };
        let seen = |run: OpenRun| RunSnapshot {
            forecast: forecast(&run.progress, run.planned_at, run.deadline_at, taken_at, policy),
            recorded: run,
        };
        Self { taken_at, store_well_since, waiting, runs: runs.into_iter().map(seen).collect() }
    }
}

/// One run as a pass sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSnapshot {
    /// What is recorded of it.
    pub recorded: OpenRun,
    /// Where that leads.
    pub forecast: Forecast,
}

/// The store's part of a snapshot: the runs that are not over, all at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRuns {
    /// The moment, by the store's clock.
    pub taken_at: Timestamp,
    /// Since when the store has been well, as far as it knows: it started then.
    pub store_well_since: Timestamp,
    /// The runs.
    pub runs: Vec<OpenRun>,
    /// How many others are held, and wait for a person.
    pub held: u64,
}

/// One run that is not over, as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRun {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub state: RunState,
    /// The queue that its chunks are on.
    pub priority: Priority,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// When it has to be finished.
    pub deadline_at: Timestamp,
    /// Sums over its chunks.
    pub progress: Progress,
    /// Its chunks that are not settled.
    pub open_chunks: Vec<ChunkSnapshot>,
}

/// One chunk that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSnapshot {
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it stands.
    pub state: ChunkState,
    /// Its latest attempt, 0 if none.
    pub attempt: Attempt,
    /// Its attempts that failed or were lost.
    pub failures: u32,
    /// When the broker last confirmed a message for it.
    pub published_at: Option<Timestamp>,
    /// When that attempt's lease was given, or renewed; `None` of programs that did not record it.
    pub leased_at: Option<Timestamp>,
    /// Until when its attempt is believed to be alive.
    pub leased_until: Option<Timestamp>,
    /// When its retry is due.
    pub retry_at: Option<Timestamp>,
}

impl ChunkSnapshot {
    /// A chunk as it was planned: nothing has happened to it yet.
    pub fn pending(chunk: ChunkId) -> Self {
        Self {
            chunk,
            state: ChunkState::Pending,
            attempt: Attempt(0),
            failures: 0,
            published_at: None,
            leased_at: None,
            leased_until: None,
            retry_at: None,
        }
    }
}

/// How far a run is: sums over committed rows, never a counter that somebody increments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// All chunks.
    pub chunks: u64,
    /// Chunks whose values are committed.
    pub done: u64,
    /// Chunks that used up their attempts.
    pub dead: u64,
    /// All customers.
    pub customers: u64,
    /// Customers with a committed value.
    pub values: u64,
    /// Customers with a committed rejection.
    pub rejections: u64,
    /// The expected work of all chunks.
    pub work: f64,
    /// The expected work of settled chunks.
    pub work_settled: f64,
}

impl Progress {
    /// The settled share of the work, from 0 to 1; 0 where the sums are no numbers.
    pub fn share(&self) -> f64 {
        let share = self.work_settled / self.work;
        if self.work > 0.0 && !share.is_nan() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Whether every chunk is done or dead.
    pub fn is_settled(&self) -> bool {
        self.done.checked_add(self.dead) == Some(self.chunks)
    }

    /// Whether it has come further than another look at the same run, and so was taken later.
    ///
    /// What grows in a run is compared: first the chunks that are done, then the customers that are accounted for
    /// (those of dead chunks are, in the end), then the chunks that are dead. Dead chunks come last because a redrive
    /// takes them back, so that a look from before it is taken for the later one until another chunk is done. Where
    /// the plans differ, neither is further: they are of different runs.
    pub fn is_further_than(&self, other: &Self) -> bool {
        let plan = |look: &Self| (look.chunks, look.customers);
        let reached = |look: &Self| (look.done, look.values.saturating_add(look.rejections), look.dead);
        plan(self) == plan(other) && reached(self) > reached(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outlook;

    #[test]
    fn a_snapshot_has_the_queues_beside_the_store_and_says_where_each_run_leads() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let run = |number, work_settled| OpenRun {
            run: RunId(number),
            state: RunState::Running,
            priority: Priority::High,
            planned_at: at(0),
            deadline_at: at(1_800),
            progress: Progress { work: 4.0, work_settled, ..Progress::default() },
            open_chunks: Vec::new(),
        };
        let open = OpenRuns {
            taken_at: at(900),
            store_well_since: at(5),
            runs: vec![run(1, 2.0), run(2, 1.0)],
            held: 0,
        };
        let waiting = PerPriority::from_fn(|priority| (priority == Priority::High).then_some(7));

        let snapshot = Snapshot::new(open.clone(), waiting, &DeadlinePolicy::default());

        assert_eq!((snapshot.taken_at, snapshot.store_well_since), (at(900), at(5)));
        assert_eq!(snapshot.waiting, waiting);
        let recorded: Vec<OpenRun> = snapshot.runs.iter().map(|run| run.recorded.clone()).collect();
        assert_eq!(recorded, open.runs);
        let outlooks: Vec<Outlook> = snapshot.runs.iter().map(|run| run.forecast.outlook).collect();
        assert_eq!(outlooks, [Outlook::AtRisk, Outlook::Infeasible]);
    }
}
