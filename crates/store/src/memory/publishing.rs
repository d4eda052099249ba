//! What goes with a run's messages, and what is recorded of them.

use batch::{AttemptId, ChunkEvent, RunEvent, RunId};

use super::Memory;
use crate::{Publishing, Result};

impl Publishing for Memory {
    async fn trace_of(&self, run: RunId) -> Result<Vec<(String, String)>> {
        self.call(|rows, _| Ok(rows.run(run).map(|run| run.trace.clone()).unwrap_or_default())).await
    }

    async fn mark_published(&self, run: RunId, chunks: &[AttemptId]) -> Result<()> {
        self.call(|rows, now| {
            for &AttemptId { chunk, attempt } in chunks.iter().filter(|sent| sent.chunk.run == run) {
                rows.mutations.hear_of_message(chunk, attempt);
                // What is refused has moved on since.
                let _ = rows.take(chunk, ChunkEvent::Published(attempt), now, None);
            }
            if let Some(run) = rows.run_mut(run) {
                run.state = run.state.after(RunEvent::Published).unwrap_or(run.state);
            }
            Ok(())
        })
        .await
    }
}
