//! How values and progress look as bytes. Any bytes give a value or an error, never a panic.
//!
//! **A value** is 63 bytes: the version of this format, the grade's letter, one byte that says what is there (bit 0:
//! the interval, bit 1: `p_alive`), then `value_minor`, `value_36_minor`, `historic_minor`, the interval's two ends,
//! `expected_purchases` and `p_alive`, each in eight bytes, little-endian; zeros where there is nothing. Every bit
//! survives, also those of a NaN. The last four are a checksum over the run, the customer and all before it: bytes that
//! were damaged, or stand in another customer's place or another run's, are seen. The two numbers themselves are not
//! written: with them a value would be longer than a listpack takes.
//!
//! **A bucket** holds the hundred customers whose numbers differ in the last two digits alone; a customer's *slot*
//! is those two digits. Redis keeps a small hash in one flat block (a *listpack*) as long as it has at most 128
//! fields of at most 64 bytes, which a bucket never exceeds. A slot is one byte, so that a customer costs about
//! seventy bytes instead of the two hundred that a key of its own would.
//!
//! **Progress** is a JSON object, because people look at it with `redis-cli`.

use batch::{CustomerId, Progress, RunId};
use bytes::{BufMut, Bytes, BytesMut};
use model::{Between, Grade};
use serde_json::json;

use crate::CachedValue;

/// How many customers a bucket has.
pub(crate) const BUCKET_SIZE: i64 = 100;

/// How long a packed value is.
pub(crate) const VALUE_LEN: usize = 3 + 7 * 8 + SUM_LEN;

/// How long a checksum is.
pub(crate) const SUM_LEN: usize = 4;

const VALUE_VERSION: u8 = 3;

const HAS_INTERVAL: u8 = 1;
const HAS_P_ALIVE: u8 = 2;

/// The hundred customers that share a hash, as in "customers 1200 to 1299".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket(pub(crate) i64);

impl Bucket {
    /// Tells a customer's bucket and the slot within it. Euclidean, so that -1 is slot 99 of bucket -1.
    pub(crate) fn of(customer: CustomerId) -> (Self, Slot) {
        let CustomerId(number) = customer;
        (Self(number.div_euclid(BUCKET_SIZE)), Slot(number.rem_euclid(BUCKET_SIZE) as u8))
    }

    /// Whose slot it is. Of a bucket that nobody has, since anybody may have written its number, some other customer.
    pub(crate) fn customer(self, Slot(slot): Slot) -> CustomerId {
        CustomerId(self.0.wrapping_mul(BUCKET_SIZE).wrapping_add(i64::from(slot)))
    }
}

/// A customer's place in its bucket, from 0 to 99.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u8);

impl Slot {
    /// Returns the slot as a field of a hash, without allocating.
    pub(crate) fn field(self) -> Bytes {
        static FIELDS: [u8; BUCKET_SIZE as usize] = {
            let mut fields = [0; BUCKET_SIZE as usize];
            let mut slot = 0;
            while slot < fields.len() {
                fields[slot] = slot as u8;
                slot += 1;
            }
            fields
        };
        let slot = usize::from(self.0);
        Bytes::from_static(&FIELDS[slot..=slot])
    }
}

/// Says what is wrong with bytes from the cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(String);

/// Sums up bytes that stand under a run and a number of its own there: a customer's, a bucket's.
///
/// CRC-32 sees every damage to 32 neighbouring bits, and any other with a probability of 1 - 2⁻³².
pub(crate) fn checksum(run: RunId, number: i64, bytes: &[u8]) -> [u8; SUM_LEN] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&run.0.to_le_bytes());
    sum.update(&number.to_le_bytes());
    sum.update(bytes);
    sum.finalize().to_le_bytes()
}

