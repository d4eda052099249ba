//! The models that the tests value with, and accounts as small as they can be.

use model::{
    Account, Bdw, BgNbd, Contract, ContractModel, ContractModels, GammaGamma, Models, Parameters, PlanIndex,
    PlanModel, Sbg, Summary, ValueTerms, Valuer,
};

pub(super) const LAST_DAY: i64 = 20_000;

pub(super) fn bg_nbd() -> BgNbd {
    BgNbd::new(0.9, 6.0, 0.6, 9.0).unwrap()
}

pub(super) fn models() -> Models {
    models_in_units_of(1.0)
}

pub(super) fn models_in_units_of(scale: f64) -> Models {
    let plan = |plan: &str, period_months, model| PlanModel { plan: plan.to_owned(), period_months, model };
    Models {
        purchases: Parameters {
            bg_nbd: bg_nbd(),
            gamma_gamma: GammaGamma::new(6.25, 3.74, 1544.0 * scale).unwrap(),
        },
        season: None,
        contracts: ContractModels {
            plans: vec![
                plan("pro", 1, ContractModel::Sbg(Sbg::new(0.7, 6.0).unwrap())),
                plan("pro", 12, ContractModel::Bdw(Bdw::new(0.8, 2.5, 1.2).unwrap())),
            ],
            others: Some(ContractModel::Sbg(Sbg::new(0.8, 4.0).unwrap())),
            ..ContractModels::default()
        },
    }
}

pub(super) fn valuer() -> Valuer {
    Valuer::new(models(), ValueTerms::default(), LAST_DAY)
}

pub(super) fn summary(frequency: u32, recency_days: u32, age_days: u32) -> Summary {
    Summary { frequency, recency_days, age_days, repeat_spend_minor: i64::from(frequency) * 3_000 }
}

pub(super) fn buyer(summary: Summary) -> Account {
    let spend_minor = summary.repeat_spend_minor + 3_500;
    Account { purchases: Some(summary), spend_minor, ..Account::default() }
}

pub(super) fn contract(plan: u16, period_months: u16, renewals: u32, days_to_renewal: u32) -> Contract {
    let price_minor = 2_000 * i64::from(period_months);
    Contract { price_minor, renewals, days_to_renewal, period_months, plan: PlanIndex(plan) }
}

pub(super) fn with(mut account: Account, contracts: &[Contract]) -> Account {
    account.contracts = contracts.iter().copied().collect();
    account
}

pub(super) fn subscriber(contracts: &[Contract]) -> Account {
    with(Account { paid_minor: 4_000, ..Account::default() }, contracts)
}

#[track_caller]
pub(super) fn assert_close(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual / expected - 1.0).abs() < tolerance, "{actual} is not {expected}");
}
