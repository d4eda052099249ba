//! The report as one page that needs nothing beside itself.

use std::fmt::Write as _;

use model::backtest::{Decile, ThreeFigures, Verdict};

use super::figures::{by_frequency, cumulative, deciles, gain, pit, weekly};
use super::text::{COLUMNS, interval, overlap, percent, rows, signed, verdict};
use super::{OriginReport, Report};
use crate::layout::{count, money};

const STYLE: &str = include_str!("page.css");

/// Writes the report as a page.
pub fn html(report: &Report) -> String {
    let mut page = String::from("<!doctype html><html lang=en><meta charset=utf-8>");
    page.push_str("<meta name=viewport content=\"width=device-width, initial-scale=1\">");
    page.push_str("<meta name=color-scheme content=\"light dark\"><title>Backtest</title>");
    let _ = write!(page, "<style>{STYLE}</style><main>");
    page.push_str(&head(report));
    page.push_str(&short(report));
    page.push_str(&challengers(report));
    for origin in report.origins.iter().rev() {
        page.push_str(&section(report, origin));
    }
    page.push_str(&notes(report));
    page.push_str("</main></html>\n");
    page
}

fn head(report: &Report) -> String {
    let data = &report.data;
    let origins = match report.origins.len() {
        1 => "one origin".into(),
        several => format!("{several} origins, {} weeks apart", report.step_weeks),
    };
    let mut text = format!(
        "<header><h1>How good the forecasts would have been</h1><p>{}: {} customers with {} transactions from {} \
         to {}, in {}. The histories are cut at {origins}; models are fitted on what lay before, and their forecast \
         of the following {} weeks is held against what came.",
        escape(&data.source),
        count(data.customers),
        count(data.rows - data.rejected_rows),
        data.first_day,
        data.end,
        data.currency,
        report.horizon_weeks,
    );
    if data.rejected_rows > 0 {
        let _ = write!(text, " {} rows could not be read.", count(data.rejected_rows));
    }
    if let Some(overlap) = overlap(report) {
        let _ = write!(text, " Note: {overlap}.");
    }
    text + "</p></header>"
}

/// What a reader should take away.
fn short(report: &Report) -> String {
    let Some(origin) = report.origins.last() else { return String::new() };
    let Some(figures) = origin.models.first().and_then(|model| model.assessment.three_figures) else {
        return String::new();
    };
    let mut text = format!(
        "<section class=short><h2>{}, forecast at {} for {} weeks</h2><div class=figures>",
        report.champion.name(),
        origin.origin,
        report.horizon_weeks
    );
    for (value, holds, said) in figure_texts(&figures) {
        let class = if holds { "holds" } else { "fails" };
        let mark = if holds { "✓" } else { "✗" };
        let _ = write!(text, "<div class={class}><b>{value}</b><i>{mark}</i><span>{said}</span></div>");
    }
    let conclusion = if figures.all_hold {
        "All three hold, so this forecast may be called 85 % accurate in totals, in tenths and in its intervals."
    } else {
        "Not all three hold, so this forecast may not be called 85 % accurate."
    };
    let _ = write!(
        text,
        "</div><p>{conclusion} The three belong together; the share of customers whose number was hit says nothing, \
         because most customers buy nothing and nobody can know who will not.</p></section>"
    );
    text
}

fn figure_texts(figures: &ThreeFigures) -> [(String, bool, String); 3] {
    let worst = figures.worst_large_segment_spend;
    let segments =
        worst.map_or_else(String::new, |worst| format!("; the worst large segment {}", percent(Some(worst))));
    [
        (
            percent(Some(figures.portfolio_spend)),
            figures.portfolio_spend >= 0.85 && worst.is_none_or(|worst| worst >= 0.85),
            format!(
                "total spend right to, 1 − |bias| (purchases {}{segments}); wanted: 85 % or more",
                percent(Some(figures.portfolio_count))
            ),
        ),
        (
            percent(Some(figures.deciles_spend)),
            figures.deciles_spend >= 0.85,
            format!(
                "tenths of the base right to, 1 − decile WAPE of spend (purchases {}); wanted: 85 % or more",
                percent(Some(figures.deciles_count))
            ),
        ),
        (
            percent(Some(figures.coverage_90)),
            (0.87..=0.93).contains(&figures.coverage_90),
            "of what came lies in the 90 % intervals of purchases; wanted: 87 to 93 %".into(),
        ),
    ]
}

