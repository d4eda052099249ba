//! The segments of a chunk's customers, as the column `segments` holds them: for each planned customer, in their order,
//! the number of his segment, a [`varint`]. Of a base with up to 127 segments a customer takes one byte.

use super::varint;

/// Why stored segments cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segments of a chunk: {0}")]
pub(crate) struct Malformed(&'static str);

/// Encodes the numbers of segments, in the order of the customers.
pub(crate) fn encode(numbers: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(numbers.len());
    for &number in numbers {
        varint::put(number.into(), &mut bytes);
    }
    bytes
}

/// Decodes the numbers of `count` customers' segments, each below `segments`, behind those that are there.
pub(crate) fn decode_into(
    numbers: &mut Vec<u32>,
    count: usize,
    segments: usize,
    mut bytes: &[u8],
) -> Result<(), Malformed> {
    if count > bytes.len() {
        return Err(Malformed("more customers than bytes"));
    }
    numbers.reserve(count);
    for _ in 0..count {
        let number = varint::take(&mut bytes).map_err(|malformed| match malformed {
            varint::Malformed::BreaksOff => Malformed("they break off"),
            varint::Malformed::TooWide => Malformed("a number does not fit 64 bits"),
        })?;
        let is_known = usize::try_from(number).is_ok_and(|number| number < segments);
        match u32::try_from(number) {
            Ok(number) if is_known => numbers.push(number),
            _ => return Err(Malformed("a segment that the run does not have")),
        }
    }
    if bytes.is_empty() { Ok(()) } else { Err(Malformed("more bytes than customers")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(count: usize, segments: usize, bytes: &[u8]) -> Result<Vec<u32>, Malformed> {
        let mut numbers = Vec::new();
        decode_into(&mut numbers, count, segments, bytes).map(|()| numbers)
    }

    #[test]
    fn a_customer_takes_one_byte_where_segments_are_few() {
        assert_eq!(encode(&[0, 1, 127]), [0, 1, 127]);
        assert_eq!(encode(&[128]).len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(decode(2, 9, &[1]), Err(Malformed("more customers than bytes")));
        assert_eq!(decode(usize::MAX, 9, &[1]), Err(Malformed("more customers than bytes")));
        assert_eq!(decode(1, 9, &[1, 1]), Err(Malformed("more bytes than customers")));
        assert_eq!(decode(1, 9, &[9]), Err(Malformed("a segment that the run does not have")));
        assert_eq!(decode(1, 9, &[0x80]), Err(Malformed("they break off")));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(numbers in prop::collection::vec(0_u32..10_001, 0..200)) {
            prop_assert_eq!(decode(numbers.len(), 10_001, &encode(&numbers)), Ok(numbers));
        }

        #[test]
        fn arbitrary_bytes_give_so_many_known_segments_or_an_error(
            count in 0_usize..40,
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let Ok(numbers) = decode(count, 100, &bytes) else { return Ok(()) };

            prop_assert_eq!(numbers.len(), count);
            prop_assert!(numbers.iter().all(|&number| number < 100));
        }
    }
}
