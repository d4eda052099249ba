//! Random histories of calls, waits and drills: the breaker must do what a plain model of its states does.
//!
//! The model is slow and obvious where the breaker is fast: it keeps every verdict with its time instead of
//! buckets, and finds the probes under way by looking at the permits instead of counting them.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use resilience::{Breaker, BreakerConfig, Jitter, Mode, Name, Permit, State};

#[derive(Debug, Clone)]
enum Step {
    Acquire,
    End(Index, End),
    Wait(Ms),
    SetMode(Mode),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Success,
    Failure,
    Abandoned,
}

type Ms = u64;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_does_what_the_model_does(config in configs(), steps in prop::collection::vec(steps(), 1..120)) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime needs nothing from outside")
            .block_on(follow(config, steps))?;
    }
}

/// Takes every step with both and compares all that can be seen.
async fn follow(config: BreakerConfig, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let breaker = Breaker::new(Name { dependency: "postgres", role: "worker" }, config)
        .expect("configs() makes valid ones");
    let mut model = Model::new(config);
    let mut permits: Vec<Permit> = Vec::new();

    for step in steps {
        match step {
            Step::Acquire => {
                let got = breaker.try_acquire().map_err(|open| open.retry_after.as_millis() as Ms);
                let expected = model.acquire();
                prop_assert_eq!(got.as_ref().map(drop).map_err(|ms| *ms), expected);
                permits.extend(got);
            }
            Step::End(_, _) if permits.is_empty() => {}
            Step::End(which, end) => {
                let which = which.index(permits.len());
                model.end(which, end);
                match (permits.remove(which), end) {
                    (permit, End::Success) => permit.success(),
                    (permit, End::Failure) => permit.failure("it is down"),
                    (permit, End::Abandoned) => drop(permit),
                }
            }
            Step::Wait(ms) => {
                model.now += ms;
                tokio::time::advance(Duration::from_millis(ms)).await;
            }
            Step::SetMode(mode) => {
                model.set_mode(mode);
                breaker.set_mode(mode);
            }
        }
        prop_assert_eq!(breaker.state(), model.state());
        prop_assert_eq!(*breaker.watch().borrow(), model.state());
        prop_assert_eq!(breaker.mode(), model.mode());
        prop_assert_eq!(is_ready(&breaker), model.may_enter().is_ok());
    }
    Ok(())
}

