//! What surrounds the processes of a simulated night: their lives, the network, the servers' weather.
//!
//! A **process** is a worker, a coordinator or a dispatcher. Whatever it does to the world goes through a call to a
//! server, and every call asks the world first ([`World::before`]) and afterwards ([`World::after`]). So a process can
//! be **killed** at every point where that can be seen from outside: once it is dead none of its calls ever returns.
//! One that **hangs** gets no answer for a while, and goes on as if nothing had been.
//!
//! The **storm** is the time in which faults are drawn; after it comes a calm, in which every night must end well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{AttemptId, ChunkRef, Outcome, RunId};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::call::{Call, Server};
use super::chance::Chance;
use super::ledger::{Entry, Ledger};
use super::night::LEASE;
use super::panics;
use super::rule::{Rule, Violation};

/// How long ago a worker was last troubled at the earliest, if its lease runs out because of it: a lease, and the
/// longest pause between two looks at a store that did not answer.
const LONGEST_SILENCE: Duration = LEASE.saturating_add(Duration::from_secs(10));

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call fails before it takes effect.
    Refused,
    /// A call takes effect, and the answer is lost.
    LostAnswer,
    /// A call takes seconds.
    Slow,
    /// A server is away for a while.
    Outage,
    /// The store refuses a call to everybody until somebody mends it: a relation or a right is missing.
    Broken,
    /// A process dies before a call takes effect.
    KilledBefore,
    /// A process dies after a call took effect.
    KilledAfter,
    /// A process stands still for a while.
    Hang,
    /// A worker is asked to drain.
    Drain,
    /// A message is confirmed and lost.
    LostMessage,
    /// A message arrives twice.
    DuplicatedMessage,
    /// A message is confirmed now and arrives late.
    DelayedMessage,
    /// A message arrives before those that were there.
    OvertakingMessage,
    /// Bytes that are no message arrive instead of one.
    Garbage,
    /// The broker takes no messages for a while.
    Blocked,
    /// No queue is there to take a message.
    Unroutable,
    /// A confirm is lost, with the message or without.
    LostConfirm,
    /// A message is lost on its way to a consumer.
    LostDelivery,
    /// A message is long on its way to a consumer.
    DelayedDelivery,
    /// All consumers' connections are cut.
    CutConnection,
    /// An ack, or a requeue, is lost.
    LostAck,
    /// The broker forgets every message.
    Amnesia,
    /// The cache forgets everything.
    Flush,
    /// The cache takes a part of what it is given, and fails.
    PartialPut,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 24] = [
        Self::Refused,
        Self::LostAnswer,
        Self::Slow,
        Self::Outage,
        Self::Broken,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Hang,
        Self::Drain,
        Self::LostMessage,
        Self::DuplicatedMessage,
        Self::DelayedMessage,
        Self::OvertakingMessage,
        Self::Garbage,
        Self::Blocked,
        Self::Unroutable,
        Self::LostConfirm,
        Self::LostDelivery,
        Self::DelayedDelivery,
        Self::CutConnection,
        Self::LostAck,
        Self::Amnesia,
        Self::Flush,
        Self::PartialPut,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LostAnswer => "lost_answer",
            Self::Slow => "slow",
            Self::Outage => "outage",
            Self::Broken => "broken",
            Self::KilledBefore => "killed_before",
            Self::KilledAfter => "killed_after",
            Self::Hang => "hang",
            Self::Drain => "drain",
            Self::LostMessage => "lost_message",
            Self::DuplicatedMessage => "duplicated_message",
            Self::DelayedMessage => "delayed_message",
            Self::OvertakingMessage => "overtaking_message",
            Self::Garbage => "garbage",
            Self::Blocked => "blocked",
            Self::Unroutable => "unroutable",
            Self::LostConfirm => "lost_confirm",
            Self::LostDelivery => "lost_delivery",
            Self::DelayedDelivery => "delayed_delivery",
            Self::CutConnection => "cut_connection",
            Self::LostAck => "lost_ack",
            Self::Amnesia => "amnesia",
            Self::Flush => "flush",
            Self::PartialPut => "partial_put",
        }
    }
}

