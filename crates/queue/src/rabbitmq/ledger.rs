//! Which messages were returned as unroutable.
//!
//! For a message that no queue takes, the broker sends the message back and then confirms it. lapin pins what
//! came back on whichever confirmation it handles next, which may be another message's: a confirmation with a
//! returned message says that *some* message was returned, and one without says nothing yet. What holds is:
//! a message comes back before its own confirmation does. So once every confirmation under way is in, every
//! return is in as well, and the number each message carries tells whose it was.
//!
//! While nothing was returned, which is always except after somebody deleted a queue, nothing has to wait.

use std::collections::HashSet;

/// Holds confirmed messages until it is certain which of them were returned.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    confirmed: Vec<u64>,
    returned: HashSet<u64>,
}

/// What became of a confirmed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Routed(u64),
    Unroutable(u64),
}

impl Ledger {
    /// Takes the confirmation of message `number`, with the number of the returned message pinned on it.
    pub(super) fn confirm(&mut self, number: u64, returned: Option<u64>) {
        self.confirmed.push(number);
        self.returned.extend(returned);
    }

    /// Takes a returned message that was pinned on something other than a confirmation.
    pub(super) fn returned(&mut self, number: u64) {
        self.returned.insert(number);
    }

    /// Says whether nothing more may be sent until all that is under way is confirmed.
    pub(super) fn is_holding(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Gives what is certain. Call it when every confirmation that had arrived was taken; `under_way` is how
    /// many have not.
    pub(super) fn settle(&mut self, under_way: usize) -> Vec<Settled> {
        if self.is_holding() && under_way > 0 {
            return Vec::new();
        }
        let returned = std::mem::take(&mut self.returned);
        self.confirmed
            .drain(..)
            .map(|number| {
                if returned.contains(&number) { Settled::Unroutable(number) } else { Settled::Routed(number) }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Settled::{Routed, Unroutable};
    use super::*;

    #[test]
    fn without_returns_nothing_waits() {
        let mut ledger = Ledger::default();

        ledger.confirm(1, None);
        ledger.confirm(2, None);

        assert_eq!(ledger.settle(254), [Routed(1), Routed(2)]);
        assert_eq!(ledger.settle(0), []);
    }

    #[test]
    fn a_return_that_was_pinned_on_another_message_is_found_by_its_number() {
        let mut ledger = Ledger::default();

        ledger.confirm(1, Some(2));
        let early = ledger.settle(1);
        ledger.confirm(2, None);

        assert_eq!(early, []);
        assert_eq!(ledger.settle(0), [Routed(1), Unroutable(2)]);
        assert!(!ledger.is_holding());
    }

    #[test]
    fn returns_that_were_swapped_among_each_other_are_all_found() {
        let mut ledger = Ledger::default();

        ledger.confirm(3, Some(1));
        ledger.confirm(1, Some(3));
        let early = ledger.settle(1);
        ledger.confirm(2, None);

        assert_eq!(early, []);
        assert_eq!(ledger.settle(0), [Unroutable(3), Unroutable(1), Routed(2)]);
    }

    #[test]
    fn a_return_pinned_on_a_refused_message_is_not_lost() {
        let mut ledger = Ledger::default();

        ledger.returned(2);
        ledger.confirm(2, None);

        assert_eq!(ledger.settle(0), [Unroutable(2)]);
    }
}
