//! What the segments of a run come to, and what one came to in the runs before.

use std::collections::BTreeMap;

use batch::RunId;
use jiff::Timestamp;
use serde::Serialize;
use store::{FRESH_FOR, FiguredRun, FiguresStanding, ModelVersionId};

/// The figures of a run's segments.
#[derive(Clone, Debug, Serialize)]
pub struct RunFigures {
    /// The run.
    #[serde(flatten)]
    pub run: RunOfFigures,
    /// How they stand.
    pub standing: Standing,
    /// Why there will be none, if so.
    pub reason: Option<String>,
    /// When they were worked out. Customers are in the segments that they were in then.
    pub computed_at: Option<Timestamp>,
    /// Until when they are fresh.
    pub fresh_until: Option<Timestamp>,
    /// Whether that is still to come.
    pub is_fresh: bool,
    /// The newest run over the whole base, where that is a newer one and these figures are not its.
    pub newer_run: Option<RunId>,
    /// Of all customers of the run.
    pub all: Option<Figures>,
    /// By segment, the most valuable first.
    pub segments: Vec<SegmentFigures>,
}

/// How the figures of a run stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// They are yet to be worked out.
    Due,
    /// There will be none.
    Never,
    /// They are there.
    Computed,
}

/// What has to be known of a run to read its figures.
#[derive(Clone, Debug, Serialize)]
pub struct RunOfFigures {
    /// Its number.
    pub run: RunId,
    /// Which customers it covers, in words.
    pub selection: String,
    /// Whether that is the whole base.
    pub is_whole: bool,
    /// The moment that it values the customers for.
    pub as_of: Timestamp,
    /// The model version that it pins.
    pub model_version: ModelVersionId,
    /// What all money is in.
    pub currency: String,
    /// When its values became visible.
    pub finished_at: Timestamp,
}

/// Some customers of a run in figures.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Those with a value; all but the rejections is about them.
    pub customers: u64,
    /// Their value.
    pub value_minor: i64,
    /// What of it comes from contracts.
    pub contract_minor: i64,
    /// What they contributed so far.
    pub historic_minor: i64,
    /// The mean of their values; as the next three `null` where nobody has one.
    pub mean_minor: Option<i64>,
    /// The value that a tenth of them does not exceed.
    pub p10_minor: Option<i64>,
    /// The value that half of them do not exceed.
    pub p50_minor: Option<i64>,
    /// The value that nine tenths of them do not exceed.
    pub p90_minor: Option<i64>,
    /// Of those who ever bought anything, the share that is expected to buy again.
    pub share_alive: Option<f64>,
    /// Those without a value.
    pub rejected: u64,
    /// How many of them for which reason, by its code.
    pub rejections: BTreeMap<String, u64>,
}

/// A segment in figures.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentFigures {
    /// Its name; `null` for those who were in none.
    pub segment: Option<String>,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What a segment came to in the latest runs.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentHistory {
    /// Whose history it is.
    pub of: HistoryOf,
    /// The segment, where it is one's.
    pub segment: Option<String>,
    /// The runs, the newest first.
    pub runs: Vec<PastFigures>,
}

/// Whose history is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryOf {
    /// That of all customers.
    All,
    /// That of those who were in no segment.
    WithoutSegment,
    /// That of a segment.
    Segment,
}

