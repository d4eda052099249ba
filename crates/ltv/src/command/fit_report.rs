//! What `ltv fit` says about the models it fitted, to a person and as the document of the model version.

use std::fmt::Write;

use model::fit::{ContractDiagnostics, ContractFit, Diagnostics, Fit, FitError, PlanDiagnostics};
use model::{ContractModel, Currency};
use serde_json::{Value as Json, json};
use store::ModelVersionId;

use super::fit_guard::Judgement;
use crate::fitting::Fitted;
use crate::model_file;
use crate::models::Model;
use crate::output::count;

/// The document that is stored with the model version.
pub(super) fn document(fitted: &Fitted, as_of: jiff::Timestamp, judgement: &Judgement) -> Json {
    let Diagnostics { bg_nbd, gamma_gamma, spend_correlation } = &fitted.diagnostics;
    json!({
        "as_of": as_of,
        "bg_nbd": one(bg_nbd),
        "gamma_gamma": one(gamma_gamma),
        "spend_correlation": spend_correlation,
        "began_at_parameters_in_force": fitted.is_warm,
        "is_seasonal": fitted.models.season.is_some(),
        "contracts": contracts(fitted),
        "guard": judgement.document(),
    })
}

fn one<M>(fit: &Fit<M>) -> Json {
    json!({
        "log_likelihood": fit.log_likelihood,
        "gradient_norm": fit.gradient_norm,
        "standard_errors": fit.standard_errors,
        "customers": fit.customers,
        "converged": fit.converged,
        "evaluations": fit.evaluations,
    })
}

fn contracts(fitted: &Fitted) -> Json {
    let plan = |of: &PlanDiagnostics| {
        let tenures =
            fitted.plans.iter().find(|read| read.plan == of.plan && read.period_months == of.period_months);
        let mut document = chosen(&of.fit);
        document["plan"] = json!(of.plan);
        document["period_months"] = json!(of.period_months);
        document["contracts"] = json!(of.contracts);
        document["ends"] = json!(tenures.map(|tenures| &tenures.ends));
        document["left_out"] = json!(tenures.map(|tenures| tenures.left_out));
        document
    };
    let ContractDiagnostics { plans, others_by_period, others } = &fitted.contract_diagnostics;
    let of_period = |(period, fit): (&u16, &Result<ContractFit, FitError>)| {
        let mut document = chosen(fit);
        document["period_months"] = json!(period);
        document
    };
    json!({
        "plans": plans.iter().map(plan).collect::<Vec<_>>(),
        "others_by_period": others_by_period.iter().map(of_period).collect::<Vec<_>>(),
        "others": chosen(others),
    })
}

fn chosen(fit: &Result<ContractFit, FitError>) -> Json {
    match fit {
        Ok(fit) => json!({
            "model": Model::from(fit.model).name().as_str(),
            "likelihood_ratio": fit.likelihood_ratio,
            "constant_churn": fit.constant_churn.map(|reason| reason.to_string()),
            "sbg": attempted(&fit.sbg),
            "bdw": attempted(&fit.bdw),
        }),
        Err(error) => json!({ "model": null, "reason": error.to_string() }),
    }
}

fn attempted<M: Copy + Into<Model>>(fit: &Result<Fit<M>, FitError>) -> Json {
    match fit {
        Ok(fit) => {
            let model: Model = fit.model.into();
            let mut document = one(fit);
            document["parameters"] = json!(model_file::by_name(model.name(), &model.parameters()));
            document["standard_errors"] = json!(model_file::by_name(model.name(), &fit.standard_errors));
            document
        }
        Err(error) => json!({ "reason": error.to_string() }),
    }
}

/// The same for a person.
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
    fn a_plan_without_a_model_of_its_own_says_why() {
        let survivors = |size: u64| ContractRow::of_survivors(&[size, size * 7 / 10, size * 6 / 10]);
        let (large, small) = (survivors(1000), survivors(200));
        let rows = |plan, rows| PlanRows { plan, period_months: 1, rows };

        let (_, diagnostics) = contract_models(&[rows("large", &large), rows("small", &small)]);
        let documents: Vec<Json> = diagnostics.plans.iter().map(|plan| chosen(&plan.fit)).collect();

        assert_eq!(documents[0]["model"], "sbg");
        assert!(documents[0]["sbg"]["parameters"]["alpha"].is_f64(), "{}", documents[0]);
        assert!(documents[0]["sbg"]["standard_errors"]["beta"].is_f64(), "{}", documents[0]);
        assert_eq!(documents[1]["model"], Json::Null);
        assert_eq!(documents[1]["reason"], "fit sbg: 200 customers are too few, at least 300 are needed");
    }

    #[test]
    fn a_constant_churn_is_said_to_be_one() {
        let cohort = ContractRow::of_survivors(&[1000, 700]);

        let (_, diagnostics) = contract_models(&[PlanRows { plan: "new", period_months: 1, rows: &cohort }]);
        let fit = diagnostics.plans[0].fit.clone();

        assert_eq!(chosen(&fit)["constant_churn"], "constant churn: heterogeneity cannot be told yet");
        assert_eq!(
            in_words(&fit.unwrap()),
            "30.00 % leave at each renewal (constant churn: heterogeneity cannot be told yet)"
        );
    }
}
