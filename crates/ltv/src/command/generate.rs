//! `ltv generate`

use std::time::Duration;

use anyhow::Context;

use crate::cli::{DatabaseArgs, GenerateArgs};
use crate::config;
use crate::generate::{GenerateSpec, Packing, generate, generate_into};
use crate::output::count;
use crate::stdout::say;

pub(crate) async fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let spec = GenerateSpec {
        customers: args.customers,
        transactions_per_customer: args.transactions,
        first_customer_id: args.first_customer,
        first_transaction_id: args.first_transaction,
        seed: args.seed,
        as_of: args.as_of,
        weeks: args.weeks,
        subscriptions: !args.no_subscriptions,
    };
    if let Some(url) = &args.into {
        let database =
            DatabaseArgs { database_url: url.clone(), source_url: None, bulk_limit: Duration::from_mins(1) };
        let store = config::store_now(&database, "generate").await?;
        let report = generate_into(&store, &spec, |_| {}).await?;
        say!(
            "{} customers with {} transactions and {} subscriptions are in {url}",
            count(report.customers),
            count(report.transactions),
            count(report.subscriptions)
        )?;
        return Ok(());
    }
    let folder = args.out.clone().context("--out or --into is required")?;
    let (files, generated) = tokio::task::spawn_blocking(move || {
        let generated = generate(&spec)?;
        let files = generated.write_csv(&folder, Packing::Plain)?;
        anyhow::Ok((files, generated))
    })
    .await??;
    say!(
        "{} customers are in {}, their {} transactions in {}",
        count(generated.customer_count()),
        files.customers.display(),
        count(generated.transaction_count()),
        files.transactions.display()
    )?;
    if let (Some(subscriptions), Some(costs)) = (files.subscriptions, files.acquisition_costs) {
        say!(
            "their {} subscriptions are in {}, {} acquisition costs in {}",
            count(generated.subscription_count()),
            subscriptions.display(),
            count(generated.acquisition_cost_count()),
            costs.display()
        )?;
    }
    Ok(())
}
