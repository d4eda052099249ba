//! `ltv segments`

use anyhow::{Context, bail};
use batch::RunId;
use documents::{RunFigures, SegmentHistory};
use store::postgres::Postgres;
use store::{Archive, ComputedFigures, Figure, Figures, FiguresStanding, PastFigures, Summaries};

use super::meaning::meaning;
use crate::cli::{SegmentHistoryArgs, SegmentsListArgs};
use crate::config;
use crate::output::{count, money, plain, table};
use crate::stdout::{Unsaid, put, say};

pub(crate) async fn list(args: &SegmentsListArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let figures = match args.run {
        Some(run) => match store.figures(run).await? {
            Some(figures) => figures,
            None => return Err(why_not(&store, run).await?),
        },
        None => store.latest_figures().await?.context(
            "no run over the whole base is finished yet; `ltv runs list` lists those that are not",
        )?,
    };
    if args.json {
        say!("{}", documents::line(&RunFigures::from(&figures)))?;
    } else {
        tell(&figures)?;
    }
    Ok(())
}

/// Why a run can have no figures.
async fn why_not(store: &Postgres, run: RunId) -> anyhow::Result<anyhow::Error> {
    let record = store.run(run).await?.with_context(|| format!("there is no run {run}"))?;
    Ok(anyhow::anyhow!("run {run} is {}: figures are of runs that are finished", record.state))
}

pub(crate) async fn history(args: &SegmentHistoryArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let of = match &args.name {
        Some(name) => Figure::Segment(name.clone()),
        None if args.without_segment => Figure::WithoutSegment,
        None => Figure::All,
    };
    let past = store.past_figures(&of, args.limit, args.partial).await?;
    if past.is_empty()
        && let Some(name) = &args.name
    {
        bail!(
            "no run with figures has a segment {name:?}; `ltv segments list` lists those of the latest run"
        );
    }
    if args.json {
        say!("{}", documents::line(&SegmentHistory::new(&of, &past)))?;
    } else {
        tell_history(&of, &past)?;
    }
    Ok(())
}

fn tell(figures: &store::RunFigures) -> Result<(), Unsaid> {
    let run = &figures.run;
    say!("\nRun {}: {}, as of {}, in {}\n", run.run, plain(&run.selection), run.as_of, run.currency)?;
    match &figures.standing {
        FiguresStanding::Due => say!(
            "  its values are visible, and the figures of its segments are yet to be worked out; a coordinator does \
             that\n  within seconds, or within a minute while other runs are open"
        )?,
        FiguresStanding::Never(reason) => say!("  it has no figures of its segments: {reason}")?,
        FiguresStanding::Computed(computed) => tell_computed(computed)?,
    }
    if let Some(newer) = figures.newer {
        say!("\nRun {newer} is newer: `ltv segments list --run {newer}` says how its figures stand")?;
    }
    Ok(())
}

fn tell_computed(computed: &ComputedFigures) -> Result<(), Unsaid> {
    let age = if computed.is_fresh { "" } else { ", more than a day ago" };
    say!("  worked out at {}{age}\n", computed.computed_at)?;
    let segments = computed.segments.iter().map(|(name, figures)| (segment(name.as_deref()), figures));
    let all = std::iter::once(("all customers".to_owned(), &computed.all));
    let rows: Vec<_> = segments.chain(all).map(|(name, figures)| row(name, figures)).collect();
    let mut heads = vec!["segment"];
    heads.extend(HEADS);
    put(table(&heads, &[], &rows))?;
    if computed.all.rejections.is_empty() {
        return Ok(());
    }
    say!("\nRejections\n")?;
    let mut rejections: Vec<_> = computed.all.rejections.iter().collect();
    rejections.sort_by_key(|(_, customers)| std::cmp::Reverse(**customers));
    let rows: Vec<_> =
        rejections.iter().map(|(code, customers)| vec![count(**customers), meaning(code)]).collect();
    put(table(&["customers", "reason"], &[1], &rows))
}

fn tell_history(of: &Figure, past: &[PastFigures]) -> Result<(), Unsaid> {
    let whose = match of {
        Figure::All => "All customers".to_owned(),
        Figure::WithoutSegment => "Customers without a segment".to_owned(),
        Figure::Segment(name) => format!("Segment {}", plain(name)),
    };
    if past.is_empty() {
        return say!("{whose}: no run has figures of them");
    }
    say!("\n{whose}, the latest run first\n")?;
    let rows: Vec<_> = past
        .iter()
        .map(|past| {
            let mut cells = vec![
                past.run.run.to_string(),
                past.run.as_of.strftime("%Y-%m-%d %H:%M").to_string(),
                plain(&past.run.selection),
                past.run.model_version.to_string(),
                past.run.currency.to_string(),
            ];
            cells.extend(row(String::new(), &past.figures).into_iter().skip(1));
            cells
        })
        .collect();
    let mut heads = vec!["run", "as of", "what", "model", "currency"];
    heads.extend(HEADS);
    put(table(&heads, &[1, 2, 4], &rows))
}

const HEADS: [&str; 8] = ["customers", "value", "a customer", "p10", "p50", "p90", "alive", "rejected"];

fn row(name: String, figures: &Figures) -> Vec<String> {
    let of = |value: Option<i64>| value.map_or_else(String::new, money);
    vec![
        name,
        count(figures.customers),
        money(figures.value_minor),
        of(figures.mean_minor()),
        of(figures.percentiles.map(|values| values.p10_minor)),
        of(figures.percentiles.map(|values| values.p50_minor)),
        of(figures.percentiles.map(|values| values.p90_minor)),
        figures.share_alive.map_or_else(String::new, |share| format!("{:.1} %", 100.0 * share)),
        count(figures.rejected()),
    ]
}

fn segment(name: Option<&str>) -> String {
    name.map_or_else(|| "(no segment)".to_owned(), plain)
}
