//! `ltv bench`

use crate::bench;
use crate::cli::BenchNightArgs;
use crate::stdout::say;

pub(crate) async fn night(args: &BenchNightArgs) -> anyhow::Result<()> {
    let report = bench::measure(args).await?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        bench::tell(&report)?;
    }
    Ok(())
}
