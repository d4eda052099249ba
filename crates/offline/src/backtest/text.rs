//! The report for a terminal, and how numbers are written there and on the page.

use std::fmt::Write as _;

use model::backtest::{Assessment, ContenderKind, Difference, Tracking, Verdict};

use super::{OriginReport, Report};
use crate::layout::{count, table};

/// A line of the table of models.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) assessment: &'a Assessment,
    pub(super) tracking: Option<&'a Tracking>,
}

/// The columns of the table of models: the head, what it means, the cell.
pub(super) type Column = (&'static str, &'static str, fn(&Row<'_>) -> String);

pub(super) const COLUMNS: [Column; 14] = [
    ("bias n", "forecast over actual purchases, less 1", |row| signed(row.assessment.count.bias)),
    ("bias spend", "forecast over actual spend, less 1", |row| signed(row.assessment.spend.bias)),
    ("deciles n", "decile WAPE of purchases", |row| percent(row.assessment.count.decile_wape)),
    ("deciles spend", "decile WAPE of spend", |row| percent(row.assessment.spend.decile_wape)),
    ("MAE", "mean absolute error of a customer's purchases", |row| number(row.assessment.count.mae)),
    ("RMSE", "root mean squared error of a customer's purchases", |row| number(row.assessment.count.rmse)),
    ("corr.", "correlation of forecast and actual purchases", |row| {
        optional(row.assessment.count.correlation)
    }),
    ("Gini spend", "normalised Gini of the spend", |row| optional(row.assessment.spend.ranking.gini)),
    ("80 %", "share of the PIT in the central 80 %", |row| coverage(row, 0)),
    ("90 %", "share of the PIT in the central 90 %", |row| coverage(row, 1)),
    ("plain 90 %", "customers whose number is within the 90 % interval, ends included", |row| {
        percent(row.assessment.calibration.as_ref().map(|found| found.coverage[1].plain_share))
    }),
    ("log score", "mean logarithm of the probability of what came", |row| {
        row.assessment.calibration.as_ref().map_or_else(nothing, |found| number(found.log_score))
    }),
    ("weekly", "sum of weekly errors over what came (incremental tracking)", |row| {
        percent(row.tracking.and_then(|tracking| tracking.incremental_wape))
    }),
    (
        "from start",
        "expected from the first purchase on over what came, less 1, without regard to histories",
        |row| signed(row.tracking.and_then(|tracking| tracking.unconditional_bias)),
    ),
];

fn coverage(row: &Row<'_>, level: usize) -> String {
    percent(row.assessment.calibration.as_ref().map(|found| found.coverage[level].pit_share))
}

/// The lines of an origin's table.
pub(super) fn rows(origin: &OriginReport) -> Vec<Row<'_>> {
    let models = origin.models.iter().map(|model| Row {
        name: model.kind.name(),
        assessment: &model.assessment,
        tracking: Some(&model.tracking),
    });
    let baselines = origin.baselines.iter().map(|baseline| Row {
        name: baseline.name,
        assessment: &baseline.assessment,
        tracking: None,
    });
    models.chain(baselines).collect()
}

/// Writes the report for a person at a terminal.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let data = &report.data;
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!(
        "{}: {} customers, {} to {}, horizon {} weeks",
        data.source,
        count(data.customers),
        data.first_day,
        data.end,
        report.horizon_weeks
    ));
    if let Some(overlap) = overlap(report) {
        line(overlap);
    }
    for origin in &report.origins {
        line(String::new());
        line(format!("origin {}, {} customers", origin.origin, count(origin.customers)));
        let heads: Vec<&str> =
            std::iter::once("model").chain(COLUMNS.iter().map(|column| column.0)).collect();
        let cells = |row: &Row<'_>| {
            std::iter::once(row.name.to_owned()).chain(COLUMNS.iter().map(|column| column.2(row))).collect()
        };
        line(table(&heads, &[], &rows(origin).iter().map(cells).collect::<Vec<_>>()).trim_end().into());
        for failed in &origin.failed {
            line(format!("  {} has no fit: {}", failed.kind.name(), failed.error));
        }
        for (reason, customers) in &origin.left_out {
            line(format!("  {} customers were left out: {reason}", count(*customers)));
        }
        for of in &origin.comparisons {
            line(format!(
                "  {} against {}: log score {}, decile error {}",
                of.challenger.name(),
                report.champion.name(),
                of.comparison.log_score.map_or_else(nothing, |found| interval(found, 4, 1.0, "")),
                of.comparison.decile_error.map_or_else(nothing, |found| interval(found, 1, 100.0, " points")),
            ));
        }
    }
    line(String::new());
    if let Some(figures) = three_figures(report) {
        line(figures);
    }
    for of in &report.verdicts {
        line(verdict(report.champion, of.challenger, &of.verdict));
    }
    text
}

/// The three figures of the champion at the last origin, in a sentence.
pub(super) fn three_figures(report: &Report) -> Option<String> {
    let origin = report.origins.last()?;
    let figures = origin.models.first()?.assessment.three_figures?;
    let mut text = format!(
        "{} at {}, of the spend: total right to {}, tenths right to {}, 90 % interval covers {}",
        report.champion.name(),
        origin.origin,
        percent(Some(figures.portfolio_spend)),
        percent(Some(figures.deciles_spend)),
        percent(Some(figures.coverage_90)),
    );
    let holds = if figures.all_hold { "holds" } else { "does not hold" };
    let _ = write!(text, ": \"85 %\" {holds} (85 %, 85 %, 87 to 93 %)");
    Some(text)
}

/// What becomes of a challenger, in a sentence.
pub(super) fn verdict(champion: ContenderKind, challenger: ContenderKind, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Promote => format!("{} takes the place of {}", challenger.name(), champion.name()),
        Verdict::Keep(reasons) => {
            format!("{} stays before {}: {}", champion.name(), challenger.name(), reasons.join("; "))
        }
    }
}

/// Says that holdouts overlap, if they do.
pub(super) fn overlap(report: &Report) -> Option<String> {
    let (step, horizon) = (report.step_weeks, report.horizon_weeks);
    (report.origins.len() > 1 && step < horizon).then(|| {
        format!(
            "the data are too short for holdouts apart: origins lie {step} weeks apart, so holdouts overlap"
        )
    })
}

pub(super) fn interval(found: Difference, places: usize, scale: f64, unit: &str) -> String {
    let of = |value: f64| minus(&format!("{:+.places$}", scale * value));
    format!("{} [{}, {}]{unit}", of(found.estimate), of(found.low), of(found.high))
}

pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(nothing, |share| minus(&format!("{:.1} %", 100.0 * share)))
}

pub(super) fn signed(share: Option<f64>) -> String {
    share.map_or_else(nothing, |share| minus(&format!("{:+.1} %", 100.0 * share)))
}

fn number(number: f64) -> String {
    minus(&format!("{number:.3}"))
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(nothing, number)
}

pub(super) fn nothing() -> String {
    "–".into()
}

/// With the sign that is as wide as a plus.
fn minus(text: &str) -> String {
    text.replace('-', "−")
}
