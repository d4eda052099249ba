//! The life of a process of a simulated night, from its start to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{ChunkRef, RequestId};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// One process, from its start to its end.
#[derive(Clone)]
pub(super) struct Process(Arc<ProcessState>);

struct ProcessState {
    name: String,
    died: CancellationToken,
    /// Asked to end in good order.
    asked: CancellationToken,
    stands_until: Mutex<Option<Instant>>,
    /// Until when it last stood still, or a server did not answer it well.
    troubled_until: Mutex<Option<Instant>>,
    /// Its task is over.
    has_ended: AtomicBool,
    /// It was asked to end before the night was over.
    was_drained: AtomicBool,
    /// The messages it holds, by chunk.
    holds: Mutex<BTreeMap<ChunkRef, u32>>,
    /// The requests of which the store has told it that they are over.
    over: Mutex<BTreeSet<RequestId>>,
    /// What the world does when it dies.
    last_rites: Mutex<Vec<LastRite>>,
}

type LastRite = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Process {
    pub(super) fn new(name: String) -> Self {
        Self(Arc::new(ProcessState {
            name,
            died: CancellationToken::new(),
            asked: CancellationToken::new(),
            stands_until: Mutex::default(),
            troubled_until: Mutex::default(),
            has_ended: AtomicBool::new(false),
            was_drained: AtomicBool::new(false),
            holds: Mutex::default(),
            over: Mutex::default(),
            last_rites: Mutex::default(),
        }))
    }

    /// Unique for each process that ever lived.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Resolves when it is killed.
    pub(super) fn died(&self) -> &CancellationToken {
        &self.0.died
    }

    /// Resolves when it is asked to end in good order.
    pub(super) fn asked(&self) -> &CancellationToken {
        &self.0.asked
    }

    /// Leaves something to be done when it dies.
    pub(super) fn at_death(&self, rite: impl FnOnce() + Send + 'static) {
        self.0.last_rites.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(rite));
    }

    /// It was given a message.
    pub(super) fn takes(&self, chunk: ChunkRef) {
        *self.holding().entry(chunk).or_default() += 1;
    }

    /// It settles a message.
    pub(super) fn lets_go(&self, chunk: ChunkRef) {
        if let Some(count) = self.holding().get_mut(&chunk) {
            *count -= 1;
        }
    }

    /// Whether it holds a message for a chunk.
    pub(super) fn holds(&self, chunk: ChunkRef) -> bool {
        self.holding().get(&chunk).is_some_and(|&count| count > 0)
    }

    /// The store tells it that a request is over.
    pub(super) fn hears_of_end(&self, request: RequestId) {
        self.over().insert(request);
    }

    /// The store gives it a request to work on.
    pub(super) fn hears_of_begin(&self, request: RequestId) {
        self.over().remove(&request);
    }

    pub(super) fn knows_of_end(&self, request: RequestId) -> bool {
        self.over().contains(&request)
    }

    fn over(&self) -> MutexGuard<'_, BTreeSet<RequestId>> {
        self.0.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is asked to end in good order before the night is over.
    pub(super) fn drain(&self) {
        self.0.was_drained.store(true, Ordering::Relaxed);
        self.asked().cancel();
    }

    /// Ends where it stands.
    pub(super) fn die(&self) {
        self.died().cancel();
        let rites = std::mem::take(&mut *self.0.last_rites.lock().unwrap_or_else(PoisonError::into_inner));
        for rite in rites {
            rite();
        }
    }

    fn holding(&self) -> MutexGuard<'_, BTreeMap<ChunkRef, u32>> {
        self.0.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stand_until(&self, until: Instant) {
        let mut stands = self.0.stands_until.lock().unwrap_or_else(PoisonError::into_inner);
        *stands = (*stands).max(Some(until));
    }

    pub(super) fn is_troubled_until(&self, until: Instant) {
        let mut troubled = self.0.troubled_until.lock().unwrap_or_else(PoisonError::into_inner);
        *troubled = (*troubled).max(Some(until));
    }

    pub(super) fn was_troubled_within(&self, past: Duration) -> bool {
        let troubled = *self.0.troubled_until.lock().unwrap_or_else(PoisonError::into_inner);
        troubled.is_some_and(|until| until + past >= Instant::now())
    }

    /// Its task is over.
    pub(super) fn ends(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_drained(&self) -> bool {
        self.0.was_drained.load(Ordering::Relaxed)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Relaxed)
    }

    /// Goes on when the process does; never if it is dead.
    pub(super) async fn be_well(&self) {
        loop {
            if self.died().is_cancelled() {
                pending::<()>().await;
            }
            let stands = *self.0.stands_until.lock().unwrap_or_else(PoisonError::into_inner);
            match stands {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                _ => return,
            }
        }
    }
}
