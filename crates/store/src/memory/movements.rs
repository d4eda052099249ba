//! No movements are kept in memory: a night in one process has no run before it.

use batch::RunId;

use super::Memory;
use crate::Result;
use crate::movement::{Moves, RunMovements};

impl Moves for Memory {
    async fn movements(&self, _run: RunId) -> Result<Option<RunMovements>> {
        Ok(None)
    }
}
