//! Which priorities are being consumed at present, and why one is not: what readiness is asked for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use batch::{PerPriority, Priority};

/// The feeds of one consumer.
#[derive(Debug)]
pub(super) struct Feeds {
    wanted: PerPriority<bool>,
    states: PerPriority<Mutex<State>>,
    /// Stopped on purpose, so that nobody waits for it.
    is_over: AtomicBool,
}

/// How one feed is.
#[derive(Debug)]
enum State {
    Consuming,
    Not { why: String },
}

impl Default for State {
    fn default() -> Self {
        Self::Not { why: "not consuming yet".into() }
    }
}

impl Feeds {
    pub(super) fn of(priorities: &[Priority]) -> Self {
        let wanted = PerPriority::from_fn(|priority| priorities.contains(&priority));
        Self { wanted, states: PerPriority::default(), is_over: AtomicBool::new(false) }
    }

    /// The priorities that were asked for, each once, the most urgent first.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Priority> {
        Priority::ALL.into_iter().filter(|&priority| self.wanted[priority])
    }

    /// Why not everything that was asked for is being consumed, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.is_over() {
            return None;
        }
        let mut reasons: Vec<String> = Vec::new();
        for priority in self.wanted() {
            match &*lock(&self.states[priority]) {
                State::Not { why } if !reasons.contains(why) => reasons.push(why.clone()),
                State::Not { .. } | State::Consuming => {}
            }
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Takes down why nothing comes of one priority.
    pub(super) fn explain(&self, priority: Priority, why: &impl ToString) {
        *lock(&self.states[priority]) = State::Not { why: why.to_string() };
    }

    /// Marks a feed as consuming until the mark is dropped.
    pub(super) fn mark(&self, priority: Priority) -> FeedMark<'_> {
        let feed = &self.states[priority];
        *lock(feed) = State::Consuming;
        FeedMark(feed)
    }
}

pub(super) struct FeedMark<'a>(&'a Mutex<State>);

impl Drop for FeedMark<'_> {
    fn drop(&mut self) {
        *lock(self.0) = State::Not { why: "consuming begins again".into() };
    }
}

fn lock(feed: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    feed.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use Priority::{Critical, Normal};

    use super::*;

    #[test]
    fn feeds_are_in_trouble_until_all_that_was_asked_for_is_consumed_and_say_why() {
        let feeds = Feeds::of(&[Critical, Normal]);
        let trouble = || feeds.trouble().unwrap_or_default();

        assert_eq!(trouble(), "not consuming yet");
        feeds.explain(Normal, &"refused");
        assert_eq!(trouble(), "not consuming yet; refused");
        let _critical = feeds.mark(Critical);
        feeds.explain(Normal, &"consume ltv.normal: refused");
        assert_eq!(trouble(), "consume ltv.normal: refused");
        let normal = feeds.mark(Normal);
        assert_eq!(feeds.trouble(), None);
        drop(normal);
        assert_eq!(trouble(), "consuming begins again");
        feeds.end();
        assert_eq!(feeds.trouble(), None);
    }
}
