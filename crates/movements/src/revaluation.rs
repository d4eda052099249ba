//! What somebody who has a value in both runs is worth after each step from the older to the newer.
//!
//! Each row of values holds what the value was computed from, so most customers need nothing else: somebody whose inputs
//! are those of the older run, so many days later, is revalued from the two rows. For the others the source is asked
//! four times: what it says about the time before the older run (`known`, in the words of that run's contract models, and
//! `then`, in those of the newer), what that comes to at the newer run's moment (`later`), and what it says about the time
//! before the newer run (`now`). Where `known` is what the older run read, nothing was corrected.

use batch::Steps;
use jiff::Timestamp;
use model::{Account, ContractModels, Currency, Observation, Rejection, Valuer};
use store::{ModelVersion, RunRecord, Valued};

/// What it takes to revalue the customers of two runs.
pub(crate) struct Revaluation {
    was: Timestamp,
    is: Timestamp,
    currency: Currency,
    contracts_then: ContractModels,
    /// The newer run's models and terms at the older one's moment.
    then: Valuer,
    /// The newer run's.
    now: Valuer,
    /// From the last day that the older run observed to the newer one's.
    days: u32,
}

/// How the source is looked at.
pub(crate) struct Look<'a> {
    pub(crate) until: Timestamp,
    pub(crate) observed_until: Timestamp,
    pub(crate) contracts: &'a ContractModels,
}

/// What the source says of a customer, in the order of the looks.
pub(crate) struct Pasts {
    pub(crate) known: Result<Account, Rejection>,
    pub(crate) then: Result<Account, Rejection>,
    pub(crate) later: Result<Account, Rejection>,
    pub(crate) now: Result<Account, Rejection>,
}

impl Revaluation {
    pub(crate) fn new(before: (RunRecord, ModelVersion), now: (RunRecord, ModelVersion)) -> Self {
        let ((before, models_before), (run, model)) = (before, now);
        let last_day = |as_of: Timestamp| Observation::new(as_of.as_microsecond(), model.currency).last_day();
        let (day_then, day_now) = (last_day(before.as_of), last_day(run.as_of));
        Self {
            was: before.as_of,
            is: run.as_of,
            currency: model.currency,
            contracts_then: models_before.models.contracts,
            then: Valuer::new(model.models.clone(), run.terms, day_then),
            now: Valuer::new(model.models, run.terms, day_now),
            // The run before is never for a later moment.
            days: u32::try_from(day_now - day_then).unwrap_or(0),
        }
    }

    pub(crate) fn currency(&self) -> Currency {
        self.currency
    }

    /// How the source is looked at: known, then, later, now.
    pub(crate) fn looks(&self) -> [Look<'_>; 4] {
        let Self { was, is, .. } = *self;
        let contracts = &self.now.models().contracts;
        [
            Look { until: was, observed_until: was, contracts: &self.contracts_then },
            Look { until: was, observed_until: was, contracts },
            Look { until: was, observed_until: is, contracts },
            Look { until: is, observed_until: is, contracts },
        ]
    }

    /// The steps of somebody to whom nothing happened; none if something did, or that cannot be told.
    pub(crate) fn by_themselves(&self, before: &Valued, now: &Valued) -> Option<Steps> {
        let then = self.in_todays_words(&before.account);
        let unchanged = then.days_later(self.days)?;
        is_same(&unchanged, &now.account).then(|| {
            let model = minor(&self.then, &Ok(then));
            Steps { model, corrected: None, time: Some(now.value.value_minor()) }
        })
    }

    /// The steps of somebody of whom the source was asked.
    pub(crate) fn by_source(&self, before: &Valued, now: &Valued, pasts: Pasts) -> Steps {
        let Pasts { known, then, later, now: today } = pasts;
        if known.is_ok_and(|known| is_same(&known, &before.account)) {
            let (model, time) = (minor(&self.then, &then), minor(&self.now, &later));
            return Steps { model, corrected: None, time };
        }
        let model = minor(&self.then, &Ok(self.in_todays_words(&before.account)));
        if today.is_ok_and(|today| is_same(&today, &now.account)) {
            return Steps { model, corrected: minor(&self.then, &then), time: minor(&self.now, &later) };
        }
        // What the newer run read is not there any more either: time and events cannot be told from the correction.
        Steps { model, corrected: Some(now.value.value_minor()), time: None }
    }

