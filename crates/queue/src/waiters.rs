//! Who waits for which reply. It knows no broker: every backend's requester has such a list.
//!
//! Each waiter has an entry, and takes it out itself when he is dropped, however that comes about; so the list holds
//! nobody who is gone. Whether there is a way back stands under the same lock as the entries: nobody can enter by a way
//! that is lost already, and then wait for what cannot come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::RequestId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::{self, ReplyFate};
use crate::{Error, Heard};

/// Is the list of one requester. A clone is the same list.
#[derive(Clone, Debug)]
pub(crate) struct Waiters {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    way: Way,
    waiting: BTreeMap<Key, Waiter>,
    last_number: u64,
}

/// The way back.
#[derive(Debug)]
enum Way {
    /// Replies are sent by this name.
    Open(Arc<str>),
    /// There is none at present, for this reason.
    Down(Error),
    /// There will be none any more.
    Over(Error),
}

/// Several may wait for one request.
type Key = (RequestId, u64);

#[derive(Debug)]
struct Waiter {
    /// From when on the reply is heard. When its sender is gone, none can come.
    word: watch::Sender<Option<Instant>>,
    since: Instant,
}

impl Waiters {
    /// Makes an empty list without a way back, for this reason.
    pub(crate) fn new(why: Error) -> Self {
        let state = State { way: Way::Down(why), waiting: BTreeMap::new(), last_number: 0 };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Replies come by this name from now on.
    pub(crate) fn open(&self, way: &str) {
        let mut state = self.lock();
        if !matches!(state.way, Way::Over(_)) {
            state.way = Way::Open(way.into());
        }
    }

    /// The way back is lost: tells everybody.
    pub(crate) fn lose(&self, why: Error) {
        self.leave(Way::Down(why));
    }

    /// The same for good.
    pub(crate) fn end(&self, why: Error) {
        self.leave(Way::Over(why));
    }

    fn leave(&self, way: Way) {
        let lost = {
            let mut state = self.lock();
            if !matches!(state.way, Way::Over(_)) {
                state.way = way;
            }
            std::mem::take(&mut state.waiting)
        };
        metrics::waiters(-(lost.len() as f64));
        metrics::replies(ReplyFate::Lost, lost.len());
    }

    /// Enters somebody who waits, and gives the name by which his reply is to be sent. `what` names the call.
    pub(crate) fn enter(&self, request: RequestId, what: &str) -> Result<(Waiting, Arc<str>), Error> {
        let mut state = self.lock();
        let way = match &state.way {
            Way::Open(way) => Arc::clone(way),
            Way::Down(error) | Way::Over(error) => return Err(error.clone().of(what)),
        };
        state.last_number += 1;
        let key = (request, state.last_number);
        let (word, hears) = watch::channel(None);
        state.waiting.insert(key, Waiter { word, since: Instant::now() });
        metrics::waiters(1.0);
        Ok((Waiting { key, hears, waiters: self.clone() }, way))
    }

    /// A reply came, to be heard from this moment on.
    pub(crate) fn hear(&self, request: RequestId, at: Instant) {
        let state = self.lock();
        let mut fate = ReplyFate::Unexpected;
        for (_, waiter) in state.waiting.range((request, 0)..=(request, u64::MAX)) {
            let is_news = waiter.word.borrow().is_none();
            waiter.word.send_modify(|due| *due = Some(due.map_or(at, |due| due.min(at))));
            if is_news {
                fate = ReplyFate::Heard;
                metrics::replied_after(at.duration_since(waiter.since));
            } else if fate == ReplyFate::Unexpected {
                fate = ReplyFate::Repeated;
            }
        }
        metrics::replies(fate, 1);
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.lock().way, Way::Open(_))
    }

    /// Why there is no way back at present, if one is wanted.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &self.lock().way {
            Way::Down(error) => Some(error.to_string()),
            Way::Open(_) | Way::Over(_) => None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.lock().way, Way::Over(_))
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the reply to one request. Dropped, it waits no more; what it asked for is worked all the same.
#[derive(Debug)]
pub struct Waiting {
    key: Key,
    hears: watch::Receiver<Option<Instant>>,
    waiters: Waiters,
}

impl Waiting {
    /// The request.
    pub fn request(&self) -> RequestId {
        self.key.0
    }

