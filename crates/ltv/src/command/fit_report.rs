//! What `ltv fit` says about the models it fitted.

use std::fmt::Write;

use fitter::Fitted;
use model::fit::{ContractDiagnostics, ContractFit};
use model::{ContractModel, Currency};
use store::ModelVersionId;

use crate::output::count;

/// Tells of a model version that was fitted.
pub(super) fn told(
    fitted: &Fitted,
    version: ModelVersionId,
    currency: Currency,
    as_of: jiff::Timestamp,
) -> String {
    let (bg_nbd, gamma_gamma) = (fitted.models.purchases.bg_nbd, fitted.models.purchases.gamma_gamma);
    let customers = count(fitted.diagnostics.bg_nbd.customers);
    let mut text = format!("model version {version}, fitted on {customers} customers as of {as_of}\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "  {line}").expect("writing to a string cannot fail");
    };
    line(format_args!(
        "BG/NBD       r {:.4}, alpha {:.4} weeks, a {:.4}, b {:.4}",
        bg_nbd.r(),
        bg_nbd.alpha(),
        bg_nbd.a(),
        bg_nbd.b()
    ));
    line(format_args!(
        "Gamma-Gamma  p {:.4}, q {:.4}, v {:.1} minor units of {currency}",
        gamma_gamma.p(),
        gamma_gamma.q(),
        gamma_gamma.v()
    ));
    if let Some(season) = &fitted.models.season {
        let most = season.index().iter().fold(0.0, |most: f64, &index| most.max(index));
        line(format_args!("season       the busiest week has {most:.2} times the mean"));
    }
    let ContractDiagnostics { plans, others_by_period, others } = &fitted.contract_diagnostics;
    for plan in plans {
        if let Ok(fit) = &plan.fit {
            line(format_args!("{}, every {} months: {}", plan.plan, plan.period_months, in_words(fit)));
        }
    }
    for (period, fit) in others_by_period {
        if let Ok(fit) = fit {
            line(format_args!("other plans, every {period} months: {}", in_words(fit)));
        }
    }
    if let Ok(fit) = others {
        line(format_args!("other plans: {}", in_words(fit)));
    }
    text
}

fn in_words(fit: &ContractFit) -> String {
    match (fit.constant_churn, fit.model) {
        (Some(reason), model) => format!("{:.2} % leave at each renewal ({reason})", 100.0 * model.churn(1)),
        (None, ContractModel::Sbg(sbg)) => format!("sBG, alpha {:.4}, beta {:.4}", sbg.alpha(), sbg.beta()),
        (None, ContractModel::Bdw(bdw)) => {
            format!("BdW, alpha {:.4}, beta {:.4}, c {:.4}", bdw.alpha(), bdw.beta(), bdw.c())
        }
    }
}

/// How many customers no model has seen, in words.
pub(super) fn left_out(customers: u64) -> String {
    format!("{} customers were left out: their histories cannot be valued", count(customers))
}

#[cfg(test)]
mod tests {
    use model::fit::{ContractRow, PlanRows, contract_models};

    use super::*;

    #[test]
    fn a_constant_churn_is_said_to_be_one() {
        let cohort = ContractRow::of_survivors(&[1000, 700]);

        let (_, diagnostics) = contract_models(&[PlanRows { plan: "new", period_months: 1, rows: &cohort }]);
        let fit = diagnostics.plans[0].fit.clone();

        assert_eq!(
            in_words(&fit.unwrap()),
            "30.00 % leave at each renewal (constant churn: heterogeneity cannot be told yet)"
        );
    }
}
