//! `ltv runs moved`

use anyhow::bail;
use batch::Cause;
use documents::{Moved, Movements, MovementsState};
use store::Moves;

use super::runs::named_or_latest;
use crate::cli::MovedArgs;
use crate::config;
use crate::output::{count, money, table};
use crate::stdout::{Unsaid, put, say};

pub(crate) async fn run(args: &MovedArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let run = named_or_latest(&store, args.run).await?.run;
    let Some(movements) = store.movements(run).await? else {
        bail!("run {run} is compared with no other: it is not finished, or it is over named customers");
    };
    let movements = Movements::from(&movements);
    if args.json {
        say!("{}", documents::line(&movements))?;
        return Ok(());
    }
    match (movements.state, &movements.reason) {
        (MovementsState::Never, Some(reason)) => {
            bail!("what moved before run {run} cannot be told: {reason}")
        }
        (MovementsState::Complete, _) => tell(&movements)?,
        _ => say!(
            "it is not known yet what moved before run {run}: a coordinator works it out while no run is open; {} \
             customers are compared",
            count(movements.compared.unwrap_or(0))
        )?,
    }
    Ok(())
}

fn tell(movements: &Movements) -> Result<(), Unsaid> {
    let Movements { run, run_before: Some(before), all: Some(all), currency, .. } = movements else {
        return Ok(());
    };
    say!("\nWhat moved from run {before} to run {run}, in {currency}\n")?;
    let causes: Vec<Cause> = all.causes.iter().map(|by| by.cause).collect();
    let heads =
        ["segment", "before"].into_iter().chain(causes.iter().map(|&cause| head(cause))).chain(["now"]);
    let heads: Vec<&str> = heads.collect();
    let named = |segment: &Option<String>| segment.clone().unwrap_or_else(|| "(none)".into());
    let mut rows: Vec<_> = movements
        .segments
        .iter()
        .map(|segment| row(named(&segment.segment), &segment.moved, &causes))
        .collect();
    rows.push(row("all".into(), all, &causes));
    put(table(&heads, &[], &rows))?;
    say!("\nWhy\n")?;
    let rows: Vec<_> = all
        .causes
        .iter()
        .map(|by| {
            vec![
                head(by.cause).to_owned(),
                count(by.customers),
                money(by.value_minor),
                meaning(by.cause).into(),
            ]
        })
        .collect();
    put(table(&["cause", "customers", "value", ""], &[3], &rows))
}

fn row(name: String, moved: &Moved, causes: &[Cause]) -> Vec<String> {
    let by = |cause: &Cause| {
        let by = moved.causes.iter().find(|by| by.cause == *cause);
        by.map_or_else(String::new, |by| money(by.value_minor))
    };
    [name, money(moved.value_before_minor)]
        .into_iter()
        .chain(causes.iter().map(by))
        .chain([money(moved.value_minor)])
        .collect()
}

fn head(cause: Cause) -> &'static str {
    match cause {
        Cause::MovedIn => "moved in",
        Cause::MovedOut => "moved out",
        other => other.as_str(),
    }
}

fn meaning(cause: Cause) -> &'static str {
    match cause {
        Cause::Entered => "were not in the run before",
        Cause::Left => "are not in the run any more",
        Cause::Rejected => "had a value, and could not be valued this time",
        Cause::Recovered => "could not be valued the time before",
        Cause::MovedIn => "came from another segment, with the value that they had",
        Cause::MovedOut => "went to another segment, with the value that they had",
        Cause::Model => "other models, or other terms",
        Cause::Corrected => "the source tells something else about the time before the run before",
        Cause::Time => "time went by, as if nothing had happened",
        Cause::Events => "purchases, refunds and subscriptions between the two moments",
    }
}