    fn in_todays_words(&self, account: &Account) -> Account {
        account.under(&self.contracts_then, &self.now.models().contracts)
    }
}

fn minor(valuer: &Valuer, account: &Result<Account, Rejection>) -> Option<i64> {
    let account = account.as_ref().ok()?;
    Some(valuer.value(account).ok()?.value_minor())
}

/// Whether a value would be the same. What it cost to win the customer does not bear on it.
fn is_same(one: &Account, other: &Account) -> bool {
    let Account { purchases, spend_minor, paid_minor, contracts, acquisition_cost_minor: _ } = one;
    *purchases == other.purchases
        && *spend_minor == other.spend_minor
        && *paid_minor == other.paid_minor
        && *contracts == other.contracts
}

#[cfg(test)]
mod tests {
    use batch::CustomerId;
    use model::{
        BgNbd, Contract, GammaGamma, Models, Parameters, PlanIndex, PlanModel, Sbg, Summary, ValueTerms,
    };
    use proptest::prelude::*;

    use super::*;

    const DAYS: u32 = 3;

    fn contracts(plans: &[&str]) -> ContractModels {
        let model = |plan: &&str| PlanModel {
            plan: (*plan).to_owned(),
            period_months: 1,
            // Another one for each, so that a plan is not taken for another.
            model: Sbg::new(plan.len() as f64, 3.0).unwrap().into(),
        };
        ContractModels { plans: plans.iter().map(model).collect(), ..ContractModels::default() }
    }

    fn models(alpha: f64, plans: &[&str]) -> Models {
        let parameters = Parameters {
            bg_nbd: BgNbd::new(0.25, alpha, 0.75, 2.5).unwrap(),
            gamma_gamma: GammaGamma::new(6.25, 3.75, 1544.0).unwrap(),
        };
        Models { contracts: contracts(plans), ..parameters.into() }
    }

    /// From models to other ones, over three days.
    fn between(before: &Models, now: &Models) -> Revaluation {
        let moment = |text: &str| text.parse().unwrap();
        let terms = ValueTerms::default();
        Revaluation {
            was: moment("2026-11-20T00:00:00Z"),
            is: moment("2026-11-23T00:00:00Z"),
            currency: Currency::parse("EUR").unwrap(),
            contracts_then: before.contracts.clone(),
            then: Valuer::new(now.clone(), terms, 20_000),
            now: Valuer::new(now.clone(), terms, 20_000 + i64::from(DAYS)),
            days: DAYS,
        }
    }

    fn account(frequency: u32, plan: u16) -> Account {
        let purchases = Summary {
            frequency,
            recency_days: 30 * frequency,
            age_days: 400,
            repeat_spend_minor: 5_000 * i64::from(frequency),
        };
        let contract = Contract {
            price_minor: 4_900,
            renewals: 2,
            days_to_renewal: 20,
            period_months: 1,
            plan: PlanIndex(plan),
        };
        Account {
            purchases: Some(purchases),
            spend_minor: 9_000 + 5_000 * i64::from(frequency),
            paid_minor: 3 * 4_900,
            contracts: [contract].into_iter().collect(),
            acquisition_cost_minor: Some(100),
        }
    }

    fn valued(models: &Models, last_day: i64, account: Account) -> Valued {
        let value = Valuer::new(models.clone(), ValueTerms::default(), last_day).value(&account).unwrap();
        Valued { customer: CustomerId(1), value, account }
    }

    fn steps_of(model: i64, corrected: Option<i64>, time: i64) -> Steps {
        Steps { model: Some(model), corrected, time: Some(time) }
    }

    #[test]
    fn somebody_to_whom_nothing_happened_needs_no_source() {
        let same = models(4.5, &["pro", "basic"]);
        let then = valued(&same, 20_000, account(2, 0));
        let later = valued(&same, 20_003, account(2, 0).days_later(DAYS).unwrap());

        let steps = between(&same, &same).by_themselves(&then, &later).unwrap();

        let (was, is) = (then.value.value_minor(), later.value.value_minor());
        assert_ne!(was, is);
        assert_eq!(steps, steps_of(was, None, is));
    }

