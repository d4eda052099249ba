//! The values of a commit, packed: a night over millions of customers has to fit into memory beside its base.
//!
//! Whole numbers are zigzag [`varint`]s, since most amounts are small and many are 0; a customer is the
//! difference to the one before; floating-point numbers are their bits. What comes out is what went in, to the bit.

use std::sync::Arc;

use batch::CustomerId;
use model::{Between, Confidence, Grade, Horizons, Payback, Value};

use crate::encoding::varint;

/// Values in the order of their customers.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) first: CustomerId,
    pub(super) last: CustomerId,
    pub(super) count: u64,
    /// Whether nobody stands in it twice.
    pub(super) is_unique: bool,
    bytes: Arc<[u8]>,
}

/// What a value has and what it has not.
mod flag {
    pub(super) const PURCHASES_FOR_EVER: u8 = 1;
    pub(super) const CONTRACTS_FOR_EVER: u8 = 1 << 1;
    pub(super) const P_ALIVE: u8 = 1 << 2;
    pub(super) const INTERVALS: u8 = 1 << 3;
    pub(super) const RELATIVE_WIDTH: u8 = 1 << 4;
    pub(super) const PAYBACK: u8 = 1 << 5;
    pub(super) const PAYBACK_MONTHS: u8 = 1 << 6;
}

impl Packed {
    /// Packs values whose customers do not descend; none if there are none.
    pub(super) fn pack<'v>(values: impl IntoIterator<Item = (CustomerId, &'v Value)>) -> Option<Self> {
        let mut writer = Writer(Vec::new());
        let mut ends = None;
        let mut count = 0;
        let mut is_unique = true;
        for (customer, value) in values {
            is_unique &= ends.is_none_or(|(_, before)| before < customer);
            let (first, before) = ends.unwrap_or((customer, customer));
            writer.integer(customer.0.wrapping_sub(before.0));
            writer.value(value);
            ends = Some((first, customer));
            count += 1;
        }
        let (first, last) = ends?;
        Some(Self { first, last, count, is_unique, bytes: writer.0.into() })
    }

    /// The values, in order.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { reader: Reader(&self.bytes), left: self.count, customer: self.first }
    }
}

/// Unpacks values one by one.
pub(super) struct Iter<'a> {
    reader: Reader<'a>,
    left: u64,
    customer: CustomerId,
}

impl Iterator for Iter<'_> {
    type Item = (CustomerId, Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.customer = CustomerId(self.customer.0.wrapping_add(self.reader.integer()));
        Some((self.customer, self.reader.value()))
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn integer(&mut self, number: i64) {
        varint::put(((number << 1) ^ (number >> 63)) as u64, &mut self.0);
    }

    fn double(&mut self, number: f64) {
        self.0.extend_from_slice(&number.to_bits().to_le_bytes());
    }

    fn single(&mut self, number: f32) {
        self.0.extend_from_slice(&number.to_bits().to_le_bytes());
    }

    fn horizons(&mut self, horizons: &Horizons) {
        let &Horizons { months_12, months_24, months_36, for_ever } = horizons;
        [months_12, months_24, months_36].into_iter().chain(for_ever).for_each(|sum| self.integer(sum));
    }

    fn value(&mut self, value: &Value) {
        let Value {
            historic_minor,
            purchases,
            contracts,
            expected_purchases,
            p_alive,
            intervals,
            confidence: Confidence { grade, own_rate, own_spend, relative_width },
            payback,
        } = value;
        let flags = [
            (purchases.for_ever.is_some(), flag::PURCHASES_FOR_EVER),
            (contracts.for_ever.is_some(), flag::CONTRACTS_FOR_EVER),
            (p_alive.is_some(), flag::P_ALIVE),
            (intervals.is_some(), flag::INTERVALS),
            (relative_width.is_some(), flag::RELATIVE_WIDTH),
            (payback.is_some(), flag::PAYBACK),
            (payback.is_some_and(|payback| payback.months.is_some()), flag::PAYBACK_MONTHS),
        ];
        self.0.push(flags.iter().filter(|(is_there, _)| *is_there).map(|(_, flag)| flag).sum());
        self.integer(*historic_minor);
        self.horizons(purchases);
        self.horizons(contracts);
        self.double(*expected_purchases);
        if let Some(p) = *p_alive {
            self.double(p);
        }
        for between in intervals.iter().flatten() {
            self.integer(between.lower_minor);
            self.integer(between.upper_minor);
        }
        self.0.push(grade.letter());
        self.single(*own_rate);
        self.single(*own_spend);
        if let Some(width) = *relative_width {
            self.single(width);
        }
        if let Some(Payback { months, probability }) = payback {
            self.0.extend(months);
            self.double(*probability);
        }
    }
}

