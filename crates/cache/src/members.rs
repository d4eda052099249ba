//! Which customers a partial run holds, and when a reader may pass a run by.
//!
//! Behind a run that is named an older one is named too, and a customer's value may be missing under the newer one for
//! two reasons: the run never held one, or the cache has lost it. Only in the first case may an older value be shown.
//! So each partial run has a **directory** in the cache, under one key: so many **pages**, each of which names those of
//! its buckets in which the run holds values, and whose. Which page a bucket is on follows from its number and how many
//! pages there are, and every page is written, also one that names nobody. So a reader needs one page alone, and what is
//! not there is never an answer: *not on the page* is what a page says, and no page says nothing. A page of a run says the
//! same whoever writes it, however late, since nothing about a finished run changes.
//!
//! # Failure by failure
//!
//! - *The directory is lost, whole or while it is written, and what is left of the writing arrives*: pages are missing, or
//!   how many there are. Those whose page is missing do not pass the run by: they are sent to the store.
//! - *A bucket of values is lost*: its page says whose values were in it. Their readers are sent to the store, and
//!   those of the others find what the older run holds.
//! - *The list of runs is lost*: nothing is named, and everybody is sent to the store.
//! - *Bytes are damaged, stand in another's place, or are somebody else's*: pages and values carry checksums over where
//!   they belong, a page over how many pages there are too. What is beside them is not looked at.

use std::collections::BTreeMap;

use batch::{CustomerId, RunId};
use bytes::{BufMut, Bytes, BytesMut};

use crate::CachedValue;
use crate::packed::{BUCKET_SIZE, Bucket, SUM_LEN, Slot, checksum};

/// How many buckets a page names at most, on the average: few, because a reader is sent all of it.
const BUCKETS_PER_PAGE: usize = 16;

/// How long the slots are as bytes: a bit each of a hundred.
const SLOTS_LEN: usize = 13;

/// How long a bucket and its slots are.
const ENTRY_LEN: usize = 8 + SLOTS_LEN;

/// The slots of a bucket in which a run holds values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots(u128);

impl Slots {
    fn holds(self, slot: Slot) -> bool {
        self.0 >> slot.0 & 1 == 1
    }

    pub(crate) fn count(self) -> usize {
        self.each().count()
    }

    /// Each of them, in order.
    pub(crate) fn each(self) -> impl Iterator<Item = Slot> {
        (0..BUCKET_SIZE as u8).map(Slot).filter(move |&slot| self.holds(slot))
    }
}

/// How many pages a directory has; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages(u32);

impl Pages {
    fn for_buckets(count: usize) -> Self {
        Self(u32::try_from((count / BUCKETS_PER_PAGE).next_power_of_two()).unwrap_or(1 << 31))
    }

    /// Reads how many there are, as it was written.
    pub(crate) fn read(digits: &[u8]) -> Option<Self> {
        let count = str::from_utf8(digits).ok()?.parse().ok()?;
        (count > 0).then_some(Self(count))
    }

    pub(crate) fn count(self) -> u32 {
        self.0
    }

    /// The page that a bucket is on.
    pub(crate) fn of(self, bucket: Bucket) -> u32 {
        mixed(bucket) % self.0
    }
}

/// A bucket's number so mixed that buckets at any distance go to different pages: the rest after division by how many
/// there are is the page.
pub(crate) fn mixed(Bucket(bucket): Bucket) -> u32 {
    crc32fast::hash(&bucket.to_le_bytes())
}

/// The buckets of a page in which a run holds values, and whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page(BTreeMap<Bucket, Slots>);

impl Page {
    pub(crate) fn names(&self, customer: CustomerId) -> bool {
        let (bucket, slot) = Bucket::of(customer);
        self.0.get(&bucket).is_some_and(|slots| slots.holds(slot))
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Bucket, Slots)> {
        self.0.iter().map(|(&bucket, &slots)| (bucket, slots))
    }

    /// Writes it as the page of this number.
    pub(crate) fn write(&self, run: RunId, pages: Pages, number: u32) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.0.len() * ENTRY_LEN + SUM_LEN);
        for (Bucket(bucket), Slots(slots)) in &self.0 {
            bytes.put_i64_le(*bucket);
            bytes.put_slice(&slots.to_le_bytes()[..SLOTS_LEN]);
        }
        let sum = checksum(run, place(pages, number), &bytes);
        bytes.put_slice(&sum);
        bytes.freeze()
    }

    /// Reads it; none if it is not the one of this run and number, as it was written.
    pub(crate) fn read(run: RunId, pages: Pages, number: u32, bytes: &[u8]) -> Option<Self> {
        let (summed, sum) = bytes.split_last_chunk::<SUM_LEN>()?;
        let (entries, []) = summed.as_chunks::<ENTRY_LEN>() else { return None };
        if checksum(run, place(pages, number), summed) != *sum {
            return None;
        }
        let entries = entries.iter().map(|entry| {
            let (bucket, slots) = entry.split_first_chunk()?;
            let mut all = [0; 16];
            all[..SLOTS_LEN].copy_from_slice(slots);
            Some((Bucket(i64::from_le_bytes(*bucket)), Slots(u128::from_le_bytes(all))))
        });
        entries.collect::<Option<_>>().map(Self)
    }
}

