//! What goes with a run's messages, and what is recorded of them.

use batch::{AttemptId, RunId};

use super::Postgres;
use super::row::json;
use crate::{Publishing, Result};

impl Publishing for Postgres {
    async fn trace_of(&self, run: RunId) -> Result<Vec<(String, String)>> {
        const TRACE: &str = "select trace from fleet.runs where run_id = $1";
        self.short("read the trace of a run", async |client| {
            let row = client.query_opt(TRACE, &[&run.0]).await?;
            row.as_ref().map_or(Ok(Vec::new()), |row| json(row, "trace"))
        })
        .await
    }

    async fn mark_published(&self, run: RunId, chunks: &[AttemptId]) -> Result<()> {
        const MARK: &str = "
            with marked as (
                update fleet.chunks c
                   set state = 'published', published_at = now(), retry_at = null
                  from unnest($2::integer[], $3::integer[]) as sent (chunk_id, attempt)
                 where c.run_id = $1
                   and c.chunk_id = sent.chunk_id
                   and c.attempt = sent.attempt
                   and c.state in ('pending', 'published', 'retryable')
            )
            update fleet.runs
               set state = 'running', started_at = now()
             where run_id = $1
               and state = 'planned'";
        let of_run = chunks.iter().filter(|sent| sent.chunk.run == run);
        let (chunks, attempts): (Vec<i32>, Vec<i32>) =
            of_run.map(|sent| (sent.chunk.chunk.0, sent.attempt.0)).unzip();
        self.short("mark chunks published", async |client| {
            let mark = client.prepare_cached(MARK).await?;
            client.execute(&mark, &[&run.0, &chunks, &attempts]).await?;
            Ok(())
        })
        .await
    }
}
