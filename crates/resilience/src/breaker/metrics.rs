//! What the breakers tell the outside: one gauge, two counters, labelled `dependency` and `role`.
//!
//! Every update looks the metric up again, so a breaker that was built before the recorder is installed reports
//! from its next change on. Install the recorder first and the gauge stands from the start.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::{Name, State};

const STATE: &str = "ltv_breaker_state";
const TRANSITIONS: &str = "ltv_breaker_transitions_total";
const REJECTIONS: &str = "ltv_breaker_rejections_total";

/// Describes the metrics to the recorder. Called once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(STATE, "state of the circuit breaker: 0 closed, 1 half-open, 2 open");
    describe_counter!(TRANSITIONS, Unit::Count, "changes of the circuit breaker's state");
    describe_counter!(REJECTIONS, Unit::Count, "calls that the circuit breaker refused");
}

pub(crate) fn state(name: Name, state: State) {
    gauge!(STATE, "dependency" => name.dependency, "role" => name.role).set(match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    });
}

pub(crate) fn transition(name: Name) {
    counter!(TRANSITIONS, "dependency" => name.dependency, "role" => name.role).increment(1);
}

pub(crate) fn rejection(name: Name) {
    counter!(REJECTIONS, "dependency" => name.dependency, "role" => name.role).increment(1);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, with_local_recorder,
    };

    use super::*;
    use crate::{Breaker, BreakerConfig, Mode};

    #[test]
    fn the_gauge_stands_from_the_start_and_every_change_and_refusal_is_counted() {
        let recorder = Memory::default();

        with_local_recorder(&recorder, || {
            let name = Name { dependency: "redis", role: "api" };
            let breaker = Breaker::new(name, BreakerConfig::default()).unwrap();
            assert_eq!(recorder.gauge(STATE), Some(0.0));

            breaker.set_mode(Mode::ForcedOpen);
            assert_eq!(recorder.gauge(STATE), Some(2.0));
            assert!(breaker.try_acquire().is_err());
            assert!(breaker.try_acquire().is_err());

            breaker.set_mode(Mode::Automatic);
            let _probe = breaker.try_acquire().unwrap();
            assert_eq!(recorder.gauge(STATE), Some(1.0));
        });

        assert_eq!(recorder.counter(TRANSITIONS), Some(2), "closed, open, half-open");
        assert_eq!(recorder.counter(REJECTIONS), Some(2));
    }

    /// Keeps metrics by what a scrape would show, for one breaker: `redis` for `api`.
    #[derive(Default)]
    struct Memory {
        metrics: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    }

    impl Memory {
        fn gauge(&self, metric: &str) -> Option<f64> {
            self.counter(metric).map(f64::from_bits)
        }

        fn counter(&self, metric: &str) -> Option<u64> {
            let shown = format!("{metric} dependency=redis role=api");
            self.metrics.lock().unwrap().get(&shown).map(|value| value.load(Ordering::SeqCst))
        }

        fn register(&self, key: &Key) -> Arc<AtomicU64> {
            let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
            let shown = key.name().to_owned() + &labels.collect::<String>();
            Arc::clone(self.metrics.lock().unwrap().entry(shown).or_default())
        }
    }

    impl Recorder for Memory {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.register(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.register(key))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}