fn challengers(report: &Report) -> String {
    if report.verdicts.is_empty() {
        return String::new();
    }
    let mut text =
        format!("<section><h2>Champion and challengers</h2><p>Champion: {}.</p><ul>", report.champion.name());
    for of in &report.verdicts {
        let class = if of.verdict == Verdict::Promote { "promote" } else { "keep" };
        let _ =
            write!(text, "<li class={class}>{}.</li>", verdict(report.champion, of.challenger, &of.verdict));
    }
    text.push_str(
        "</ul><div class=scroll><table><thead><tr><th>challenger<th>origin<th>log score<th>decile WAPE of spend, \
         points<th>segment that worsens most, points</thead><tbody>",
    );
    for of in &report.verdicts {
        for origin in &report.origins {
            let Some(found) = origin.comparisons.iter().find(|found| found.challenger == of.challenger)
            else {
                continue;
            };
            let comparison = &found.comparison;
            let dash = || "–".to_owned();
            let shift = comparison.worst_segment.map_or_else(dash, |shift| {
                let name = report.segments.get(shift.segment as usize).map_or("", String::as_str);
                format!("{} {:+.1}", escape(name), shift.worsened_points).replace('-', "−")
            });
            let _ = write!(
                text,
                "<tr><th>{}<td>{}<td>{}<td>{}<td>{shift}",
                of.challenger.name(),
                origin.origin,
                comparison.log_score.map_or_else(dash, |score| interval(score, 4, 1.0, "")),
                comparison.decile_error.map_or_else(dash, |error| interval(error, 1, 100.0, "")),
            );
        }
    }
    text + "</tbody></table></div><p class=small>Challenger less champion on the same customers, with 95 % bootstrap \
            intervals over the customers. A higher log score and a lower decile error are better. A challenger is \
            promoted if at each of the last two origins its log score is better and its decile error not worse, by an \
            interval without 0, and no segment's bias worsens by more than 3 points.</p></section>"
}

fn section(report: &Report, origin: &OriginReport) -> String {
    let mut text = format!(
        "<section class=origin><h2>Origin {}</h2><p>{} customers, forecast for {} weeks to {}.",
        origin.origin,
        count(origin.customers),
        report.horizon_weeks,
        origin.end
    );
    for (reason, customers) in &origin.left_out {
        let _ = write!(text, " {} left out: {reason}.", count(*customers));
    }
    for failed in &origin.failed {
        let _ = write!(text, " {} has no fit: {}.", failed.kind.name(), escape(&failed.error));
    }
    text.push_str("</p>");
    text.push_str(&models(origin));
    text.push_str("<div class=plots>");
    text.push_str(&cumulative(origin));
    text.push_str(&weekly(origin));
    text.push_str(&by_frequency(origin));
    text.push_str(&gain(origin));
    for (place, model) in origin.models.iter().enumerate() {
        let title = format!("Spend by tenth of the base, {}", model.kind.name());
        text.push_str(&deciles(&title, place, &model.assessment.spend));
    }
    for (place, model) in origin.models.iter().enumerate() {
        text.push_str(&pit(place, model));
    }
    text.push_str("</div>");
    text.push_str(&decile_table(report, origin));
    text.push_str(&segments(report, origin));
    text.push_str(&fits(origin));
    text + "</section>"
}

fn models(origin: &OriginReport) -> String {
    let mut text = String::from("<div class=scroll><table><thead><tr><th>model");
    for (head, meaning, _) in COLUMNS {
        let _ = write!(text, "<th title=\"{meaning}\">{}", head.replace(" %", "&nbsp;%"));
    }
    text.push_str("</thead><tbody>");
    for row in rows(origin) {
        let _ = write!(text, "<tr><th>{}", row.name);
        for (_, _, cell) in COLUMNS {
            let _ = write!(text, "<td>{}", cell(&row));
        }
    }
    text + "</tbody></table></div>"
}

