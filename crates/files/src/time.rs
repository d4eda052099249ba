//! Moments as people write them.

use jiff::Timestamp;
use jiff::civil::Date;

/// What a text is that [`read`] does not understand.
pub(crate) const NEITHER: &str =
    "neither a time with an offset, such as 1997-01-18T14:05:00Z, nor a date such as 1997-01-18";

/// Reads an RFC 3339 time, or a date as its midnight in UTC.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    // A `Date` would also be read from the front of a time without an offset.
    if let &[_, _, _, _, b'-', _, _, b'-', _, _] = text.as_bytes() {
        let date: Date = text.parse().ok()?;
        return date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|midnight| midnight.timestamp());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_rfc_3339_or_dates() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(read(text), expected.map(|time| time.parse().unwrap()), "{text}");
        };
        check("1997-01-18", Some("1997-01-18T00:00:00Z"));
        check("1997-01-18T14:05:00Z", Some("1997-01-18T14:05:00Z"));
        check("1997-01-18T14:05:00.123456+02:00", Some("1997-01-18T12:05:00.123456Z"));
        check("1997-01-18 14:05:00+00", Some("1997-01-18T14:05:00Z"));
        check("1997-02-30", None);
        check("1997-01-18T14:05:00", None);
        check("19970118", None);
        check("18.01.1997", None);
        check("yesterday", None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(
            text in "\\PC{0,12}|[-+:.TZ0-9]{0,30}|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{0,12}(Z|[-+][0-9:]{0,6}))?",
        ) {
            let _ = read(&text);
        }
    }
}
