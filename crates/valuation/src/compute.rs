//! Computing, off the asynchronous threads.
//!
//! A job is a small part of a chunk or a request. Threads take the job whose turn it is ([`batch::TurnPolicy`]), so what
//! is urgent overtakes the night between two parts, the night is overtaken for so long and no longer, and heartbeats are
//! never starved by mathematics. A job that panics fails its chunk or request and nobody else's.
//!
//! A simulation computes in place: threads of its own have a time of their own, and no two nights would be the same.

use std::any::Any;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use batch::Turn;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Urgency;

type Job = Box<dyn FnOnce() + Send>;

/// Where customers are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeOn {
    /// On so many threads of its own, each part when it is its turn.
    Threads(NonZeroUsize),
    /// Within the task that asks, in the order of asking: for a simulation, which is to be repeatable.
    TheCaller,
}

/// A few threads that take the job whose turn it is, which end when it is dropped; or the caller.
pub(crate) struct Compute(Option<Arc<Shared>>);

/// The job panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("computing panicked: {0}")]
pub struct Panicked(String);

struct Shared {
    epoch: Instant,
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    /// In the order of their turns; of two at once the one that came first.
    waiting: BTreeMap<(Turn, u64), Job>,
    last_number: u64,
    is_closed: bool,
}

impl Compute {
    /// Starts the threads.
    pub(crate) fn start(on: ComputeOn) -> Self {
        let ComputeOn::Threads(threads) = on else { return Self(None) };
        let shared =
            Arc::new(Shared { epoch: Instant::now(), jobs: Mutex::default(), changed: Condvar::new() });
        for number in 0..threads.get() {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || shared.work())
                .expect("the system has a thread left at start-up");
        }
        Self(Some(shared))
    }

    /// Runs a job when it is its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let job = move || catch_unwind(AssertUnwindSafe(job)).map_err(|panic| Panicked(text_of(&*panic)));
        let Some(shared) = &self.0 else { return job() };
        let (answer, answered) = oneshot::channel();
        shared.push(
            &urgency,
            Box::new(move || {
                let result = job();
                // Nobody waits any more if the attempt was given up.
                let _ = answer.send(result);
            }),
        );
        answered.await.unwrap_or_else(|_| Err(Panicked("its thread is gone".into())))
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.lock().is_closed = true;
            shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn push(&self, urgency: &Urgency, job: Job) {
        let turn = urgency.turn(self.epoch);
        let mut jobs = self.lock();
        jobs.last_number += 1;
        let number = jobs.last_number;
        jobs.waiting.insert((turn, number), job);
        drop(jobs);
        self.changed.notify_one();
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if let Some((_, job)) = jobs.waiting.pop_first() {
                return Some(job);
            }
            if jobs.is_closed {
                return None;
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use batch::Priority;

    use super::*;

    const ONE_THREAD: ComputeOn = ComputeOn::Threads(NonZeroUsize::MIN);

    #[tokio::test(flavor = "multi_thread")]
    async fn of_jobs_that_came_at_once_the_most_urgent_is_next() {
        let compute = Arc::new(Compute::start(ONE_THREAD));
        let (release, released) = mpsc::channel::<()>();
        let (order, ordered) = mpsc::channel();
        let (started, has_started) = oneshot::channel();

        let busy = tokio::spawn({
            let compute = Arc::clone(&compute);
            async move {
                let job = move || {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                };
                compute.run(Urgency::now(Priority::Normal), job).await
            }
        });
        has_started.await.unwrap();
        let at_once = Urgency::now(Priority::Normal);
        let waiting: Vec<_> = [Priority::Normal, Priority::High, Priority::Critical]
            .map(|priority| {
                let order = order.clone();
                let job = Box::new(move || order.send(priority).unwrap());
                compute.0.as_ref().unwrap().push(&Urgency { priority, ..at_once }, job);
            })
            .into();
        assert_eq!(waiting.len(), 3);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();

        let took: Vec<_> = ordered.iter().take(3).collect();
        assert_eq!(took, Priority::ALL);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_computing_goes_on() {
        for on in [ONE_THREAD, ComputeOn::TheCaller] {
            let compute = Compute::start(on);

            let panicked = compute.run(at_any_time(), || -> u32 { panic!("customer 7") }).await;

            assert_eq!(panicked, Err(Panicked("customer 7".into())), "{on:?}");
            assert_eq!(compute.run(at_any_time(), || 7).await, Ok(7), "{on:?}");
        }
    }

    fn at_any_time() -> Urgency {
        Urgency::now(Priority::Normal)
    }
}
