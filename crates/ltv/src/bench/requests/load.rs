//! Load that does not wait for answers: each question is asked when its time has come, whatever became of those before
//! it, and how long it took counts from then. What a server that stands still holds up is counted as held up.

use std::future::Future;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Times are counted up to this one.
const LONGEST: Duration = Duration::from_mins(10);

/// How long answers took.
pub(super) struct Times(Histogram<u64>);

/// Times in milliseconds.
#[expect(clippy::struct_field_names, reason = "the names are the document's, where each tells its unit")]
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) max_ms: f64,
}

impl Times {
    pub(super) fn new() -> Self {
        let longest = LONGEST.as_micros().try_into().expect("ten minutes are not long");
        Self(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are in order"))
    }

    pub(super) fn record(&mut self, took: Duration) {
        self.0.saturating_record(took.as_micros().try_into().unwrap_or(u64::MAX));
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        Quantiles {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.0.max() as f64 / 1_000.0,
        }
    }
}

/// Asks `rate` questions a second, evenly, until `stop` says so; gives what became of each, and how long it took from
/// the moment that it was due.
pub(super) async fn open_loop<Q, A, F>(
    rate: u32,
    mut questions: impl Iterator<Item = Q> + Send + 'static,
    stop: impl Fn(Duration) -> bool + Send + 'static,
    ask: impl Fn(Q) -> F,
) -> anyhow::Result<Vec<(Duration, A)>>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    let (sender, mut due) = mpsc::unbounded_channel();
    // A thread of its own, since a runtime's timers go by milliseconds.
    let clock = thread::Builder::new().name("load".into()).spawn(move || {
        let begin = Instant::now();
        for number in 0_u32.. {
            let offset = Duration::from_secs(1) * number / rate;
            thread::sleep(offset.saturating_sub(begin.elapsed()));
            if stop(offset)
                || questions.next().is_none_or(|question| sender.send((begin + offset, question)).is_err())
            {
                break;
            }
        }
    })?;
    let mut asked = JoinSet::new();
    let mut answered = Vec::new();
    loop {
        tokio::select! {
            next = due.recv() => match next {
                Some((due, question)) => {
                    let answer = ask(question);
                    asked.spawn(async move {
                        let answer = answer.await;
                        (due.elapsed(), answer)
                    });
                }
                None => break,
            },
            Some(one) = asked.join_next() => answered.push(one?),
        }
    }
    while let Some(one) = asked.join_next().await {
        answered.push(one?);
    }
    anyhow::ensure!(clock.join().is_ok(), "the clock of the load panicked");
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty milliseconds an answer, one at a time: of ten that are due within ten the last has waited for all.
    #[tokio::test]
    async fn what_a_standstill_holds_up_counts_from_when_it_was_due() {
        let turn = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        let ask = move |_| {
            let turn = turn.clone();
            async move {
                let _turn = turn.acquire_owned().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answered = open_loop(1_000, 0..10, |_| false, ask).await.unwrap();
        let mut times = Times::new();
        for (took, ()) in &answered {
            times.record(*took);
        }
        assert_eq!(answered.len(), 10);
        assert!(times.quantiles().max_ms >= 180.0, "{:?}", times.quantiles());
    }
}
