//! The JSON that readers get: one shape of a run, a value with its explanation, a model version, a dead letter, whoever
//! hands it out.
//!
//! A document is a struct that says what stands in it; nothing else builds JSON for a reader. It knows no server and no
//! role: it is made from what the store hands out, or from plain numbers. What is read back (a model version, a model
//! that was fitted to a file) can be parsed as well.
//!
//! Money is integer minor units, moments are RFC 3339 in UTC, ids are the numbers of the store. What is not known is
//! `null`; a field is never left out but where its documentation says so.
//!
//! Look first at [`Run`] and [`Value`], then at [`line`](fn@line), which writes them.

mod asked;
mod dead_letter;
mod digits;
mod dispatched;
mod effect;
mod export;
mod fit;
mod guard;
mod installation;
mod known;
mod listing;
mod local;
mod model_version;
mod movements;
mod progress;
mod run;
mod segments;
pub mod shape;
mod value;

pub use asked::{
    Batch, BatchCounts, BatchOutcome, BatchResult, Customer, Fresh, Request, RequestWithAnswer, Served,
    ServedFrom, Told,
};
pub use dead_letter::{DeadChunk, DeadLetters, DeadMessage, Redriven};
pub use digits::Digits;
pub use dispatched::Dispatched;
pub use effect::{Cancelled, Started};
pub use export::{ExportEnd, ExportedValue};
pub use fit::{Fit, FitDiagnostics, FittedModel, FittedSegment};
pub use guard::{Decided, Decision, Deviation, Hold, Source};
pub use installation::{Installation, ShownInstallation};
pub use known::{KnownCustomer, KnownInFull, Outcome, ShortValue};
pub use listing::{RankedCustomer, RunPage, TopPage};
pub use local::{LocalAttempt, LocalFile, LocalNight, Problem};
pub use model_version::{ListedModel, ModelVersion, Promoted, Promotion, RolledBack, ShownModel};
pub use movements::{Moved, MovedBy, MovedSegment, Movements, MovementsState};
pub use progress::RunProgress;
pub use run::{Run, RunSummary, Segment, TopCustomer};
pub use segments::{
    Figures, HistoryOf, PastFigures, RunFigures, RunOfFigures, SegmentFigures, SegmentHistory, Standing,
};
pub use value::{Contract, Explanation, Inputs, Value, plan_name};

use serde::Serialize;

/// Writes a document on one line.
///
/// Fields stand in the order of the alphabet, whatever the order in the struct, and a number of single precision has the
/// digits of the double that it is: so it has been since the first release, and files hold such lines.
pub fn line(document: &impl Serialize) -> String {
    json(document).to_string()
}

/// Writes a document on several lines, indented.
pub fn indented(document: &impl Serialize) -> String {
    format!("{:#}", json(document))
}

/// Writes a document for whoever reads it over HTTP: as [`line`](fn@line) does, but that the numbers of the store are
/// strings of digits, since a browser's own numbers end at 2^53.
pub fn body(document: &impl Serialize) -> String {
    let mut json = json(document);
    spell_ids(&mut json);
    json.to_string()
}

/// The fields that hold numbers of the store.
const IDS: [&str; 9] = [
    "as_run",
    "compared_with",
    "customer",
    "model_version",
    "newer_run",
    "request",
    "run",
    "run_before",
    "version",
];

/// What fits say about themselves differs from fit to fit, and is not ours to change.
const FIT: &str = "fit";

fn spell_ids(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Array(items) => items.iter_mut().for_each(spell_ids),
        serde_json::Value::Object(fields) => {
            for (name, field) in fields.iter_mut().filter(|(name, _)| *name != FIT) {
                match field {
                    serde_json::Value::Number(number) if IDS.contains(&name.as_str()) => {
                        *field = number.to_string().into();
                    }
                    field => spell_ids(field),
                }
            }
        }
        _ => {}
    }
}

fn json(document: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(document).expect("names are text, and what is no number is null")
}

#[cfg(test)]
mod tests;
