//! Customers as they were asked for, many at a time: who of them is who, and who stands among those before.

use std::collections::{BTreeMap, BTreeSet};

use batch::CustomerId;

/// How many may be asked for at a time.
pub(crate) const MOST: usize = 10_000;

/// How somebody was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// By his number.
    Number(CustomerId),
    /// By what the business calls him.
    External(String),
}

/// Who that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// This customer.
    Customer(CustomerId),
    /// Nobody.
    Nobody,
    /// The same as at this place before.
    Again(usize),
}

/// Says who each is, in the order in which they were asked for. `number` finds the customer who has a name, if one has.
pub(crate) fn who(names: &[Name], number: impl Fn(&Name) -> Option<CustomerId>) -> Vec<Who> {
    let mut customers: BTreeMap<CustomerId, usize> = BTreeMap::new();
    let mut nobodies: BTreeMap<&Name, usize> = BTreeMap::new();
    let who = |(place, name): (usize, &'_ Name)| (place, number(name));
    let mut all = Vec::with_capacity(names.len());
    for (name, (place, number)) in names.iter().zip(names.iter().enumerate().map(who)) {
        let (first, otherwise) = match number {
            Some(customer) => (*customers.entry(customer).or_insert(place), Who::Customer(customer)),
            None => (*nobodies.entry(name).or_insert(place), Who::Nobody),
        };
        all.push(if first == place { otherwise } else { Who::Again(first) });
    }
    all
}

/// The customers among them, ascending, each once.
pub(crate) fn customers(who: &[Who]) -> Vec<CustomerId> {
    let customer = |who: &Who| if let Who::Customer(customer) = who { Some(*customer) } else { None };
    let customers: BTreeSet<CustomerId> = who.iter().filter_map(customer).collect();
    customers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_somebody_nobody_or_the_same_as_one_before() {
        let number = |number: i64| Name::Number(CustomerId(number));
        let external = |name: &str| Name::External(name.into());
        let names =
            [external("b"), external("x"), number(1), external("b"), number(9), external("x"), number(2)];
        let known = |name: &Name| match name {
            Name::Number(number) => (number.0 < 5).then_some(*number),
            Name::External(name) => (name == "b").then_some(CustomerId(2)),
        };

        let who = who(&names, known);

        let expected = [
            Who::Customer(CustomerId(2)),
            Who::Nobody,
            Who::Customer(CustomerId(1)),
            Who::Again(0),
            Who::Nobody,
            Who::Again(1),
            Who::Again(0),
        ];
        assert_eq!(who, expected);
        assert_eq!(customers(&who), [CustomerId(1), CustomerId(2)]);
    }
}
