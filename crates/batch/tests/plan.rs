//! Plans of any base, sample and policy.

use std::collections::HashMap;

use batch::{CustomerId, Plan, PlanError, PlanPolicy, WorkSample, plan};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Base {
    customers: Vec<CustomerId>,
    sample: WorkSample,
    policy: PlanPolicy,
}

/// Bases with gaps, whose sample also holds customers who are not in it, and a few who hold much of it.
fn bases() -> impl Strategy<Value = Base> {
    let busy = prop::collection::vec((-500..5_000_i64, 1..200_usize), 0..5);
    let sampled = (prop::collection::vec(-500..5_000_i64, 0..1_000), busy);
    let cut = (1..300_u32, 0..300_u32, 0.0..2.0_f64, prop_oneof![Just(1.0), 0.001..=1.0_f64]);
    (prop::collection::btree_set(-500..5_000_i64, 1..1_500), sampled, cut).prop_map(
        |(customers, (mut sampled, busy), (chunk_customers, more, work_per_transaction, fraction))| {
            sampled.extend(busy.into_iter().flat_map(|(customer, times)| vec![customer; times]));
            sampled.sort_unstable();
            Base {
                customers: customers.into_iter().map(CustomerId).collect(),
                sample: WorkSample { customers: sampled.into_iter().map(CustomerId).collect(), fraction },
                policy: PlanPolicy {
                    chunk_customers,
                    max_chunk_customers: chunk_customers + more,
                    work_per_transaction,
                },
            }
        },
    )
}

impl Base {
    fn plan(&self) -> Plan {
        plan(&self.customers, &self.sample, &self.policy).expect("they make a plan")
    }

    /// The work of each customer, in order.
    fn work(&self) -> HashMap<CustomerId, f64> {
        let mut sampled = HashMap::new();
        for customer in &self.sample.customers {
            *sampled.entry(*customer).or_insert(0_u32) += 1;
        }
        let of = |customer| {
            let sampled = sampled.get(customer).copied().unwrap_or(0);
            1.0 + self.policy.work_per_transaction * f64::from(sampled) / self.sample.fraction
        };
        self.customers.iter().map(|customer| (*customer, of(customer))).collect()
    }
}

proptest! {
    #[test]
    fn every_customer_is_in_exactly_one_chunk_of_neighbours(base in bases()) {
        let mut chunks = base.plan().chunks;

        chunks.sort_by_key(|chunk| chunk.customers[0]);
        let planned: Vec<CustomerId> = chunks.iter().flat_map(|chunk| chunk.customers.clone()).collect();

        prop_assert_eq!(planned, base.customers);
    }

    #[test]
    fn no_chunk_is_empty_or_holds_more_than_it_may(base in bases()) {
        for chunk in base.plan().chunks {
            prop_assert!((1..=base.policy.max_chunk_customers as usize).contains(&chunk.customers.len()));
        }
    }

    #[test]
    fn the_largest_work_comes_first_and_the_same_base_gives_the_same_plan(base in bases()) {
        let plan = base.plan();

        let is_in_order = plan.chunks.is_sorted_by(|left, right| {
            (left.work, right.customers[0]) > (right.work, left.customers[0])
        });
        prop_assert!(is_in_order);
        prop_assert_eq!(base.plan(), plan);
    }

    #[test]
    fn work_is_balanced_to_within_one_customer(base in bases()) {
        let work = base.work();
        let total: f64 = work.values().sum();
        let wanted = base.customers.len().div_ceil(base.policy.chunk_customers as usize);
        let (target, rounding) = (total / wanted as f64, 1e-9 * total);

        let plan = base.plan();

        let last_customer = base.customers[base.customers.len() - 1];
        let mut capped = 0;
        for chunk in &plan.chunks {
            let expected: f64 = chunk.customers.iter().map(|customer| work[customer]).sum();
            prop_assert!((chunk.work - expected).abs() <= rounding);

            let last = chunk.customers[chunk.customers.len() - 1];
            prop_assert!(chunk.work < target + work[&last] + rounding, "{} of {target}", chunk.work);

            let is_capped = chunk.customers.len() == base.policy.max_chunk_customers as usize;
            capped += usize::from(is_capped);
            prop_assert!(is_capped || last == last_customer || chunk.work >= target - rounding);
        }
        prop_assert!(plan.chunks.len() <= wanted + capped + 1, "{} of {wanted}", plan.chunks.len());
    }

    #[test]
    fn any_numbers_give_a_plan_or_an_error(
        base in bases(),
        fraction: f64,
        work_per_transaction: f64,
        chunk_customers: u32,
        max_chunk_customers: u32,
    ) {
        let sample = WorkSample { fraction, ..base.sample.clone() };
        let policy = PlanPolicy { chunk_customers, max_chunk_customers, work_per_transaction };

        match plan(&base.customers, &sample, &policy) {
            Ok(plan) => {
                let planned: usize = plan.chunks.iter().map(|chunk| chunk.customers.len()).sum();
                prop_assert_eq!(planned, base.customers.len());
            }
            Err(error) => prop_assert!(matches!(error, PlanError::Policy(_))),
        }
    }
}

#[test]
fn a_policy_or_a_sample_that_means_nothing_is_refused() {
    let customers = [CustomerId(1), CustomerId(2)];
    let check = |fraction, policy: PlanPolicy, expected: &str| {
        let sample = WorkSample { fraction, ..WorkSample::none() };
        assert_eq!(plan(&customers, &sample, &policy).unwrap_err().to_string(), expected);
    };

    let good = PlanPolicy::default();
    let counts = "chunk_customers must be at least 1 and at most max_chunk_customers";
    check(1.0, PlanPolicy { chunk_customers: 0, ..good }, counts);
    check(1.0, PlanPolicy { max_chunk_customers: 4_999, ..good }, counts);
    let work = "work_per_transaction must be a number from 0 on";
    check(1.0, PlanPolicy { work_per_transaction: -0.1, ..good }, work);
    check(1.0, PlanPolicy { work_per_transaction: f64::NAN, ..good }, work);
    let fraction = "the sampled fraction must be above 0 and at most 1";
    check(0.0, good, fraction);
    check(1.1, good, fraction);
    check(f64::NAN, good, fraction);
}
