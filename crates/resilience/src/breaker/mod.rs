//! A circuit breaker: stops calling a dependency that fails or became slow, and finds out when it is back.
//!
//! **Terms.** A call is made under a *permit*, and ends with a *verdict*: success or failure, and slow or not. A
//! call whose permit is dropped without a verdict was *abandoned*. Verdicts are counted in a *window* of time
//! buckets. A *probe* is a call that is admitted in order to find out whether the dependency is back.
//!
//! **States.**
//!
//! ```text
//!            failure ratio or slow ratio reached,
//!            with at least minimum_calls in the window
//!   closed ──────────────────────────────────────────▶ open ◀─────────────────┐
//!     ▲                                                  │                    │ one failed
//!     │                                                  │ the open time is   │ or slow probe
//!     │       successes_to_close good probes             ▼ over, one asks     │
//!     └────────────────────────────────────────────── half-open ──────────────┘
//! ```
//!
//! Closed admits everything, open nothing, half-open at most `probes` calls at a time. Each change of state
//! starts a new *generation*. The open time grows with every opening by `open_factor` up to `open_max`, is then
//! drawn with jitter, and starts small again once the breaker has been closed for `forgive_after`. The state
//! stays *open* until somebody asks after the open time; nothing happens by itself, there is no background task.
//!
//! **Failure by failure.**
//!
//! - *The dependency fails*: the window fills with failures, the breaker opens, callers hear [`Open`] at once
//!   and workers stop in [`Breaker::ready`] before they take work, so no chunk loses an attempt to it.
//! - *It answers, but slowly*: a call longer than `slow_after` is slow, whatever its verdict, and enough of them
//!   open the breaker too. A slow probe does not close it.
//! - *It never answers*: then there is no verdict, and nothing to count. The call needs a limit
//!   ([`within`](crate::within)) inside the permit. A permit is for one call; work of our own does not belong
//!   under it, or the dependency is blamed for it.
//! - *It answers with a refusal* (a unique violation, not found): the dependency is well, [`Blame::Caller`].
//! - *A caller is cancelled, or panics*: the permit is dropped, returns its place among the probes, and counts
//!   as neither.
//! - *An old call ends late* (begun when closed, ending when half-open or closed again): its permit is of an
//!   earlier generation, and its verdict is not heard. Otherwise the slow remains of an outage would open a
//!   breaker that has just recovered.
//! - *Everybody waits for the same breaker*: the open time is jittered across processes, and `probes` bounds
//!   what one process sends; the rest wait until a place is free or the state changes.
//! - *It comes back only to fall again*: each opening in a row lasts longer, up to `open_max`.
//! - *Traffic is thin*: fewer than `minimum_calls` in the window never open the breaker, so one failure at night
//!   does not stop a role. The other side of it: two slots whose calls each time out after 5 s make four calls
//!   in ten seconds, so `minimum_calls` must be at most four for such a role, or its window longer.
//! - *A person wants it open or closed* (a drill, an emergency): [`Breaker::set_mode`]. What is forced ignores
//!   verdicts. Back to automatic, a breaker that was forced open probes first; one that was forced closed starts
//!   with an empty window.

mod config;
mod machine;
pub mod metrics;
mod permit;
mod window;

#[cfg(test)]
mod tests;

use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

pub use self::config::BreakerConfig;
pub use self::machine::{Mode, State};
pub use self::permit::Permit;

use self::machine::{Machine, Readiness, Refused};
use crate::config::InvalidConfig;
use crate::limit::Plain;

/// Guards the calls to one dependency by one role. A clone is another handle to the same breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    shared: Arc<Shared>,
}

impl Breaker {
    /// Makes a closed breaker, unless the configuration breaks a rule.
    pub fn new(name: Name, config: BreakerConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        metrics::state(name, State::Closed);
        Ok(Self {
            shared: Arc::new(Shared {
                name,
                machine: Mutex::new(Machine::new(config, Instant::now())),
                state: watch::Sender::new(State::Closed),
                eased: Notify::new(),
            }),
        })
    }