/// What some customers came to in a run.
#[derive(Clone, Debug, Serialize)]
pub struct PastFigures {
    /// The run.
    #[serde(flatten)]
    pub run: RunOfFigures,
    /// When its figures were worked out.
    pub computed_at: Timestamp,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

impl From<&store::RunFigures> for RunFigures {
    fn from(of: &store::RunFigures) -> Self {
        let mut document = Self {
            run: (&of.run).into(),
            standing: Standing::Due,
            reason: None,
            computed_at: None,
            fresh_until: None,
            is_fresh: false,
            newer_run: of.newer,
            all: None,
            segments: Vec::new(),
        };
        match &of.standing {
            FiguresStanding::Due => {}
            FiguresStanding::Never(reason) => {
                document.standing = Standing::Never;
                document.reason = Some(reason.clone());
            }
            FiguresStanding::Computed(computed) => {
                document.standing = Standing::Computed;
                document.computed_at = Some(computed.computed_at);
                document.fresh_until = computed.computed_at.checked_add(FRESH_FOR).ok();
                document.is_fresh = computed.is_fresh;
                document.all = Some((&computed.all).into());
                let segment = |(name, figures): &(Option<String>, store::Figures)| SegmentFigures {
                    segment: name.clone(),
                    figures: figures.into(),
                };
                document.segments = computed.segments.iter().map(segment).collect();
            }
        }
        document
    }
}

impl From<&FiguredRun> for RunOfFigures {
    fn from(run: &FiguredRun) -> Self {
        Self {
            run: run.run,
            selection: run.selection.clone(),
            is_whole: run.is_whole,
            as_of: run.as_of,
            model_version: run.model_version,
            currency: run.currency.to_string(),
            finished_at: run.finished_at,
        }
    }
}

impl From<&store::Figures> for Figures {
    fn from(figures: &store::Figures) -> Self {
        Self {
            customers: figures.customers,
            value_minor: figures.value_minor,
            contract_minor: figures.contract_minor,
            historic_minor: figures.historic_minor,
            mean_minor: figures.mean_minor(),
            p10_minor: figures.percentiles.map(|values| values.p10_minor),
            p50_minor: figures.percentiles.map(|values| values.p50_minor),
            p90_minor: figures.percentiles.map(|values| values.p90_minor),
            share_alive: figures.share_alive,
            rejected: figures.rejected(),
            rejections: figures.rejections.clone(),
        }
    }
}

impl SegmentHistory {
    /// Puts together what the store says of a segment.
    pub fn new(of: &store::Figure, past: &[store::PastFigures]) -> Self {
        let (of, segment) = match of {
            store::Figure::All => (HistoryOf::All, None),
            store::Figure::WithoutSegment => (HistoryOf::WithoutSegment, None),
            store::Figure::Segment(name) => (HistoryOf::Segment, Some(name.clone())),
        };
        let run = |past: &store::PastFigures| PastFigures {
            run: (&past.run).into(),
            computed_at: past.computed_at,
            figures: (&past.figures).into(),
        };
        Self { of, segment, runs: past.iter().map(run).collect() }
    }
}

#[cfg(test)]
mod tests {
    use store::{ComputedFigures, Percentiles};

    use super::*;
    use crate::indented;

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run() -> FiguredRun {
        FiguredRun {
            run: RunId(7),
            selection: "all customers".into(),
            is_whole: true,
            as_of: moment("2026-11-23T00:00:00Z"),
            model_version: ModelVersionId(2),
            currency: model::Currency::parse("EUR").unwrap(),
            finished_at: moment("2026-11-23T02:00:12.5Z"),
        }
    }

    fn figures(customers: u64) -> store::Figures {
        store::Figures {
            customers,
            value_minor: 1_001,
            contract_minor: 400,
            historic_minor: 20_000,
            percentiles: Some(Percentiles { p10_minor: 1, p50_minor: 90, p90_minor: 700 }),
            share_alive: Some(0.625),
            rejections: BTreeMap::from([("no_purchase".to_owned(), 2), ("dead_chunk".to_owned(), 1)]),
        }
    }

    fn computed() -> ComputedFigures {
        ComputedFigures {
            computed_at: moment("2026-11-23T02:00:14Z"),
            is_fresh: true,
            all: figures(10),
            segments: vec![(Some("venues".into()), figures(10)), (None, store::Figures::default())],
        }
    }

    #[test]
    fn the_figures_of_a_run() {
        let standing = FiguresStanding::Computed(computed());
        let document = RunFigures::from(&store::RunFigures { run: run(), standing, newer: Some(RunId(8)) });

        assert_eq!(indented(&document), include_str!("../golden/segments.json").trim());
    }

    #[test]
    fn a_run_without_figures_says_why() {
        let check = |standing, expected: (&str, serde_json::Value)| {
            let figures = store::RunFigures { run: run(), standing, newer: None };
            let document = serde_json::to_value(RunFigures::from(&figures)).unwrap();
            assert_eq!((document["standing"].as_str().unwrap(), document["reason"].clone()), expected);
            assert!(document["all"].is_null() && document["segments"].as_array().unwrap().is_empty());
        };

        check(FiguresStanding::Due, ("due", serde_json::Value::Null));
        check(FiguresStanding::Never("it is too old".into()), ("never", "it is too old".into()));
    }

    #[test]
    fn a_segment_in_the_runs_before() {
        let past = store::PastFigures {
            run: run(),
            computed_at: moment("2026-11-23T02:00:14Z"),
            figures: figures(10),
        };
        let document = SegmentHistory::new(&store::Figure::Segment("venues".into()), &[past]);

        assert_eq!(indented(&document), include_str!("../golden/segment_history.json").trim());
    }
}
