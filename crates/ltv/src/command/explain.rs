//! Explains a value: where it stands, what it was computed from, and that computing it again gives the same bits.

use anyhow::{Context, bail};
use batch::CustomerId;
use documents::{Explanation, plan_name};
use model::{Account, Between, Contract, Horizons, Observation, Summary, Value, Valuer};
use store::{Archive, Explained, ModelVersion, RunRecord, Valued};

use super::meaning::meaning;
use crate::output::{count, money, table};
use crate::stdout::{Unsaid, put, say};

pub(crate) async fn explain(
    store: &impl Archive,
    run: &RunRecord,
    model: &ModelVersion,
    customer: &str,
    as_json: bool,
) -> anyhow::Result<()> {
    let by_name = store.customer_named(customer).await?;
    let id = by_name
        .or_else(|| customer.parse().ok())
        .with_context(|| format!("there is no customer {customer}"))?;
    let valued = match store.explain(run.run, id).await? {
        Explained::Valued(valued) => valued,
        Explained::Rejected(code) => {
            bail!("customer {id} was rejected in run {}: {}", run.run, meaning(&code))
        }
        Explained::Absent => {
            bail!("run {} ({}, {}) holds no value for customer {id}", run.run, run.selection, run.state)
        }
    };
    let last_day = Observation::new(run.as_of.as_microsecond(), model.currency).last_day();
    let again = Valuer::new(model.models.clone(), run.terms, last_day).value(&valued.account);
    // Written out, numbers are told apart to the last bit.
    let written = |value: &Value| documents::line(&documents::Value::new(value, &valued.account));
    let is_same = again.is_ok_and(|again| written(&again) == written(&valued.value));
    if as_json {
        say!("{}", documents::line(&Explanation::new(run, model, &valued, is_same)))?;
    } else {
        tell(run, model, id, &valued, is_same)?;
    }
    if !is_same {
        bail!("computing the value of customer {id} again gives other bits");
    }
    Ok(())
}

fn tell(
    run: &RunRecord,
    model: &ModelVersion,
    id: CustomerId,
    valued: &Valued,
    is_same: bool,
) -> Result<(), Unsaid> {
    let Valued { value, account, .. } = valued;
    let currency = model.currency;
    say!("\nCustomer {id} in run {}, as of {}, in {currency}\n", run.run, run.as_of)?;
    say!("  value               {}", money(value.value_minor()))?;
    say!("  contributed so far  {}", money(value.historic_minor))?;
    say!("  purchases to come   {} in 12 months", value.expected_purchases)?;
    if let Some(p_alive) = value.p_alive {
        say!("  probability alive   {p_alive}")?;
    }
    tell_confidence(value)?;
    tell_payback(value, account)?;

    say!("\n  what is expected, discounted\n")?;
    let heads = ["from", "12 months", "24 months", "36 months", "for ever"];
    let rows = [
        row_of("purchases", &value.purchases),
        row_of("contracts", &value.contracts),
        row_of("both", &value.future()),
    ];
    put(table(&heads, &[], &rows))?;

    say!("\n  from\n")?;
    if let Some(Summary { frequency, recency_days, age_days, repeat_spend_minor }) = account.purchases {
        say!("  repeat purchases    {frequency}")?;
        say!("  recency             {recency_days} days from the first purchase to the last")?;
        say!("  age                 {age_days} days from the first purchase to the last observed day")?;
        say!("  repeat spend        {}", money(repeat_spend_minor))?;
        say!("  spend               {}, the first purchase included", money(account.spend_minor))?;
    }
    if account.paid_minor != 0 || !account.contracts.is_empty() {
        say!("  paid by contract    {}", money(account.paid_minor))?;
    }
    for contract in &account.contracts {
        let Contract { price_minor, renewals, days_to_renewal, period_months, plan } = *contract;
        say!(
            "  contract            {}: {} every {period_months} months, {} renewals, the next in {} days",
            plan_name(&model.models, plan),
            money(price_minor),
            count(renewals),
            count(days_to_renewal)
        )?;
    }
    let terms = run.terms;
    say!(
        "  terms               discount {} a year, take rate {}, refund rate {}, margin of contracts {}",
        terms.annual_discount_rate(),
        terms.take_rate(),
        terms.refund_rate(),
        terms.contract_margin()
    )?;
    tell_model(model)?;
    say!("\n  computed again: {}", if is_same { "the same bits" } else { "OTHER BITS" })
}

fn tell_confidence(value: &Value) -> Result<(), Unsaid> {
    if let Some([eighty, ninety]) = value.intervals {
        say!("  80 % interval       {} in 12 months, not discounted", between(eighty))?;
        say!("  90 % interval       {}", between(ninety))?;
    }
    let confidence = value.confidence;
    let width = confidence.relative_width.map_or_else(String::new, |width| {
        format!(", the 80 % interval is {width:.2} times what is expected")
    });
    say!(
        "  confidence          {}: own share in the rate {:.2}, in the spend {:.2}{width}",
        char::from(confidence.grade.letter()),
        confidence.own_rate,
        confidence.own_spend
    )
}

fn tell_payback(value: &Value, account: &Account) -> Result<(), Unsaid> {
    let (Some(payback), Some(cost)) = (value.payback, account.acquisition_cost_minor) else { return Ok(()) };
    let when = match payback.months {
        Some(0) => "is back already".into(),
        Some(months) => format!("is back in {months} months"),
        None => "is not back within 36 months".into(),
    };
    say!(
        "  acquisition cost    {}, {when}; within 12 months with a probability of {:.3}",
        money(cost),
        payback.probability
    )?;
    if let Some(ratio) = value.ltv_to_cac(account) {
        say!("  LTV:CAC             {ratio:.2} in 36 months")?;
    }
    Ok(())
}

fn tell_model(model: &ModelVersion) -> Result<(), Unsaid> {
    let (bg_nbd, gamma_gamma) = (model.models.purchases.bg_nbd, model.models.purchases.gamma_gamma);
    say!("  model version       {} of {}, by ltv {}", model.version, model.created_at, model.code_version)?;
    say!(
        "  BG/NBD              r {}, alpha {}, a {}, b {}",
        bg_nbd.r(),
        bg_nbd.alpha(),
        bg_nbd.a(),
        bg_nbd.b()
    )?;
    say!("  Gamma-Gamma         p {}, q {}, v {}", gamma_gamma.p(), gamma_gamma.q(), gamma_gamma.v())?;
    if model.models.season.is_some() {
        say!("  season              in the time of the version's season")?;
    }
    Ok(())
}

fn row_of(name: &str, horizons: &Horizons) -> Vec<String> {
    let for_ever = horizons.for_ever.map_or_else(|| "without end".into(), money);
    let within = [horizons.months_12, horizons.months_24, horizons.months_36].map(money);
    [name.to_owned()].into_iter().chain(within).chain([for_ever]).collect()
}

fn between(Between { lower_minor, upper_minor }: Between) -> String {
    format!("{} to {}", money(lower_minor), money(upper_minor))
}