/// How many faults of each kind there were.
pub type Faults = BTreeMap<&'static str, u64>;

/// How many processes died before, and how many after, each call took effect.
pub type Deaths = BTreeMap<(Call, Fault), u64>;

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
    fn new(name: String) -> Self {
        Self(Arc::new(ProcessState {
            name,
            died: CancellationToken::new(),
            asked: CancellationToken::new(),
            stands_until: Mutex::default(),
            troubled_until: Mutex::default(),
            has_ended: AtomicBool::new(false),
            was_drained: AtomicBool::new(false),
            holds: Mutex::default(),
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

    fn holding(&self) -> MutexGuard<'_, BTreeMap<ChunkRef, u32>> {
        self.0.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand_until(&self, until: Instant) {
        let mut stands = self.0.stands_until.lock().unwrap_or_else(PoisonError::into_inner);
        *stands = (*stands).max(Some(until));
    }

    fn is_troubled_until(&self, until: Instant) {
        let mut troubled = self.0.troubled_until.lock().unwrap_or_else(PoisonError::into_inner);
        *troubled = (*troubled).max(Some(until));
    }

    fn was_troubled_within(&self, past: Duration) -> bool {
        let troubled = *self.0.troubled_until.lock().unwrap_or_else(PoisonError::into_inner);
        troubled.is_some_and(|until| until + past >= Instant::now())
    }

    /// Its task is over.
    pub(super) fn ends(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }

    fn was_drained(&self) -> bool {
        self.0.was_drained.load(Ordering::Relaxed)
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Relaxed)
    }

    /// Goes on when the process does; never if it is dead.
    async fn be_well(&self) {
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

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is made and answered.
    Answered,
    /// It is made, and the answer is lost.
    AnswerLost,
    /// It is made, and the caller dies.
    CallerDies,
}

/// Why a call fails before it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Its server does not answer.
    Away(String),
    /// Its server refuses it to everybody.
    Broken(String),
}

impl Obstacle {
    pub(super) fn reason(self) -> String {
        match self {
            Self::Away(reason) | Self::Broken(reason) => reason,
        }
    }
}

/// The world of one night. A clone is another handle to it.
#[derive(Clone, Debug)]
pub(super) struct World(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    began: Instant,
    chance: Chance,
    /// How probable each fault is at each call that it can befall.
    weather: BTreeMap<Fault, f64>,
    storm_until: Instant,
    away_until: BTreeMap<Server, Instant>,
    /// Calls that the store refuses to everybody.
    broken_until: BTreeMap<Call, Instant>,
    blocked_until: Option<Instant>,
    /// Since the broker forgot everything, its queues are not there.
    without_queues_until: Option<Instant>,
    faults: Faults,
    deaths: Deaths,
    story: Vec<String>,
    violations: Vec<Violation>,
    /// All that ever lived, by name.
    processes: BTreeMap<String, Process>,
    ledger: Ledger,
    flushes: u64,
    flushed_at: Option<Instant>,
    /// The processes that could not write values of a run to the cache.
    not_cached: BTreeSet<(String, RunId)>,
}

impl World {
    /// Draws the weather of a night from its seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut weather = BTreeMap::new();
        for fault in Fault::ALL {
            // Half of the kinds a night, some of them rare and some not.
            let (is_on, rate) = (chance.happens(0.5), chance.scale(0.001, fault.worst_rate()));
            if is_on {
                weather.insert(fault, rate);
            }
        }
        let began = Instant::now();
        let storm_until = began + chance.millis(5_000..300_000);
        Self(Arc::new(Mutex::new(State {
            began,
            chance,
            weather,
            storm_until,
            away_until: BTreeMap::new(),
            broken_until: BTreeMap::new(),
            blocked_until: None,
            without_queues_until: None,
            faults: Faults::new(),
            deaths: Deaths::new(),
            story: Vec::new(),
            violations: Vec::new(),
            processes: BTreeMap::new(),
            ledger: Ledger::default(),
            flushes: 0,
            flushed_at: None,
            not_cached: BTreeSet::new(),
        })))
    }

    /// Draws something.
    pub(super) fn draw<T>(&self, from: impl FnOnce(&mut Chance) -> T) -> T {
        from(&mut self.lock().chance)
    }

    /// Says whether a fault befalls somebody now, and notes it if so.
    pub(super) fn strikes(&self, fault: Fault, whom: impl fmt::Display) -> bool {
        self.lock().strikes(fault, 1.0, whom)
    }

    /// Says whether a fault befalls a caller now, and notes it if so.
    fn befalls(&self, fault: Fault, caller: &Caller<'_>) -> bool {
        let mut state = self.lock();
        let befalls = state.strikes(fault, caller.weight(fault), caller);
        if befalls && matches!(fault, Fault::KilledBefore | Fault::KilledAfter) {
            *state.deaths.entry((caller.1, fault)).or_default() += 1;
        }
        befalls
    }

    /// Adds to the night's story.
    pub(super) fn tell(&self, event: impl fmt::Display) {
        self.lock().tell(event);
    }

    /// Notes that something happened which must not.
    pub(super) fn violation(&self, rule: Rule, what: impl fmt::Display) {
        self.lock().violated(Violation { rule, what: what.to_string() });
    }

    /// Notes the panics since they were last asked for: nobody may panic.
    pub(super) fn hear_panics(&self) {
        for panic in panics::heard() {
            self.violation(Rule::NoPanic, panic);
        }
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    pub(super) fn story(&self) -> Vec<String> {
        self.lock().story.clone()
    }

    pub(super) fn deaths(&self) -> Deaths {
        self.lock().deaths.clone()
    }

    pub(super) fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// Starts the life of a process. Its name is unique for each that ever lived.
    pub(super) fn process(&self, name: String) -> Process {
        let process = Process::new(name.clone());
        self.lock().processes.insert(name, process.clone());
        process
    }

    /// Looks into the ledger of the attempts.
    pub(super) fn ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.lock().ledger)
    }

    /// Writes into the ledger of the attempts, which may find that a rule was broken.
    pub(super) fn enter(&self, entry: impl FnOnce(&mut Ledger) -> Option<Violation>) {
        let mut state = self.lock();
        if let Some(violation) = entry(&mut state.ledger) {
            state.violated(violation);
        }
    }

    /// Enters that a chunk was taken from an attempt: from a worker that is dead, or left it behind unheard, or was
    /// silent for as long as a lease because it stood still or could not reach the store.
    pub(super) fn rescued(&self, attempt: AttemptId) {
        let mut state = self.lock();
        let State { processes, ledger, .. } = &mut *state;
        ledger.ended(attempt, Outcome::Lost);
        let Some(entry) = ledger.entry_mut(attempt) else { return };
        let worker = processes.get(&entry.worker);
        entry.was_taken_alive = worker.is_some_and(|worker| !worker.has_ended());
        let may_be = worker.is_none_or(|worker| {
            worker.died().is_cancelled()
                || worker.was_troubled_within(LONGEST_SILENCE)
                || worker.has_ended() && (!entry.is_answered || entry.was_given_in_vain)
        });
        if !may_be {
            let what = format!("{attempt} was taken from {}, which was well", entry.worker);
            state.violated(Violation { rule: Rule::Lease, what });
        }
    }

    /// The broker takes no messages for a while.
    pub(super) fn block(&self) {
        let until = Instant::now() + self.draw(|chance| chance.millis(500..30_000));
        self.lock().blocked_until = Some(until);
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.lock().blocked_until > Some(Instant::now())
    }

    /// The broker has lost its queues, and somebody sets them up again soon.
    pub(super) fn lose_queues(&self) {
        let until = Instant::now() + self.draw(|chance| chance.millis(100..2_000));
        self.lock().without_queues_until = Some(until);
    }

    pub(super) fn has_no_queues(&self) -> bool {
        self.lock().without_queues_until > Some(Instant::now())
    }

    /// Notes that the cache was emptied.
    pub(super) fn flushed(&self) {
        let mut state = self.lock();
        state.flushes += 1;
        state.flushed_at = Some(Instant::now());
    }

    /// How often the cache was emptied.
    pub(super) fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    /// Notes that values of a run were not written to the cache, or only a part of them.
    pub(super) fn not_cached(&self, process: &Process, run: RunId) {
        self.lock().not_cached.insert((process.name().to_owned(), run));
    }

    /// Whether what an attempt committed may be missing in the cache.
    pub(super) fn may_not_be_cached(&self, entry: &Entry, run: RunId) -> bool {
        let state = self.lock();
        let left = |worker: &Process| worker.died().is_cancelled() || worker.was_drained();
        state.flushed_at >= entry.ended_at
            || state.not_cached.contains(&(entry.worker.clone(), run))
            || state.processes.get(&entry.worker).is_none_or(left)
    }

    /// Whether an attempt may stay charged to its chunk as lost: its worker died; or it was asked to end, and left the
    /// attempt behind because it never heard of it, could not give it back, or had already been taken for lost.
    pub(super) fn may_stay_lost(&self, entry: &Entry) -> bool {
        let state = self.lock();
        let Some(worker) = state.processes.get(&entry.worker) else { return false };
        let was_left = !entry.is_answered || entry.was_given_in_vain || entry.was_taken_alive;
        worker.died().is_cancelled() || worker.was_drained() && was_left
    }

    pub(super) fn storm_is_over(&self) -> bool {
        Instant::now() >= self.lock().storm_until
    }

    /// A process is about to make a call: what becomes of it, or why it fails before it takes effect.
    pub(super) async fn before(&self, process: &Process, call: Call) -> Result<Fate, Obstacle> {
        let (whom, server) = (Caller(process, call), call.server());
        self.travel().await;
        process.be_well().await;
        if self.befalls(Fault::KilledBefore, &whom) {
            self.kill(process);
        }
        if self.befalls(Fault::Hang, &whom) {
            let until = Instant::now() + self.draw(|chance| chance.millis(1_000..90_000));
            process.stand_until(until);
            process.is_troubled_until(until);
        }
        if self.befalls(Fault::Drain, &whom) {
            process.0.was_drained.store(true, Ordering::Relaxed);
            process.asked().cancel();
        }
        if self.befalls(Fault::Slow, &whom) {
            let pause = self.draw(|chance| chance.millis(500..8_000));
            process.is_troubled_until(Instant::now() + pause);
            sleep(pause).await;
        }
        process.be_well().await;
        if self.befalls(Fault::Outage, &whom) {
            let until = Instant::now() + self.draw(|chance| chance.millis(500..45_000));
            self.lock().away_until.insert(server, until);
        }
        if server == Server::Store && self.befalls(Fault::Broken, &whom) {
            let until = Instant::now() + self.draw(|chance| chance.millis(500..45_000));
            self.lock().broken_until.insert(call, until);
        }
        if self.is_away(server) {
            process.is_troubled_until(Instant::now());
            // Nobody learns at once that a server is gone.
            sleep(Duration::from_millis(50)).await;
            return Err(Obstacle::Away(format!("{server:?} is away")));
        }
        if self.lock().broken_until.get(&call).is_some_and(|&until| until > Instant::now()) {
            process.is_troubled_until(Instant::now());
            return Err(Obstacle::Broken("permission denied".into()));
        }
        if self.befalls(Fault::Refused, &whom) {
            process.is_troubled_until(Instant::now());
            return Err(Obstacle::Away("connection reset".into()));
        }
        if self.befalls(Fault::LostAnswer, &whom) {
            return Ok(Fate::AnswerLost);
        }
        if self.befalls(Fault::KilledAfter, &whom) {
            return Ok(Fate::CallerDies);
        }
        Ok(Fate::Answered)
    }

    /// A call took effect: whether the caller hears of it.
    pub(super) async fn after(&self, process: &Process, fate: Fate) -> Result<(), String> {
        if fate == Fate::CallerDies {
            self.kill(process);
        }
        self.travel().await;
        process.be_well().await;
        if fate == Fate::AnswerLost {
            process.is_troubled_until(Instant::now());
            return Err("connection closed".into());
        }
        Ok(())
    }

    /// Whether a server cannot be reached.
    pub(super) fn is_away(&self, server: Server) -> bool {
        self.lock().away_until.get(&server).is_some_and(|&until| until > Instant::now())
    }

    /// Waits until a server can be reached.
    pub(super) async fn wait_for(&self, server: Server) {
        loop {
            let until = self.lock().away_until.get(&server).copied();
            match until {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// Ends a process where it stands.
    pub(super) fn kill(&self, process: &Process) {
        self.tell(format_args!("{} dies", process.name()));
        process.died().cancel();
        let rites = std::mem::take(&mut *process.0.last_rites.lock().unwrap_or_else(PoisonError::into_inner));
        for rite in rites {
            rite();
        }
    }

    /// The way through the network.
    async fn travel(&self) {
        let time = self.draw(|chance| chance.millis(0..12));
        sleep(time).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who makes which call.
struct Caller<'a>(&'a Process, Call);

impl fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.name(), self.1)
    }
}

impl Caller<'_> {
    /// How often a fault befalls this caller, compared with others.
    fn weight(&self, fault: Fault) -> f64 {
        match fault {
            // A dispatcher has nothing to give back and ends of itself.
            Fault::Drain if self.0.name().contains("dispatcher") => 0.0,
            // Then it has something to give back; and a commit that is late for its lease is what the fence is for.
            Fault::Drain if self.1 == Call::Begin => 10.0,
            Fault::Hang if self.1 == Call::Commit => 10.0,
            _ => self.1.weight(),
        }
    }
}