/// Reads what a [`Writer`] has written, and nothing else: that it ends too early cannot happen.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk().expect("what was packed is whole");
        self.0 = rest;
        *taken
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    fn integer(&mut self) -> i64 {
        let rest = varint::take(&mut self.0).expect("what was packed is whole");
        (rest >> 1) as i64 ^ -((rest & 1) as i64)
    }

    fn double(&mut self) -> f64 {
        f64::from_bits(u64::from_le_bytes(self.take()))
    }

    fn single(&mut self) -> f32 {
        f32::from_bits(u32::from_le_bytes(self.take()))
    }

    fn horizons(&mut self, is_for_ever: bool) -> Horizons {
        Horizons {
            months_12: self.integer(),
            months_24: self.integer(),
            months_36: self.integer(),
            for_ever: is_for_ever.then(|| self.integer()),
        }
    }

    fn between(&mut self) -> Between {
        Between { lower_minor: self.integer(), upper_minor: self.integer() }
    }

    fn value(&mut self) -> Value {
        let flags = self.byte();
        let has = |flag| flags & flag != 0;
        // The fields are read in the order in which they stand here, which is that of the writer.
        Value {
            historic_minor: self.integer(),
            purchases: self.horizons(has(flag::PURCHASES_FOR_EVER)),
            contracts: self.horizons(has(flag::CONTRACTS_FOR_EVER)),
            expected_purchases: self.double(),
            p_alive: has(flag::P_ALIVE).then(|| self.double()),
            intervals: has(flag::INTERVALS).then(|| [self.between(), self.between()]),
            confidence: Confidence {
                grade: Grade::from_letter(self.byte()).expect("a grade was packed"),
                own_rate: self.single(),
                own_spend: self.single(),
                relative_width: has(flag::RELATIVE_WIDTH).then(|| self.single()),
            },
            payback: has(flag::PAYBACK).then(|| Payback {
                months: has(flag::PAYBACK_MONTHS).then(|| self.byte()),
                probability: self.double(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn horizons() -> impl Strategy<Value = Horizons> {
        (any::<[i64; 3]>(), any::<Option<i64>>()).prop_map(|([months_12, months_24, months_36], for_ever)| {
            Horizons { months_12, months_24, months_36, for_ever }
        })
    }

    fn between() -> impl Strategy<Value = Between> {
        any::<[i64; 2]>().prop_map(|[lower_minor, upper_minor]| Between { lower_minor, upper_minor })
    }

    prop_compose! {
        fn confidence()(
            letter in prop::sample::select(b"ABCDP".to_vec()),
            own_rate: f32,
            own_spend: f32,
            relative_width: Option<f32>,
        ) -> Confidence {
            let grade = Grade::from_letter(letter).unwrap();
            Confidence { grade, own_rate, own_spend, relative_width }
        }
    }

    prop_compose! {
        fn value()(
            historic_minor: i64,
            purchases in horizons(),
            contracts in horizons(),
            expected_purchases: f64,
            p_alive: Option<f64>,
            intervals in option::of([between(), between()]),
            confidence in confidence(),
            payback: Option<(Option<u8>, f64)>,
        ) -> Value {
            let payback = payback.map(|(months, probability)| Payback { months, probability });
            Value {
                historic_minor,
                purchases,
                contracts,
                expected_purchases,
                p_alive,
                intervals,
                confidence,
                payback,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out(
            values in prop::collection::btree_map(any::<i64>(), value(), 1..20),
        ) {
            let values: Vec<(CustomerId, Value)> =
                values.into_iter().map(|(id, value)| (CustomerId(id), value)).collect();

            let packed = Packed::pack(values.iter().map(|(customer, value)| (*customer, value))).unwrap();

            prop_assert_eq!((packed.first, packed.last), (values[0].0, values[values.len() - 1].0));
            // The generated numbers are never NaN, which would not be equal to itself.
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), values);
        }
    }
}
