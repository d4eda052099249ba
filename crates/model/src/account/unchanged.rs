//! The account of a customer to whom nothing happens: some days later, or under other contract models.

use super::{Account, Contract, Contracts};
use crate::contracts::{ContractModels, PlanIndex};

impl Account {
    /// What is known so many days later of a customer to whom nothing has happened. None if a renewal is due by then:
    /// when the one behind it is depends on the day of the month on which the subscription began.
    ///
    /// It is the account that a history leaves behind which ends as early and is observed so much longer.
    pub fn days_later(&self, days: u32) -> Option<Self> {
        let contract = |contract: &Contract| {
            let days_to_renewal = contract.days_to_renewal.checked_sub(days).filter(|&left| left > 0)?;
            Some(Contract { days_to_renewal, ..*contract })
        };
        let mut later = Self {
            contracts: self.contracts.iter().map(contract).collect::<Option<Contracts>>()?,
            ..self.clone()
        };
        if let Some(purchases) = &mut later.purchases {
            purchases.age_days = purchases.age_days.checked_add(days)?;
        }
        later.contracts.sort_unstable();
        Some(later)
    }

    /// The same account for other contract models: each plan by the place that its model has there. A plan of which only
    /// is known that it had no model of its own has none there either.
    #[must_use]
    pub fn under(&self, from: &ContractModels, to: &ContractModels) -> Self {
        let place = |contract: &Contract| match from.plans.get(usize::from(contract.plan.0)) {
            Some(plan) => to.find(&plan.plan, contract.period_months),
            None => PlanIndex::OTHER,
        };
        let mut under = self.clone();
        for contract in &mut under.contracts {
            contract.plan = place(contract);
        }
        under.contracts.sort_unstable();
        under
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::contracts::{ContractModel, PlanModel, Sbg};
    use crate::{Currency, HistoryFold, Observation, Subscription, SubscriptionFold};

    const DAY: i64 = 86_400_000_000;
    const USD: [u8; 3] = *b"USD";
    /// When the histories end, in days since 1970.
    const END: i64 = 20_000;

    fn models(plans: &[(&str, u16)]) -> ContractModels {
        let model = ContractModel::Sbg(Sbg::new(1.0, 2.0).unwrap());
        let plans =
            plans.iter().map(|&(plan, period_months)| PlanModel { plan: plan.into(), period_months, model });
        ContractModels { plans: plans.collect(), ..ContractModels::default() }
    }

    /// What purchases and subscriptions before [`END`] come to, observed so many days longer.
    fn account(
        purchases: &[(i64, i64)],
        subscriptions: &[(i64, i64, Option<i64>)],
        days: i64,
    ) -> Option<Account> {
        let observation = Observation::new((END + days) * DAY, Currency::parse("USD").unwrap());
        let mut history = HistoryFold::new();
        for &(day, amount_minor) in purchases {
            history.push((END - day) * DAY, amount_minor, USD);
        }
        let mut subscribed = SubscriptionFold::new();
        let models = models(&[("pro", 1)]);
        for &(day, period_months, ended) in subscriptions {
            let started_at_us = (END - day) * DAY;
            let line = Subscription {
                plan: "pro",
                period_months,
                started_at_us,
                ended_at_us: ended
                    .map(|after| started_at_us + after * DAY)
                    .filter(|&ended| ended < END * DAY),
                price_minor: 4_900,
                currency: USD,
            };
            subscribed.push(&line, &models, &observation);
        }
        let mut account = Account::of_purchases(history.finish_with_spend(&observation));
        if !subscriptions.is_empty() {
            Account::add_subscriptions(&mut account, subscribed.finish());
        }
        account.ok()
    }

    fn histories() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::vec((1_i64..1_000, 0_i64..10_000), 0..6).prop_map(|mut purchases| {
            purchases.sort_by_key(|&(day, _)| -day);
            purchases
        })
    }

    proptest! {
        #[test]
        fn nothing_that_happens_is_the_same_history_observed_for_longer(
            purchases in histories(),
            subscriptions in prop::collection::vec((1_i64..800, 1_i64..13, option::of(0_i64..900)), 0..4),
            days in 0_u32..40,
        ) {
            let Some(before) = account(&purchases, &subscriptions, 0) else { return Ok(()) };
            let later = account(&purchases, &subscriptions, days.into());

            if let Some(unchanged) = before.days_later(days) {
                prop_assert_eq!(Some(unchanged), later);
            } else {
                let due = before.contracts.iter().any(|contract| contract.days_to_renewal <= days);
                prop_assert!(due, "{:?}", before);
            }
        }
    }

    #[test]
    fn a_plan_has_the_place_of_its_name_and_one_without_a_name_has_none() {
        let from = models(&[("basic", 1), ("pro", 1), ("gone", 1)]);
        let to = models(&[("pro", 1), ("pro", 12), ("basic", 1)]);
        let contract = |price_minor, plan| Contract {
            price_minor,
            renewals: 1,
            days_to_renewal: 3,
            period_months: 1,
            plan: PlanIndex(plan),
        };
        let other = PlanIndex::OTHER.0;
        let account = Account {
            contracts: [contract(1, 0), contract(2, 1), contract(3, 2), contract(4, other)]
                .into_iter()
                .collect(),
            ..Account::default()
        };

        let under = account.under(&from, &to);

        let places: Vec<u16> = under.contracts.iter().map(|contract| contract.plan.0).collect();
        assert_eq!(places, [2, 0, other, other]);
        assert_eq!(account.under(&from, &from), account);
    }
}
