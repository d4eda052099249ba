//! `ltv load`

use std::cell::RefCell;

use crate::cli::LoadArgs;
use crate::config;
use crate::load::{LoadInput, load};
use crate::output::FileBar;
use crate::stdout::{put, say};

pub(crate) async fn run(args: &LoadArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "load").await?;
    let input = LoadInput {
        customers: args.customers.clone(),
        transactions: args.transactions.clone(),
        subscriptions: args.subscriptions.clone(),
        acquisition_costs: args.acquisition_costs.clone(),
        rejects: args.rejects.clone(),
    };
    let display = RefCell::new(FileBar::default());
    let report = load(&store, &input, |progress| display.borrow_mut().show(progress)).await?;
    display.into_inner().finish();
    if args.json {
        say!("{}", serde_json::to_string(&report)?)?;
    } else {
        put(report)?;
    }
    Ok(())
}
