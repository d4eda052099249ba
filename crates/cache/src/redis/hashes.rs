//! A chunk as the hashes that hold it.

use std::fmt::Write as _;

use batch::RunId;
use bytes::{Bytes, BytesMut};
use fred::types::{Key, Value};

use crate::Valued;
use crate::packed::{self, Bucket, VALUE_LEN};

/// Cuts a chunk into hashes: the key, and the arguments of its `HSET`.
///
/// Customers that follow one another and share a bucket go into one hash; a chunk in any other order is written
/// just as well, in more commands. All values are slices of one allocation and all keys of another, because a
/// chunk has thousands of customers and the night has millions.
pub(super) struct Hashes<'a> {
    values: &'a [Valued],
    packed: Bytes,
    keys: BytesMut,
    key_start: &'a str,
}

impl<'a> Hashes<'a> {
    pub(super) fn pack(key_start: &'a str, run: RunId, values: &'a [Valued]) -> Self {
        let mut packed = BytesMut::with_capacity(values.len() * VALUE_LEN);
        for Valued { customer, value } in values {
            packed::put_value(&mut packed, run, *customer, value);
        }
        Self { values, packed: packed.freeze(), keys: BytesMut::new(), key_start }
    }
}

impl Iterator for Hashes<'_> {
    type Item = (Key, Vec<Value>);

    fn next(&mut self) -> Option<Self::Item> {
        let (bucket, _) = Bucket::of(self.values.first()?.customer);
        let is_here = |valued: &&Valued| Bucket::of(valued.customer).0 == bucket;
        let size = self.values.iter().take_while(is_here).count();
        let (here, rest) = self.values.split_at(size);
        self.values = rest;

        let Bucket(number) = bucket;
        write!(self.keys, "{}{number}", self.key_start).expect("a buffer grows");
        let key = self.keys.split().freeze();
        let mut arguments = Vec::with_capacity(1 + 2 * size);
        arguments.push(Value::Bytes(key.clone()));
        for Valued { customer, .. } in here {
            let (_, slot) = Bucket::of(*customer);
            arguments.push(Value::Bytes(slot.field()));
            arguments.push(Value::Bytes(self.packed.split_to(VALUE_LEN)));
        }
        Some((Key::from(key), arguments))
    }
}

#[cfg(test)]
mod tests {
    use batch::CustomerId;

    use super::*;
    use crate::CachedValue;

    #[test]
    fn neighbours_go_into_one_hash_and_every_value_to_its_own_slot() {
        let values: Vec<Valued> = [98, 99, 100, -1, -100, 101].map(valued).to_vec();

        let hashes: Vec<(String, Vec<(u8, i64)>)> = Hashes::pack("ltv:values:7:", RunId(7), &values)
            .map(|(_, arguments)| read_back(arguments))
            .collect();

        assert_eq!(
            hashes,
            [
                ("ltv:values:7:0".into(), vec![(98, 98), (99, 99)]),
                ("ltv:values:7:1".into(), vec![(0, 100)]),
                ("ltv:values:7:-1".into(), vec![(99, -1), (0, -100)]),
                ("ltv:values:7:1".into(), vec![(1, 101)]),
            ]
        );
    }

    fn valued(number: i64) -> Valued {
        let value = CachedValue {
            value_minor: number,
            value_36_minor: 3 * number,
            historic_minor: 0,
            between_80: None,
            expected_purchases: 1.0,
            p_alive: Some(0.5),
            grade: model::Grade::A,
        };
        Valued { customer: CustomerId(number), value }
    }

    /// Takes the arguments of an `HSET` apart: the key, then slots and the values' minor units.
    fn read_back(arguments: Vec<Value>) -> (String, Vec<(u8, i64)>) {
        let arguments: Vec<Bytes> = arguments.into_iter().map(|it| it.convert().unwrap()).collect();
        let (key, fields) = arguments.split_first().unwrap();
        let key = String::from_utf8(key.to_vec()).unwrap();
        let bucket: i64 = key.rsplit(':').next().unwrap().parse().unwrap();
        let pair = |pair: &[Bytes]| {
            let slot = pair[0][0];
            let customer = CustomerId(bucket * 100 + i64::from(slot));
            (slot, packed::read_value(RunId(7), customer, &pair[1]).unwrap().value_minor)
        };
        let pairs = fields.chunks(2).map(pair).collect();
        (key, pairs)
    }
}
