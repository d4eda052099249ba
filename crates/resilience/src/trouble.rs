//! What stands in a process's way: told once, and kept for whoever asks whether the process is ready.
//!
//! What fails is tried again, at a pace of its own, and each try fails with much the same words. The first of them is a
//! warning, or an error where somebody has to mend it; the others are for whoever debugs; that it goes again is told too.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that a process does again and again, and whether it goes. A clone is another handle to it.
#[derive(Clone, Debug)]
pub struct Trouble {
    what: &'static str,
    met: Arc<Mutex<Option<Met>>>,
}

/// It does not go at present.
#[derive(Debug)]
struct Met {
    reason: String,
    kind: Kind,
}

/// Whether it passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does, as far as is known.
    Passing,
    /// Somebody has to mend it.
    Lasting,
}

impl Trouble {
    /// Nothing is in the way of it, so far; `what` names what is done, as in "begin an attempt".
    pub fn new(what: &'static str) -> Self {
        Self { what, met: Arc::default() }
    }

    /// It did not go. Told the first time, and when it turns out that somebody has to mend it.
    pub fn met(&self, reason: impl Display, kind: Kind) {
        let (what, reason) = (self.what, reason.to_string());
        let mut met = self.lock();
        let is_told = met.as_ref().is_some_and(|before| before.kind == kind);
        match kind {
            _ if is_told => tracing::debug!(what, reason, "it still does not go"),
            Kind::Passing => tracing::warn!(what, reason, "it does not go, and is tried again"),
            Kind::Lasting => tracing::error!(what, reason, "it does not go until somebody mends this"),
        }
        *met = Some(Met { reason, kind });
    }

    /// It went.
    pub fn over(&self) {
        if self.lock().take().is_some() {
            tracing::info!(what = self.what, "it goes again");
        }
    }

    /// Why it does not go, if so.
    pub fn reason(&self) -> Option<String> {
        self.lock().as_ref().map(|met| format!("{}: {}", self.what, met.reason))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Met>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_reason_stands_until_it_goes() {
        let begin = Trouble::new("begin");
        let seen = begin.clone();

        begin.met("refused", Kind::Passing);
        begin.met("no such table", Kind::Lasting);
        let reason = seen.reason();
        begin.over();

        assert_eq!(reason.as_deref(), Some("begin: no such table"));
        assert_eq!(seen.reason(), None);
    }
}
