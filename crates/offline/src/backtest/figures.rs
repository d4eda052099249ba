//! The figures of the page: what came against what was forecast, by week, by customer, by decile.

use std::fmt::Write as _;

use model::backtest::{Decile, GainPoint, Measures};

use super::plot::{Axes, Plot};
use super::text::percent;
use super::{ModelReport, OriginReport};
use crate::layout::count;

fn figure(title: &str, legend: &[(&str, &str)], svg: &str, note: &str) -> String {
    let mut text = format!("<figure><figcaption><b>{title}</b>");
    for (class, name) in legend {
        let _ = write!(
            text,
            "<span class=key><svg viewBox=\"0 0 26 8\"><path class=\"line {class}\" d=\"M1 4H25\"/></svg>{name}</span>"
        );
    }
    let _ = write!(text, "</figcaption>{svg}<p class=small>{note}</p></figure>");
    text
}

/// The keys of the lines: what came, then the models.
fn legend(origin: &OriginReport) -> Vec<(&'static str, &'static str)> {
    let models = origin.models.iter().enumerate().map(|(place, model)| (class(place), model.kind.name()));
    std::iter::once(("actual", "what came")).chain(models).collect()
}

/// The class of the model at a place; the page's style has as many as there are models.
fn class(place: usize) -> &'static str {
    ["m0", "m1", "m2"][place.min(2)]
}

pub(super) fn cumulative(origin: &OriginReport) -> String {
    let Some(first) = origin.models.first() else { return String::new() };
    let end_of = |week: i32| f64::from(week + 1);
    let sums = |values: Vec<f64>| {
        let add = |sum: &mut f64, value: f64| {
            *sum += value;
            Some(*sum)
        };
        values.into_iter().scan(0.0, add).collect::<Vec<f64>>()
    };
    let weeks = &first.tracking.weeks;
    let actual = sums(weeks.iter().map(|week| week.actual).collect());
    let at_origin: f64 = weeks.iter().filter(|week| week.week < 0).map(|week| week.actual).sum();
    let forecasts: Vec<Vec<f64>> = origin
        .models
        .iter()
        .map(|model| sums(model.tracking.weeks.iter().filter_map(|week| week.forecast).collect()))
        .collect();
    let from_start: Vec<Vec<f64>> = origin
        .models
        .iter()
        .map(|model| sums(model.tracking.weeks.iter().map(|week| week.unconditional).collect()))
        .collect();
    let last = |sums: &Vec<f64>| sums.last().copied().unwrap_or(0.0);
    let most = forecasts
        .iter()
        .map(|of| at_origin + last(of))
        .chain(from_start.iter().map(last))
        .fold(last(&actual), f64::max);
    let mut plot = Plot::new(&Axes {
        title: "Purchases so far",
        x: (f64::from(weeks[0].week), end_of(weeks[weeks.len() - 1].week)),
        x_label: "weeks from the origin",
        y: (0.0, most),
        write: short_number,
        x_ticks: Vec::new(),
    });
    plot.mark(0.0, "origin");
    plot.line("actual", weeks.iter().map(|week| end_of(week.week)).zip(actual));
    for (place, model) in origin.models.iter().enumerate() {
        let from_start = from_start[place].iter().copied();
        let weeks = model.tracking.weeks.iter().map(|week| end_of(week.week));
        plot.line(&format!("{} faint", class(place)), weeks.zip(from_start));
        let forecast = (1..).map(f64::from).zip(forecasts[place].iter().map(|sum| at_origin + sum));
        plot.line(class(place), std::iter::once((0.0, at_origin)).chain(forecast));
    }
    figure(
        "Repeat purchases so far",
        &legend(origin),
        &plot.finish(),
        "Strong after the origin: the forecast from each customer's history. Faint: what the fitted model expects of \
         customers who came when these did, without their histories.",
    )
}