fn decile_table(report: &Report, origin: &OriginReport) -> String {
    let Some(model) = origin.models.first() else { return String::new() };
    let mut text = format!(
        "<details open><summary>Tenths of the base, {}</summary><div class=scroll><table><thead><tr><th>tenth\
         <th>customers<th>purchases<th>forecast<th>error<th>spend<th>forecast<th>error</thead><tbody>",
        model.kind.name()
    );
    let error =
        |decile: &Decile| signed((decile.actual > 0.0).then(|| decile.forecast / decile.actual - 1.0));
    let tenths = model.assessment.count.deciles.iter().zip(&model.assessment.spend.deciles);
    for (tenth, (by_count, by_spend)) in (1..).zip(tenths) {
        let _ = write!(
            text,
            "<tr><th>{tenth}<td>{}<td>{}<td>{:.0}<td>{}<td>{}<td>{}<td>{}",
            count(by_count.customers),
            count(by_count.actual as i64),
            by_count.forecast,
            error(by_count),
            money(by_spend.actual as i64),
            money(by_spend.forecast as i64),
            error(by_spend),
        );
    }
    let _ = write!(
        text,
        "</tbody></table></div><p class=small>By forecast purchases on the left, by forecast spend ({}) on the \
         right.</p></details>",
        report.data.currency
    );
    text
}

fn segments(report: &Report, origin: &OriginReport) -> String {
    let Some(first) = origin.models.first() else { return String::new() };
    if first.assessment.segments.len() < 2 {
        return String::new();
    }
    let mut text = String::from(
        "<details><summary>Bias by segment</summary><div class=scroll><table><thead><tr><th>segment<th>customers",
    );
    for model in &origin.models {
        let _ = write!(text, "<th>{} purchases<th>spend", model.kind.name());
    }
    text.push_str("</thead><tbody>");
    for (place, segment) in first.assessment.segments.iter().enumerate() {
        let name = report.segments.get(segment.segment as usize).map_or("", String::as_str);
        let _ = write!(text, "<tr><th>{}<td>{}", escape(name), count(segment.customers));
        for model in &origin.models {
            let of = &model.assessment.segments[place];
            let _ = write!(text, "<td>{}<td>{}", signed(of.count_bias), signed(of.spend_bias));
        }
    }
    text + "</tbody></table></div></details>"
}

fn fits(origin: &OriginReport) -> String {
    let mut text = String::from(
        "<details><summary>Fits</summary><div class=scroll><table><thead><tr><th>model<th colspan=4>parameters, with \
         standard errors<th>log-likelihood</thead><tbody>",
    );
    for model in &origin.models {
        let _ = write!(text, "<tr><th>{}", model.kind.name());
        for ((name, value), error) in model.parameters.parameters().iter().zip(&model.standard_errors) {
            let _ = write!(text, "<td>{name} {value:.4} ± {error:.4}");
        }
        let _ = write!(text, "<td>{:.1}", model.log_likelihood);
    }
    let spend = &origin.spend;
    let of = &spend.parameters;
    let _ = write!(
        text,
        "<tr><th>Gamma-Gamma<td>p {:.4}<td>q {:.4}<td>v {:.1}<td><td>{:.1}",
        of.p(),
        of.q(),
        of.v(),
        spend.log_likelihood
    );
    let _ = write!(
        text,
        "</tbody></table></div><p class=small>Time in weeks, money in minor units. The spend model is fitted on the {} \
         customers who bought again, and shared by all purchase models.</p></details>",
        count(spend.customers)
    );
    text
}

fn notes(report: &Report) -> String {
    let mut text = String::from("<section class=notes><h2>What the columns mean</h2><dl>");
    for (head, meaning, _) in COLUMNS {
        let _ = write!(text, "<dt>{head}<dd>{meaning}");
    }
    let _ = write!(
        text,
        "</dl><p>“own rate” lets everybody go on as before, “always 0” expects nothing of anybody. Purchases are purchase \
         days after the first; spend is net of refunds and not discounted. The PIT is the non-randomised one for counts \
         (Czado, Gneiting &amp; Held 2009): under the true model its shares are exact, while plain intervals of whole \
         numbers cover more than they promise. Bootstrap seed {}.</p></section>",
        report.seed
    );
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
