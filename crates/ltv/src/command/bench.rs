//! `ltv bench`

use serde::Serialize;

use crate::bench::{night, requests};
use crate::cli::{BenchNightArgs, BenchRequestsArgs};
use crate::stdout::{Unsaid, say};

pub(crate) async fn night(args: &BenchNightArgs) -> anyhow::Result<()> {
    tell(&night::measure(args).await?, args.fleet.json, night::tell)
}

pub(crate) async fn requests(args: &BenchRequestsArgs) -> anyhow::Result<()> {
    tell(&requests::measure(args).await?, args.fleet.json, requests::tell)
}

fn tell<R: Serialize>(
    report: &R,
    as_json: bool,
    for_people: fn(&R) -> Result<(), Unsaid>,
) -> anyhow::Result<()> {
    if as_json {
        say!("{}", serde_json::to_string_pretty(report)?)?;
    } else {
        for_people(report)?;
    }
    Ok(())
}