pub(super) fn weekly(origin: &OriginReport) -> String {
    let Some(first) = origin.models.first() else { return String::new() };
    let weeks = &first.tracking.weeks;
    let most = weeks.iter().map(|week| week.actual).chain(
        origin.models.iter().flat_map(|model| model.tracking.weeks.iter().map(|week| week.unconditional)),
    );
    let middle = |week: i32| f64::from(week) + 0.5;
    let mut plot = Plot::new(&Axes {
        title: "Purchases a week",
        x: (f64::from(weeks[0].week), f64::from(weeks[weeks.len() - 1].week + 1)),
        x_label: "weeks from the origin",
        y: (0.0, most.fold(0.0, f64::max)),
        write: short_number,
        x_ticks: Vec::new(),
    });
    plot.mark(0.0, "origin");
    plot.line("actual", weeks.iter().map(|week| (middle(week.week), week.actual)));
    for (place, model) in origin.models.iter().enumerate() {
        let weeks = &model.tracking.weeks;
        let faint = format!("{} faint", class(place));
        plot.line(&faint, weeks.iter().map(|week| (middle(week.week), week.unconditional)));
        let forecast = weeks.iter().filter_map(|week| Some((middle(week.week), week.forecast?)));
        plot.line(class(place), forecast);
    }
    let errors: Vec<String> = origin
        .models
        .iter()
        .map(|model| format!("{} {}", model.kind.name(), percent(model.tracking.incremental_wape)))
        .collect();
    let note = format!("Weekly error in the holdout, as a share of what came: {}.", errors.join(", "));
    figure("Repeat purchases a week", &legend(origin), &plot.finish(), &note)
}

pub(super) fn by_frequency(origin: &OriginReport) -> String {
    let Some(first) = origin.models.first() else { return String::new() };
    let bins = &first.assessment.by_frequency;
    let most = origin.models.iter().flat_map(|model| &model.assessment.by_frequency);
    let most = most.map(|bin| bin.actual.max(bin.forecast)).fold(0.0, f64::max);
    let last = bins.last().map_or(0, |bin| bin.frequency);
    let said = |frequency: u32| if frequency == 7 { "7+".to_owned() } else { frequency.to_string() };
    let mut plot = Plot::new(&Axes {
        title: "Conditional expectation",
        x: (-0.4, f64::from(last) + 0.4),
        x_label: "repeat purchases before the origin",
        y: (0.0, most),
        write: short_number,
        x_ticks: bins.iter().map(|bin| (f64::from(bin.frequency), said(bin.frequency))).collect(),
    });
    plot.line("actual", bins.iter().map(|bin| (f64::from(bin.frequency), bin.actual)));
    for bin in bins {
        plot.dot("actual", f64::from(bin.frequency), bin.actual);
    }
    for (place, model) in origin.models.iter().enumerate() {
        let bins = &model.assessment.by_frequency;
        plot.line(class(place), bins.iter().map(|bin| (f64::from(bin.frequency), bin.forecast)));
    }
    let customers: Vec<String> =
        bins.iter().map(|bin| format!("{}: {}", said(bin.frequency), count(bin.customers))).collect();
    let note = format!("Customers: {}.", customers.join(", "));
    figure("Mean purchases after the origin", &legend(origin), &plot.finish(), &note)
}