    /// Waits for the reply, this long at the most. What was heard is heard again by who asks again.
    ///
    /// Cancel safe: dropping the future loses no reply.
    pub async fn heard(&mut self, limit: Duration) -> Heard {
        tokio::time::timeout(limit, self.end()).await.unwrap_or(Heard::Silent)
    }

    /// Waits until it is done or lost.
    pub(crate) async fn end(&mut self) -> Heard {
        loop {
            let due = *self.hears.borrow_and_update();
            match due {
                Some(at) if at <= Instant::now() => return Heard::Done,
                Some(at) => tokio::select! {
                    biased;
                    changed = self.hears.changed() => if changed.is_err() { return Heard::Lost },
                    () = tokio::time::sleep_until(at) => return Heard::Done,
                },
                None => {
                    if self.hears.changed().await.is_err() {
                        return Heard::Lost;
                    }
                }
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Gone before, if the way was lost.
        if self.waiters.lock().waiting.remove(&self.key).is_some() {
            metrics::waiters(-1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn waiters() -> Waiters {
        let waiters = Waiters::new(Error::Unavailable { what: String::new(), reason: "not yet".into() });
        waiters.open("back");
        waiters
    }

    fn enter(waiters: &Waiters, request: i64) -> Waiting {
        let (waiting, way) = waiters.enter(RequestId(request), "ask").unwrap();
        assert_eq!(&*way, "back");
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_heard_by_all_who_wait_for_that_request_and_by_nobody_else() {
        let waiters = waiters();
        let (mut first, mut second, mut other) = (enter(&waiters, 1), enter(&waiters, 1), enter(&waiters, 2));

        waiters.hear(RequestId(1), Instant::now());
        waiters.hear(RequestId(1), Instant::now());
        waiters.hear(RequestId(3), Instant::now());

        assert_eq!((first.heard(LIMIT).await, second.heard(LIMIT).await), (Heard::Done, Heard::Done));
        assert_eq!(other.heard(LIMIT).await, Heard::Silent);
        waiters.hear(RequestId(2), Instant::now());
        assert_eq!(other.heard(Duration::ZERO).await, Heard::Done);
        assert_eq!(other.heard(Duration::ZERO).await, Heard::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dropped_leaves_no_entry_whatever_he_heard() {
        let waiters = waiters();
        let (replied, silent) = (enter(&waiters, 1), enter(&waiters, 2));
        waiters.hear(RequestId(1), Instant::now());
        assert_eq!(waiters.len(), 2);

        drop((replied, silent));

        assert_eq!(waiters.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn with_the_way_everybody_is_lost_at_once_but_for_what_was_heard() {
        let waiters = waiters();
        let (mut replied, mut silent, mut coming) =
            (enter(&waiters, 1), enter(&waiters, 2), enter(&waiters, 3));
        waiters.hear(RequestId(1), Instant::now());
        waiters.hear(RequestId(3), Instant::now() + LIMIT);

        waiters.lose(Error::Unavailable { what: String::new(), reason: "cut".into() });

        assert_eq!(replied.heard(Duration::ZERO).await, Heard::Done);
        assert_eq!(silent.heard(Duration::ZERO).await, Heard::Lost);
        assert_eq!(coming.heard(LIMIT * 2).await, Heard::Lost);
        assert_eq!(waiters.len(), 0);
        let refused = waiters.enter(RequestId(4), "ask for request 4").unwrap_err();
        assert_eq!(refused.to_string(), "ask for request 4: cut");
        assert!(waiters.trouble().is_some_and(|why| why.contains("cut")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reply_is_heard_when_it_is_there_and_an_earlier_copy_before() {
        let waiters = waiters();
        let mut waiting = enter(&waiters, 1);
        waiters.hear(RequestId(1), Instant::now() + LIMIT * 3);

        assert_eq!(waiting.heard(LIMIT).await, Heard::Silent);
        waiters.hear(RequestId(1), Instant::now() + LIMIT);

        let start = Instant::now();
        assert_eq!(waiting.heard(LIMIT * 9).await, Heard::Done);
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[test]
    fn what_is_over_does_not_open_again() {
        let waiters = waiters();

        waiters.end(Error::Unavailable { what: String::new(), reason: "closed".into() });
        waiters.open("again");

        assert!(!waiters.is_open() && waiters.is_over());
        assert_eq!(waiters.trouble(), None);
    }
}
