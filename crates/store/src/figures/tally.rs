//! Who is in which segment, and what each segment comes to: sums over rows that come in any order.
//!
//! The order cannot be seen in the result: whole numbers are added, and a probability as one of 2^32 parts. It takes 28
//! bytes of memory a customer, most of it his number and his value.

use std::collections::{BTreeMap, HashMap};

use batch::CustomerId;

use super::{Figures, MOST_SEGMENTS, Percentiles};

/// The parts of a probability that are counted.
const PARTS: f64 = (1_u64 << 32) as f64;

/// Finds customers in a list. They mostly come in its order.
struct Places<'c> {
    customers: &'c [CustomerId],
    next: usize,
}

impl<'c> Places<'c> {
    fn new(customers: &'c [CustomerId]) -> Self {
        Self { customers, next: 0 }
    }

    fn of(&mut self, customer: CustomerId) -> Option<usize> {
        let place = match self.customers.get(self.next) {
            Some(&next) if next == customer => self.next,
            _ => self.customers.binary_search(&customer).ok()?,
        };
        self.next = place + 1;
        Some(place)
    }
}

/// Notes in which segment customers are.
pub(crate) struct Roll<'c> {
    places: Places<'c>,
    numbers: Vec<u32>,
    names: Vec<Option<String>>,
    by_name: HashMap<String, u32>,
    are_too_many: bool,
}

/// In which segment each of some customers is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The number of each one's segment, in the order of the customers.
    pub(crate) numbers: Vec<u32>,
    /// Segments by their number; number 0 is none.
    pub(crate) names: Vec<Option<String>>,
}

impl<'c> Roll<'c> {
    /// Begins with nobody in a segment. The customers ascend.
    pub(crate) fn new(customers: &'c [CustomerId]) -> Self {
        Self {
            places: Places::new(customers),
            numbers: vec![0; customers.len()],
            names: vec![None],
            by_name: HashMap::new(),
            are_too_many: false,
        }
    }

    /// Notes in which segment a customer is; whoever is none of the customers is passed over.
    pub(crate) fn is_in(&mut self, customer: CustomerId, segment: &str) {
        let Some(place) = self.places.of(customer) else { return };
        let number = match self.by_name.get(segment) {
            Some(&number) => number,
            None if self.names.len() > MOST_SEGMENTS => {
                self.are_too_many = true;
                return;
            }
            None => {
                let number = self.names.len() as u32;
                self.names.push(Some(segment.to_owned()));
                self.by_name.insert(segment.to_owned(), number);
                number
            }
        };
        self.numbers[place] = number;
    }

    /// Who is in which segment; none if there are more than can be told apart.
    pub(crate) fn finish(self) -> Option<Membership> {
        (!self.are_too_many).then_some(Membership { numbers: self.numbers, names: self.names })
    }
}

/// What is summed up of a customer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worth {
    pub(crate) value_minor: i64,
    pub(crate) contract_minor: i64,
    pub(crate) historic_minor: i64,
    pub(crate) p_alive: Option<f64>,
}

/// Sums customers up, by segment.
pub(crate) struct Tally<'c> {
    places: Places<'c>,
    membership: &'c Membership,
    sums: Vec<Sums>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    values: Vec<i64>,
    value: i128,
    contract: i128,
    historic: i128,
    /// Of how many it is known, and their probabilities.
    alive: (u64, u64),
    rejections: BTreeMap<String, u64>,
}

impl<'c> Tally<'c> {
    /// Begins with nothing.
    pub(crate) fn new(customers: &'c [CustomerId], membership: &'c Membership) -> Self {
        let sums = vec![Sums::default(); membership.names.len()];
        Self { places: Places::new(customers), membership, sums }
    }

