//! Whose messages a broker carries, and how those are read that it gives away.

use batch::{AttemptId, InstallationId};

use crate::Malformed;
use crate::wire::{Message, read_of_anybody};

/// How messages are read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Whose they are.
    pub(super) installation: InstallationId,
    /// Takes everybody's for its own, which is wrong.
    pub(super) believes_anybody: bool,
}

impl Reading {
    /// Reads one, as whoever is given it would.
    pub(super) fn read(self, body: &[u8]) -> Result<AttemptId, Malformed> {
        if self.believes_anybody {
            return read_of_anybody(body).map(|(_, message)| message);
        }
        AttemptId::decode(body, self.installation)
    }
}
