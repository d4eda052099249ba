//! Model versions, which one is in force, and which runs pinned them. By the names and the rules that the
//! PostgreSQL backend has for them.

use jiff::Timestamp;

use super::rows::{PromotionRow, Rows};
use super::{Memory, invalid};
use crate::keys::Effect;
use crate::record::{
    ModelVersion, ModelVersionId, NewModelVersion, NewPromotion, Promotion, PromotionKind, RunRecord,
};
use crate::{ModelVersions, Result};

/// Who promotes unless somebody is named: there is no user of a database here.
const NOBODY_NAMED: &str = "memory";

impl ModelVersions for Memory {
    async fn save_model_version(
        &self,
        new: &NewModelVersion,
        promotion: Option<&NewPromotion>,
    ) -> Result<ModelVersionId> {
        self.call(|rows, now| {
            let version = ModelVersionId(rows.model_versions.len() as i64 + 1);
            let NewModelVersion { currency, models, fit, data_fingerprint, code_version } = new.clone();
            rows.model_versions.push(ModelVersion {
                version,
                created_at: now,
                currency,
                models,
                fit,
                data_fingerprint,
                code_version,
            });
            if let Some(promotion) = promotion {
                promote(rows, version, promotion, now);
            }
            Ok(version)
        })
        .await
    }

    async fn model_versions(&self, limit: u32) -> Result<Vec<ModelVersion>> {
        self.call(|rows, _| Ok(rows.model_versions.iter().rev().take(limit as usize).cloned().collect()))
            .await
    }

    async fn promote(&self, version: ModelVersionId, new: &NewPromotion) -> Result<Option<Promotion>> {
        self.call_once("promote a model version", |rows, now| {
            if rows.model_version(version).is_none() {
                return Err(invalid(
                    "promote a model version",
                    format_args!("there is no model version {version}"),
                ));
            }
            let promoted = promote(rows, version, new, now);
            let effect = promoted.is_some().then_some(Effect::Promoted { version, is_new: true });
            Ok((promoted, effect))
        })
        .await
    }

    async fn roll_back(&self, new: &NewPromotion) -> Result<Option<Promotion>> {
        self.call_once("roll back a model version", |rows, now| {
            let back = roll_back(rows, new, now);
            let version = back.as_ref().map(|promotion| promotion.version);
            Ok((back, version.is_some().then_some(Effect::RolledBack { version })))
        })
        .await
    }

    async fn promotions_of(&self, version: ModelVersionId, limit: u32) -> Result<Vec<Promotion>> {
        self.call(|rows, _| {
            let of_it = rows.promotions.iter().rev().map(|row| &row.promotion);
            let of_it = of_it.filter(|promotion| promotion.version == version);
            Ok(of_it.take(limit as usize).cloned().collect())
        })
        .await
    }

    async fn runs_pinning(&self, version: ModelVersionId, limit: u32) -> Result<(Vec<RunRecord>, u64)> {
        self.call(|rows, _| {
            let pinning = || rows.runs().rev().filter(|(_, run)| run.model_version == version);
            let latest = pinning().take(limit as usize).map(|(id, run)| rows.run_record(id, run));
            Ok((latest.collect(), pinning().count() as u64))
        })
        .await
    }
}

fn promote(
    rows: &mut Rows,
    version: ModelVersionId,
    new: &NewPromotion,
    now: Timestamp,
) -> Option<Promotion> {
    if rows.promotions.last().is_some_and(|row| row.promotion.version == version) {
        return None;
    }
    let in_force = rows.promotions.len().checked_sub(1);
    Some(add(rows, version, PromotionKind::Promote, new, in_force, now))
}

fn roll_back(rows: &mut Rows, new: &NewPromotion, now: Timestamp) -> Option<Promotion> {
    let earlier = &rows.promotions[rows.promotions.last()?.rolls_back_to?];
    let (version, rolls_back_to) = (earlier.promotion.version, earlier.rolls_back_to);
    Some(add(rows, version, PromotionKind::RollBack, new, rolls_back_to, now))
}

fn add(
    rows: &mut Rows,
    version: ModelVersionId,
    kind: PromotionKind,
    new: &NewPromotion,
    rolls_back_to: Option<usize>,
    now: Timestamp,
) -> Promotion {
    let by = new.by.clone().unwrap_or_else(|| NOBODY_NAMED.to_owned());
    let promotion =
        Promotion { version, kind, promoted_at: now, promoted_by: by, reason: new.reason.clone() };
    rows.promotions.push(PromotionRow { promotion: promotion.clone(), rolls_back_to });
    promotion
}
