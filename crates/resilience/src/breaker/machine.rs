//! The states and what moves them: pure decisions about moments that are passed in. See the parent module.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::window::Window;
use super::{BreakerConfig, Name};

/// Is what a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Admits every call.
    Closed,
    /// Admits a few probes at a time.
    HalfOpen,
    /// Admits nothing.
    Open,
}

/// Says who decides the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The verdicts do.
    Automatic,
    /// A person did: open, whatever the verdicts.
    ForcedOpen,
    /// A person did: closed, whatever the verdicts.
    ForcedClosed,
}

#[derive(Debug)]
pub(super) struct Machine {
    config: BreakerConfig,
    phase: Phase,
    /// Counts the changes of phase. A verdict is heard only in the generation its call was admitted in.
    generation: u64,
    window: Window,
    /// Openings in a row, without a closed time of `forgive_after` between them.
    openings: u32,
    /// How the dependency failed last, since the breaker was closed.
    reason: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed { since: Instant },
    Open { until: Option<Instant>, cause: Cause },
    HalfOpen { under_way: u32, successes: u32 },
    ForcedOpen,
    ForcedClosed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Admission {
    generation: u64,
    at: Instant,
}

#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) retry_after: Duration,
    pub(super) reason: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
    Abandoned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Now,
    At(Instant),
    WhenEased,
}

impl Machine {
    pub(super) fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            config,
            phase: Phase::Closed { since: now },
            generation: 0,
            window: Window::new(now, config.buckets, config.bucket),
            openings: 0,
            reason: None,
        }
    }

    pub(super) fn admit(&mut self, now: Instant) -> Result<Admission, Refused> {
        match self.phase {
            Phase::Closed { .. } | Phase::ForcedClosed => {}
            Phase::Open { until, .. } if has_passed(until, now) => {
                self.enter(Phase::HalfOpen { under_way: 1, successes: 0 });
            }
            Phase::HalfOpen { under_way, successes } if under_way < self.config.probes => {
                self.phase = Phase::HalfOpen { under_way: under_way + 1, successes };
            }
            Phase::Open { until, .. } => {
                let retry_after = until.map_or(self.config.open_max, |until| until - now);
                return Err(self.refused(retry_after));
            }
            // A probe's end cannot be known; the first open time is the scale on which it is worth asking.
            Phase::HalfOpen { .. } => return Err(self.refused(self.config.open_for)),
            Phase::ForcedOpen => return Err(self.refused(self.config.open_max)),
        }
        Ok(Admission { generation: self.generation, at: now })
    }

    fn refused(&self, retry_after: Duration) -> Refused {
        Refused { retry_after, reason: self.reason.clone() }
    }

    /// Ends a call, with what the dependency failed with. Says whether those who wait should look again: a probe's place is free, or its verdict
    /// changed the state.
    pub(super) fn settle(
        &mut self,
        admission: Admission,
        verdict: Verdict,
        reason: Option<Arc<str>>,
        now: Instant,
    ) -> bool {
        if admission.generation != self.generation {
            return false;
        }
        if reason.is_some() {
            self.reason = reason;
        }
        let slow = now.saturating_duration_since(admission.at) > self.config.slow_after;
        match self.phase {
            Phase::Closed { since } => {
                self.count(verdict, slow, since, now);
                false
            }
            Phase::HalfOpen { under_way, successes } => {
                self.judge(verdict, slow, under_way - 1, successes, now);
                true
            }
            // Open admits nothing, and what is forced ignores verdicts.
            Phase::Open { .. } | Phase::ForcedOpen | Phase::ForcedClosed => false,
        }
    }

    pub(super) fn readiness(&self, now: Instant) -> Readiness {
        match self.phase {
            Phase::Closed { .. } | Phase::ForcedClosed => Readiness::Now,
            Phase::Open { until, .. } if has_passed(until, now) => Readiness::Now,
            Phase::Open { until, .. } => until.map_or(Readiness::WhenEased, Readiness::At),
            Phase::HalfOpen { under_way, .. } if under_way < self.config.probes => Readiness::Now,
            Phase::HalfOpen { .. } | Phase::ForcedOpen => Readiness::WhenEased,
        }
    }

    pub(super) fn set_mode(&mut self, mode: Mode, now: Instant) {
        match (mode, self.mode()) {
            (Mode::ForcedOpen, Mode::Automatic | Mode::ForcedClosed) => self.enter(Phase::ForcedOpen),
            (Mode::ForcedClosed, Mode::Automatic | Mode::ForcedOpen) => self.enter(Phase::ForcedClosed),
            // A person had a reason to open it; whether the reason is gone, a probe finds out.
            (Mode::Automatic, Mode::ForcedOpen) => {
                self.enter(Phase::Open { until: Some(now), cause: Cause::Forced });
            }
            (Mode::Automatic, Mode::ForcedClosed) => self.close(now),
            (Mode::Automatic, Mode::Automatic)
            | (Mode::ForcedOpen, Mode::ForcedOpen)
            | (Mode::ForcedClosed, Mode::ForcedClosed) => {}
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } | Phase::ForcedClosed => State::Closed,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Open { .. } | Phase::ForcedOpen => State::Open,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        match self.phase {
            Phase::ForcedOpen => Mode::ForcedOpen,
            Phase::ForcedClosed => Mode::ForcedClosed,
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => Mode::Automatic,
        }
    }

    pub(super) fn report(&self, now: Instant) -> Report {
        match self.phase {
            Phase::Closed { .. } => Report::Closed { forced: false },
            Phase::ForcedClosed => Report::Closed { forced: true },
            Phase::HalfOpen { .. } => Report::HalfOpen,
            Phase::Open { until, cause } => Report::Open {
                cause,
                reason: self.reason.clone(),
                open_time: until.map(|until| until.saturating_duration_since(now)),
            },
            Phase::ForcedOpen => Report::Open { cause: Cause::Forced, reason: None, open_time: None },
        }
    }

    /// Counts a verdict of a closed breaker.
    fn count(&mut self, verdict: Verdict, slow: bool, since: Instant, now: Instant) {
        if verdict == Verdict::Abandoned {
            return;
        }
        self.window.record(now, verdict == Verdict::Failure, slow);
        if let Some(cause) = self.trip(now) {
            if now.saturating_duration_since(since) >= self.config.forgive_after {
                self.openings = 0;
            }
            self.open(cause, now);
        }
    }

    /// Judges the verdict of a probe, with those still under way and the successes before it.
    fn judge(&mut self, verdict: Verdict, slow: bool, under_way: u32, successes: u32, now: Instant) {
        match verdict {
            Verdict::Abandoned => self.phase = Phase::HalfOpen { under_way, successes },
            Verdict::Failure => self.open(Cause::FailedProbe, now),
            Verdict::Success if slow => self.open(Cause::SlowProbe, now),
            Verdict::Success if successes + 1 >= self.config.successes_to_close => self.close(now),
            Verdict::Success => self.phase = Phase::HalfOpen { under_way, successes: successes + 1 },
        }
    }

    fn trip(&self, now: Instant) -> Option<Cause> {
        let counts = self.window.counts(now);
        let reached = |part: u32, ratio: f64| f64::from(part) >= ratio * f64::from(counts.calls);
        if counts.calls < self.config.minimum_calls {
            None
        } else if reached(counts.failures, self.config.failure_ratio) {
            Some(Cause::Failures { failures: counts.failures, calls: counts.calls })
        } else if reached(counts.slow, self.config.slow_ratio) {
            Some(Cause::SlowCalls { slow: counts.slow, calls: counts.calls })
        } else {
            None
        }
    }

    fn open(&mut self, cause: Cause, now: Instant) {
        self.openings = self.openings.saturating_add(1);
        let open_time = self.config.jitter.draw(self.config.open_time(self.openings));
        self.enter(Phase::Open { until: now.checked_add(open_time), cause });
    }

    fn close(&mut self, now: Instant) {
        self.reason = None;
        self.window.clear();
        self.enter(Phase::Closed { since: now });
    }

    fn enter(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }
}

