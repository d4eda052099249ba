use batch::{CustomerId, RunId};
use proptest::prelude::*;

use super::{Key, Memory, Mutation};
use crate::promises::{Event, Loss, Subject, members, story};

crate::promise_tests! { tokio::test(start_paused = true), Memory::new() }

impl Subject for Memory {
    type Cache = Self;

    async fn connect(&self) -> Self {
        self.clone()
    }

    async fn empty(&self) {
        self.empty();
    }

    async fn lose(&self, key: Key) {
        self.lose(key);
    }

    async fn damage(&self, run: RunId, customer: CustomerId) {
        self.damage(run, customer);
    }

    async fn put_late(&self, run: RunId, customers: &[CustomerId], from: usize) {
        self.put_a_part_of_members(run, customers, from..);
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let (run, part) = (1..=4_i64, 0..3_i64);
    let loss = prop::sample::select(vec![Loss::Values, Loss::Members, Loss::Visible]);
    let event = prop_oneof![
        6 => (run.clone(), part.clone()).prop_map(|(run, part)| Event::Values(run, part)),
        3 => run.clone().prop_map(Event::Members),
        2 => (run.clone(), 0..6_usize).prop_map(|(run, from)| Event::LateMembers(run, from)),
        2 => run.clone().prop_map(Event::Visible),
        3 => (loss, run, part).prop_map(|(loss, run, part)| Event::Lose(loss, run, part)),
        1 => Just(Event::Flush),
    ];
    prop::collection::vec(event, 1..60)
}

fn live(cache: &Memory, events: &[Event]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(story(cache, events));
}

proptest! {
    #[test]
    fn in_any_story_a_reader_gets_the_newest_or_none(events in events()) {
        live(&Memory::new(), &events);
    }
}

#[test]
fn each_broken_promise_is_noticed() {
    let told = |run| [Event::Values(run, 0), Event::Members(run)];
    let begins = [&told(1)[..], &told(3), &[Event::Visible(3)]].concat();
    let lost = Event::Lose(Loss::Values, 3, 0);
    // The last of it alone: how many pages there are, and no page.
    let last = Memory::parts_of_members(&members(3).collect::<Vec<_>>()) - 1;
    let [directory, late] = [Event::Lose(Loss::Members, 3, 0), Event::LateMembers(3, last)];
    let check = |mutation, events: &[Event]| {
        let events = [&begins[..], events].concat();
        live(&Memory::new(), &events);
        let broken = Memory::new().with_mutation(mutation);
        let noticed = std::panic::catch_unwind(|| live(&broken, &events)).is_err();
        assert!(noticed, "{mutation:?}");
    };

    check(Mutation::AbsentMeansOlder, &[Event::Members(2), lost]);
    check(Mutation::LateWriteCompletes, &[Event::Members(2), lost, directory, late]);
}
