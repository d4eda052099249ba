//! Whole numbers, the shorter the smaller: seven bits a byte, the lowest first, the top bit set on all but the last byte.

use bytes::BufMut;

/// Why bytes are no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They end before the number does.
    BreaksOff,
    /// The number does not fit 64 bits.
    TooWide,
}

/// Writes a number.
pub(crate) fn put(mut number: u64, bytes: &mut impl BufMut) {
    while number > 0x7F {
        bytes.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.put_u8(number as u8);
}

/// Reads a number, and moves past it.
pub(crate) fn take(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed::BreaksOff)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7F);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed::TooWide)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_written_as_documented() {
        let mut bytes = Vec::new();

        for number in [0, 127, 128, 4_900] {
            put(number, &mut bytes);
        }

        assert_eq!(bytes, [0, 127, 0x80, 1, 0xA4, 0x26]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut too_wide = vec![0xFF; 9];
        too_wide.push(0x02);

        assert_eq!(take(&mut &too_wide[..]), Err(Malformed::TooWide));
        assert_eq!(take(&mut &[0xFF; 11][..]), Err(Malformed::TooWide));
        assert_eq!(take(&mut &[0xFF; 3][..]), Err(Malformed::BreaksOff));
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(numbers: Vec<u64>) {
            let mut bytes = Vec::new();
            for &number in &numbers {
                put(number, &mut bytes);
            }

            let mut left = &bytes[..];
            for number in numbers {
                prop_assert_eq!(take(&mut left), Ok(number));
            }
            prop_assert!(left.is_empty());
        }
    }
}