/// An end beyond the clock's range never comes.
fn has_passed(until: Option<Instant>, now: Instant) -> bool {
    until.is_some_and(|until| until <= now)
}

/// Why a breaker opened, as the log says it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    Failures { failures: u32, calls: u32 },
    SlowCalls { slow: u32, calls: u32 },
    FailedProbe,
    SlowProbe,
    Forced,
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { failures, calls } => write!(f, "{failures} of {calls} calls failed"),
            Self::SlowCalls { slow, calls } => write!(f, "{slow} of {calls} calls were slow"),
            Self::FailedProbe => f.write_str("a probe failed"),
            Self::SlowProbe => f.write_str("a probe was slow"),
            Self::Forced => f.write_str("forced by a person"),
        }
    }
}

/// What an operator is told about a transition.
#[derive(Debug, Clone)]
pub(super) enum Report {
    Closed { forced: bool },
    HalfOpen,
    Open { cause: Cause, reason: Option<Arc<str>>, open_time: Option<Duration> },
}

impl Report {
    pub(super) fn log(self, Name { dependency, role }: Name) {
        match self {
            Self::Closed { forced } => tracing::info!(dependency, role, forced, "circuit breaker closed"),
            Self::HalfOpen => tracing::info!(dependency, role, "circuit breaker half-open, probing"),
            Self::Open { cause, reason, open_time } => {
                let open_ms = open_time.map(|time| time.as_millis() as u64);
                tracing::warn!(dependency, role, %cause, reason = reason.as_deref(), open_ms, "circuit breaker open");
            }
        }
    }
}