    /// Adds a value; false if it is of none of the customers.
    pub(crate) fn value(&mut self, customer: CustomerId, worth: Worth) -> bool {
        let Some(sums) = self.sums_of(customer) else { return false };
        sums.values.push(worth.value_minor);
        sums.value += i128::from(worth.value_minor);
        sums.contract += i128::from(worth.contract_minor);
        sums.historic += i128::from(worth.historic_minor);
        if let Some(p_alive) = worth.p_alive.filter(|p_alive| (0.0..=1.0).contains(p_alive)) {
            sums.alive.0 += 1;
            sums.alive.1 += (p_alive * PARTS).round() as u64;
        }
        true
    }

    /// Adds a rejection; false if it is of none of the customers.
    pub(crate) fn rejection(&mut self, customer: CustomerId, reason: &str) -> bool {
        let Some(sums) = self.sums_of(customer) else { return false };
        match sums.rejections.get_mut(reason) {
            Some(count) => *count += 1,
            None => _ = sums.rejections.insert(reason.to_owned(), 1),
        }
        true
    }

    fn sums_of(&mut self, customer: CustomerId) -> Option<&mut Sums> {
        let place = self.places.of(customer)?;
        self.sums.get_mut(self.membership.numbers[place] as usize)
    }

    /// What all of them come to, and each segment by its number. Where everybody is in a segment, number 0 is empty.
    pub(crate) fn finish(mut self) -> (Figures, Vec<Figures>) {
        let mut all = Sums::default();
        let segments = self.sums.iter_mut().map(|sums| {
            all.add(sums);
            sums.figures()
        });
        let segments = segments.collect();
        (all.figures(), segments)
    }
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.values.extend_from_slice(&other.values);
        self.value += other.value;
        self.contract += other.contract;
        self.historic += other.historic;
        self.alive.0 += other.alive.0;
        self.alive.1 += other.alive.1;
        for (reason, count) in &other.rejections {
            *self.rejections.entry(reason.clone()).or_default() += count;
        }
    }

    fn figures(&mut self) -> Figures {
        let (known, alive) = self.alive;
        Figures {
            customers: self.values.len() as u64,
            value_minor: money(self.value),
            contract_minor: money(self.contract),
            historic_minor: money(self.historic),
            percentiles: percentiles(&mut self.values),
            share_alive: (known > 0).then(|| alive as f64 / PARTS / known as f64),
            rejections: std::mem::take(&mut self.rejections),
        }
    }
}

