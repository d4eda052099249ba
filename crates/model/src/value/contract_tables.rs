//! What contracts that go on will still bring, tabulated for a whole run.
//!
//! Whether a contract is renewed depends on its plan, its period and the renewals made so far: a few thousand
//! combinations whatever the number of customers. Each is computed once, when it is first asked for, and is a pure
//! function of the models, the terms and its place; reading takes no lock.
//!
//! **When payments fall.** The next one is due in `days_to_renewal` days, the others a period apart. Within `n` months
//! fall `n / period` of them where the period divides that: contracts are billed by the calendar month, and a year has
//! twelve payments however its days lie. What months are left over hold one more if the next payment is due within
//! them.

use std::ops::Deref;
use std::sync::OnceLock;

use super::purchase_tables::MONTHS;
use crate::account::LONGEST_PERIOD;
use crate::{
    Contract, ContractModel, ContractModels, DAYS_PER_WEEK, ParameterError, PeriodRate, PlanIndex,
    ValueTerms, WEEKS_PER_YEAR,
};

/// Payments are kept of contracts up to about so many months old, from the start of 1900 on: at most 2 MB for a plan by
/// the month, and 12 MB for the others of all periods.
const OLDEST_MONTHS: usize = 2048;

/// The most payments in 12 months.
pub(crate) const PAYMENTS_A_YEAR: usize = 12;

/// What is expected of the payments for a contract, whatever its price.
#[derive(Clone, Debug)]
pub(crate) struct Payments {
    /// The expected number of the first `n` payments, each discounted to the first.
    discounted: [f64; MONTHS + 1],
    /// All of them; none where the sum has no end.
    for_ever: Option<f64>,
    /// The probability of at least `n` payments.
    survival: [f64; PAYMENTS_A_YEAR + 1],
    /// The payments of 12 months, where the period fits into them and where one more does.
    year: [Year; 2],
}

/// The number of payments within 12 months.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Year {
    /// How many there will be at most.
    pub(crate) most: usize,
    pub(crate) mean: f64,
    pub(crate) variance: f64,
    /// Few, more and all, as far as there are so many.
    cases: [Case; 3],
    filled: usize,
}

/// What may come of a contract within 12 months.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Case {
    pub(crate) probability: f64,
    /// The least number of payments in it.
    pub(crate) least: f64,
    /// Their mean and variance.
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// Tables of what is expected of contracts.
pub(crate) struct ContractTables {
    models: ContractModels,
    annual_discount_rate: f64,
    delta: f64,
    /// For each plan, and for each period of the others.
    rows: Box<[OnceLock<Row>]>,
}

/// A plan's payments by renewals made.
type Row = Box<[OnceLock<Box<Payments>>]>;

/// Payments from the table, or of a contract too old for it.
pub(crate) enum Found<'a> {
    Kept(&'a Payments),
    Own(Box<Payments>),
}

impl Deref for Found<'_> {
    type Target = Payments;

    #[inline]
    fn deref(&self) -> &Payments {
        match self {
            Self::Kept(payments) => payments,
            Self::Own(payments) => payments,
        }
    }
}

impl ContractTables {
    pub(crate) fn new(models: ContractModels, terms: &ValueTerms) -> Result<Self, ParameterError> {
        let rows = models.plans.len() + usize::from(LONGEST_PERIOD);
        Ok(Self {
            models,
            annual_discount_rate: terms.annual_discount_rate(),
            delta: terms.over_years(1.0)?.delta(),
            rows: (0..rows).map(|_| OnceLock::new()).collect(),
        })
    }

    /// What a payment on the day of the next one counts today.
    #[inline]
    pub(crate) fn discount_to_renewal(&self, contract: &Contract) -> f64 {
        libm::exp(-self.delta * f64::from(contract.days_to_renewal) / DAYS_PER_WEEK)
    }

    /// What is expected of a contract whose period is from 1 to [`LONGEST_PERIOD`]; none if the models know nothing of
    /// it.
    #[inline]
    pub(crate) fn payments(&self, contract: &Contract) -> Option<Found<'_>> {
        let model = self.models.get(contract.plan, contract.period_months)?;
        let renewals = contract.renewals as usize;
        let kept = 1 + OLDEST_MONTHS / usize::from(contract.period_months);
        let Some(row) = self.row(contract).filter(|_| renewals < kept) else {
            return Some(Found::Own(Box::new(self.compute(model, contract))));
        };
        let row = self.rows[row].get_or_init(|| (0..kept).map(|_| OnceLock::new()).collect());
        Some(Found::Kept(row[renewals].get_or_init(|| Box::new(self.compute(model, contract)))))
    }

    fn row(&self, contract: &Contract) -> Option<usize> {
        let plans = &self.models.plans;
        if contract.plan == PlanIndex::OTHER {
            return Some(plans.len() + usize::from(contract.period_months) - 1);
        }
        let place = usize::from(contract.plan.0);
        // A plan's model is found together with its period; what was put together otherwise gets no place.
        plans.get(place).filter(|plan| plan.period_months == contract.period_months).map(|_| place)
    }

    #[cold]
    fn compute(&self, model: &ContractModel, contract: &Contract) -> Payments {
        let &Contract { renewals, period_months, .. } = contract;
        let rate = PeriodRate::of_annual(self.annual_discount_rate, f64::from(period_months) / 12.0)
            .expect("the terms' rate and a contract's period are in their domains");
        let most = MONTHS / usize::from(period_months) + 1;
        let mut discounted = [0.0; MONTHS + 1];
        let mut survival = [1.0; PAYMENTS_A_YEAR + 1];
        let mut discount = 1.0;
        for n in 1..=MONTHS {
            let reached = if n <= most { model.remaining_survival(renewals, n as u32) } else { 0.0 };
            discounted[n] = discounted[n - 1] + reached * discount;
            discount *= rate.ratio();
            if n <= PAYMENTS_A_YEAR {
                survival[n] = f64::min(reached, survival[n - 1]);
            }
        }
        let fitting = PAYMENTS_A_YEAR / usize::from(period_months);
        let year = [fitting, usize::min(fitting + 1, PAYMENTS_A_YEAR)].map(|most| Year::new(&survival, most));
        Payments { discounted, for_ever: model.residual_lifetime(renewals, rate).ok(), survival, year }
    }
}

