//! The planned customers of a chunk, as the column `members` holds them: ascending, the first as a number of its own,
//! then the differences, each a [`varint`]. Neighbouring customers take one byte each.

use batch::CustomerId;

use super::varint;

/// Why stored members cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("members of a chunk: {0}")]
pub(crate) struct Malformed(&'static str);

const OTHER_NUMBER: Malformed = Malformed("their number is not the planned one");

/// Encodes the customers after the first one.
pub(crate) fn encode(customers: &[CustomerId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(customers.len());
    for pair in customers.windows(2) {
        varint::put(pair[1].0.wrapping_sub(pair[0].0) as u64, &mut bytes);
    }
    bytes
}

/// Decodes `count` customers, the first of them given.
pub(crate) fn decode(
    first: CustomerId,
    count: usize,
    mut bytes: &[u8],
) -> Result<Vec<CustomerId>, Malformed> {
    if count == 0 || count > bytes.len() + 1 {
        return Err(Malformed("more customers than bytes"));
    }
    let mut customers = Vec::with_capacity(count);
    customers.push(first);
    let mut last = first;
    while !bytes.is_empty() {
        let difference = varint::take(&mut bytes).map_err(|malformed| match malformed {
            varint::Malformed::BreaksOff => OTHER_NUMBER,
            varint::Malformed::TooWide => Malformed("a difference does not fit 64 bits"),
        })?;
        let next = CustomerId(last.0.wrapping_add(difference as i64));
        if next <= last {
            return Err(Malformed("they do not ascend"));
        }
        customers.push(next);
        last = next;
    }
    if customers.len() != count {
        return Err(OTHER_NUMBER);
    }
    Ok(customers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_take_one_byte_each() {
        let customers: Vec<_> = (10..20).map(CustomerId).collect();

        assert_eq!(encode(&customers).len(), 9);
    }

    #[test]
    fn extremes_survive() {
        let customers = [CustomerId(i64::MIN), CustomerId(0), CustomerId(i64::MAX)];

        assert_eq!(decode(customers[0], 3, &encode(&customers)).unwrap(), customers);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut too_wide = vec![0xFF; 9];
        too_wide.push(0x02);

        let wide = Err(Malformed("a difference does not fit 64 bits"));
        assert_eq!(decode(CustomerId(0), 2, &too_wide), wide);
        assert_eq!(decode(CustomerId(0), 2, &[0xFF; 11]), wide);
        assert_eq!(decode(CustomerId(0), usize::MAX, &[1; 9]), Err(Malformed("more customers than bytes")));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(ids in proptest::collection::btree_set(any::<i64>(), 1..200)) {
            let customers: Vec<_> = ids.into_iter().map(CustomerId).collect();

            let decoded = decode(customers[0], customers.len(), &encode(&customers));

            prop_assert_eq!(decoded.unwrap(), customers);
        }

        #[test]
        fn arbitrary_bytes_give_the_planned_number_in_order_or_an_error(
            first: i64,
            count in prop_oneof![0_usize..40, Just(usize::MAX), any::<usize>()],
            bytes in prop::collection::vec(prop_oneof![3 => 0_u8..0x80, 1 => any::<u8>()], 0..40),
        ) {
            let Ok(customers) = decode(CustomerId(first), count, &bytes) else { return Ok(()) };

            prop_assert_eq!(customers.len(), count);
            prop_assert_eq!(customers[0], CustomerId(first));
            prop_assert!(customers.is_sorted_by(|left, right| left < right));
            // No room is made before the bytes that fill it are there.
            prop_assert!(customers.capacity() <= bytes.len() + 1);
        }

        #[test]
        fn what_was_damaged_gives_the_planned_number_or_an_error(
            ids in proptest::collection::btree_set(any::<i64>(), 1..50),
            at: prop::sample::Index,
            removed in 0..3_usize,
            put in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let customers: Vec<_> = ids.into_iter().map(CustomerId).collect();
            let mut bytes = encode(&customers);
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + removed);
            bytes.splice(at..end, put);

            let decoded = decode(customers[0], customers.len(), &bytes);

            prop_assert!(decoded.is_err() || decoded.is_ok_and(|decoded| decoded.len() == customers.len()));
        }
    }
}
