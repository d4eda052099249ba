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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{AttemptId, Outcome, RunId};
use tokio::time::{Instant, sleep, sleep_until};

use super::call::{Call, Server};
use super::chance::Chance;
use super::fault::{Deaths, Fault, Faults};
use super::ledger::{Entry, Ledger};
use super::panics;
use super::process::Process;
use super::rule::{Rule, Violation};
use super::scene::LEASE;

/// How long ago a worker was last troubled at the earliest, if its lease runs out because of it: a lease, and the
/// longest pause between two looks at a store that did not answer.
const LONGEST_SILENCE: Duration = LEASE.saturating_add(Duration::from_secs(10));

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

    /// Says whether a fault befalls a call of somebody's while it takes effect, and notes it if so.
    pub(super) fn strikes_call(&self, fault: Fault, call: Call, whom: impl fmt::Display) -> bool {
        self.lock().strikes(fault, call.weight(), whom)
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

    /// Notes that the cache was emptied, or has forgotten what its readers compare with what they were told before.
    pub(super) fn flushed(&self) {
        self.lock().flushes += 1;
        self.evicted();
    }

    /// Notes that the cache has forgotten something.
    pub(super) fn evicted(&self) {
        self.lock().flushed_at = Some(Instant::now());
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
            process.drain();
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
        process.die();
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
