//! In which order customers are valued where somebody waits for them: what is at stake first, neighbours together.
//!
//! What is at stake in a customer who waits is `value × staleness × urgency`: how much is decided by the number, how
//! wrong the number that there is may be by now, and how much whoever asks is in a hurry. Valued one by one in that
//! order the customers would be read from everywhere. But finding one customer's rows costs as much as reading those of
//! several, and neighbours lie in the same pages. So neighbours stay together, and the **neighbourhoods** go in the order
//! of what is at stake by what they cost (Smith's rule: W. E. Smith, Various optimizers for single-stage production,
//! 1956). No other order of the neighbourhoods lets less wait for less long, on the sum of stake times wait.

use std::time::Duration;

use crate::CustomerId;

/// A customer who waits, and what is known of how much depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    /// The customer.
    pub customer: CustomerId,
    /// The latest value, in minor units; who has none counts as much as the others do on average.
    pub value_minor: Option<i64>,
    /// How old that is by now; who has none counts as the oldest.
    pub age: Option<Duration>,
    /// How many times as urgent as what is not urgent at all.
    pub urgency: u32,
}

/// How customers are put into an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrderPolicy {
    /// How many numbers of customers are a neighbourhood, whether or not there is a customer to each.
    pub neighbourhood: u32,
    /// How many customers are read at once at most.
    pub most: usize,
    /// What it costs to find a neighbourhood, if reading and valuing a customer costs 1.
    pub search_cost: f64,
    /// Beyond this a value is not more wrong for being older.
    pub oldest: Duration,
}

impl Default for OrderPolicy {
    /// The neighbours that share a hash in the cache, and as many at once as are computed at once.
    fn default() -> Self {
        Self { neighbourhood: 100, most: 500, search_cost: 4.0, oldest: Duration::from_hours(30 * 24) }
    }
}

/// Puts customers into the order in which they are to be valued: in parts, each to be read at once, ascending.
///
/// Who is named more than once is in it once, with all that is at stake. A neighbourhood is in one part, unless it has
/// more customers than a part may have.
pub fn order(stakes: &[Stake], policy: &OrderPolicy) -> Vec<Vec<CustomerId>> {
    let mut neighbourhoods = neighbourhoods(stakes, policy);
    neighbourhoods.sort_by(|left, right| {
        let dense = |neighbourhood: &Neighbourhood| neighbourhood.density(policy.search_cost);
        dense(right).total_cmp(&dense(left)).then_with(|| left.customers[0].cmp(&right.customers[0]))
    });
    let most = policy.most.max(1);
    let mut parts: Vec<Vec<CustomerId>> = Vec::new();
    for Neighbourhood { customers, .. } in neighbourhoods {
        for piece in customers.chunks(most) {
            match parts.last_mut() {
                Some(part) if part.len() + customers.len() <= most => part.extend(piece),
                _ => parts.push(piece.to_vec()),
            }
        }
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts
}

/// Neighbours who wait, ascending.
struct Neighbourhood {
    customers: Vec<CustomerId>,
    at_stake: f64,
}

impl Neighbourhood {
    /// What is at stake by what it costs.
    fn density(&self, search_cost: f64) -> f64 {
        self.at_stake / (search_cost + self.customers.len() as f64)
    }
}

fn neighbourhoods(stakes: &[Stake], policy: &OrderPolicy) -> Vec<Neighbourhood> {
    let unknown = mean_value(stakes);
    let mut weighed: Vec<(CustomerId, f64)> =
        stakes.iter().map(|stake| (stake.customer, at_stake(stake, unknown, policy.oldest))).collect();
    // By the stake too, so that sums do not depend on the order in which the customers were named.
    weighed.sort_by(|left, right| left.0.cmp(&right.0).then(left.1.total_cmp(&right.1)));
    let width = i64::from(policy.neighbourhood.max(1));
    let of_one = |left: &(CustomerId, f64), right: &(CustomerId, f64)| {
        left.0.0.div_euclid(width) == right.0.0.div_euclid(width)
    };
    let neighbourhood = |weighed: &[(CustomerId, f64)]| {
        let mut customers: Vec<CustomerId> = weighed.iter().map(|(customer, _)| *customer).collect();
        customers.dedup();
        Neighbourhood { customers, at_stake: weighed.iter().map(|(_, at_stake)| at_stake).sum() }
    };
    weighed.chunk_by(of_one).map(neighbourhood).collect()
}

/// Value × staleness × urgency. A minor unit and a second more than there are, so that nothing of the three is nothing.
fn at_stake(stake: &Stake, unknown: f64, oldest: Duration) -> f64 {
    let value = stake.value_minor.map_or(unknown, |value| value.unsigned_abs() as f64);
    let age = stake.age.map_or(oldest, |age| age.min(oldest));
    (value + 1.0) * (age.as_secs_f64() + 1.0) * (f64::from(stake.urgency) + 1.0)
}

/// The mean of the values that are known, whichever side of nothing they are on.
fn mean_value(stakes: &[Stake]) -> f64 {
    let known = stakes.iter().filter_map(|stake| stake.value_minor);
    let (count, sum) = known
        .fold((0_u64, 0_u128), |(count, sum), value| (count + 1, sum + u128::from(value.unsigned_abs())));
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}
