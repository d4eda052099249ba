//! Whether two lists of numbers are the same, told by one number.

use std::fmt;

/// FNV-1a over numbers: the same for the same numbers in the same order, in every release.
///
/// For names, and to see that something changed. It does not stand against anybody who wants two lists to look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Extend<i64> for Fingerprint {
    fn extend<T: IntoIterator<Item = i64>>(&mut self, numbers: T) {
        for byte in numbers.into_iter().flat_map(i64::to_le_bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl FromIterator<i64> for Fingerprint {
    fn from_iter<T: IntoIterator<Item = i64>>(numbers: T) -> Self {
        let mut fingerprint = Self::default();
        fingerprint.extend(numbers);
        fingerprint
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nights are found by it and model versions tell what they were fitted on, so it may not change.
    #[test]
    fn a_fingerprint_is_the_same_in_every_release() {
        let check = |numbers: &[i64], expected: &str| {
            let all: Fingerprint = numbers.iter().copied().collect();
            let mut each = Fingerprint::default();
            for &number in numbers {
                each.extend([number]);
            }
            assert_eq!((all.to_string().as_str(), each), (expected, all), "{numbers:?}");
        };

        check(&[], "cbf29ce484222325");
        check(&[i64::from_le_bytes(*b"foobarba")], "738914eb4e1451ad");
        check(&[1, 2], "7717980363c8e066");
        check(&[2, 1], "072184407c3a4ac6");
        check(&[-1], "8cf51a8bfca3883d");
    }
}
