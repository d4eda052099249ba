//! What a coordinator remembers between passes.
//!
//! No run depends on it. One that forgets, because it was started anew or leads under a new term, is only more patient
//! (the store counts as well from now on, so every lease gets its grace again), asks the cache sooner what it knows, and
//! tells a person about an outlook twice.
//!
//! # Failure by failure
//!
//! * **The store failed over between two passes.** Nothing in it shows that. The pass that met it failed, and since then
//!   the store counts as well, no longer.
//! * **The coordinator dies before the cache has heard how far a finished run came.** The cache lacks the rejections of
//!   dead chunks until its entry expires. Readers who must know ask the store.

use std::collections::HashMap;

use batch::{Outlook, PerPriority, Priority, Progress, RunId, Snapshot};
use store::Term;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::figuring::Figuring;
use crate::finishing::Finishing;
use crate::namesakes::Namesakes;
use crate::publication::Publication;

/// What a coordinator remembers between passes. No run depends on it.
pub(crate) struct Remembered {
    term: Option<Term>,
    /// Since when the store has never failed us, under this term.
    well_since: Instant,
    /// The work that was settled when the last pass looked.
    settled: f64,
    /// Passes since more of it was.
    pub(crate) idle_passes: u32,
    pub(crate) publication: Publication,
    /// Runs that were finished, and how far they came, until the cache has heard of it: no later snapshot shows
    /// them.
    pub(crate) finished: Vec<(RunId, Progress)>,
    /// Since when the broker has been away, for whoever keeps the leadership.
    broker_away_since: watch::Sender<Option<Instant>>,
    /// Whether a run was finished since the cache was last told which are visible.
    pub(crate) has_finished: bool,
    /// Runs being finished.
    pub(crate) finishing: Finishing,
    /// Figures of runs being worked out.
    pub(crate) figuring: Figuring,
    /// What a person was last told of each open run.
    pub(crate) outlooks: HashMap<RunId, Outlook>,
    pub(crate) namesakes: Namesakes,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        Self {
            term: None,
            well_since: Instant::now(),
            settled: 0.0,
            idle_passes: 0,
            publication: Publication::default(),
            finished: Vec::new(),
            broker_away_since: watch::Sender::new(None),
            has_finished: false,
            finishing: Finishing::default(),
            figuring: Figuring::default(),
            outlooks: HashMap::new(),
            namesakes: Namesakes::default(),
        }
    }

    /// Begins anew where the term is another one: what was going on under the other is not known.
    pub(crate) fn leads_under(&mut self, term: Option<Term>) {
        if self.term != term {
            self.term = term;
            self.well_since = Instant::now();
        }
    }

    /// Notes whether the broker said anything.
    pub(crate) fn hear_of_broker(&mut self, waiting: &PerPriority<Option<u64>>) {
        let is_away = Priority::ALL.iter().all(|&priority| waiting[priority].is_none());
        self.broker_away_since.send_if_modified(|since| {
            let is_changed = since.is_some() != is_away;
            if is_changed {
                *since = is_away.then(Instant::now);
            }
            is_changed
        });
    }

    /// Tells since when the broker has been away.
    pub(crate) fn broker_away_since(&self) -> watch::Receiver<Option<Instant>> {
        self.broker_away_since.subscribe()
    }

    /// Notes that the store has failed us.
    pub(crate) fn store_failed(&mut self) {
        self.well_since = Instant::now();
    }

    /// Adds to a snapshot what the store cannot know: since when it has been well, seen from here. A fail-over
    /// shows no other trace, and leases could not be renewed during one.
    pub(crate) fn remind(&mut self, snapshot: &mut Snapshot) {
        let here = snapshot.taken_at.checked_sub(self.well_since.elapsed()).unwrap_or(snapshot.taken_at);
        snapshot.store_well_since = snapshot.store_well_since.max(here);
        let settled = snapshot.runs.iter().map(|run| run.recorded.progress.work_settled).sum();
        let is_idle = self.settled.to_bits() == f64::to_bits(settled);
        self.idle_passes = if is_idle { self.idle_passes.saturating_add(1) } else { 0 };
        self.settled = settled;
    }
}
