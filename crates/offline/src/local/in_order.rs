//! The lines of customers whose lines are not in the order of time, in that order.
//!
//! Each look at the file takes those that come next, no more than it has room for. They come by customer, then by
//! time, then as they stand in the file.

/// What is kept of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purchase {
    pub(super) at_us: i64,
    pub(super) amount_minor: i64,
    /// Where it stands in the file.
    pub(super) line: u64,
    /// Which customer's it is.
    pub(super) place: u32,
    pub(super) currency: [u8; 3],
}

type Key = (u32, i64, u64);

impl Purchase {
    fn key(&self) -> Key {
        (self.place, self.at_us, self.line)
    }
}

/// The lines that come next.
#[derive(Debug)]
pub(super) struct NextInOrder {
    kept: Vec<Purchase>,
    /// How many are taken at a time, at least where there are so many; half as many more may be.
    most: usize,
    /// The last of the look before.
    after: Option<Key>,
    /// The last that this look takes; none as long as there is room for all.
    upto: Option<Key>,
}

impl NextInOrder {
    /// Begins with the first of `all` lines, and takes about `most` at a time, at least two.
    pub(super) fn new(all: usize, most: usize) -> Self {
        // Fewer could not be parted.
        let most = most.max(2);
        let kept = Vec::with_capacity(all.min(most + most / 2));
        Self { kept, most, after: None, upto: None }
    }

    /// Keeps a line if it is among the next.
    pub(super) fn offer(&mut self, line: Purchase) {
        let key = line.key();
        if self.after.is_some_and(|after| key <= after) || self.upto.is_some_and(|upto| key > upto) {
            return;
        }
        // Room for half as many more: so they are parted once for so many lines, not once for each.
        if self.kept.len() >= self.most + self.most / 2 {
            self.part();
            return self.offer(line);
        }
        self.kept.push(line);
    }

    /// Ends a look, and hands out what it has taken; says whether that was the last of all.
    pub(super) fn take(&mut self, each: impl FnMut(&Purchase)) -> bool {
        self.kept.sort_unstable_by_key(Purchase::key);
        self.kept.iter().for_each(each);
        self.kept.clear();
        let is_last = self.upto.is_none();
        self.after = self.upto.take();
        is_last
    }

    fn part(&mut self) {
        self.kept.select_nth_unstable_by_key(self.most - 1, Purchase::key);
        self.kept.truncate(self.most);
        self.upto = self.kept.last().map(Purchase::key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_few_are_taken_at_a_time_all_come_once_and_in_order(
            lines in prop::collection::vec((0..4_u32, 0..9_i64), 0..60),
            most in 2..70_usize,
        ) {
            let purchase = |(&(place, at_us), line): (&(u32, i64), u64)| {
                Purchase { place, at_us, line, amount_minor: 0, currency: *b"USD" }
            };
            let lines: Vec<Purchase> = lines.iter().zip(2..).map(purchase).collect();
            let mut next = NextInOrder::new(lines.len(), most);
            let (mut taken, mut looks) = (Vec::new(), 0);
            loop {
                looks += 1;
                for &line in &lines {
                    next.offer(line);
                }
                prop_assert!(next.kept.len() <= most + most / 2);
                if next.take(|line| taken.push(line.key())) {
                    break;
                }
            }

            let mut expected: Vec<Key> = lines.iter().map(Purchase::key).collect();
            expected.sort_unstable();
            prop_assert_eq!(taken, expected);
            prop_assert!(looks <= 1 + lines.len() / most, "{} looks", looks);
        }
    }
}