/// A sum that does not fit is as large as can be told.
fn money(sum: i128) -> i64 {
    sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// By the nearest rank: the smallest value that at least so many do not exceed.
fn percentiles(values: &mut [i64]) -> Option<Percentiles> {
    let mut at = |percent: usize| {
        let rank = (values.len() * percent).div_ceil(100);
        let place = rank.checked_sub(1)?;
        Some(*values.select_nth_unstable(place).1)
    };
    Some(Percentiles { p10_minor: at(10)?, p50_minor: at(50)?, p90_minor: at(90)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn customers(ids: impl IntoIterator<Item = i64>) -> Vec<CustomerId> {
        ids.into_iter().map(CustomerId).collect()
    }

    fn worth(value_minor: i64) -> Worth {
        Worth { value_minor, ..Worth::default() }
    }

    #[test]
    fn customers_are_found_in_any_order_and_others_are_passed_over() {
        let customers = customers([1, 3, 5, 7]);
        let mut roll = Roll::new(&customers);

        for (customer, segment) in [(5, "b"), (7, "a"), (4, "c"), (1, "b"), (9, "d")] {
            roll.is_in(CustomerId(customer), segment);
        }

        let names = [None, Some("b"), Some("a")].map(|name| name.map(str::to_owned));
        let expected = Membership { numbers: vec![1, 0, 1, 2], names: names.to_vec() };
        assert_eq!(roll.finish(), Some(expected));
    }

    #[test]
    fn more_segments_than_can_be_told_apart_are_none() {
        let check = |segments: usize, expected: bool| {
            let customers = customers(0..segments as i64);
            let mut roll = Roll::new(&customers);
            for customer in &customers {
                roll.is_in(*customer, &customer.to_string());
            }
            assert_eq!(roll.finish().is_some(), expected, "{segments}");
        };

        check(MOST_SEGMENTS, true);
        check(MOST_SEGMENTS + 1, false);
    }

    #[test]
    fn each_segment_is_summed_up_by_itself_and_all_together() {
        let customers = customers(1..=5);
        let mut roll = Roll::new(&customers);
        for (customer, segment) in [(1, "a"), (2, "a"), (3, "b"), (4, "")] {
            roll.is_in(CustomerId(customer), segment);
        }
        let membership = roll.finish().unwrap();
        let mut tally = Tally::new(&customers, &membership);

        let alive = |value_minor, p_alive| Worth {
            value_minor,
            contract_minor: 1,
            historic_minor: 10,
            p_alive: Some(p_alive),
        };
        assert!(tally.value(CustomerId(1), alive(100, 0.5)));
        assert!(tally.value(CustomerId(2), alive(300, 1.0)));
        assert!(tally.rejection(CustomerId(3), "no_purchase"));
        assert!(tally.value(CustomerId(4), worth(7)));
        assert!(tally.value(CustomerId(5), alive(9, 0.0)));
        assert!(!tally.value(CustomerId(6), worth(1)), "he is not of the run");
        assert!(!tally.rejection(CustomerId(0), "no_purchase"));

        let (all, segments) = tally.finish();
        let sums = |figures: &Figures| (figures.customers, figures.value_minor, figures.rejected());
        let found: Vec<_> = segments.iter().map(sums).collect();
        assert_eq!(found, [(1, 9, 0), (2, 400, 0), (0, 0, 1), (1, 7, 0)]);
        assert_eq!(sums(&all), (4, 416, 1));
        assert_eq!((all.contract_minor, all.historic_minor, all.share_alive), (3, 30, Some(0.5)));
        assert_eq!((segments[1].share_alive, segments[3].share_alive), (Some(0.75), None));
        assert_eq!(segments[2].percentiles, None);
        assert_eq!(segments[2].rejections, BTreeMap::from([("no_purchase".to_owned(), 1)]));
    }

    #[test]
    fn a_percentile_is_a_value_of_the_nearest_rank() {
        let check = |values: &[i64], expected: [i64; 3]| {
            let found = percentiles(&mut values.to_vec()).unwrap();
            assert_eq!([found.p10_minor, found.p50_minor, found.p90_minor], expected, "{values:?}");
        };

        check(&[5], [5, 5, 5]);
        check(&[2, 1], [1, 1, 2]);
        check(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1], [1, 5, 9]);
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [2, 6, 10]);
        assert_eq!(percentiles(&mut []), None);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_as_large_as_can_be_told() {
        let customers = customers([1, 2]);
        let membership = Roll::new(&customers).finish().unwrap();
        let mut tally = Tally::new(&customers, &membership);
        for &customer in &customers {
            tally.value(customer, worth(i64::MAX));
        }

        assert_eq!(tally.finish().0.value_minor, i64::MAX);
    }

    proptest! {
        #[test]
        fn the_order_of_the_rows_cannot_be_seen(
            rows in prop::collection::vec((0_u8..3, -1_000_i64..1_000, 0.0..1.0_f64), 1..60),
            seed: u64,
        ) {
            let customers = customers(0..rows.len() as i64);
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by_key(|place| (*place as u64).wrapping_mul(seed | 1));
            let figures = |order: &[usize]| {
                let mut roll = Roll::new(&customers);
                for place in 0..rows.len() {
                    roll.is_in(customers[place], &rows[place].0.to_string());
                }
                let membership = roll.finish().unwrap();
                let mut tally = Tally::new(&customers, &membership);
                for &place in order {
                    let (_, value_minor, p_alive) = rows[place];
                    tally.value(customers[place], Worth { value_minor, p_alive: Some(p_alive), ..Worth::default() });
                }
                tally.finish()
            };

            let in_order: Vec<usize> = (0..rows.len()).collect();
            prop_assert_eq!(figures(&order), figures(&in_order));
        }
    }
}
