//! What the fits of contracts look at: how many customers came how far.

use super::{FEWEST_CUSTOMERS, FitError, Tenure};
use crate::ContractModel;

/// Customers of whom the same is known: a few hundred rows, however many customers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractRow {
    /// How far they came.
    pub tenure: Tenure,
    /// How many customers are like this.
    pub customers: u64,
}

impl ContractRow {
    /// The rows of a cohort of which `survivors[n]` were left after `n` renewals; `survivors[0]` is its size.
    ///
    /// A number that grows is taken for no churn.
    pub fn of_survivors(survivors: &[u64]) -> Vec<Self> {
        let churned = survivors.windows(2).zip(1..).map(|(pair, n)| Self {
            tenure: Tenure::ChurnedAt(n),
            customers: pair[0].saturating_sub(pair[1]),
        });
        let active = survivors
            .last()
            .map(|&customers| Self { tenure: Tenure::ActiveAfter(survivors.len() as u32 - 1), customers });
        churned.chain(active).filter(|row| row.customers > 0).collect()
    }

    /// The logarithm of the probability to come exactly as far as one customer of this row under a model.
    pub fn ln_probability(&self, model: &ContractModel) -> f64 {
        match self.tenure {
            Tenure::ChurnedAt(0) => f64::NEG_INFINITY,
            Tenure::ChurnedAt(n) => model.ln_survival(n - 1) + libm::log(model.churn(n)),
            Tenure::ActiveAfter(n) => model.ln_survival(n),
        }
    }

    /// Whether something was decided: one that did not says nothing of churn.
    pub(super) fn came_to_a_renewal(&self) -> bool {
        self.tenure != Tenure::ActiveAfter(0)
    }

    pub(super) fn is_possible(&self) -> bool {
        self.tenure != Tenure::ChurnedAt(0)
    }
}

/// Equal rows as one, or why they cannot be fitted.
pub(super) fn counted(model: &'static str, rows: &[ContractRow]) -> Result<Vec<ContractRow>, FitError> {
    if let Some(row) = rows.iter().position(|row| !row.is_possible()) {
        return Err(FitError::ImpossibleRow { model, row });
    }
    let found: u64 = rows.iter().map(|row| row.customers).sum();
    if found < FEWEST_CUSTOMERS {
        return Err(FitError::TooFewCustomers { model, found, needed: FEWEST_CUSTOMERS });
    }
    if !rows.iter().any(|row| row.customers > 0 && matches!(row.tenure, Tenure::ChurnedAt(_))) {
        return Err(FitError::NobodyChurned { model });
    }
    let told = |row: &&ContractRow| row.customers > 0;
    let mut rows: Vec<ContractRow> = rows.iter().filter(told).copied().collect();
    rows.sort_unstable_by_key(|row| row.tenure);
    let total = |rows: &[ContractRow]| rows.iter().map(|row| row.customers).sum();
    let same = |a: &ContractRow, b: &ContractRow| a.tenure == b.tenure;
    Ok(rows.chunk_by(same).map(|rows| ContractRow { customers: total(rows), ..rows[0] }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cohorts_survivors_are_cut_into_churned_and_active() {
        let row = |tenure, customers| ContractRow { tenure, customers };

        let rows = ContractRow::of_survivors(&[10, 7, 7, 2]);

        let expected =
            [row(Tenure::ChurnedAt(1), 3), row(Tenure::ChurnedAt(3), 5), row(Tenure::ActiveAfter(3), 2)];
        assert_eq!(rows, expected);
    }
}
