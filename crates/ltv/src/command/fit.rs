//! `ltv fit`
//!
//! Reads all histories, fits the models, holds them against those in force, stores them as a new version, and
//! promotes that unless it is too far from what is in force.

use anyhow::{Context, bail};
use store::{ModelVersions, NewModelVersion, NewPromotion, Planning, Selection};

use super::fit_guard::Before;
use super::{fit_file, fit_report};
use crate::cli::FitArgs;
use crate::config;
use crate::fitting::FitData;

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
    let before = Before::find(&store, args.currency).await?;
    let customers = store.selected(&Selection::All, as_of).await?;
    let data = FitData::read(&store, &customers, as_of, args.currency, args.season).await?;
    let fingerprint = data.fingerprint();
    let left_out = data.left_out;

    let (fitted, judgement) = tokio::task::spawn_blocking(move || {
        let fitted = data.fit(before.start())?;
        let judgement = before.judge(&fitted, &data.summaries, data.last_day);
        anyhow::Ok((fitted, judgement))
    })
    .await?
    .with_context(|| {
        format!("the histories at {as_of} cannot be fitted, {left_out} customers left out; load more, or see --as-of")
    })?;

    let is_refused = judgement.has_breaches() && !args.accept_breaches;
    let is_promoted = !args.no_promote && !is_refused;
    let new = NewModelVersion {
        currency: args.currency,
        models: fitted.models.clone(),
        fit: fit_report::document(&fitted, as_of, &judgement),
        data_fingerprint: fingerprint,
        code_version: env!("CARGO_PKG_VERSION").into(),
    };
    let promotion = is_promoted.then(|| NewPromotion {
        by: args.by.by.clone(),
        reason: Some(judgement.reason_for_promoting().into()),
    });
    let version = store.save_model_version(&new, promotion.as_ref()).await?;
    if args.json {
        let document = documents::Fit {
            model_version: version,
            parameters: new.models.purchases,
            models: new.models,
            fit: new.fit,
            promoted: is_promoted,
        };
        println!("{}", documents::line(&document));
    } else {
        print!("{}", fit_report::told(&fitted, version, args.currency, as_of));
        if left_out > 0 {
            println!("  {}", fit_report::left_out(left_out));
        }
        if !is_promoted {
            println!("  not promoted: `ltv models promote {version}` makes it the one that runs pin");
        }
    }
    judgement.warnings().for_each(|warning| eprintln!("ltv: warning: {warning}"));
    if is_refused {
        bail!(
            "model version {version} is too far from {}, so it was stored and not promoted: {}; \
             look at it, then `ltv models promote {version}`, or fit with --accept-breaches",
            judgement.against(),
            judgement.breaches().join("; ")
        );
    }
    Ok(())
}
