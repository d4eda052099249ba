//! The fit of a model version: reads what there is to fit, fits the models, judges the fit, records it.
//!
//! A role. Look first at [`fit`], which tells the whole story over a database. Whoever has read the customers elsewhere
//! makes [`FitData`] of them, fits it, and judges it by the same rules.
//!
//! It does not know how a model is fitted, nor what is too far from the one in force: [`model::fit`] does.
//!
//! # Failure by failure
//!
//! * **The fitter dies, or the store does not answer.** Nothing is recorded before the end, and that in one transaction.
//!   If its answer is lost, the version may be there: a repeat makes another one of the same models.
//! * **The purchases cannot be fitted.** [`Error::Unfittable`]; nothing is recorded.
//! * **The models are far from those in force,** as they are when a feed broke. They are recorded, so that somebody can
//!   look at them, and are not promoted.
//! * **Two fitters at once.** Both record a version; the one that came last is in force.
//! * **What was recorded in force cannot be understood,** because a person or an older release wrote it. What it does
//!   not tell cannot have moved ([`FitRecord`]).

mod data;
mod fitted;
mod judgement;
mod record;

use jiff::Timestamp;
use model::{Currency, SeasonError};
use store::postgres::Postgres;
use store::{ModelVersionId, ModelVersions, NewModelVersion, NewPromotion, Planning, Selection};
use tokio::task::{JoinError, spawn_blocking};

pub use data::{FitData, Summaries};
pub use fitted::{Fitted, NoModels};
pub use judgement::{Before, Judgement};
pub use record::{
    ByName, Chosen, Compared, ContractFitRecord, ContractRecords, FitRecord, GuardRecord, GuardVerdict,
    LeftToOthers, ModelFit, PeriodRecord, PlanRecord, Tried, TriedFit,
};

/// What is to be fitted, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Order {
    /// The moment whose histories are fitted; the store's now if nobody says.
    pub as_of: Option<Timestamp>,
    /// The currency of the amounts.
    pub currency: Currency,
    /// Whether a season is estimated and fitted in.
    pub is_seasonal: bool,
    /// Whether the version is promoted, unless it is refused.
    pub is_to_be_promoted: bool,
    /// Whether it is promoted even if it is far from what is in force.
    pub accepts_breaches: bool,
    /// Who promotes it; the user of the database if nobody says.
    pub by: Option<String>,
}

/// A fit that was recorded.
#[derive(Debug)]
pub struct Recorded {
    /// The model version that it is.
    pub version: ModelVersionId,
    /// What was stored.
    pub stored: NewModelVersion,
    /// The moment whose histories were fitted.
    pub as_of: Timestamp,
    /// The models, and how they came about.
    pub fitted: Fitted,
    /// What was thought of them.
    pub judgement: Judgement,
    /// Customers whose histories cannot be understood.
    pub left_out: u64,
    /// Whether runs pin it from now on.
    pub is_promoted: bool,
    /// Whether it is too far from what is in force, and nobody accepts that.
    pub is_refused: bool,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is no season to estimate.
    #[error(transparent)]
    Season(#[from] SeasonError),
    /// The histories give no models.
    #[error("the histories at {as_of} cannot be fitted, {left_out} customers left out")]
    Unfittable {
        /// The moment whose histories they are.
        as_of: Timestamp,
        /// Customers whose histories cannot be understood.
        left_out: u64,
        /// What is wrong with the others.
        source: NoModels,
    },
    /// The computation ended before its time.
    #[error(transparent)]
    Ended(#[from] JoinError),
}

/// Fits the models to the whole base, judges them by those in force, stores them as a new version, and promotes that
/// unless it is refused.
pub async fn fit(store: &Postgres, order: &Order) -> Result<Recorded, Error> {
    let &Order { as_of, currency, is_seasonal, is_to_be_promoted, accepts_breaches, ref by } = order;
    let as_of = match as_of {
        Some(as_of) => as_of,
        None => store.now().await?,
    };
    let before = Before::find(store, currency).await?;
    let customers = store.selected(&Selection::All, as_of).await?;
    let data = FitData::read(store, &customers, as_of, currency, is_seasonal).await?;
    let (fingerprint, left_out) = (data.fingerprint(), data.left_out);
    let (fitted, judgement) = spawn_blocking(move || {
        let fitted = data.fit(before.start())?;
        let judgement = before.judge(&fitted, &data.summaries, data.last_day);
        Ok((fitted, judgement))
    })
    .await?
    .map_err(|source| Error::Unfittable { as_of, left_out, source })?;

    let is_refused = judgement.has_breaches() && !accepts_breaches;
    let is_promoted = is_to_be_promoted && !is_refused;
    let stored = model_version(&fitted, &judgement, as_of, currency, fingerprint);
    let promotion = is_promoted
        .then(|| NewPromotion { by: by.clone(), reason: Some(judgement.reason_for_promoting().into()) });
    let version = store.save_model_version(&stored, promotion.as_ref()).await?;
    Ok(Recorded { version, stored, as_of, fitted, judgement, left_out, is_promoted, is_refused })
}

/// Makes a model version of a fit, with the record of how it came about.
pub fn model_version(
    fitted: &Fitted,
    judgement: &Judgement,
    as_of: Timestamp,
    currency: Currency,
    data_fingerprint: String,
) -> NewModelVersion {
    NewModelVersion {
        currency,
        models: fitted.models.clone(),
        fit: FitRecord::of(fitted, as_of, judgement.record()).document(),
        data_fingerprint,
        code_version: env!("CARGO_PKG_VERSION").into(),
    }
}
