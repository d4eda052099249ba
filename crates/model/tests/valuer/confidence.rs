//! How much of a value is known from the customer, and how much from all others.

use model::{Account, ContractModels, Grade, Horizons, Models, PlanIndex, Rejection, ValueTerms, Valuer};

use crate::accounts::{LAST_DAY, buyer, contract, models, subscriber, summary, valuer, with};

#[test]
fn without_a_contract_model_the_purchases_are_valued_and_nothing_is_called_certain() {
    let none = Models { contracts: ContractModels::default(), ..models() };
    let valuer = Valuer::new(none, ValueTerms::default(), LAST_DAY);
    let account = Account { acquisition_cost_minor: Some(30_000), ..buyer(summary(30, 690, 700)) };
    let other = contract(PlanIndex::OTHER.0, 1, 3, 4);
    let bought = valuer.value(&account).unwrap();

    let value = valuer.value(&with(account, &[other])).unwrap();

    assert_eq!(value.contracts, Horizons::default());
    assert_eq!((value.intervals, value.future().for_ever), (None, None));
    assert_eq!((value.confidence.grade, value.confidence.relative_width), (Grade::D, None));
    assert_eq!((value.purchases, value.payback), (bought.purchases, bought.payback));
    assert_eq!(valuer.value(&subscriber(&[other])), Err(Rejection::NoContractModel));
}

#[test]
fn who_has_neither_bought_again_nor_a_contract_is_known_by_all_others_only() {
    let valuer = valuer();
    let grade = |account: &Account| valuer.value(account).unwrap().confidence.grade;

    assert_eq!(grade(&buyer(summary(0, 0, 300))), Grade::PriorOnly);
    assert_eq!(grade(&Account { paid_minor: 10, ..Account::default() }), Grade::PriorOnly);
    assert_ne!(grade(&buyer(summary(1, 10, 300))), Grade::PriorOnly);
    assert_eq!(grade(&subscriber(&[contract(0, 1, 200, 4)])), Grade::A);
    // Long gone: [0, 0] holds what comes, and not what is expected.
    let gone = valuer.value(&buyer(summary(20, 60, 700))).unwrap();
    assert_eq!((gone.confidence.grade, gone.confidence.relative_width), (Grade::D, None));
}

#[test]
fn the_own_shares_are_those_of_the_two_posteriors() {
    let confidence = valuer().value(&buyer(summary(4, 60, 84))).unwrap().confidence;

    assert!((f64::from(confidence.own_rate) - 12.0 / 18.0).abs() < 1e-6);
    assert!((f64::from(confidence.own_spend) - 25.0 / 27.74).abs() < 1e-6);
}