/// Appends the value of a customer of a run.
pub(crate) fn put_value(bytes: &mut BytesMut, run: RunId, customer: CustomerId, value: &CachedValue) {
    let start = bytes.len();
    let interval = if value.between_80.is_some() { HAS_INTERVAL } else { 0 };
    let p_alive = if value.p_alive.is_some() { HAS_P_ALIVE } else { 0 };
    let between = value.between_80.unwrap_or(Between { lower_minor: 0, upper_minor: 0 });
    bytes.put_slice(&[VALUE_VERSION, value.grade.letter(), interval | p_alive]);
    bytes.put_i64_le(value.value_minor);
    bytes.put_i64_le(value.value_36_minor);
    bytes.put_i64_le(value.historic_minor);
    bytes.put_i64_le(between.lower_minor);
    bytes.put_i64_le(between.upper_minor);
    bytes.put_f64_le(value.expected_purchases);
    bytes.put_f64_le(value.p_alive.unwrap_or(0.0));
    let sum = checksum(run, customer.0, &bytes[start..]);
    bytes.put_slice(&sum);
}

/// Reads the value of a customer of a run.
pub(crate) fn read_value(run: RunId, customer: CustomerId, bytes: &[u8]) -> Result<CachedValue, Unreadable> {
    let Some(version) = bytes.first() else {
        return Err(Unreadable("a value of no bytes".into()));
    };
    if *version != VALUE_VERSION {
        return Err(Unreadable(format!("format version {version} instead of {VALUE_VERSION}")));
    }
    let wrong_length = || Unreadable(format!("{} bytes instead of {VALUE_LEN}", bytes.len()));
    let (summed, sum) = bytes.split_last_chunk::<SUM_LEN>().ok_or_else(wrong_length)?;
    let Some(([_, letter, present], numbers)) = summed.split_first_chunk() else {
        return Err(wrong_length());
    };
    let ([value, value_36, historic, lower, upper, expected_purchases, p_alive], []) =
        numbers.as_chunks::<8>()
    else {
        return Err(wrong_length());
    };
    if checksum(run, customer.0, summed) != *sum {
        return Err(Unreadable(format!("not as it was written for customer {customer}")));
    }
    let between =
        Between { lower_minor: i64::from_le_bytes(*lower), upper_minor: i64::from_le_bytes(*upper) };
    let grade =
        Grade::from_letter(*letter).ok_or_else(|| Unreadable(format!("grade {:?}", char::from(*letter))))?;
    Ok(CachedValue {
        value_minor: i64::from_le_bytes(*value),
        value_36_minor: i64::from_le_bytes(*value_36),
        historic_minor: i64::from_le_bytes(*historic),
        between_80: (present & HAS_INTERVAL != 0).then_some(between),
        expected_purchases: f64::from_le_bytes(*expected_purchases),
        p_alive: (present & HAS_P_ALIVE != 0).then(|| f64::from_le_bytes(*p_alive)),
        grade,
    })
}

/// Whether bytes that are no value here may be one to another release, and are left to it: they begin with the number of
/// another format, which is no letter.
pub(crate) fn may_be_of_another_release(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|&version| (1..b' ').contains(&version) && version != VALUE_VERSION)
}

/// Writes progress as JSON.
pub(crate) fn progress_json(progress: &Progress) -> String {
    // Taken apart, so that a new field cannot be forgotten here.
    let Progress { chunks, done, dead, customers, values, rejections, work, work_settled } = *progress;
    json!({
        "chunks": chunks,
        "done": done,
        "dead": dead,
        "customers": customers,
        "values": values,
        "rejections": rejections,
        "work": work,
        "work_settled": work_settled,
    })
    .to_string()
}

