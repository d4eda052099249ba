//! Cursors: where a listing goes on, in a form that is nobody's to read.
//!
//! A cursor holds the last sort key and the number of whoever has it, and the run that the listing is of. So the next page
//! begins behind the last line of the one before, whatever was added meanwhile, and a listing of a run's customers goes on
//! in that run, though another one is visible by then.

use batch::{CustomerId, RunId};
use store::Rank;

/// Where a listing of runs goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunCursor {
    /// The last run of the page before.
    pub(crate) before: RunId,
}

/// Where a listing of a run's customers goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RankCursor {
    /// The run.
    pub(crate) run: RunId,
    /// The last place of the page before.
    pub(crate) after: Rank,
}

impl RunCursor {
    /// Writes it down.
    pub(crate) fn write(self) -> String {
        seal('r', &[self.before.0])
    }

    /// Reads one; none where it is not one that was written here.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let [before] = open('r', text)?;
        Some(Self { before: RunId(before) })
    }
}

impl RankCursor {
    /// Writes it down.
    pub(crate) fn write(self) -> String {
        let Self { run, after: Rank { value_minor, customer } } = self;
        seal('t', &[run.0, value_minor, customer.0])
    }

    /// Reads one; none where it is not one that was written here.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let [run, value_minor, customer] = open('t', text)?;
        Some(Self { run: RunId(run), after: Rank { value_minor, customer: CustomerId(customer) } })
    }
}

/// A letter for what is listed, then 16 hexadecimal digits for each number.
fn seal(listing: char, numbers: &[i64]) -> String {
    let digits = numbers.iter().map(|number| format!("{number:016x}"));
    std::iter::once(listing.to_string()).chain(digits).collect()
}

fn open<const N: usize>(listing: char, text: &str) -> Option<[i64; N]> {
    let digits = text.strip_prefix(listing).filter(|digits| digits.len() == 16 * N)?;
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits.as_bytes().chunks(16)) {
        let digits = std::str::from_utf8(digits).ok()?;
        // A sign would be a second way to write the same.
        if digits.starts_with('+') {
            return None;
        }
        *number = u64::from_str_radix(digits, 16).ok()? as i64;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_back_as_it_was_written(run: i64, value_minor: i64, customer: i64) {
            let rank = Rank { value_minor, customer: CustomerId(customer) };
            let cursor = RankCursor { run: RunId(run), after: rank };

            prop_assert_eq!(RankCursor::read(&cursor.write()), Some(cursor));
            prop_assert_eq!(RunCursor::read(&cursor.write()), None);
            let cursor = RunCursor { before: RunId(run) };
            prop_assert_eq!(RunCursor::read(&cursor.write()), Some(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_or_none(text: String) {
            let read = RunCursor::read(&text);

            prop_assert!(read.is_none_or(|cursor| cursor.write().eq_ignore_ascii_case(&text)));
        }
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        for text in ["", "r", "r1", "t0000000000000007", "r+000000000000007", "r00000000000000ä7"] {
            assert_eq!(RunCursor::read(text), None, "{text}");
        }
    }
}
