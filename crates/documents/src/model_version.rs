//! A model version, and when it was in force.

use jiff::Timestamp;
use model::Models;
use serde::{Deserialize, Serialize};
use store::{ModelVersionId, PromotionKind};
use utoipa::ToSchema;

use crate::{Digits, Run, shape};

/// A model version. It is read back where a file names the models of a night.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelVersion {
    /// Its number.
    #[schema(value_type = Digits)]
    pub version: ModelVersionId,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The currency that spend was fitted in.
    pub currency: String,
    /// The models with their parameters.
    #[schema(value_type = Object)]
    pub parameters: Models,
    /// What the fit says about itself, which differs from fit to fit.
    #[schema(value_type = Object)]
    pub fit: serde_json::Value,
    /// What the parameters were fitted on.
    pub data_fingerprint: String,
    /// The program that fitted them.
    pub code_version: String,
}

impl From<&store::ModelVersion> for ModelVersion {
    fn from(model: &store::ModelVersion) -> Self {
        Self {
            version: model.version,
            created_at: model.created_at,
            currency: model.currency.to_string(),
            parameters: model.models.clone(),
            fit: model.fit.clone(),
            data_fingerprint: model.data_fingerprint.clone(),
            code_version: model.code_version.clone(),
        }
    }
}

/// A model version, and whether runs pin it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ListedModel {
    /// The model version.
    #[serde(flatten)]
    pub model: ModelVersion,
    /// Whether the next run pins it.
    pub is_promoted: bool,
}

impl ListedModel {
    /// Writes a model version down, beside the promoted one.
    pub fn new(model: &store::ModelVersion, promoted: Option<ModelVersionId>) -> Self {
        Self { model: model.into(), is_promoted: promoted == Some(model.version) }
    }
}

/// A model version with its history.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ShownModel {
    /// The model version.
    #[serde(flatten)]
    pub model: ListedModel,
    /// When it came into force, the latest first.
    pub promotions: Vec<Promotion>,
    /// The runs that pinned it, the latest first.
    pub runs: Vec<Run>,
    /// How many there are in all.
    pub runs_in_all: u64,
}

/// One line of the history of which model version is in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Promotion {
    /// How the model version came into force.
    #[schema(value_type = shape::PromotionKind)]
    pub kind: PromotionKind,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub promoted_at: Timestamp,
    /// Through whom.
    pub promoted_by: String,
    /// Why, if somebody said.
    pub reason: Option<String>,
}

impl From<&store::Promotion> for Promotion {
    fn from(promotion: &store::Promotion) -> Self {
        Self {
            kind: promotion.kind,
            promoted_at: promotion.promoted_at,
            promoted_by: promotion.promoted_by.clone(),
            reason: promotion.reason.clone(),
        }
    }
}

/// What a promotion answers.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Promoted {
    /// The model version that is in force.
    #[schema(value_type = Digits)]
    pub model_version: ModelVersionId,
    /// Whether it was not before.
    pub is_new: bool,
}

/// What a roll-back answers.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct RolledBack {
    /// The model version that is in force again.
    #[schema(value_type = Digits)]
    pub model_version: ModelVersionId,
}
