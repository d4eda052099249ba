//! Computing, off the asynchronous threads.
//!
//! A job is a small part of a chunk. Threads take the most urgent job first, so an urgent chunk overtakes the
//! night's between two parts, and heartbeats are never starved by mathematics. A job that panics fails its
//! chunk and nobody else's.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use batch::{PerPriority, Priority};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads with a lane for each priority. They end when it is dropped.
pub(crate) struct Compute(Arc<Shared>);

/// The job panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("computing panicked: {0}")]
pub(crate) struct Panicked(String);

#[derive(Default)]
struct Shared {
    lanes: Mutex<Lanes>,
    changed: Condvar,
}

#[derive(Default)]
struct Lanes {
    jobs: PerPriority<VecDeque<Job>>,
    is_closed: bool,
}

impl Compute {
    /// Starts the threads.
    pub(crate) fn start(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || shared.work())
                .expect("the system has a thread left at start-up");
        }
        Self(shared)
    }

    /// Runs a job when it is the most urgent one.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (answer, answered) = oneshot::channel();
        self.0.push(
            priority,
            Box::new(move || {
                let result = catch_unwind(AssertUnwindSafe(job)).map_err(|panic| Panicked(text_of(&*panic)));
                // Nobody waits any more if the attempt was given up.
                let _ = answer.send(result);
            }),
        );
        answered.await.unwrap_or_else(|_| Err(Panicked("its thread is gone".into())))
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn push(&self, priority: Priority, job: Job) {
        self.lock().jobs[priority].push_back(job);
        self.changed.notify_one();
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut lanes = self.lock();
        loop {
            if let Some(job) = Priority::ALL.iter().find_map(|&priority| lanes.jobs[priority].pop_front()) {
                return Some(job);
            }
            if lanes.is_closed {
                return None;
            }
            lanes = self.changed.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
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

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_most_urgent_job_is_next() {
        let compute = Arc::new(Compute::start(1));
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
                compute.run(Priority::Normal, job).await
            }
        });
        has_started.await.unwrap();
        let waiting: Vec<_> = [Priority::Normal, Priority::High, Priority::Critical]
            .map(|priority| {
                let order = order.clone();
                compute.0.push(priority, Box::new(move || order.send(priority).unwrap()));
            })
            .into();
        assert_eq!(waiting.len(), 3);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();

        let took: Vec<_> = ordered.iter().take(3).collect();
        assert_eq!(took, Priority::ALL);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_thread_goes_on() {
        let compute = Compute::start(1);

        let panicked = compute.run(Priority::Normal, || -> u32 { panic!("customer 7") }).await;

        assert_eq!(panicked, Err(Panicked("customer 7".into())));
        assert_eq!(compute.run(Priority::Normal, || 7).await, Ok(7));
    }
}
