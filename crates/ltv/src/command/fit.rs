//! `ltv fit`

use anyhow::{Context, anyhow, bail};
use fitter::{Error, Order};

use super::{busy, fit_file, fit_report};
use crate::cli::{FitArgs, SeasonChoice};
use crate::config;
use crate::stdout::{note, put, say};

pub(crate) async fn run(args: FitArgs) -> anyhow::Result<()> {
    if let (Some(model), Some(input), Some(out)) = (args.model, args.input.clone(), args.out.clone()) {
        return busy(move || fit_file::run(&args, model.into(), &input, &out)).await;
    }
    let database = args.database().context("--database-url is missing")?;
    let store = config::store_now(&database, "command").await?;
    let order = Order {
        as_of: args.as_of,
        currency: args.currency,
        is_seasonal: args.season == SeasonChoice::Estimate,
        is_to_be_promoted: !args.no_promote,
        accepts_breaches: args.accept_breaches,
        by: args.by.by.clone(),
    };
    // On the heap: a fit holds its models and their diagnostics across its calls to the store.
    let recorded = Box::pin(fitter::fit(&store, &order)).await.map_err(with_advice)?;

    let (version, new, judgement) = (recorded.version, &recorded.stored, &recorded.judgement);
    if args.json {
        let document = documents::Fit {
            model_version: version,
            parameters: new.models.purchases,
            models: new.models.clone(),
            fit: new.fit.clone(),
            promoted: recorded.is_promoted,
        };
        say!("{}", documents::line(&document))?;
    } else {
        put(fit_report::told(&recorded.fitted, version, args.currency, recorded.as_of))?;
        if recorded.left_out > 0 {
            say!("  {}", fit_report::left_out(recorded.left_out))?;
        }
        if !recorded.is_promoted {
            say!("  not promoted: `ltv models promote {version}` makes it the one that runs pin")?;
        }
    }
    judgement.warnings().for_each(|warning| note!("ltv: warning: {warning}"));
    if recorded.is_refused {
        bail!(
            "model version {version} is too far from {}, so it was stored and not promoted: {}; \
             look at it, then `ltv models promote {version}`, or fit with --accept-breaches",
            judgement.against(),
            judgement.breaches().join("; ")
        );
    }
    Ok(())
}

/// What can be done about a fit that came to nothing.
fn with_advice(error: Error) -> anyhow::Error {
    match error {
        Error::Season(error) => anyhow!(error).context("--season estimate; go without, --season none"),
        Error::Unfittable { as_of, left_out, source } => anyhow!(source).context(format!(
            "the histories at {as_of} cannot be fitted, {left_out} customers left out; load more, or see --as-of"
        )),
        error => error.into(),
    }
}