/// Where a page belongs, as a number for its checksum.
fn place(Pages(pages): Pages, number: u32) -> i64 {
    i64::from(pages) << 32 | i64::from(number)
}

/// Sorts customers into the pages of a directory, from page 0 on.
pub(crate) fn pages(customers: &[CustomerId]) -> (Pages, Vec<Page>) {
    let mut buckets = BTreeMap::<Bucket, Slots>::new();
    for &customer in customers {
        let (bucket, slot) = Bucket::of(customer);
        buckets.entry(bucket).or_default().0 |= 1 << slot.0;
    }
    let count = Pages::for_buckets(buckets.len());
    let mut pages = vec![Page::default(); count.0 as usize];
    for (bucket, slots) in buckets {
        pages[count.of(bucket) as usize].0.insert(bucket, slots);
    }
    (count, pages)
}

/// What the cache says of a customer under one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Held {
    /// His value.
    Value(CachedValue),
    /// That the run holds none: the only case in which an older one may be looked at.
    NoMember,
    /// Nothing.
    Unknown,
    /// What it cannot have been told.
    Damaged(String),
}

/// Goes through what the cache says under the visible runs, newest first, to the first that is not passed by.
pub(crate) fn newest(runs: impl IntoIterator<Item = (RunId, Held)>) -> (Option<RunId>, Held) {
    let first = runs.into_iter().find(|(_, held)| *held != Held::NoMember);
    first.map_or((None, Held::Unknown), |(run, held)| (Some(run), held))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_that_holds_nobody_has_a_page_that_says_so() {
        let (pages, all) = pages(&[]);

        assert_eq!((pages, all), (Pages(1), vec![Page::default()]));
        let bytes = Page::default().write(RunId(7), pages, 0);
        assert_eq!(Page::read(RunId(7), pages, 0, &bytes), Some(Page::default()));
    }

    #[test]
    fn pages_stay_short_whatever_lies_between_the_buckets() {
        for distance in [1, 2, 3, 10, 64, 100, 1 << 10, 1 << 20, 1 << 40] {
            let customers: Vec<CustomerId> =
                (0..10_000).map(|number| CustomerId(number * 100 * distance)).collect();

            let (pages, all) = pages(&customers);

            let longest = all.iter().map(|page| page.0.len()).max().unwrap();
            assert_eq!(pages, Pages(1024));
            assert!(longest <= 6 * BUCKETS_PER_PAGE, "{longest} buckets on a page, {distance} apart");
        }
    }

    proptest! {
        #[test]
        fn pages_name_these_customers_and_no_others(
            numbers in prop::collection::btree_set(-5_000..5_000_i64, 0..200),
        ) {
            let customers: Vec<CustomerId> = numbers.iter().copied().map(CustomerId).collect();

            let (pages, all) = pages(&customers);

            prop_assert_eq!(pages.count() as usize, all.len());
            for customer in (-5_100..5_100).map(CustomerId) {
                let (bucket, _) = Bucket::of(customer);
                let names = all[pages.of(bucket) as usize].names(customer);
                prop_assert_eq!(names, numbers.contains(&customer.0), "{}", customer);
            }
            let named = all.iter().flat_map(Page::buckets);
            let named = named.flat_map(|(bucket, slots)| slots.each().map(move |slot| bucket.customer(slot).0));
            prop_assert_eq!(named.collect::<BTreeSet<i64>>(), numbers);
        }

        #[test]
        fn a_page_comes_back_in_its_own_place_alone(
            run: i64,
            count in 1..u32::MAX,
            number: u32,
            buckets: BTreeMap<i64, u128>,
        ) {
            let buckets = buckets.into_iter().map(|(bucket, bits)| (Bucket(bucket), Slots(bits & ((1 << 100) - 1))));
            let page = Page(buckets.collect());
            let (run, other, pages) = (RunId(run), RunId(run.wrapping_add(1)), Pages(count));

            let bytes = page.write(run, pages, number);

            prop_assert_eq!(Page::read(run, pages, number, &bytes), Some(page));
            prop_assert_eq!(Page::read(other, pages, number, &bytes), None);
            prop_assert_eq!(Page::read(run, Pages(count + 1), number, &bytes), None);
            prop_assert_eq!(Page::read(run, pages, number.wrapping_add(1), &bytes), None);
            prop_assert_eq!(Page::read(run, pages, number, &bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn any_bytes_are_a_page_or_none(bytes: Vec<u8>) {
            let _ = (Page::read(RunId(1), Pages(1), 0, &bytes), Pages::read(&bytes));
        }
    }
}
