//! Cuts a set of customers into chunks of about equal work.
//!
//! A customer costs something by itself (a value to compute and to write) and something for each transaction
//! (a row to read). Chunks of equal customer *count* make the one with the busiest customers the night's tail,
//! so the planner cuts by work, estimated from a random sample of the transactions: the sampled fraction of
//! each customer range tells how many rows it holds.
//!
//! The plan pins the customers themselves, not only their range: what is inserted into or deleted from the
//! customer table while the run goes on changes neither its counts nor its meaning.

use crate::CustomerId;

/// How a plan is to be cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanPolicy {
    /// Customers in a chunk of average work.
    pub chunk_customers: u32,
    /// The most customers in any chunk, whatever their work.
    pub max_chunk_customers: u32,
    /// The cost of a transaction, where the cost of a customer is 1.
    pub work_per_transaction: f64,
}

impl PlanPolicy {
    /// Chunks of about so many customers, and of four times as many at the most.
    pub fn with_chunks_of(chunk_customers: u32) -> Self {
        let max_chunk_customers = chunk_customers.saturating_mul(4);
        // Measured on two cores: valuing and writing a customer costs about as much as reading seven of its
        // transactions.
        Self { chunk_customers, max_chunk_customers, work_per_transaction: 0.15 }
    }
}

impl Default for PlanPolicy {
    fn default() -> Self {
        Self::with_chunks_of(5_000)
    }
}

/// A random sample of the transactions, as the customers they belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkSample {
    /// The customer of each sampled transaction, in ascending order.
    pub customers: Vec<CustomerId>,
    /// The share of all transactions that was sampled, in (0, 1].
    pub fraction: f64,
}

impl WorkSample {
    /// No sample: every customer is taken to cost the same.
    pub fn none() -> Self {
        Self { customers: Vec::new(), fraction: 1.0 }
    }
}

/// The chunks of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The chunks, in the order in which they should be published: the largest work first, so that the tail of
    /// the night is short.
    pub chunks: Vec<PlannedChunk>,
}

/// A chunk as planned: who is in it, and the work it is expected to be.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedChunk {
    /// Its customers, in ascending order, each once.
    pub customers: Vec<CustomerId>,
    /// Its expected work, where a customer without transactions is 1.
    pub work: f64,
}

/// Why a plan cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There is nobody to value.
    #[error("the selection holds no customers")]
    NoCustomers,
    /// A policy that cannot be followed.
    #[error("{0}")]
    Policy(&'static str),
}

/// Cuts `customers` (ascending, each once) into chunks of about equal work.
///
/// Every customer is in exactly one chunk, chunks are runs of neighbouring customers, and none is empty.
///
/// The target is the mean work of as many chunks as `chunk_customers` asks for. A chunk exceeds it by less than the
/// work of its last customer. Only the chunk of the last customers may fall short of it, and those that hold
/// `max_chunk_customers`.
pub fn plan(customers: &[CustomerId], sample: &WorkSample, policy: &PlanPolicy) -> Result<Plan, PlanError> {
    if policy.chunk_customers == 0 || policy.max_chunk_customers < policy.chunk_customers {
        return Err(PlanError::Policy("chunk_customers must be at least 1 and at most max_chunk_customers"));
    }
    if !(policy.work_per_transaction >= 0.0 && policy.work_per_transaction.is_finite()) {
        return Err(PlanError::Policy("work_per_transaction must be a number from 0 on"));
    }
    if !(sample.fraction > 0.0 && sample.fraction <= 1.0) {
        return Err(PlanError::Policy("the sampled fraction must be above 0 and at most 1"));
    }
    if customers.is_empty() {
        return Err(PlanError::NoCustomers);
    }
    debug_assert!(customers.is_sorted_by(|left, right| left < right), "customers ascend, each once");
    debug_assert!(sample.customers.is_sorted(), "the sample ascends");

    let per_sampled = policy.work_per_transaction / sample.fraction;
    let total = customers.len() as f64 + per_sampled * sampled_among(customers, &sample.customers) as f64;
    let count = customers.len().div_ceil(policy.chunk_customers as usize);
    let target = total / count as f64;

    let mut chunks = Vec::with_capacity(count + count / 4);
    let mut cursor = Sampled { rest: &sample.customers };
    let (mut first, mut work) = (0, 0.0);
    for (index, &customer) in customers.iter().enumerate() {
        work += 1.0 + per_sampled * cursor.take(customer) as f64;
        let is_full = work >= target || index + 1 - first == policy.max_chunk_customers as usize;
        if is_full || index + 1 == customers.len() {
            chunks.push(PlannedChunk { customers: customers[first..=index].to_vec(), work });
            (first, work) = (index + 1, 0.0);
        }
    }
    chunks.sort_by(|left, right| {
        right.work.total_cmp(&left.work).then_with(|| left.customers[0].cmp(&right.customers[0]))
    });
    Ok(Plan { chunks })
}

/// Walks the sample beside the customers.
struct Sampled<'a> {
    rest: &'a [CustomerId],
}

impl Sampled<'_> {
    /// The number of sampled transactions of `customer`; those of customers passed over are dropped.
    fn take(&mut self, customer: CustomerId) -> usize {
        while self.rest.first().is_some_and(|&sampled| sampled < customer) {
            self.rest = &self.rest[1..];
        }
        let mine = self.rest.iter().take_while(|&&sampled| sampled == customer).count();
        self.rest = &self.rest[mine..];
        mine
    }
}

fn sampled_among(customers: &[CustomerId], sample: &[CustomerId]) -> usize {
    let mut cursor = Sampled { rest: sample };
    customers.iter().map(|&customer| cursor.take(customer)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customers(ids: impl IntoIterator<Item = i64>) -> Vec<CustomerId> {
        ids.into_iter().map(CustomerId).collect()
    }

    fn policy(chunk_customers: u32) -> PlanPolicy {
        PlanPolicy { chunk_customers, ..PlanPolicy::default() }
    }

    #[test]
    fn nobody_to_value_is_an_error() {
        assert_eq!(plan(&[], &WorkSample::none(), &policy(10)), Err(PlanError::NoCustomers));
    }

    #[test]
    fn without_a_sample_chunks_have_equal_counts() {
        let plan = plan(&customers(1..=100), &WorkSample::none(), &policy(25)).unwrap();

        assert_eq!(plan.chunks.iter().map(|chunk| chunk.customers.len()).collect::<Vec<_>>(), [25; 4]);
    }

    #[test]
    fn a_busy_range_gets_fewer_customers_per_chunk() {
        // The first ten of a hundred customers hold half the work.
        let sample = WorkSample {
            customers: customers((1..=10).flat_map(|id| [id; 9])),
            fraction: PlanPolicy::default().work_per_transaction,
        };

        let plan = plan(&customers(1..=100), &sample, &policy(50)).unwrap();

        let holds_first = plan.chunks.iter().find(|chunk| chunk.customers[0] == CustomerId(1)).unwrap();
        assert!(holds_first.customers.len() <= 12, "{} customers", holds_first.customers.len());
    }
}