impl Payments {
    /// Expected payments within so many months (at most 36), each discounted to the next one.
    #[inline]
    pub(crate) fn within_months(&self, contract: &Contract, months: u16) -> f64 {
        self.discounted[payments_within(contract, months)]
    }

    /// The same for ever, if that has an end.
    pub(crate) fn for_ever(&self) -> Option<f64> {
        self.for_ever.map(|for_ever| f64::max(for_ever, self.discounted[MONTHS]))
    }

    /// The payments of the coming 12 months.
    #[inline]
    pub(crate) fn year(&self, contract: &Contract) -> &Year {
        let fitting = PAYMENTS_A_YEAR / usize::from(contract.period_months);
        &self.year[usize::from(payments_within(contract, 12) > fitting)]
    }

    /// The probability of exactly `n` payments, when there are `most` at most.
    #[inline]
    pub(crate) fn probability(&self, n: usize, most: usize) -> f64 {
        if n < most { self.survival[n] - self.survival[n + 1] } else { self.survival[n] }
    }
}

impl Year {
    fn new(survival: &[f64; PAYMENTS_A_YEAR + 1], most: usize) -> Self {
        let probability = |n: usize| if n < most { survival[n] - survival[n + 1] } else { survival[n] };
        let case = |least: usize, beyond: usize| {
            let weight: f64 = (least..beyond).map(probability).sum();
            let share = |n: usize| if weight > 0.0 { probability(n) / weight } else { 0.0 };
            let mean: f64 = (least..beyond).map(|n| n as f64 * share(n)).sum();
            let off = |n: usize| (n as f64 - mean) * (n as f64 - mean);
            let variance = (least..beyond).map(|n| off(n) * share(n)).sum();
            Case { probability: weight, least: least as f64, mean, variance }
        };
        let middle = usize::max(most / 2, 1);
        let (cases, filled) = match most {
            0 => ([case(0, 1), Case::default(), Case::default()], 1),
            1 => ([case(0, 1), case(1, 2), Case::default()], 2),
            _ => ([case(0, middle), case(middle, most), case(most, most + 1)], 3),
        };
        let all = case(0, most + 1);
        Self { most, mean: all.mean, variance: all.variance, cases, filled }
    }

    /// What may come of it: at most three, which tell one payment or two apart exactly.
    #[inline]
    pub(crate) fn cases(&self) -> &[Case] {
        &self.cases[..self.filled]
    }
}

/// How many payments fall within so many months (at most 36), if all are made. The next one is due after today, so that
/// a period that fits leaves no room for one more.
#[inline]
fn payments_within(contract: &Contract, months: u16) -> usize {
    let fitting = months / contract.period_months;
    let left_over = f64::from(months % contract.period_months) * (WEEKS_PER_YEAR / 12.0);
    let one_more = f64::from(contract.days_to_renewal) / DAYS_PER_WEEK <= left_over;
    usize::from(fitting) + usize::from(one_more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(period_months: u16, days_to_renewal: u32) -> Contract {
        Contract { price_minor: 100, renewals: 0, days_to_renewal, period_months, plan: PlanIndex::OTHER }
    }

    #[test]
    fn a_year_has_as_many_payments_as_periods_however_its_days_lie() {
        for days in [1, 15, 28, 31] {
            assert_eq!([12, 24, 36].map(|months| payments_within(&contract(1, days), months)), [12, 24, 36]);
        }
        for days in [1, 200, 366] {
            assert_eq!([12, 24, 36].map(|months| payments_within(&contract(12, days), months)), [1, 2, 3]);
        }
    }

    #[test]
    fn months_left_over_hold_a_payment_that_is_due_within_them() {
        assert_eq!([12, 24, 36].map(|months| payments_within(&contract(24, 365), months)), [1, 1, 2]);
        assert_eq!([12, 24, 36].map(|months| payments_within(&contract(24, 366), months)), [0, 1, 1]);
        assert_eq!([12, 24, 36].map(|months| payments_within(&contract(5, 60), months)), [3, 5, 7]);
        assert_eq!([12, 24, 36].map(|months| payments_within(&contract(5, 61), months)), [2, 5, 7]);
        assert_eq!([12, 24, 36].map(|months| payments_within(&contract(60, 1000), months)), [0, 0, 1]);
    }
}