/// Reads progress from JSON. Fields that a newer release added are ignored.
pub(crate) fn read_progress(json: &[u8]) -> Result<Progress, Unreadable> {
    let fields: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| Unreadable(format!("progress: {error}")))?;
    let missing = |name: &str| Unreadable(format!("progress: {name} is missing, or is no number"));
    let count = |name: &str| fields[name].as_u64().ok_or_else(|| missing(name));
    let amount = |name: &str| fields[name].as_f64().ok_or_else(|| missing(name));
    Ok(Progress {
        chunks: count("chunks")?,
        done: count("done")?,
        dead: count("dead")?,
        customers: count("customers")?,
        values: count("values")?,
        rejections: count("rejections")?,
        work: amount("work")?,
        work_settled: amount("work_settled")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALUE: CachedValue = CachedValue {
        value_minor: -12_345,
        value_36_minor: 3,
        historic_minor: 4,
        between_80: Some(Between { lower_minor: 5, upper_minor: 6 }),
        expected_purchases: 2.5,
        p_alive: Some(0.75),
        grade: Grade::B,
    };

    #[test]
    fn what_another_release_may_have_written_is_told_from_what_is_damaged() {
        let check = |first: u8, expected: bool| {
            assert_eq!(may_be_of_another_release(&[first, 1, 2]), expected, "{first}");
        };

        check(0, false);
        check(1, true);
        check(VALUE_VERSION - 1, true);
        check(VALUE_VERSION, false);
        check(VALUE_VERSION + 1, true);
        check(b' ', false);
        check(b'g', false);
        check(0xff, false);
        assert!(!may_be_of_another_release(&[]));
    }

    #[test]
    fn neighbours_share_a_bucket_on_both_sides_of_zero() {
        let check = |customer, bucket, slot| {
            assert_eq!(Bucket::of(CustomerId(customer)), (Bucket(bucket), Slot(slot)), "{customer}");
        };

        check(0, 0, 0);
        check(99, 0, 99);
        check(100, 1, 0);
        check(-1, -1, 99);
        check(-100, -1, 0);
        check(-101, -2, 99);
        check(i64::MAX, 92_233_720_368_547_758, 7);
        check(i64::MIN, -92_233_720_368_547_759, 92);
    }

    #[test]
    fn a_packed_value_is_short_enough_for_a_listpack() {
        let mut bytes = BytesMut::new();

        put_value(&mut bytes, RunId(7), CustomerId(17), &VALUE);

        assert_eq!(bytes.len(), VALUE_LEN);
        assert!(bytes.len() <= 64);
        assert_eq!(bytes[..11], [3, b'B', 3, 0xc7, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_value_that_is_cut_or_of_another_version_is_unreadable() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(read_value(RunId(7), CustomerId(17), bytes).unwrap_err().to_string(), expected);
        };

        let mut packed = BytesMut::new();
        put_value(&mut packed, RunId(7), CustomerId(17), &VALUE);
        let with = |at: usize, byte: u8| {
            let mut bytes = packed.to_vec();
            bytes[at] = byte;
            bytes
        };

        check(b"", "a value of no bytes");
        check(&[3], "1 bytes instead of 63");
        check(&packed[..62], "62 bytes instead of 63");
        check(&[&packed[..], &[0]].concat(), "64 bytes instead of 63");
        check(&with(0, 2), "format version 2 instead of 3");
        check(&with(1, b'A'), "not as it was written for customer 17");
        check(&with(62, packed[62] ^ 1), "not as it was written for customer 17");
    }

    #[test]
    fn a_value_in_the_place_of_another_customer_or_run_is_unreadable() {
        let mut packed = BytesMut::new();
        put_value(&mut packed, RunId(7), CustomerId(17), &VALUE);

        assert_eq!(read_value(RunId(7), CustomerId(17), &packed), Ok(VALUE));
        for (run, customer) in [(7, 18), (8, 17), (17, 7)] {
            assert!(read_value(RunId(run), CustomerId(customer), &packed).is_err(), "{run}, {customer}");
        }
    }

    #[test]
    fn progress_without_a_field_is_unreadable_and_with_one_more_is_not() {
        let json = progress_json(&Progress { chunks: 3, ..Progress::default() });

        let cut = json.replace("\"done\"", "\"gone\"");
        let longer = json.replace('{', "{\"added\":[1],");

        let error = read_progress(cut.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "progress: done is missing, or is no number");
        assert_eq!(read_progress(longer.as_bytes()).unwrap().chunks, 3);
        assert!(read_progress(b"[]").is_err());
        assert!(read_progress(b"{").is_err());
    }

    #[test]
    fn progress_without_a_bottom_is_unreadable() {
        assert!(read_progress("[".repeat(100_000).as_bytes()).is_err());
        assert!(read_progress("{\"chunks\":".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn every_value_comes_back_to_the_bit(
            numbers: [i64; 3],
            between: Option<(i64, i64)>,
            floats: [u64; 2],
            is_alive_known: bool,
            letter in proptest::sample::select(vec![b'A', b'D', b'P']),
        ) {
            let [value_minor, value_36_minor, historic_minor] = numbers;
            let [expected_purchases, p_alive] = floats.map(f64::from_bits);
            let value = CachedValue {
                value_minor,
                value_36_minor,
                historic_minor,
                between_80: between.map(|(lower_minor, upper_minor)| Between { lower_minor, upper_minor }),
                expected_purchases,
                p_alive: is_alive_known.then_some(p_alive),
                grade: Grade::from_letter(letter).unwrap(),
            };
            let mut bytes = BytesMut::new();

            put_value(&mut bytes, RunId(7), CustomerId(17), &value);
            let read = read_value(RunId(7), CustomerId(17), &bytes).unwrap();

            // Debug tells a NaN from another only as a NaN, so the floats are compared as bits.
            prop_assert_eq!(read.expected_purchases.to_bits(), expected_purchases.to_bits());
            prop_assert_eq!(read.p_alive.map(f64::to_bits), value.p_alive.map(f64::to_bits));
            let rest = |value: CachedValue| CachedValue { expected_purchases: 0.0, p_alive: None, ..value };
            prop_assert_eq!(rest(read), rest(value));
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = read_value(RunId(7), CustomerId(17), &bytes);
            let _ = read_progress(&bytes);
        }

        #[test]
        fn what_was_damaged_gives_something_or_an_error(
            at: prop::sample::Index,
            removed in 0..3_usize,
            put in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let damaged = |mut bytes: Vec<u8>| {
                let at = at.index(bytes.len() + 1);
                let end = bytes.len().min(at + removed);
                bytes.splice(at..end, put.clone());
                bytes
            };
            let mut packed = BytesMut::new();
            put_value(&mut packed, RunId(7), CustomerId(17), &VALUE);

            let value = read_value(RunId(7), CustomerId(17), &damaged(packed.to_vec()));
            let progress = read_progress(&damaged(progress_json(&Progress::default()).into_bytes()));

            // What was damaged is never taken for a value.
            prop_assert!(value.is_err() || damaged(packed.to_vec()) == packed);
            if let Ok(progress) = progress {
                prop_assert!((0.0..=1.0).contains(&progress.share()));
            }
        }

        #[test]
        fn a_bucket_and_a_slot_are_one_customer(customer: i64) {
            let (at @ Bucket(bucket), slot) = Bucket::of(CustomerId(customer));

            let field = slot.field();

            prop_assert_eq!(at.customer(slot), CustomerId(customer));

            prop_assert_eq!(field.len(), 1);
            prop_assert_eq!(i128::from(bucket) * 100 + i128::from(field[0]), i128::from(customer));
        }

        #[test]
        fn progress_comes_back(
            counts: [u64; 6],
            work in 0.0..1e15_f64,
            work_settled in 0.0..1e15_f64,
        ) {
            let [chunks, done, dead, customers, values, rejections] = counts;
            let progress = Progress { chunks, done, dead, customers, values, rejections, work, work_settled };

            let read = read_progress(progress_json(&progress).as_bytes()).unwrap();

            // The JSON reader may be off in the last bit of a fraction.
            prop_assert!((read.work - work).abs() <= work * 1e-15);
            prop_assert!((read.work_settled - work_settled).abs() <= work_settled * 1e-15);
            prop_assert_eq!(Progress { work, work_settled, ..read }, progress);
        }
    }
}
