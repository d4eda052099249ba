//! `ltv models`

use anyhow::{Context, bail};
use documents::{ListedModel, Promoted, RolledBack, ShownModel};
use serde_json::Value as Json;
use store::{
    ModelVersion, ModelVersionId, ModelVersions, NewPromotion, Planning, Promotion, PromotionKind, Values,
};

use super::runs;
use crate::cli::{ChoiceArgs, ListArgs, ModelShowArgs, PromoteArgs};
use crate::config;
use crate::output::{count, table};
use crate::stdout::{put, say};

pub(crate) async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let models = store.model_versions(args.limit).await?;
    let promoted = store.model_version_to_pin(None).await?;
    if args.json {
        let listed: Vec<_> = models.iter().map(|model| ListedModel::new(model, promoted)).collect();
        say!("{}", documents::line(&listed))?;
        return Ok(());
    }
    if models.is_empty() {
        say!("there is no model version yet: `ltv fit` makes one")?;
        return Ok(());
    }
    let rows: Vec<_> = models
        .iter()
        .map(|model| {
            let (bg_nbd, gamma_gamma) = (model.models.purchases.bg_nbd, model.models.purchases.gamma_gamma);
            vec![
                model.version.to_string(),
                if promoted == Some(model.version) { "promoted".into() } else { String::new() },
                model.created_at.strftime("%Y-%m-%d %H:%M").to_string(),
                model.currency.to_string(),
                format!("{:.4}", bg_nbd.r()),
                format!("{:.4}", bg_nbd.alpha()),
                format!("{:.4}", bg_nbd.a()),
                format!("{:.4}", bg_nbd.b()),
                format!("{:.4}", gamma_gamma.p()),
                format!("{:.4}", gamma_gamma.q()),
                format!("{:.1}", gamma_gamma.v()),
            ]
        })
        .collect();
    let heads = ["version", "", "created", "currency", "r", "alpha", "a", "b", "p", "q", "v"];
    put(table(&heads, &[1, 2, 3], &rows))?;
    Ok(())
}

pub(crate) async fn show(args: &ModelShowArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let promoted = store.model_version_to_pin(None).await?;
    let version = match args.model_version {
        Some(version) => ModelVersionId(version),
        None => promoted.context(NO_MODEL)?,
    };
    let model = existing(&store, version).await?;
    let promotions = store.promotions_of(version, args.limit).await?;
    let (runs, pinning) = store.runs_pinning(version, args.limit).await?;
    if args.json {
        let shown = ShownModel {
            model: ListedModel::new(&model, promoted),
            promotions: promotions.iter().map(documents::Promotion::from).collect(),
            runs: runs.iter().map(documents::Run::from).collect(),
            runs_in_all: pinning,
        };
        say!("{}", documents::line(&shown))?;
        return Ok(());
    }
    tell(&model, promoted, &promotions)?;
    if pinning == 0 {
        say!("\nNo run has pinned it")?;
    } else {
        say!("\nRuns that pinned it: {}, the latest first\n", count(pinning))?;
        put(runs::listing(&runs, store.now().await?))?;
    }
    Ok(())
}

pub(crate) async fn promote(args: PromoteArgs) -> anyhow::Result<()> {
    let PromoteArgs { model_version, choice } = args;
    let store = config::store_now(&choice.database, "command").await?;
    let version = existing(&store, ModelVersionId(model_version)).await?.version;
    let promotion = store.promote(version, &NewPromotion { by: choice.by.by, reason: choice.reason }).await?;
    if choice.json {
        let promoted = Promoted { model_version: version, is_new: promotion.is_some() };
        say!("{}", documents::line(&promoted))?;
    } else if promotion.is_some() {
        say!("model version {version} is promoted: the next run pins it")?;
    } else {
        say!("model version {version} is promoted already")?;
    }
    Ok(())
}

