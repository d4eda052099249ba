//! A job of the publishing task: a message on its way out, and somebody waiting for what becomes of it.

use lapin::BasicProperties;
use tokio::sync::oneshot;

use super::connection::Link;
use crate::Error;
use crate::metrics::Target;

/// Is a message on its way out.
#[derive(Debug)]
pub(super) struct Frame {
    /// Names the call in errors: "publish chunk 3 of run 7".
    pub(super) what: String,
    pub(super) target: Target,
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
}

/// Is a message to publish, with the way back to who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) frame: Frame,
    pub(super) reply: oneshot::Sender<Result<(), Error>>,
}

impl Job {
    pub(super) fn refuse(self, link: &Link) {
        let error = link.refusal(&self.frame.what).unwrap_or_else(|| closed(&self.frame.what));
        let _ = self.reply.send(Err(error));
    }
}

/// The error of everything that is asked of a closed connection.
pub(super) fn closed(what: &str) -> Error {
    Link::Closed.refusal(what).expect("a closed link refuses everything")
}
