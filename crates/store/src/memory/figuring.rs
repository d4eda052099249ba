//! Figures of segments, which nothing in memory asks for: no run is due for any, and none has any.

use batch::RunId;

use super::Memory;
use crate::Result;
use crate::figures::{Figure, Figured, Figuring, PastFigures, RunFigures, Summaries};

impl Figuring for Memory {
    async fn runs_without_figures(&self, _limit: u32) -> Result<Vec<RunId>> {
        Ok(Vec::new())
    }

    async fn compute_figures(&self, _run: RunId) -> Result<Figured> {
        Ok(Figured::Done)
    }
}

impl Summaries for Memory {
    async fn figures(&self, _run: RunId) -> Result<Option<RunFigures>> {
        Ok(None)
    }

    async fn latest_figures(&self) -> Result<Option<RunFigures>> {
        Ok(None)
    }

    async fn past_figures(&self, _of: &Figure, _limit: u32, _with_partial: bool) -> Result<Vec<PastFigures>> {
        Ok(Vec::new())
    }
}