pub(crate) async fn roll_back(args: ChoiceArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let new = NewPromotion { by: args.by.by, reason: args.reason };
    let Some(promotion) = store.roll_back(&new).await? else {
        match store.model_version_to_pin(None).await? {
            Some(version) => bail!(
                "no model version was promoted before {version}, so there is none to roll back to; \
                 `ltv models promote VERSION` takes any"
            ),
            None => bail!(NO_MODEL),
        }
    };
    let version = promotion.version;
    if args.json {
        say!("{}", documents::line(&RolledBack { model_version: version }))?;
    } else {
        say!("rolled back to model version {version}: the next run pins it")?;
    }
    Ok(())
}

const NO_MODEL: &str = "there is no model version yet: `ltv fit` makes one";

async fn existing(store: &impl Values, version: ModelVersionId) -> anyhow::Result<ModelVersion> {
    let found = store.model_version(version).await?;
    found.with_context(|| {
        format!("there is no model version {version}: `ltv models list` lists those there are")
    })
}

fn tell(
    model: &ModelVersion,
    promoted: Option<ModelVersionId>,
    promotions: &[Promotion],
) -> anyhow::Result<()> {
    let standing = if promoted == Some(model.version) { ", promoted" } else { "" };
    say!("\nModel version {}{standing}\n", model.version)?;
    say!("  created           {}", model.created_at)?;
    say!("  currency          {}", model.currency)?;
    say!("  data fingerprint  {}", model.data_fingerprint)?;
    say!("  code version      {}", model.code_version)?;
    say!("\nParameters\n")?;
    put(table(&["parameter", "value"], &[1], &leaves(&serde_json::to_value(&model.models)?)))?;
    say!("\nFit\n")?;
    put(table(&["diagnostic", "value"], &[1], &leaves(&model.fit)))?;
    if promotions.is_empty() {
        say!("\nIt was never promoted")?;
        return Ok(());
    }
    say!("\nPromoted\n")?;
    let rows: Vec<_> = promotions
        .iter()
        .map(|promotion| {
            vec![
                promotion.promoted_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                match promotion.kind {
                    PromotionKind::Promote => "promoted".into(),
                    PromotionKind::RollBack => "rolled back to".into(),
                },
                promotion.promoted_by.clone(),
                promotion.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    put(table(&["when", "how", "by", "reason"], &[1, 2, 3], &rows))?;
    Ok(())
}

/// The leaves of a JSON document, each with its path. What a fit says about itself differs from fit to fit.
fn leaves(document: &Json) -> Vec<Vec<String>> {
    fn walk(path: &str, document: &Json, rows: &mut Vec<Vec<String>>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path} {name}") };
        match document {
            Json::Object(fields) => {
                fields.iter().for_each(|(name, field)| walk(&below(name), field, rows));
            }
            Json::String(text) => rows.push(vec![path.to_owned(), text.clone()]),
            Json::Array(items) if items.iter().any(Json::is_object) => {
                items.iter().zip(1..).for_each(|(item, place)| walk(&below(&place.to_string()), item, rows));
            }
            Json::Array(items) => {
                let text = |item: &Json| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
                let items: Vec<_> = items.iter().map(text).collect();
                rows.push(vec![path.to_owned(), items.join(", ")]);
            }
            plain => rows.push(vec![path.to_owned(), plain.to_string()]),
        }
    }
    let mut rows = Vec::new();
    walk("", document, &mut rows);
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_told_leaf_by_leaf_with_its_path() {
        let document = json!({
            "bg_nbd": { "r": "0.25", "errors": [0.5, 1] },
            "by": "hand",
            "at": null,
            "plans": [{ "plan": "basic" }, { "plan": "premium" }],
            "season": ["1.5", "0.5"],
        });

        let told: Vec<_> = leaves(&document).iter().map(|row| row.join(" = ")).collect();

        let expected = [
            "at = null",
            "bg_nbd errors = 0.5, 1",
            "bg_nbd r = 0.25",
            "by = hand",
            "plans 1 plan = basic",
            "plans 2 plan = premium",
            "season = 1.5, 0.5",
        ];
        let mut sorted = told.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{told:?}");
    }
}
