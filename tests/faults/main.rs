//! Whole nights on real servers, with real processes, and something going wrong in each.
//!
//! Every night ends with the same question: does it hold every value, to the bit, that a night without the fault
//! holds ([`tests::Fleet::assert_exact`])? The tests take turns, because they restart the servers that they share.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bound;
mod chunks;
mod commands;
mod coordinators;
mod poison;
mod proofs;
mod readers;
mod requests;
mod servers;
mod workers;

use std::time::Duration;

use batch::RunId;
use tests::{Fleet, PATIENCE, Process, Program, eventually};

/// Chunks of 200 customers: the night is a hundred of them.
const SMALL: [&str; 2] = ["--chunk-customers", "200"];

/// How long a step that needs no server to start may take.
const SOON: Duration = Duration::from_secs(30);

async fn fleet() -> Fleet {
    Fleet::new(&program()).await
}

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_ltv-under-test"), env!("CARGO_TARGET_TMPDIR"))
}

/// Waits until a worker has a chunk under lease, and says which.
async fn leased_to(fleet: &Fleet, run: RunId, worker: &Process) -> i32 {
    let query = "
        select c.chunk_id
          from fleet.chunks c
          join fleet.attempts a using (run_id, chunk_id, attempt)
         where c.run_id = $1
           and c.state = 'leased'
           and a.outcome is null
           and starts_with(a.worker, $2)";
    let client = fleet.sql().await;
    eventually(PATIENCE, &format!("{} has a chunk", worker.name()), async || {
        let rows = client.query(query, &[&run.0, &worker.instances()]).await.unwrap();
        rows.first().map(|row| row.get(0))
    })
    .await
}

/// Waits until an attempt has one of these outcomes.
async fn outcome(fleet: &Fleet, run: RunId, chunk: i32, attempt: i32, outcome: &str) {
    let query = "
        select outcome is not distinct from $4
          from fleet.attempts
         where run_id = $1 and chunk_id = $2 and attempt = $3";
    let client = fleet.sql().await;
    eventually(PATIENCE, &format!("attempt {attempt} of chunk {chunk} is {outcome}"), async || {
        let row = client.query_opt(query, &[&run.0, &chunk, &attempt, &outcome]).await.unwrap()?;
        row.get::<_, bool>(0).then_some(())
    })
    .await;
}

/// Asserts that nothing that happened was charged to a chunk. A worker that comes back late takes back what it was
/// charged for, hence the patience.
async fn assert_nothing_was_charged(fleet: &Fleet, run: RunId) {
    eventually(SOON, "no attempt counts as failed or lost", async || {
        (fleet.attempts(run, &["failed", "lost"]).await == 0).then_some(())
    })
    .await;
}
