//! `ltv migrate`

use crate::cli::MigrateArgs;
use crate::config;

pub(crate) async fn run(args: &MigrateArgs) -> anyhow::Result<()> {
    let store = config::store_without_schema(&args.database, "migrate").await?;
    let migrated = store.migrate().await?;
    if migrated.applied.is_empty() {
        println!("the schema is up to date");
    }
    for name in &migrated.applied {
        println!("applied {name}");
    }
    for sentence in &migrated.advice {
        println!("advice: {sentence}");
    }
    Ok(())
}
