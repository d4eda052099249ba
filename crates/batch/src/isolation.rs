//! Which customers of a chunk cannot be read, where a failed read does not say whose row it failed over.
//!
//! The whole chunk is read first, and if that succeeds nothing here costs anything. A set that fails is cut into
//! halves, and both are read in their turn, down to single customers: whoever fails alone is a culprit. The sets come
//! in the order of the customers, so what is read of them adds up to the plan's order.
//!
//! # How many reads
//!
//! Only a set that failed asks for more, for two. Of `n` customers, `k` culprits make at most `k` sets fail on each of
//! the `⌈log2 n⌉` levels above the single customers, so there are at most `1 + 2 k ⌈log2 n⌉` reads.
//!
//! * **More culprits than are looked for.** Given up at the first one too many: it is no longer a few rows that are
//!   bad.
//! * **Sets fail of which no single customer does**, as behind a view that cannot take many at once. Given up before
//!   there are more reads than that one culprit too many could have asked for.

use crate::CustomerId;

/// Decides which customers to read next, from what failed so far.
#[derive(Clone, Debug)]
pub struct Isolation<'a> {
    /// What is still to be read; the last one is next.
    open: Vec<&'a [CustomerId]>,
    culprits_left: usize,
    /// Never fewer than there are open.
    reads_left: usize,
}

/// What a failed read says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was over one of several; they are to be read in two parts.
    Divided,
    /// It was over this customer.
    Culprit(CustomerId),
    /// It is not worth looking for the others.
    GivenUp,
}

impl<'a> Isolation<'a> {
    /// Begins with all of them, of whom at most so many can be culprits.
    pub fn among(customers: &'a [CustomerId], most_culprits: usize) -> Self {
        let levels = customers.len().next_power_of_two().trailing_zeros() as usize;
        let open = if customers.is_empty() { Vec::new() } else { vec![customers] };
        Self { open, culprits_left: most_culprits, reads_left: 1 + 2 * (most_culprits + 1) * levels }
    }

    /// The customers to read next, behind those before; `None` if everybody was read or is a culprit.
    pub fn next_set(&mut self) -> Option<&'a [CustomerId]> {
        let next = self.open.pop()?;
        self.reads_left -= 1;
        Some(next)
    }

    /// Takes it that these could not be read.
    pub fn failed(&mut self, customers: &'a [CustomerId]) -> Finding {
        if let [culprit] = *customers {
            let Some(left) = self.culprits_left.checked_sub(1) else { return Finding::GivenUp };
            self.culprits_left = left;
            return Finding::Culprit(culprit);
        }
        let (first, second) = customers.split_at(customers.len().div_ceil(2));
        self.open.extend([second, first]);
        if self.open.len() > self.reads_left { Finding::GivenUp } else { Finding::Divided }
    }
}