    #[test]
    fn other_models_are_a_step_of_their_own_and_plans_go_by_their_names() {
        let (old, new) = (models(4.5, &["pro", "basic"]), models(9.0, &["basic", "x", "pro"]));
        let then = valued(&old, 20_000, account(2, 0));
        let under = account(2, 2);
        let later = valued(&new, 20_003, under.days_later(DAYS).unwrap());

        let steps = between(&old, &new).by_themselves(&then, &later).unwrap();

        let under = valued(&new, 20_000, under).value.value_minor();
        assert_eq!(steps, steps_of(under, None, later.value.value_minor()));
        assert_ne!(under, then.value.value_minor());
    }

    #[test]
    fn who_bought_or_has_a_renewal_behind_him_is_asked_about() {
        let same = models(4.5, &["pro"]);
        let then = valued(&same, 20_000, account(2, 0));
        let bought = valued(&same, 20_003, account(3, 0).days_later(DAYS).unwrap());
        let mut due = account(2, 0);
        due.contracts[0].days_to_renewal = DAYS;
        let due = valued(&same, 20_000, due);

        assert_eq!(between(&same, &same).by_themselves(&then, &bought), None);
        assert_eq!(between(&same, &same).by_themselves(&due, &due), None);
    }

    #[test]
    fn a_source_that_still_tells_what_the_older_run_read_was_not_corrected() {
        let same = models(4.5, &["pro"]);
        let then = valued(&same, 20_000, account(2, 0));
        let bought = valued(&same, 20_003, account(3, 0).days_later(DAYS).unwrap());
        let unchanged = account(2, 0).days_later(DAYS).unwrap();
        let pasts = Pasts {
            known: Ok(then.account.clone()),
            then: Ok(then.account.clone()),
            later: Ok(unchanged.clone()),
            // Changed since, but not before the older run.
            now: Err(Rejection::NegativeSpend),
        };

        let steps = between(&same, &same).by_source(&then, &bought, pasts);

        let time = valued(&same, 20_003, unchanged).value.value_minor();
        assert_eq!(steps, steps_of(then.value.value_minor(), None, time));
        assert_ne!(time, bought.value.value_minor(), "the rest is events");
    }

    #[test]
    fn a_correction_is_a_step_of_its_own_if_the_newer_run_read_it() {
        let same = models(4.5, &["pro"]);
        let then = valued(&same, 20_000, account(2, 0));
        let corrected = account(3, 0);
        let later = valued(&same, 20_003, corrected.days_later(DAYS).unwrap());
        let pasts = |now| Pasts {
            known: Ok(corrected.clone()),
            then: Ok(corrected.clone()),
            later: Ok(later.account.clone()),
            now,
        };

        let read = between(&same, &same).by_source(&then, &later, pasts(Ok(later.account.clone())));
        let gone = between(&same, &same).by_source(&then, &later, pasts(Err(Rejection::NoPurchase)));

        let (was, is) = (then.value.value_minor(), later.value.value_minor());
        let then = valued(&same, 20_000, corrected.clone()).value.value_minor();
        assert_eq!(read, steps_of(was, Some(then), is));
        assert_eq!(gone, Steps { model: Some(was), corrected: Some(is), time: None });
    }

    #[test]
    fn what_it_cost_to_win_a_customer_moves_no_value() {
        let same = models(4.5, &["pro"]);
        let then = valued(&same, 20_000, account(2, 0));
        let mut dearer = account(2, 0).days_later(DAYS).unwrap();
        dearer.acquisition_cost_minor = Some(99_999);
        let later = valued(&same, 20_003, dearer);

        assert!(between(&same, &same).by_themselves(&then, &later).is_some());
    }

    proptest! {
        #[test]
        fn two_rows_tell_the_same_as_the_source(frequency in 0_u32..9, days_to_renewal in 4_u32..31, alpha in 1.0..9.0) {
            let (old, new) = (models(4.5, &["pro", "basic"]), models(alpha, &["basic", "pro"]));
            let mut before = account(frequency, 0);
            before.contracts[0].days_to_renewal = days_to_renewal;
            let in_new_words = before.under(&old.contracts, &new.contracts);
            let later = in_new_words.days_later(DAYS).unwrap();
            let (was, is) = (valued(&old, 20_000, before.clone()), valued(&new, 20_003, later.clone()));
            let pasts = Pasts { known: Ok(before), then: Ok(in_new_words), later: Ok(later.clone()), now: Ok(later) };
            let revaluation = between(&old, &new);

            let by_themselves = revaluation.by_themselves(&was, &is);

            prop_assert_eq!(by_themselves, Some(revaluation.by_source(&was, &is, pasts)));
        }
    }
}
