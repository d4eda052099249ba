//! `ltv fit`

use anyhow::Context;
use model::Summary;
use model::fit::{self, Diagnostics, Fit};
use serde_json::{Value as Json, json};
use store::{NewModelVersion, NewPromotion, Planning, Reading, Selection, Values};

use super::fit_file;
use crate::cli::FitArgs;
use crate::config;
use crate::output::count;

/// Customers whose histories are read at a time.
const PAGE: usize = 20_000;

pub(crate) async fn run(args: &FitArgs) -> anyhow::Result<()> {
    if let (Some(model), Some(input), Some(out)) = (args.model, &args.input, &args.out) {
        return fit_file::run(args, model, input, out);
    }
    let database = args.database().context("--database-url is missing")?;
    let store = config::store_now(&database, "command").await?;
    let as_of = match args.as_of {
        Some(as_of) => as_of,
        None => store.now().await?,
    };
    let customers = store.selected(&Selection::All, as_of).await?;
    let mut summaries: Vec<Summary> = Vec::with_capacity(customers.len());
    let mut fingerprint = Fingerprint::default();
    for page in customers.chunks(PAGE) {
        let reading = Reading { customers: page, is_whole: true, as_of, currency: args.currency };
        for history in store.read_histories(&reading).await? {
            if let Ok(summary) = history.summary {
                fingerprint.add(history.customer.0, &summary);
                summaries.push(summary);
            }
        }
    }
    let left_out = customers.len() - summaries.len();
    let used = summaries.len();
    let (parameters, diagnostics) =
        tokio::task::spawn_blocking(move || fit::parameters(summaries)).await?.with_context(|| {
            format!("{used} customers can be fitted at {as_of}, {left_out} cannot; load more, or see --as-of")
        })?;

    let new = NewModelVersion {
        currency: args.currency,
        parameters,
        fit: document(&diagnostics, as_of),
        data_fingerprint: fingerprint.to_string(),
        code_version: env!("CARGO_PKG_VERSION").into(),
    };
    let promotion = (!args.no_promote)
        .then(|| NewPromotion { by: args.by.by.clone(), reason: Some("ltv fit stored it".into()) });
    let version = store.save_model_version(&new, promotion.as_ref()).await?;
    if args.json {
        let document = json!({
            "model_version": version,
            "parameters": parameters,
            "fit": new.fit,
            "promoted": promotion.is_some(),
        });
        println!("{document}");
        return Ok(());
    }
    let (bg_nbd, gamma_gamma) = (parameters.bg_nbd, parameters.gamma_gamma);
    println!("model version {version}, fitted on {} customers as of {as_of}", count(used as u64));
    println!(
        "  BG/NBD       r {:.4}, alpha {:.4} weeks, a {:.4}, b {:.4}",
        bg_nbd.r(),
        bg_nbd.alpha(),
        bg_nbd.a(),
        bg_nbd.b()
    );
    println!(
        "  Gamma-Gamma  p {:.4}, q {:.4}, v {:.1} minor units of {}",
        gamma_gamma.p(),
        gamma_gamma.q(),
        gamma_gamma.v(),
        args.currency
    );
    if left_out > 0 {
        println!("  {} customers were left out: their histories cannot be valued", count(left_out as u64));
    }
    if args.no_promote {
        println!("  not promoted: `ltv models promote {version}` makes it the one that runs pin");
    }
    Ok(())
}

fn document(diagnostics: &Diagnostics, as_of: jiff::Timestamp) -> Json {
    json!({
        "as_of": as_of,
        "bg_nbd": one(&diagnostics.bg_nbd),
        "gamma_gamma": one(&diagnostics.gamma_gamma),
        "spend_correlation": diagnostics.spend_correlation,
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

/// What the parameters were fitted on, as one number: FNV-1a over the summaries in the order of the customers.
struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    fn add(&mut self, customer: i64, summary: &Summary) {
        let Summary { frequency, recency_days, age_days, repeat_spend_minor } = *summary;
        let numbers = [customer, frequency.into(), recency_days.into(), age_days.into(), repeat_spend_minor];
        for byte in numbers.iter().flat_map(|number| number.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
