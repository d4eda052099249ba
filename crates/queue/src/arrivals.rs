//! What has come to a consumer and was not taken, and which of it is next: by virtual time ([`batch::TurnPolicy`]), not in
//! strict order of priority. As long as something more urgent keeps coming, strict order would never take the rest.

use std::collections::VecDeque;
use std::time::Duration;

use batch::{PerPriority, Priority, Turn, TurnPolicy, Waits};
use tokio::time::Instant;

/// Holds what has come, of each priority in the order in which it came.
#[derive(Debug)]
pub(crate) struct Arrivals<T> {
    epoch: Instant,
    /// Each with when it came.
    waiting: PerPriority<VecDeque<(Duration, T)>>,
}

impl<T> Arrivals<T> {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, waiting: PerPriority::from_fn(|_| VecDeque::new()) }
    }

    pub(crate) fn put(&mut self, now: Instant, priority: Priority, item: T) {
        self.waiting[priority].push_back((now.saturating_duration_since(self.epoch), item));
    }

    /// Takes the one whose turn it is.
    pub(crate) fn take(&mut self) -> Option<T> {
        let first = |priority: &Priority| Some((self.turn(*priority)?, *priority));
        let (_, next) = Priority::ALL.iter().filter_map(first).min()?;
        self.waiting[next].pop_front().map(|(_, item)| item)
    }

    /// When it is the turn of the first of a priority.
    fn turn(&self, priority: Priority) -> Option<Turn> {
        let &(since, _) = self.waiting[priority].front()?;
        Some(TurnPolicy::default().turn(&Waits { priority, since, valued: 0 }))
    }

    /// Takes out all of a priority.
    pub(crate) fn drain(&mut self, priority: Priority) -> impl Iterator<Item = T> {
        self.waiting[priority].drain(..).map(|(_, item)| item)
    }

    pub(crate) fn count(&self, priority: Priority) -> usize {
        self.waiting[priority].len()
    }
}

impl<T: Copy + PartialEq> Arrivals<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.waiting.iter().flat_map(|(_, waiting)| waiting.iter().map(|(_, item)| *item))
    }

    pub(crate) fn remove(&mut self, priority: Priority, item: T) {
        self.waiting[priority].retain(|(_, waiting)| *waiting != item);
    }
}

#[cfg(test)]
mod tests {
    use Priority::{Critical, High, Normal};

    use super::*;

    /// Takes one each second while a critical one comes each second, and says after how long these came out.
    fn taken_while_critical_ones_keep_coming(waiting: &[Priority]) -> Vec<(Priority, u64)> {
        let epoch = Instant::now();
        let mut arrivals = Arrivals::new(epoch);
        for &priority in waiting {
            arrivals.put(epoch, priority, priority);
        }
        let mut taken = Vec::new();
        for second in 0..60 {
            arrivals.put(epoch + Duration::from_secs(second), Critical, Critical);
            let next = arrivals.take().unwrap();
            taken.extend((next != Critical).then_some((next, second)));
        }
        taken
    }

    #[test]
    fn what_is_less_urgent_is_overtaken_for_its_handicap_and_no_longer() {
        let taken = taken_while_critical_ones_keep_coming(&[Normal, High, Normal, High]);

        // Before each goes what came within its handicap, and what was taken before it has put that off by a second each.
        let after = |priority, taken_before| {
            let handicap = TurnPolicy::default().handicap[priority].as_secs();
            (priority, handicap + taken_before + 1)
        };
        assert_eq!(taken, [after(High, 0), after(High, 1), after(Normal, 2), after(Normal, 3)]);
    }

    #[test]
    fn of_what_came_at_once_the_most_urgent_is_first_and_then_what_came_first() {
        let mut arrivals = Arrivals::new(Instant::now());
        let now = Instant::now();
        for (number, priority) in [(1, Normal), (2, High), (3, Critical), (4, Critical), (5, High)] {
            arrivals.put(now, priority, number);
        }

        let taken: Vec<_> = std::iter::from_fn(|| arrivals.take()).collect();

        assert_eq!(taken, [3, 4, 2, 5, 1]);
    }
}
