//! The harness of the tests that need more than one crate.
//!
//! Look first at [`Fleet`]: one test's world, with a database, queues and cache keys of its own, in which real
//! processes of the binary work through a small night. [`Fleet::assert_exact`] then compares everything that the
//! night left behind with a reference run that nobody disturbed. [`Stack`] says where the servers are and takes
//! them away; [`eventually`] is how a test waits.
//!
//! It knows the schema, because it looks where the product does not, and nothing of how the roles work.

mod base;
mod database;
mod exactness;
mod fleet;
pub mod poison;
mod process;
pub mod raw_amqp;
mod replica;
pub mod simulation;
mod stack;
mod watch;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use base::{BAD_CUSTOMERS, FIRST_CUSTOMER};
pub use database::Database;
pub use fleet::{AS_OF, Crew, Fleet};
pub use process::{Answer, Process, Program};
pub use replica::Replica;
pub use stack::{Alone, Outage, Stack};
pub use watch::Watch;

/// How long anything may take on a busy machine, the restart of a server included.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Makes a name that no other test uses, in this process or another.
pub fn unique(prefix: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Asks until there is an answer; panics with what was waited for if there is none within the limit.
pub async fn eventually<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Finishes asynchronous work from a `drop`, on a thread and a runtime of its own.
fn finish_in_drop(work: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime can be started").block_on(async {
            // Leaving something behind is no reason to hang; the stack is thrown away in the end.
            let _ = tokio::time::timeout(Duration::from_secs(20), work()).await;
        });
    });
    let _ = thread.join();
}
