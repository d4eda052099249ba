//! `ltv models`

use serde_json::Value as Json;

use super::runs::model_document;
use crate::cli::ListArgs;
use crate::config;
use crate::output::table;

pub(crate) async fn list(args: &ListArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let models = store.model_versions(args.limit).await?;
    if args.json {
        println!("{}", models.iter().map(model_document).collect::<Json>());
        return Ok(());
    }
    if models.is_empty() {
        println!("there is no model version yet: `ltv fit` makes one");
        return Ok(());
    }
    let rows: Vec<_> = models
        .iter()
        .map(|model| {
            let (bg_nbd, gamma_gamma) = (model.parameters.bg_nbd, model.parameters.gamma_gamma);
            vec![
                model.version.to_string(),
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
    let heads = ["version", "created", "currency", "r", "alpha", "a", "b", "p", "q", "v"];
    print!("{}", table(&heads, &[1, 2], &rows));
    Ok(())
}
