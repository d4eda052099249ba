//! What holds of every account: it has a value within its bounds, or the rejection that says why it has none.

use model::{
    Account, Contract, GammaGamma, Horizons, Models, Parameters, PlanIndex, Rejection, Summary, ValueTerms,
    Valuer,
};
use proptest::prelude::*;

use crate::accounts::{LAST_DAY, buyer, contract, models, subscriber, summary, valuer};

#[test]
fn every_account_that_cannot_be_valued_has_its_rejection() {
    let good = buyer(summary(3, 50, 90));
    let bad_contract = |change: fn(&mut Contract)| {
        let mut contract = contract(0, 1, 3, 4);
        change(&mut contract);
        subscriber(&[contract])
    };
    let valuer = valuer();
    for (account, rejection) in [
        (Account::default(), Rejection::NoPurchase),
        (buyer(summary(3, 91, 90)), Rejection::InconsistentSummary),
        (Account { spend_minor: (1 << 53) + 1, ..good.clone() }, Rejection::SpendOutOfRange),
        (Account { paid_minor: i64::MIN, ..good.clone() }, Rejection::SpendOutOfRange),
        (bad_contract(|contract| contract.period_months = 0), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.period_months = 121), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.price_minor = -1), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.days_to_renewal = 0), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.days_to_renewal = 32), Rejection::ImpossibleContract),
        (bad_contract(|contract| contract.plan = PlanIndex(9)), Rejection::NoContractModel),
        (bad_contract(|contract| contract.price_minor = 1 << 53), Rejection::ValueOutOfRange),
        (
            Account {
                spend_minor: 0,
                ..buyer(Summary { repeat_spend_minor: 1 << 53, ..summary(1, 89, 90) })
            },
            Rejection::ValueOutOfRange,
        ),
    ] {
        assert_eq!(valuer.value(&account), Err(rejection), "{account:?}");
    }

    let heavy = Parameters { gamma_gamma: GammaGamma::new(0.3, 0.9, 9.0).unwrap(), ..models().purchases };
    let valuer = Valuer::new(Models::from(heavy), ValueTerms::default(), LAST_DAY);
    assert_eq!(valuer.value(&buyer(summary(0, 0, 90))), Err(Rejection::SpendHasNoMean));
    let other = Contract { plan: PlanIndex::OTHER, ..contract(0, 1, 3, 4) };
    assert_eq!(valuer.value(&subscriber(&[other])), Err(Rejection::NoContractModel));
}

prop_compose! {
    fn any_contract()(price_minor in prop_oneof![0_i64..1_000_000, Just(0), 0_i64..1 << 40],
                      renewals in prop_oneof![0_u32..40, any::<u32>()],
                      days_to_renewal in prop_oneof![0_u32..32, 0_u32..400, any::<u32>()],
                      period_months in prop_oneof![Just(1_u16), Just(12), 1_u16..=120],
                      plan in prop_oneof![Just(0_u16), Just(1), Just(u16::MAX)]) -> Contract {
        Contract { price_minor, renewals, days_to_renewal, period_months, plan: PlanIndex(plan) }
    }
}

prop_compose! {
    fn any_account()(frequency in prop_oneof![Just(0_u32), 0_u32..60],
                     age_days in prop_oneof![0_u32..1_000, 0_u32..6_000],
                     share in 0.0..=1.0,
                     spend in prop_oneof![Just(0_i64), 0_i64..1_000_000, 0_i64..1 << 46],
                     buys in any::<bool>(),
                     contracts in prop::collection::vec(any_contract(), 0..4),
                     paid_minor in 1_i64..1 << 50,
                     acquisition_cost_minor in prop::option::of(prop_oneof![0_i64..1_000_000, any::<i64>()])) -> Account {
        let repeats = frequency > 0;
        let summary = Summary {
            frequency,
            recency_days: if repeats { (share * f64::from(age_days)) as u32 } else { 0 },
            age_days,
            repeat_spend_minor: if repeats { spend } else { 0 },
        };
        Account {
            purchases: buys.then_some(summary),
            spend_minor: spend,
            paid_minor,
            contracts: contracts.into_iter().collect(),
            acquisition_cost_minor,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_must_hold_of_every_value(account in any_account(), rate in prop_oneof![Just(0.0), 1e-4..1.0], take in 0.0..=1.0, margin in prop_oneof![Just(0.0), 0.0..=1.0]) {
        let terms = ValueTerms::new(rate, take, 0.01, margin).unwrap();
        let valuer = Valuer::new(models(), terms, LAST_DAY);

        let value = match valuer.value(&account) {
            Ok(value) => value,
            Err(rejection) => {
                let cannot_be = |contract: &Contract| {
                    let Contract { days_to_renewal, period_months, .. } = *contract;
                    days_to_renewal == 0 || days_to_renewal > 31 * u32::from(period_months)
                };
                let is_impossible = account.contracts.iter().any(cannot_be);
                let expected =
                    if is_impossible { Rejection::ImpossibleContract } else { Rejection::ValueOutOfRange };
                prop_assert_eq!(rejection, expected);
                return Ok(());
            }
        };

        for Horizons { months_12, months_24, months_36, for_ever } in [value.purchases, value.contracts] {
            prop_assert!(0 <= months_12 && months_12 <= months_24 && months_24 <= months_36);
            prop_assert!(for_ever.is_none_or(|for_ever| for_ever >= months_36));
        }
        prop_assert!(value.expected_purchases.is_finite() && value.expected_purchases >= 0.0);
        let [eighty, ninety] = value.intervals.unwrap();
        for interval in [eighty, ninety] {
            prop_assert!(0 <= interval.lower_minor && interval.lower_minor <= interval.upper_minor);
        }
        prop_assert!(ninety.upper_minor >= eighty.upper_minor && ninety.lower_minor <= eighty.lower_minor, "{eighty:?} {ninety:?}");
        prop_assert!(value.confidence.relative_width.is_none_or(|width| width.is_finite() && width >= 0.0));
        for share in [value.confidence.own_rate, value.confidence.own_spend] {
            prop_assert!((0.0..=1.0).contains(&share));
        }
        prop_assert_eq!(value.payback.is_some(), account.acquisition_cost_minor.is_some());
        if let Some(payback) = value.payback {
            prop_assert!((0.0..=1.0).contains(&payback.probability));
            let cost = account.acquisition_cost_minor.unwrap();
            prop_assert_eq!(payback.months == Some(0), value.historic_minor >= cost);
        }
    }
}
