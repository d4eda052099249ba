//! `ltv migrate`

use crate::cli::MigrateArgs;
use crate::config;
use crate::stdout::say;

pub(crate) async fn run(args: &MigrateArgs) -> anyhow::Result<()> {
    let store = config::store_without_schema(&args.database, "migrate").await?;
    let migrated = store.migrate().await?;
    if migrated.applied.is_empty() {
        say!("the schema is up to date")?;
    }
    for name in &migrated.applied {
        say!("applied {name}")?;
    }
    for sentence in &migrated.advice {
        say!("advice: {sentence}")?;
    }
    Ok(())
}