pub(super) fn gain(origin: &OriginReport) -> String {
    let mut plot = Plot::new(&Axes {
        title: "Gain curve of the spend",
        x: (0.0, 1.0),
        x_label: "share of the customers, highest forecast first",
        y: (0.0, 1.0),
        write: |share| format!("{:.0} %", 100.0 * share),
        x_ticks: Vec::new(),
    });
    let line = |points: &[GainPoint], of: fn(&GainPoint) -> f64| -> Vec<(f64, f64)> {
        points.iter().map(|point| (point.customers, of(point))).collect()
    };
    plot.line("mark", [(0.0, 0.0), (1.0, 1.0)].into_iter());
    if let Some(first) = origin.models.first() {
        let points = &first.assessment.spend.ranking.gain;
        plot.line("actual", line(points, |point| point.best).into_iter());
    }
    let mut said = Vec::new();
    for (place, model) in origin.models.iter().enumerate() {
        let ranking = &model.assessment.spend.ranking;
        plot.line(class(place), line(&ranking.gain, |point| point.actual).into_iter());
        said.push(format!(
            "{} {}",
            model.kind.name(),
            ranking.gini.map_or_else(|| "–".into(), |gini| format!("{gini:.3}"))
        ));
    }
    let mut keys = legend(origin);
    keys[0].1 = "best possible";
    let note = format!(
        "Share of the spend that is with those who were ranked first. Normalised Gini: {}.",
        said.join(", ")
    );
    figure("How well the forecasts rank", &keys, &plot.finish(), &note)
}

pub(super) fn deciles(title: &str, place: usize, measures: &Measures) -> String {
    let mean = |total: f64, decile: &Decile| total / 100.0 / decile.customers.max(1) as f64;
    let bars: Vec<(f64, f64)> = measures
        .deciles
        .iter()
        .map(|decile| (mean(decile.actual, decile), mean(decile.forecast, decile)))
        .collect();
    let most = bars.iter().map(|bar| bar.0.max(bar.1)).fold(0.0, f64::max);
    let mut plot = Plot::new(&Axes {
        title,
        x: (0.5, 10.5),
        x_label: "tenth of the base, highest forecast first",
        y: (0.0, most),
        write: short_number,
        x_ticks: (1..=10).map(|tenth| (f64::from(tenth), tenth.to_string())).collect(),
    });
    for (tenth, (actual, forecast)) in (1..).map(f64::from).zip(bars) {
        plot.bar("actual", (tenth - 0.36, tenth), actual);
        plot.bar(class(place), (tenth, tenth + 0.36), forecast);
    }
    let note = format!("Mean spend of a customer. Decile WAPE {}.", percent(measures.decile_wape));
    figure(title, &[("actual thick", "what came"), (thick(place), "forecast")], &plot.finish(), &note)
}

fn thick(place: usize) -> &'static str {
    ["m0 thick", "m1 thick", "m2 thick"][place.min(2)]
}

pub(super) fn pit(place: usize, model: &ModelReport) -> String {
    let Some(found) = &model.assessment.calibration else { return String::new() };
    let title = format!("PIT of purchases, {}", model.kind.name());
    let bins = found.pit.len() as f64;
    let most = found.pit.iter().fold(0.0, |most: f64, &share| most.max(share * bins));
    let mut plot = Plot::new(&Axes {
        title: &title,
        x: (0.0, 1.0),
        x_label: "place of what came in its forecast distribution",
        y: (0.0, most.max(1.5)),
        write: |value| format!("{value:.1}"),
        x_ticks: Vec::new(),
    });
    for (index, share) in (0..).map(f64::from).zip(&found.pit) {
        plot.bar(class(place), ((index + 0.06) / bins, (index + 0.94) / bins), share * bins);
    }
    plot.level(1.0);
    let coverage: Vec<String> = found
        .coverage
        .iter()
        .map(|of| {
            let (pit, plain) = (percent(Some(of.pit_share)), percent(Some(of.plain_share)));
            format!("{} % interval: {pit} of the PIT, {plain} of the customers", of.percent)
        })
        .collect();
    let note = format!("Flat at 1 is right, a U too narrow, a slope biased. {}.", coverage.join("; "));
    figure(&title, &[], &plot.finish(), &note)
}

/// A number on an axis.
fn short_number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 10_000_000.0 {
        format!("{:.0}M", value / 1e6)
    } else if magnitude >= 10_000.0 {
        format!("{:.0}k", value / 1e3)
    } else if magnitude >= 10.0 || value.fract() == 0.0 {
        count(value as i64).replace('-', "−")
    } else {
        format!("{value:.1}").replace('-', "−")
    }
}