    /// Runs a call under a permit and counts its end.
    ///
    /// `blame` says whose fault an error is. A call that is refused is never polled, and its error is made from
    /// [`Open`], so that a seam's one error type comes out either way.
    ///
    /// ```
    /// # use resilience::{Blame, Breaker, BreakerConfig, Name, Open};
    /// #[derive(Debug, thiserror::Error)]
    /// enum StoreError {
    ///     #[error(transparent)]
    ///     Unavailable(#[from] Open),
    ///     #[error("connection closed")]
    ///     Closed,
    ///     #[error("run 7 exists")]
    ///     RunExists,
    /// }
    ///
    /// fn blame(error: &StoreError) -> Blame {
    ///     match error {
    ///         StoreError::Closed => Blame::Dependency,
    ///         StoreError::RunExists | StoreError::Unavailable(_) => Blame::Caller,
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let name = Name { dependency: "postgres", role: "worker" };
    /// let breaker = Breaker::new(name, BreakerConfig::default())?;
    ///
    /// let runs: u32 = breaker.call(async { Ok::<_, StoreError>(7) }, blame).await?;
    /// # assert_eq!(runs, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call<T, E: From<Open> + Display>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        blame: impl FnOnce(&E) -> Blame,
    ) -> Result<T, E> {
        let permit = self.try_acquire()?;
        let result = call.await;
        permit.record(result.as_ref().err().filter(|error| blame(error) == Blame::Dependency));
        result
    }

    /// Admits one call, or refuses it at once.
    pub fn try_acquire(&self) -> Result<Permit, Open> {
        self.acquire().map_err(|Refused { retry_after, reason }| {
            metrics::rejection(self.name());
            Open { name: self.name(), retry_after, reason }
        })
    }

    /// Waits until a call could be admitted: the breaker is closed, or a place for a probe is free.
    ///
    /// This is where a worker stops taking work while a dependency is sick. It takes nothing: somebody else may
    /// be quicker, and then [`try_acquire`](Self::try_acquire) refuses. Cancelling the wait is harmless.
    pub async fn ready(&self) {
        loop {
            // Made before the look: a `Notified` hears of every easing since it was made, so none is missed.
            let eased = self.shared.eased.notified();
            // Not inside the `match`, which would hold the lock while it waits.
            let readiness = self.shared.lock().readiness(Instant::now());
            match readiness {
                Readiness::Now => return,
                // Either way it looks again: a forced state may have replaced the open time meanwhile.
                Readiness::At(until) => drop(timeout_at(until, eased).await),
                Readiness::WhenEased => eased.await,
            }
        }
    }

    /// Waits until it is ready, then acquires; starts again when somebody else was quicker.
    pub async fn admit(&self) -> Permit {
        loop {
            self.ready().await;
            if let Ok(permit) = self.acquire() {
                return permit;
            }
        }
    }

    /// Says which state it is in.
    pub fn state(&self) -> State {
        self.shared.lock().state()
    }

    /// Follows the state. A follower sees the latest one, not every one that was passed through.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Says who decides the state.
    pub fn mode(&self) -> Mode {
        self.shared.lock().mode()
    }

    /// Forces it open or closed, or lets it decide again. Setting the mode it is in changes nothing.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.change(|machine, now| machine.set_mode(mode, now));
        self.shared.eased.notify_waiters();
    }

    /// Names the dependency and the role it stands between.
    pub fn name(&self) -> Name {
        self.shared.name
    }

    fn acquire(&self) -> Result<Permit, Refused> {
        self.shared.change(Machine::admit).map(|admission| Permit::new(Arc::clone(&self.shared), admission))
    }
}

/// Names a breaker by what it guards: one for each dependency and role. Both become metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    /// What is called, for example `postgres`.
    pub dependency: &'static str,
    /// Who calls, for example `worker`.
    pub role: &'static str,
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.dependency, self.role)
    }
}

/// Refuses a call, because the breaker is open or because all probes of a half-open one are under way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: circuit breaker open, next try in {}{}", Plain(*.retry_after), Because(.reason.as_deref()))]
pub struct Open {
    /// The breaker that refused.
    pub name: Name,
    /// When asking again makes sense: exact for an open breaker, a guess for a half-open or forced one.
    pub retry_after: Duration,
    /// How the dependency failed last, if it was a failure that opened the breaker.
    pub reason: Option<Arc<str>>,
}

/// A reason behind a sentence, if there is one.
struct Because<'a>(Option<&'a str>);

impl Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |reason| write!(f, ", since {reason}"))
    }
}

/// Says whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The dependency's: time-out, broken connection, overload. Counts as a failure.
    Dependency,
    /// The caller's: constraint violation, not found, bad request. The dependency answered; counts as a success.
    Caller,
}

/// What the handles and permits of one breaker have in common.
#[derive(Debug)]
struct Shared {
    name: Name,
    machine: Mutex<Machine>,
    state: watch::Sender<State>,
    /// Tells those who wait for a call to become possible to look again.
    eased: Notify,
}

impl Shared {
    /// Changes the machine and tells the outside what came of it.
    fn change<R>(&self, change: impl FnOnce(&mut Machine, Instant) -> R) -> R {
        let mut machine = self.lock();
        let before = machine.state();
        // Read under the lock, so that the machine never sees time go back.
        let now = Instant::now();
        let result = change(&mut machine, now);
        let after = machine.state();

        if before != after {
            // Gauge and watch under the lock as well: the last one written must be the state that holds.
            metrics::state(self.name, after);
            self.state.send_replace(after);
        }
        let report = (before != after).then(|| machine.report(now));
        drop(machine);

        if let Some(report) = report {
            metrics::transition(self.name);
            report.log(self.name);
        }
        result
    }

    /// A panic under the lock (in a metrics recorder, say) leaves counts that are at worst one off; better than
    /// a breaker that panics for ever after.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
