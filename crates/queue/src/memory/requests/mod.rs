//! Requests and replies in memory, as one client sees them.

mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use batch::{Priority, RequestId};
use tokio::sync::Notify;

pub(super) use state::{Around, RequestQueue};

use self::state::{RequesterId, ServerId, Tag};
use super::state::End;
use super::{Memory, PAUSE, at};
use crate::dead_letters::no_chunk;
use crate::dead_letters::shortened;
use crate::metrics::{self, Target};
use crate::waiters::Waiters;
use crate::{
    Acked, Asked, Consumer, DeadMessage, Delivery, Error, Malformed, Message as _, OutgoingRequest, Replied,
    Requester, Requests, TraceContext, Waiting,
};

/// The name of the queue, as the dead letters show it.
const QUEUE: &str = "memory.requests";

impl Requests for Memory {
    type Requester = MemoryRequester;
    type Server = MemoryServer;

    async fn requester(&self) -> Result<MemoryRequester, Error> {
        if let Some(error) = self.refusal("listen for replies") {
            return Err(error);
        }
        let (id, waiters) = self.broker.of_requests(|requests, _| requests.begin_asking(self.handle));
        Ok(MemoryRequester { listening: Arc::new(Listening { queue: self.clone(), id }), waiters })
    }

    async fn serve(&self, prefetch: u16) -> Result<MemoryServer, Error> {
        if let Some(error) = self.refusal("serve requests") {
            return Err(error);
        }
        let (id, bell) =
            self.broker.of_requests(|requests, around| requests.serve(around, self.handle, prefetch));
        Ok(MemoryServer { queue: self.clone(), id, bell })
    }
}

/// Asks in memory.
#[derive(Clone, Debug)]
pub struct MemoryRequester {
    listening: Arc<Listening>,
    waiters: Waiters,
}

/// Ends with the last clone of its requester.
#[derive(Debug)]
struct Listening {
    queue: Memory,
    id: RequesterId,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.queue.broker.of_requests(|requests, _| requests.end_asking(self.id));
    }
}

impl Requester for MemoryRequester {
    async fn ask(&self, request: OutgoingRequest) -> Result<Waiting, Error> {
        // Nothing else here waits, and the other tasks of this thread want their turn.
        tokio::task::consume_budget().await;
        let what = format!("ask for {}", request.request.name());
        let broker = &self.listening.queue.broker;
        let (waiting, way) = broker.of_requests(|_, _| self.waiters.enter(request.request, &what))?;
        let sent = broker.of_requests(|requests, around| requests.ask(around, &request, way));
        metrics::published(&Target::Requests, &sent);
        sent.map(|()| waiting)
    }

    fn is_listening(&self) -> bool {
        self.listening.queue.broker.of_requests(|_, _| self.waiters.is_open())
    }

    fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

/// Serves requests from memory.
#[derive(Debug)]
pub struct MemoryServer {
    queue: Memory,
    id: ServerId,
    bell: Arc<Notify>,
}

impl Consumer for MemoryServer {
    type Delivery = MemoryRequest;

    async fn next(&mut self) -> Option<MemoryRequest> {
        tokio::task::consume_budget().await;
        loop {
            let (taken, due, installation) = self.queue.broker.of_requests(|requests, around| {
                (requests.take(self.id), requests.next_due(), around.installation)
            });
            // Nothing is awaited between taking it and returning it.
            if let Some((tag, sent)) = taken.ok()? {
                metrics::delivered(&Target::Requests);
                return Some(MemoryRequest {
                    queue: self.queue.clone(),
                    message: RequestId::decode(&sent.body, installation),
                    is_redelivered: sent.returns > 0,
                    trace: sent.trace,
                    way: sent.way,
                    tag: Some(tag),
                });
            }
            tokio::select! {
                biased;
                () = self.bell.notified() => {}
                () = at(due) => {}
            }
        }
    }

    async fn stop(self) {
        // What is dropped here stops.
    }
}

impl Drop for MemoryServer {
    fn drop(&mut self) {
        self.queue.broker.of_requests(|requests, around| requests.stop(around, self.id));
    }
}

/// Is a request from memory that has to be settled.
#[derive(Debug)]
pub struct MemoryRequest {
    queue: Memory,
    message: Result<RequestId, Malformed>,
    is_redelivered: bool,
    trace: TraceContext,
    way: Option<Arc<str>>,
    /// Taken when it is settled.
    tag: Option<Tag>,
}

impl MemoryRequest {
    fn settle(&mut self, end: End) -> Acked {
        let Some(tag) = self.tag.take() else { return Acked::NotSent };
        let acked = self.queue.broker.of_requests(|requests, around| requests.settle(around, tag, end));
        metrics::settled(end.name(), acked == Acked::Sent);
        acked
    }
}

impl Delivery for MemoryRequest {
    type Message = RequestId;

    fn message(&self) -> Result<&RequestId, &Malformed> {
        self.message.as_ref()
    }

    fn priority(&self) -> Priority {
        Priority::Critical
    }

    fn redelivered(&self) -> bool {
        self.is_redelivered
    }

    fn trace(&self) -> &TraceContext {
        &self.trace
    }

    async fn ack(mut self) -> Acked {
        self.settle(End::Ack)
    }

    async fn requeue(mut self) -> Acked {
        self.settle(End::Requeue)
    }

    async fn dead_letter(mut self, reason: &str) -> Result<Acked, Error> {
        let what = match &self.message {
            Ok(request) => format!("dead-letter {}", request.name()),
            Err(_) => format!("dead-letter a malformed message of {QUEUE}"),
        };
        let letter = DeadMessage {
            message: no_chunk(self.message.clone()),
            reason: shortened(reason).to_owned(),
            origin: Some(QUEUE.to_owned()),
            trace: self.trace.clone(),
        };

        match self.queue.put_among_the_dead(&what, letter) {
            Ok(()) => Ok(self.settle(End::DeadLetter)),
            Err(error) => {
                tokio::time::sleep(PAUSE).await;
                let _ = self.settle(End::Requeue);
                Err(error)
            }
        }
    }
}

impl Asked for MemoryRequest {
    async fn reply(&self) -> Replied {
        let (Ok(request), Some(way)) = (&self.message, &self.way) else { return Replied::NotSent };
        if self.queue.refusal("reply").is_some() {
            return Replied::NotSent;
        }
        self.queue.broker.of_requests(|requests, around| requests.reply(around, *request, way))
    }
}

impl Drop for MemoryRequest {
    fn drop(&mut self) {
        if let Some(tag) = self.tag.take() {
            self.queue.broker.of_requests(|requests, around| requests.drop_delivery(around, tag));
        }
    }
}
