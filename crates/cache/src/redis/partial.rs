//! Whether all of a partial run is here, as it was written.
//!
//! Each value that the run's directory names is read: whether one is missing is seen by that alone, whatever else stands
//! beside it, and so is what was damaged or stands in another's place. That is about seventy bytes a customer, in parts of
//! [`VALUES_PER_REQUEST`], so that whoever shares the connection waits for one part at most.

use std::iter;

use batch::RunId;
use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, HashesInterface as _};

use super::answers::Fields;
use super::calls::Call;
use super::{HASHES_PER_PIPELINE, PAGES, PAGES_PER_COMMAND, Redis};
use crate::members::{Page, Pages, Slots};
use crate::packed::{self, Bucket, Slot};
use crate::{Error, Holds};

/// How many values are read at a time, at most: as many as a chunk has, and more than a bucket.
const VALUES_PER_REQUEST: usize = 5_000;

/// A bucket, and those of its slots in which the run holds values.
type Named = (Bucket, Slots);

impl Redis {
    /// Looks through a run's directory, and at every value that it names; until something is damaged, or a page is missing,
    /// because then all is to be written again.
    pub(super) async fn look_through(&self, run: RunId) -> Result<Holds, Error> {
        let count = self.read_members(run, vec![PAGES.to_owned()]).await?;
        let Some(Some(count)) = count.first() else { return Ok(Holds::Less) };
        let Some(pages) = Pages::read(count) else { return Ok(Holds::Damaged) };
        let mut holds = Holds::All;
        for start in (0..pages.count()).step_by(PAGES_PER_COMMAND) {
            let numbers = start..pages.count().min(start.saturating_add(PAGES_PER_COMMAND as u32));
            let found =
                self.read_members(run, numbers.clone().map(|number| number.to_string()).collect()).await?;
            let mut named: Vec<Named> = Vec::new();
            for (number, page) in numbers.zip(&found) {
                let Some(page) = page else { return Ok(Holds::Less) };
                let Some(page) = Page::read(run, pages, number, page) else { return Ok(Holds::Damaged) };
                named.extend(page.buckets().filter(|(_, slots)| slots.count() > 0));
            }
            for part in parts(&named) {
                holds = holds.max(self.look_at(run, part).await?);
                if holds == Holds::Damaged {
                    return Ok(holds);
                }
            }
        }
        Ok(holds)
    }

    async fn read_members(&self, run: RunId, fields: Vec<String>) -> Result<Fields, Error> {
        let key = self.keys.members_of(run);
        self.request(Call::HoldsAll(run), |client| async move {
            client.with_options(&self.bulk_options()).hmget(key, fields).await
        })
        .await
    }

    /// Reads what stands where these values belong.
    async fn look_at(&self, run: RunId, named: &[Named]) -> Result<Holds, Error> {
        let key_start = &self.keys.values_of(run);
        let read = async |client: Client| {
            let pipeline = client.pipeline().with_options(&self.bulk_options());
            for &(Bucket(bucket), slots) in named {
                let fields: Vec<Bytes> = slots.each().map(Slot::field).collect();
                let () = pipeline.hmget(format!("{key_start}{bucket}"), fields).await?;
            }
            pipeline.try_all::<Fields>().await.into_iter().collect::<Result<Vec<Fields>, _>>()
        };
        let found: Vec<Fields> = self.request(Call::HoldsAll(run), read).await?;
        let held = named.iter().zip(&found).map(|(named, found)| judge(run, *named, found));
        Ok(held.max().unwrap_or(Holds::All))
    }
}

/// Cuts buckets into parts that are read at a time.
fn parts(mut named: &[Named]) -> impl Iterator<Item = &[Named]> {
    iter::from_fn(move || {
        let mut values = 0;
        let fits = |(_, slots): &&Named| {
            values += slots.count();
            values <= VALUES_PER_REQUEST
        };
        let size = named.iter().take(HASHES_PER_PIPELINE).take_while(fits).count();
        let (part, rest) = named.split_at(size);
        named = rest;
        (!part.is_empty()).then_some(part)
    })
}

/// Says what stands in the slots of a bucket in which a run holds values.
fn judge(run: RunId, (bucket, slots): Named, found: &[Option<Bytes>]) -> Holds {
    let held = slots.each().zip(found).map(|(slot, found)| match found {
        None => Holds::Less,
        Some(bytes) if packed::may_be_of_another_release(bytes) => Holds::All,
        Some(bytes) if packed::read_value(run, bucket.customer(slot), bytes).is_ok() => Holds::All,
        Some(_) => Holds::Damaged,
    });
    held.max().unwrap_or(Holds::All)
}

#[cfg(test)]
mod tests {
    use batch::CustomerId;
    use bytes::BytesMut;

    use super::*;
    use crate::CachedValue;
    use crate::members;

    /// The buckets of these customers.
    fn named(customers: impl Iterator<Item = i64>) -> Vec<Named> {
        let customers: Vec<CustomerId> = customers.map(CustomerId).collect();
        members::pages(&customers).1.iter().flat_map(Page::buckets).collect()
    }

    fn packed(run: i64, customer: i64) -> Bytes {
        let value = CachedValue {
            value_minor: customer,
            value_36_minor: 0,
            historic_minor: 0,
            between_80: None,
            expected_purchases: 1.0,
            p_alive: None,
            grade: model::Grade::A,
        };
        let mut bytes = BytesMut::new();
        packed::put_value(&mut bytes, RunId(run), CustomerId(customer), &value);
        bytes.freeze()
    }

    #[test]
    fn a_value_is_missed_by_its_own_slot_and_known_by_its_own_bytes() {
        let check = |found: [Option<Bytes>; 3], expected: Holds| {
            let named = named([-83, -82, -1].into_iter());
            assert_eq!(judge(RunId(7), named[0], &found), expected, "{found:?}");
        };
        let own = || [packed(7, -83), packed(7, -82), packed(7, -1)].map(Some);
        let with = |place: usize, bytes: Option<Bytes>| {
            let mut found = own();
            found[place] = bytes;
            found
        };
        let some = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));

        check(own(), Holds::All);
        check(with(1, None), Holds::Less);
        check(with(1, some(b"gibberish")), Holds::Damaged);
        check(with(1, some(b"")), Holds::Damaged);
        check(with(1, own()[0].clone()), Holds::Damaged);
        check(with(2, Some(packed(8, -1))), Holds::Damaged);
        check([own()[1].clone(), None, own()[2].clone()], Holds::Damaged);
        check(with(0, some(b"\x02 an earlier release's")), Holds::All);
        check(with(0, some(b"\x04 a later release's")), Holds::All);
    }

    #[test]
    fn parts_are_whole_buckets_and_bounded_by_their_values_and_by_themselves() {
        let check = |customers: &mut dyn Iterator<Item = i64>, largest: usize| {
            let named = named(customers);
            let parts: Vec<&[Named]> = parts(&named).collect();
            assert_eq!(parts.concat(), named);
            assert_eq!(parts.iter().map(|part| part.len()).max(), Some(largest));
        };

        check(&mut (0..100_000), VALUES_PER_REQUEST / 100);
        check(&mut (0..100_000).map(|number| number * 100), HASHES_PER_PIPELINE);
        check(&mut (0..100_000).map(|number| number * 2), VALUES_PER_REQUEST / 50);
        check(&mut (0..1), 1);
    }
}