fn is_ready(breaker: &Breaker) -> bool {
    pin!(breaker.ready()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

struct Model {
    config: BreakerConfig,
    now: Ms,
    phase: Phase,
    /// How often the phase changed.
    phases: u32,
    /// All permits that have not ended: the phase they are from, and since when.
    permits: Vec<(u32, Ms)>,
    /// All verdicts of the present closed phase.
    verdicts: Vec<(Ms, End, bool)>,
    openings: u32,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed { since: Ms },
    Open { until: Ms },
    HalfOpen { successes: u32 },
    Forced(State),
}

impl Model {
    fn new(config: BreakerConfig) -> Self {
        let phase = Phase::Closed { since: 0 };
        Self { config, now: 0, phase, phases: 0, permits: vec![], verdicts: vec![], openings: 0 }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
            Phase::Forced(state) => state,
        }
    }

    fn mode(&self) -> Mode {
        match self.phase {
            Phase::Forced(State::Open) => Mode::ForcedOpen,
            Phase::Forced(_) => Mode::ForcedClosed,
            _ => Mode::Automatic,
        }
    }

    fn may_enter(&self) -> Result<(), Ms> {
        let probes = self.permits.iter().filter(|(phase, _)| *phase == self.phases).count();
        match self.phase {
            Phase::Forced(State::Open) => Err(ms(self.config.open_max)),
            Phase::Open { until } if self.now < until => Err(until - self.now),
            Phase::HalfOpen { .. } if probes >= self.config.probes as usize => Err(ms(self.config.open_for)),
            _ => Ok(()),
        }
    }

    fn acquire(&mut self) -> Result<(), Ms> {
        self.may_enter()?;
        if let Phase::Open { .. } = self.phase {
            self.enter(Phase::HalfOpen { successes: 0 });
        }
        self.permits.push((self.phases, self.now));
        Ok(())
    }

    fn end(&mut self, which: usize, end: End) {
        let (phase, since) = self.permits.remove(which);
        if phase != self.phases || end == End::Abandoned {
            return;
        }
        let slow = self.now - since > ms(self.config.slow_after);
        match self.phase {
            Phase::Closed { since } => {
                self.verdicts.push((self.now, end, slow));
                if self.must_open() {
                    if self.now - since >= ms(self.config.forgive_after) {
                        self.openings = 0;
                    }
                    self.open();
                }
            }
            Phase::HalfOpen { .. } if end == End::Failure || slow => self.open(),
            Phase::HalfOpen { successes } if successes + 1 == self.config.successes_to_close => self.close(),
            Phase::HalfOpen { successes } => self.phase = Phase::HalfOpen { successes: successes + 1 },
            Phase::Open { .. } | Phase::Forced(_) => {}
        }
    }

    fn must_open(&self) -> bool {
        let bucket = |at: Ms| at / ms(self.config.bucket);
        let in_window = |at: Ms| bucket(self.now) - bucket(at) < self.config.buckets as Ms;
        let recent: Vec<_> = self.verdicts.iter().filter(|(at, _, _)| in_window(*at)).collect();
        let calls = recent.len() as f64;
        let failures = recent.iter().filter(|(_, end, _)| *end == End::Failure).count() as f64;
        let slow = recent.iter().filter(|(_, _, slow)| *slow).count() as f64;

        calls >= f64::from(self.config.minimum_calls)
            && (failures / calls >= self.config.failure_ratio || slow / calls >= self.config.slow_ratio)
    }

    fn set_mode(&mut self, mode: Mode) {
        if mode == self.mode() {
            return;
        }
        match mode {
            Mode::ForcedOpen => self.enter(Phase::Forced(State::Open)),
            Mode::ForcedClosed => self.enter(Phase::Forced(State::Closed)),
            Mode::Automatic if self.state() == State::Open => self.enter(Phase::Open { until: self.now }),
            Mode::Automatic => self.close(),
        }
    }

    fn open(&mut self) {
        self.openings += 1;
        let mut open_time = ms(self.config.open_for);
        for _ in 1..self.openings {
            open_time = (open_time * 2).min(ms(self.config.open_max));
        }
        self.enter(Phase::Open { until: self.now + open_time });
    }

    fn close(&mut self) {
        self.verdicts.clear();
        self.enter(Phase::Closed { since: self.now });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phases += 1;
    }
}

fn ms(duration: Duration) -> Ms {
    duration.as_millis() as Ms
}

fn steps() -> impl Strategy<Value = Step> {
    let end = select(&[End::Success, End::Success, End::Failure, End::Abandoned][..]);
    let wait = select(&[50, 100, 250, 500, 1_000, 2_500, 6_000][..]);
    let mode = select(&[Mode::Automatic, Mode::Automatic, Mode::ForcedOpen, Mode::ForcedClosed][..]);
    prop_oneof![
        12 => Just(Step::Acquire),
        10 => (any::<Index>(), end).prop_map(|(which, end)| Step::End(which, end)),
        5 => wait.prop_map(Step::Wait),
        1 => mode.prop_map(Step::SetMode),
    ]
}

fn configs() -> impl Strategy<Value = BreakerConfig> {
    // Ratios that are exact in binary, so that model and breaker may compare in different ways.
    let ratio = || select(&[0.25, 0.5, 0.75, 1.0][..]);
    (1_usize..4, 1_u32..5, ratio(), ratio(), 1_u32..4, 1_u32..4).prop_map(
        |(buckets, minimum_calls, failure_ratio, slow_ratio, probes, successes_to_close)| BreakerConfig {
            buckets,
            bucket: Duration::from_secs(1),
            minimum_calls,
            failure_ratio,
            slow_after: Duration::from_millis(400),
            slow_ratio,
            probes,
            successes_to_close,
            open_for: Duration::from_millis(500),
            open_factor: 2.0,
            open_max: Duration::from_millis(1_500),
            jitter: Jitter::None,
            forgive_after: Duration::from_secs(5),
        },
    )
}
