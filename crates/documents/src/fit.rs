//! What a fit came to: models that are stored as a model version, or one model in a file.

use std::collections::BTreeMap;

use model::{Models, Parameters};
use serde::{Deserialize, Serialize};
use store::ModelVersionId;

/// Models that were fitted to the histories and stored.
#[derive(Clone, Debug, Serialize)]
pub struct Fit {
    /// The model version that they are.
    pub model_version: ModelVersionId,
    /// The parameters of the purchases and of the spend alone.
    pub parameters: Parameters,
    /// All models with their parameters.
    pub models: Models,
    /// What the fit says about itself.
    pub fit: serde_json::Value,
    /// Whether the next run pins them.
    pub promoted: bool,
}

/// One model that was fitted to a file. It is read back where a file names a model; then only the name and the
/// parameters, of each segment the parameters, have to be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedModel {
    /// Its name.
    pub model: String,
    /// Its parameters by name.
    pub parameters: BTreeMap<String, f64>,
    /// What the fit says about itself; left out of a document that somebody wrote by hand.
    #[serde(flatten)]
    pub fit: Option<FitDiagnostics>,
    /// The column that the segments stand in; left out where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_column: Option<String>,
    /// The same for each segment, by name; left out where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<BTreeMap<String, FittedSegment>>,
}

/// The model of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedSegment {
    /// Its name, that of the model of all.
    #[serde(default)]
    pub model: String,
    /// Its parameters by name.
    pub parameters: BTreeMap<String, f64>,
    /// What the fit says about itself; left out of a document that somebody wrote by hand.
    #[serde(flatten)]
    pub fit: Option<FitDiagnostics>,
    /// How much of its parameters is that of all: 0 for nothing, 1 for everything; left out where nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_of_parent: Option<f64>,
}

/// How far a fit can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitDiagnostics {
    /// The parameters' standard errors by name; null where there is none.
    pub standard_errors: BTreeMap<String, Option<f64>>,
    /// At the parameters.
    pub log_likelihood: f64,
    /// How flat it is there.
    pub gradient_norm: f64,
    /// How many customers it was fitted to.
    pub customers: u64,
    /// Whether the search ended at a maximum.
    pub converged: bool,
    /// How often the likelihood was computed.
    pub evaluations: u32,
}
