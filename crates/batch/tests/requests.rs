//! Any sequence of events, applied to one request as a store would, against a plain model of the same.

use std::time::Duration;

use batch::{
    Attempt, RequestEvent, RequestId, RequestRefusal, RequestSnapshot, RequestState, RetryPolicy, Verdict,
};
use jiff::Timestamp;
use proptest::prelude::*;

const MAX_FAILURES: u32 = 3;

fn policy() -> RetryPolicy {
    RetryPolicy { max_failures: MAX_FAILURES, ..RetryPolicy::default() }
}

/// What somebody does. An attempt is named by how many came after it, so that most names mean one.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A worker asks for it: it takes over what another has lost, and begins.
    Begin {
        worker: u8,
        is_repeat: bool,
        lease: i64,
    },
    Renew {
        back: i32,
        lease: i64,
    },
    Answer {
        back: i32,
    },
    Fail {
        back: i32,
    },
    GiveBack {
        back: i32,
    },
    Abandon,
    AskAgain {
        lasts: i64,
    },
    Wait {
        seconds: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let back = || prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(-1)];
    let begin = (0..3_u8, prop::bool::weighted(0.2), 1..30_i64);
    let step = prop_oneof![
        9 => begin.prop_map(|(worker, is_repeat, lease)| Step::Begin { worker, is_repeat, lease }),
        3 => (back(), 1..30_i64).prop_map(|(back, lease)| Step::Renew { back, lease }),
        2 => back().prop_map(|back| Step::Answer { back }),
        3 => back().prop_map(|back| Step::Fail { back }),
        2 => back().prop_map(|back| Step::GiveBack { back }),
        1 => Just(Step::Abandon),
        3 => (1..120_i64).prop_map(|lasts| Step::AskAgain { lasts }),
        7 => (1..30_i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..60)
}

/// A store in miniature: it asks [`RequestSnapshot::after`], and keeps what that says and who is at work.
struct Store {
    now: i64,
    request: RequestSnapshot,
    worker: Option<u8>,
}

impl Store {
    fn new() -> Self {
        Self { now: 1_000, request: RequestSnapshot::asked(RequestId(7), at(1_060)), worker: None }
    }

    fn named(&self, back: i32) -> Attempt {
        Attempt((self.request.attempt.0 - back).max(0))
    }

    fn take(&mut self, step: Step) -> Result<(), RequestRefusal> {
        let now = at(self.now);
        let event = match step {
            Step::Begin { worker, is_repeat, lease } => return self.begin(worker, is_repeat, lease),
            Step::Renew { back, lease } => {
                RequestEvent::Renewed { attempt: self.named(back), leased_until: at(self.now + lease) }
            }
            Step::Answer { back } => RequestEvent::Answered(self.named(back)),
            Step::Fail { back } => {
                RequestEvent::Failed(self.named(back), self.request.verdict(&policy(), now))
            }
            Step::GiveBack { back } => RequestEvent::GivenBack(self.named(back)),
            Step::Abandon => RequestEvent::Abandoned,
            Step::AskAgain { lasts } => RequestEvent::AskedAgain { expires_at: at(self.now + lasts) },
            Step::Wait { seconds } => {
                self.now += seconds;
                return Ok(());
            }
        };
        self.request = self.request.after(event, now)?;
        Ok(())
    }

    fn begin(&mut self, worker: u8, is_repeat: bool, lease: i64) -> Result<(), RequestRefusal> {
        let now = at(self.now);
        let is_over = self.request.leased_until.is_some_and(|until| until <= now);
        let is_own = self.worker == Some(worker) && (is_repeat || is_over);
        if !is_own {
            let lost = RequestEvent::Lost(self.request.verdict_of_loss(MAX_FAILURES, now));
            self.request = self.request.after(lost, now).unwrap_or(self.request);
        }
        let begun = RequestEvent::Begun { leased_until: at(self.now + lease), is_own };
        self.request = self.request.after(begun, now)?;
        self.worker = Some(worker);
        Ok(())
    }
}

/// The same in the plainest words: nothing but where the request is, how often it failed and until when it is good.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    place: Place,
    failures: u32,
    good_until: i64,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Waiting { due: Timestamp },
    Leased { attempt: i32, until: i64, worker: u8 },
    Answered,
    Failed,
    Abandoned,
}

impl Model {
    fn is_good(&self, now: i64) -> bool {
        now < self.good_until
    }

    fn failed(&self, due: Option<Timestamp>) -> Self {
        let place = due.map_or(Place::Failed, |due| Place::Waiting { due });
        Self { place, failures: self.failures + 1, ..*self }
    }

