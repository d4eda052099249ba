//! Model versions, and which one runs pin.

use axum::extract::State;
use documents::{Digits, ListedModel, Promoted, RolledBack, ShownModel};
use serde::Deserialize;
use store::{ModelVersionId, ModelVersions, NewPromotion, Planning, Values};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::document::Json;
use crate::extract::{Body, Id, Path, Query};
use crate::problem::Problem;
use crate::rest::Limit;
use crate::seams::Seams;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let (list, one, promote, roll_back) = (list::<S>, one::<S>, promote::<S>, roll_back::<S>);
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(promote))
        .routes(routes!(roll_back))
}

/// Who chooses, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// Who, for the history; the database's user unless given.
    #[schema(value_type = Option<String>, max_length = 200)]
    by: Option<Text>,
    /// Why, for the history.
    #[schema(value_type = Option<String>, max_length = 200)]
    reason: Option<Text>,
}

/// How many are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listed {
    /// At most so many, the newest first.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
}

/// The model versions, the newest first
#[utoipa::path(get, path = "/models", tag = "models", params(Listed),
    responses((status = 200, description = "Model versions", body = Vec<ListedModel>)))]
async fn list<S: Seams>(
    State(api): State<Api<S>>,
    Query(Listed { limit }): Query<Listed>,
) -> Result<Json<Vec<ListedModel>>, Problem> {
    let models = api.store.model_versions(limit.get()).await?;
    let promoted = api.store.model_version_to_pin(None).await?;
    Ok(Json(models.iter().map(|model| ListedModel::new(model, promoted)).collect()))
}

/// A model version, when it came into force, and which runs pinned it
#[utoipa::path(get, path = "/models/{version}", tag = "models",
    params(("version" = Digits, Path, description = "Its number"), Listed),
    responses((status = 200, description = "The model version", body = ShownModel)))]
async fn one<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(version)): Path<Id<Version>>,
    Query(Listed { limit }): Query<Listed>,
) -> Result<Json<ShownModel>, Problem> {
    let version = ModelVersionId(version);
    let model = api.store.model_version(version).await?.ok_or_else(|| absent(version))?;
    let promoted = api.store.model_version_to_pin(None).await?;
    let promotions = api.store.promotions_of(version, limit.get()).await?;
    let (runs, runs_in_all) = api.store.runs_pinning(version, limit.get()).await?;
    Ok(Json(ShownModel {
        model: ListedModel::new(&model, promoted),
        promotions: promotions.iter().map(documents::Promotion::from).collect(),
        runs: runs.iter().map(documents::Run::from).collect(),
        runs_in_all,
    }))
}

/// Makes a model version the one that the next run pins
///
/// To promote the one that is in force changes nothing, and says so.
#[utoipa::path(post, path = "/models/{version}/promote", tag = "models",
    params(("version" = Digits, Path, description = "Its number")),
    request_body = Choice,
    responses((status = 200, description = "It is in force", body = Promoted)))]
async fn promote<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(version)): Path<Id<Version>>,
    Body(choice): Body<Choice>,
) -> Result<Json<Promoted>, Problem> {
    let version = ModelVersionId(version);
    api.store.model_version(version).await?.ok_or_else(|| absent(version))?;
    let promotion = api.store.promote(version, &choice.into()).await?;
    Ok(Json(Promoted { model_version: version, is_new: promotion.is_some() }))
}

/// Returns to the model version that was promoted before the one in force
#[utoipa::path(post, path = "/models/roll-back", tag = "models", request_body = Choice,
    responses((status = 200, description = "It is in force again", body = RolledBack)))]
async fn roll_back<S: Seams>(
    State(api): State<Api<S>>,
    Body(choice): Body<Choice>,
) -> Result<Json<RolledBack>, Problem> {
    match api.store.roll_back(&choice.into()).await? {
        Some(promotion) => Ok(Json(RolledBack { model_version: promotion.version })),
        None => Err(Problem::conflict("no model version was promoted before the one in force")),
    }
}

/// What a model version's number is made of.
type Version = i64;

/// A text for the history.
type Text = crate::extract::Text<200>;

fn absent(version: ModelVersionId) -> Problem {
    Problem::not_found(format!("there is no model version {version}"))
}

impl From<Choice> for NewPromotion {
    fn from(Choice { by, reason }: Choice) -> Self {
        Self { by: by.map(|by| by.0), reason: reason.map(|reason| reason.0) }
    }
}
