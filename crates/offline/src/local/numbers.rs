//! Which lines of a file have the number of an earlier one.
//!
//! Numbers that stand close together share a word of 64 bits: those of most files take less than a byte each. Where
//! they are spread too far for that, a look at the file keeps the lowest that it has room for, and the next look goes
//! on from there.
//!
//! The lines that are found are kept as bits too: at most about a byte for a line of the file, and nothing where no
//! number comes twice.

use std::collections::HashMap;

/// Looks for numbers that come twice, in as many looks at the file as it takes.
#[derive(Debug)]
pub(super) struct Numbers {
    /// Those of this look.
    seen: Bits,
    /// The lowest that this look keeps; earlier looks have kept all below.
    from: i64,
    /// The lowest that is left to the next look, if any is.
    below: Option<i64>,
    repeats: Repeats,
}

/// The lines whose number is in an earlier line.
#[derive(Debug, Default)]
pub(super) struct Repeats(Bits);

/// A set of whole numbers.
#[derive(Debug, Default)]
struct Bits(HashMap<i64, u64>);

impl Numbers {
    pub(super) fn new() -> Self {
        Self { seen: Bits::default(), from: i64::MIN, below: None, repeats: Repeats::default() }
    }

    /// Notes the number of the next line, and says whether an earlier line has it, as far as this look and those before
    /// can know. No more than `most` words are kept.
    pub(super) fn is_repeat(&mut self, line: u64, number: i64, most: usize) -> bool {
        if number >= self.from && self.below.is_none_or(|below| number < below) {
            if !self.seen.insert(number) {
                self.repeats.0.insert(line as i64);
            }
            if self.seen.0.len() > most {
                self.below = Some(self.seen.keep_lower_half());
            }
        }
        self.repeats.contains(line)
    }

    /// Whether nothing is left to another look, so far: then all that was said in this look is right.
    pub(super) fn is_whole(&self) -> bool {
        self.below.is_none()
    }

    /// Begins the next look.
    pub(super) fn look_on(&mut self) {
        self.seen.0.clear();
        self.from = self.below.take().unwrap_or(self.from);
    }

    pub(super) fn into_repeats(self) -> Repeats {
        self.repeats
    }
}

impl Repeats {
    pub(super) fn contains(&self, line: u64) -> bool {
        self.0.contains(line as i64)
    }
}

impl Bits {
    /// Adds a number; false if it is there already.
    fn insert(&mut self, number: i64) -> bool {
        let word = self.0.entry(number >> 6).or_default();
        let before = std::mem::replace(word, *word | bit(number));
        before != *word
    }

    fn contains(&self, number: i64) -> bool {
        self.0.get(&(number >> 6)).is_some_and(|word| word & bit(number) != 0)
    }

    /// Forgets the upper half of the words; returns the lowest number that is forgotten.
    fn keep_lower_half(&mut self) -> i64 {
        let mut keys: Vec<i64> = self.0.keys().copied().collect();
        let middle = keys.len() / 2;
        let (_, &mut first_forgotten, _) = keys.select_nth_unstable(middle);
        self.0.retain(|&key, _| key < first_forgotten);
        first_forgotten << 6
    }
}

fn bit(number: i64) -> u64 {
    1 << (number & 63)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn with_room_for_few_numbers_the_same_lines_are_found_in_more_looks(
            numbers in prop::collection::vec(
                prop_oneof![-300..300_i64, any::<i64>(), Just(i64::MIN), Just(i64::MAX)],
                0..60,
            ),
            most in 1..9_usize,
        ) {
            let mut found = Numbers::new();
            let mut looks = 0;
            let said = loop {
                looks += 1;
                let said: Vec<bool> =
                    numbers.iter().zip(1..).map(|(&number, line)| found.is_repeat(line, number, most)).collect();
                prop_assert!(found.seen.0.len() <= most);
                if found.is_whole() {
                    break said;
                }
                found.look_on();
            };

            let expected: Vec<bool> =
                (0..numbers.len()).map(|place| numbers[..place].contains(&numbers[place])).collect();
            prop_assert_eq!(said, expected);
            prop_assert!(looks <= 1 + numbers.len());
        }
    }

    #[test]
    fn numbers_that_stand_close_together_need_a_word_for_sixty_four_of_them() {
        let mut numbers = Numbers::new();

        for number in (0..6_400).rev() {
            assert!(!numbers.is_repeat(number, number as i64, 100));
        }

        assert!(numbers.is_whole());
    }
}