    /// Where the request goes; `None` where nothing happens.
    fn step(&self, step: Step, store: &Store) -> Option<Self> {
        let (now, latest) = (store.now, store.request.attempt.0);
        let stays = |place| Some(Self { place, ..*self });
        let holds = |back: i32| matches!(self.place, Place::Leased { attempt, .. } if attempt == (latest - back).max(0));
        match (step, &self.place) {
            (Step::Begin { worker, is_repeat, lease }, place) => {
                let leased = Place::Leased { attempt: latest + 1, until: now + lease, worker };
                match place {
                    _ if !self.is_good(now) => None,
                    Place::Waiting { due } => (*due <= at(now)).then(|| stays(leased))?,
                    Place::Leased { until, worker: other, .. } if *other == worker => {
                        (is_repeat || *until <= now).then(|| stays(leased))?
                    }
                    Place::Leased { until, .. } if *until <= now => {
                        let lost = self.failed((self.failures + 1 < MAX_FAILURES).then(|| at(now)));
                        let place = if lost.place == Place::Failed { Place::Failed } else { leased };
                        Some(Self { place, ..lost })
                    }
                    _ => None,
                }
            }
            (Step::Renew { back, lease }, &Place::Leased { attempt, worker, .. }) if holds(back) => {
                stays(Place::Leased { attempt, until: now + lease, worker })
            }
            (Step::Answer { back }, _) if holds(back) => stays(Place::Answered),
            (Step::GiveBack { back }, _) if holds(back) => {
                stays(Place::Waiting { due: Timestamp::UNIX_EPOCH })
            }
            (Step::Fail { back }, _) if holds(back) => {
                let due = match policy().verdict_of_request(RequestId(7), self.failures + 1, at(now)) {
                    Verdict::RetryAt(due) => Some(due).filter(|due| *due < at(self.good_until)),
                    Verdict::DeadLetter => None,
                };
                Some(self.failed(due))
            }
            (Step::Abandon, Place::Waiting { .. }) if self.is_good(now) => stays(Place::Abandoned),
            (Step::AskAgain { lasts }, place) => {
                let is_over = match place {
                    Place::Abandoned => true,
                    Place::Waiting { .. } => !self.is_good(now),
                    Place::Leased { until, .. } => !self.is_good(now) && *until <= now,
                    Place::Answered | Place::Failed => false,
                };
                let place = Place::Waiting { due: Timestamp::UNIX_EPOCH };
                is_over.then_some(Self { place, failures: 0, good_until: now + lasts })
            }
            _ => None,
        }
    }

    fn of(store: &Store) -> Self {
        let request = &store.request;
        let place = match request.state {
            RequestState::Waiting => {
                Place::Waiting { due: request.retry_at.unwrap_or(Timestamp::UNIX_EPOCH) }
            }
            RequestState::Leased => Place::Leased {
                attempt: request.attempt.0,
                until: request.leased_until.expect("what is leased has a lease").as_second(),
                worker: store.worker.expect("what is leased has a worker"),
            },
            RequestState::Answered => Place::Answered,
            RequestState::Failed => Place::Failed,
            RequestState::Abandoned => Place::Abandoned,
            RequestState::Expired => panic!("that is never written down"),
        };
        Self { place, failures: request.failures, good_until: request.expires_at.as_second() }
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
        let mut model = Model::of(&store);
        for step in steps {
            let expected = model.step(step, &store);

            let taken = store.take(step);

            // A begin may find nothing but that the last attempt was lost.
            let is_last_loss = matches!(step, Step::Begin { .. })
                && expected.as_ref().is_some_and(|after| after.place == Place::Failed);
            if !matches!(step, Step::Wait { .. }) {
                let is_taken = taken.is_ok() || is_last_loss;
                prop_assert_eq!(is_taken, expected.is_some(), "{:?} of {:?}: {:?}", step, model, taken);
            }
            model = expected.unwrap_or(model);
            prop_assert_eq!(Model::of(&store), model.clone());
        }
    }

    #[test]
    fn whatever_happens_the_invariants_hold(steps in steps()) {
        let mut store = Store::new();
        for step in steps {
            let (before, now) = (store.request, at(store.now));

            let taken = store.take(step);

            let (after, is_taken) = (store.request, taken.is_ok());
            // Attempts are counted one by one, by a begin alone, and never start anew.
            let is_begin = matches!(step, Step::Begin { .. }) && is_taken;
            prop_assert_eq!(after.attempt.0, before.attempt.0 + i32::from(is_begin));

            // No work begins on what is settled or abandoned or whose time is over.
            if is_begin {
                prop_assert!(before.state.is_open() && now < before.expires_at);
            }
            // What is answered or failed stays so, and only what somebody holds is answered.
            if matches!(before.state, RequestState::Answered | RequestState::Failed) {
                prop_assert_eq!(after, before);
            }
            if after.state == RequestState::Answered && before.state != RequestState::Answered {
                prop_assert_eq!(before.state, RequestState::Leased);
            }
            // A lease stands where somebody is at work, and a moment for a retry only where it waits for one.
            prop_assert_eq!(after.leased_until.is_some(), after.state == RequestState::Leased);
            prop_assert!(after.retry_at.is_none() || after.state == RequestState::Waiting);
            prop_assert!(after.retry_at.is_none_or(|due| due < after.expires_at));
            prop_assert!(after.failures <= MAX_FAILURES);

            // It is expired where nothing can happen to it any more but that it is asked again.
            let is_expired = after.state_at(at(store.now)) == RequestState::Expired;
            if is_expired {
                let event = RequestEvent::Begun { leased_until: Timestamp::MAX, is_own: true };
                prop_assert_eq!(after.after(event, at(store.now)), Err(RequestRefusal::Expired));
            }
        }
    }
}

#[test]
fn a_word_is_read_back_as_the_state_it_stands_for() {
    for state in RequestState::ALL {
        assert_eq!(state.as_str().parse(), Ok(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}