impl State {
    fn strikes(&mut self, fault: Fault, weight: f64, whom: impl fmt::Display) -> bool {
        let rate = self.weather.get(&fault).copied().unwrap_or(0.0);
        // However much is at stake: what always fails never gets any further.
        let happens = self.chance.happens((rate * weight).min(0.3)) && Instant::now() < self.storm_until;
        if happens {
            *self.faults.entry(fault.as_str()).or_default() += 1;
            self.tell(format_args!("{}: {whom}", fault.as_str()));
        }
        happens
    }

    fn violated(&mut self, violation: Violation) {
        self.tell(format_args!("VIOLATION: {violation}"));
        self.violations.push(violation);
    }

    fn tell(&mut self, event: impl fmt::Display) {
        let at = Instant::now().duration_since(self.began).as_secs_f64();
        self.story.push(format!("{at:9.3} s  {event}"));
    }
}

impl Fault {
    /// The highest probability at each call. What ends a process or a server for long is rarer than what costs a call.
    fn worst_rate(self) -> f64 {
        match self {
            Self::Refused | Self::LostAnswer | Self::Slow | Self::PartialPut => 0.1,
            Self::Outage | Self::Broken | Self::Flush => 0.005,
            Self::KilledBefore | Self::KilledAfter | Self::Hang | Self::Drain | Self::Amnesia => 0.02,
            Self::CutConnection | Self::Blocked | Self::Unroutable => 0.05,
            Self::LostMessage
            | Self::DuplicatedMessage
            | Self::DelayedMessage
            | Self::OvertakingMessage
            | Self::Garbage
            | Self::LostConfirm
            | Self::LostDelivery
            | Self::DelayedDelivery
            | Self::LostAck => 0.3,
        }
    }
}
