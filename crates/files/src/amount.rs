//! Amounts of money, read to the minor unit.

use anyhow::Result;

use crate::header::{Column, Header};

/// The largest amount that is believed, in minor units: beyond it a float no longer holds every integer.
const LARGEST_AMOUNT_MINOR: i64 = 1 << 53;

/// Where an amount stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AmountColumn {
    /// Such as `amount_minor`, a whole number. Taken where a file has both, because nothing can be lost in it.
    Minor(Column),
    /// Such as `amount`, a decimal number of major units.
    Major(Column),
}

impl AmountColumn {
    /// Finds the one or the other in a file that must have the columns `needed`.
    pub(crate) fn needed(header: &Header, minor: &str, major: &str, needed: &str) -> Result<Self> {
        if header.has(minor) {
            header.needed(minor, needed).map(Self::Minor)
        } else {
            header.needed(major, needed).map(Self::Major)
        }
    }

    /// Finds the one or the other.
    pub(crate) fn find(header: &Header, minor: &str, major: &str) -> Result<Self> {
        Ok(match header.optional(&[minor])? {
            Some(column) => Self::Minor(column),
            None => Self::Major(header.column(&[major, minor])?),
        })
    }

    /// The column.
    pub(crate) fn column(self) -> Column {
        let (Self::Minor(column) | Self::Major(column)) = self;
        column
    }

    /// Reads what stands there as minor units that can be believed.
    pub(crate) fn read(self, text: &str, exponent: u32) -> Option<i64> {
        let amount_minor = match self {
            Self::Minor(_) => text.parse().ok(),
            Self::Major(_) => read(text, exponent),
        };
        amount_minor.and_then(believed)
    }
}

/// An amount in minor units, if it can be believed.
pub(crate) fn believed(amount_minor: i64) -> Option<i64> {
    (-LARGEST_AMOUNT_MINOR..=LARGEST_AMOUNT_MINOR).contains(&amount_minor).then_some(amount_minor)
}

/// Reads a decimal number of major units as minor units, exactly. Places beyond the currency's must be zeros.
pub(crate) fn read(text: &str, exponent: u32) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (major, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if major.is_empty() && fraction.is_empty() {
        return None;
    }
    let places = fraction.len().min(exponent as usize);
    let (minor, beyond) = fraction.split_at(places);
    if beyond.iter().any(|&digit| digit != b'0') {
        return None;
    }
    let mut amount: i64 = 0;
    for &digit in major.iter().chain(minor) {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        amount = amount.checked_mul(10)?.checked_add(digit)?;
    }
    let missing_places = exponent - places as u32;
    Some(sign * amount.checked_mul(10_i64.pow(missing_places))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        let check = |text: &str, exponent, expected| assert_eq!(read(text, exponent), expected, "{text}");
        check("29.33", 2, Some(2933));
        check("29.3", 2, Some(2930));
        check("29", 2, Some(2900));
        check("29.", 2, Some(2900));
        check(".5", 2, Some(50));
        check("-0.01", 2, Some(-1));
        check("+7", 0, Some(7));
        check("29.3300", 2, Some(2933));
        check("1200", 0, Some(1200));
        check("1.234", 3, Some(1234));
        check("90071992547409.93", 2, Some((1 << 53) + 1));
        check("92233720368547758.07", 2, Some(i64::MAX));
        check("92233720368547758.08", 2, None);
        for wrong in
            ["", "-", ".", "+.", "1,234", "1e3", "29.335", "0x10", "--1", "1.2.3", "$5", "NaN", "1 000"]
        {
            check(wrong, 2, None);
        }
        check("29.5", 0, None);
    }

    proptest! {
        #[test]
        fn any_text_is_an_amount_or_none(text in "\\PC{0,12}|[-+.0-9]{0,25}", exponent in 0..=4_u32) {
            if let Some(amount) = read(&text, exponent) {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte)));
                prop_assert_eq!(amount < 0, text.starts_with('-') && amount != 0);
            }
        }

        #[test]
        fn every_amount_is_read_to_the_minor_unit(amount: i64, exponent in 0..=4_u32) {
            prop_assume!(amount != i64::MIN);
            let (unit, places) = (10_u64.pow(exponent), exponent as usize);
            let (sign, size) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
            let text = match exponent {
                0 => format!("{sign}{size}"),
                _ => format!("{sign}{}.{:0places$}", size / unit, size % unit),
            };

            prop_assert_eq!(read(&text, exponent), Some(amount), "{}", text);
        }
    }
}
