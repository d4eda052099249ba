//! The store's metrics, in one place.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::Error;

const CALL_SECONDS: &str = "ltv_store_call_seconds";
const ERRORS: &str = "ltv_store_errors_total";

/// Tells the recorder what the store's metrics mean.
pub fn describe() {
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "Time of a call to the store, by call");
    describe_counter!(ERRORS, Unit::Count, "Calls to the store that failed, by call and kind");
}

pub(crate) fn called(call: &'static str, took: Duration) {
    histogram!(CALL_SECONDS, "call" => call).record(took.as_secs_f64());
}

pub(crate) fn failed(call: &'static str, error: &Error) {
    counter!(ERRORS, "call" => call, "kind" => error.kind()).increment(1);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, with_local_recorder,
    };

    use super::*;

    /// So that an alarm blames the data for what is wrong with the data, and for nothing else.
    #[test]
    fn what_somebody_has_to_mend_is_not_counted_as_the_datas_fault() {
        let recorder = Counted::default();
        let (what, reason) = ("read".to_owned(), "for a reason".to_owned());

        with_local_recorder(&recorder, || {
            failed("read", &Error::Unavailable { what: what.clone(), reason: reason.clone() });
            failed("read", &Error::Broken { what: what.clone(), reason: reason.clone() });
            failed("read", &Error::Invalid { what, reason });
        });

        let counted = recorder.0.into_inner().unwrap();
        let expected = ["unavailable", "broken", "invalid"];
        assert_eq!(counted, expected.map(|kind| format!("{ERRORS} call=read kind={kind}")));
    }

    /// The counters that were asked for, by what a scrape would show.
    #[derive(Default)]
    struct Counted(Mutex<Vec<String>>);

    impl Recorder for Counted {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
            self.0.lock().unwrap().push(key.name().to_owned() + &labels.collect::<String>());
            Counter::noop()
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}
