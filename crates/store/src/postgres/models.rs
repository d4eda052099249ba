//! Model versions, which one is in force, and which runs pinned them.
//!
//! `fleet.promotions` is a history: a promotion or a roll-back adds a row, nothing changes one, and the last is in
//! force. Each row knows where a roll-back from it leads (`rolls_back_to`), so the rows are a stack and its story
//! at once: a promotion pushes, a roll-back pops, and what was rolled back is never returned to by going back.
//!
//! # Failure by failure
//!
//! * **Two people at once.** Rows are added under a lock, so each builds on the other's.
//! * **An answer is lost.** Promoting again what is in force changes nothing. A roll-back may have happened, and a
//!   second one would go further back: look first.

use batch::RunId;
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::archive::run_record;
use super::row::{get, word};
use super::supervision::progress;
use super::values::model_version;
use super::{Fault, Postgres};
use crate::keys::Effect;
use crate::record::{ModelVersion, ModelVersionId, NewModelVersion, NewPromotion, Promotion, RunRecord};
use crate::{ModelVersions, Result};

impl ModelVersions for Postgres {
    async fn save_model_version(
        &self,
        new: &NewModelVersion,
        promotion: Option<&NewPromotion>,
    ) -> Result<ModelVersionId> {
        self.transact("store a model version", self.config.call_limit, "begin", async |client| {
            let version = insert_model_version(client, new).await?;
            if let Some(promotion) = promotion {
                lock(client).await?;
                insert_promotion(client, version, promotion).await?;
            }
            client.batch_execute("commit").await?;
            Ok(version)
        })
        .await
    }

    async fn model_versions(&self, limit: u32) -> Result<Vec<ModelVersion>> {
        const LIST: &str = "select * from fleet.model_versions order by model_version desc limit $1";
        self.short("list model versions", async |client| {
            client.query(LIST, &[&i64::from(limit)]).await?.iter().map(model_version).collect()
        })
        .await
    }

    async fn promote(&self, version: ModelVersionId, new: &NewPromotion) -> Result<Option<Promotion>> {
        self.transact("promote a model version", self.config.call_limit, "begin", async |client| {
            lock(client).await?;
            let promoted = insert_promotion(client, version, new).await?;
            if promoted.is_some() {
                self.keep_in(client, &Effect::Promoted { version, is_new: true }).await?;
            }
            client.batch_execute("commit").await?;
            Ok(promoted)
        })
        .await
    }

    async fn roll_back(&self, new: &NewPromotion) -> Result<Option<Promotion>> {
        const ROLL_BACK: &str = "
            with in_force as (
                select rolls_back_to from fleet.promotions order by promotion desc limit 1
            )
            insert into fleet.promotions (model_version, kind, promoted_by, reason, rolls_back_to)
            select earlier.model_version, 'roll_back', coalesce($1, session_user::text), $2, earlier.rolls_back_to
              from fleet.promotions earlier
              join in_force on earlier.promotion = in_force.rolls_back_to
         returning *";
        self.transact("roll back a model version", self.config.call_limit, "begin", async |client| {
            lock(client).await?;
            let row = client.query_opt(ROLL_BACK, &[&new.by, &new.reason]).await?;
            let back = row.as_ref().map(promotion).transpose()?;
            if let Some(promotion) = &back {
                self.keep_in(client, &Effect::RolledBack { version: Some(promotion.version) }).await?;
            }
            client.batch_execute("commit").await?;
            Ok(back)
        })
        .await
    }

    async fn promotions_of(&self, version: ModelVersionId, limit: u32) -> Result<Vec<Promotion>> {
        const LIST: &str = "
            select * from fleet.promotions
             where model_version = $1
             order by promotion desc
             limit $2";
        self.short("list promotions", async |client| {
            let rows = client.query(LIST, &[&version.0, &i64::from(limit)]).await?;
            rows.iter().map(promotion).collect()
        })
        .await
    }

    async fn runs_pinning(&self, version: ModelVersionId, limit: u32) -> Result<(Vec<RunRecord>, u64)> {
        const COUNT: &str = "select count(*) as runs from fleet.runs where model_version = $1";
        const LIST: &str = "
            select * from fleet.runs
             where model_version = $1
             order by run_id desc
             limit $2";
        self.short("list the runs of a model version", async |client| {
            let all: i64 = get(&client.query_one(COUNT, &[&version.0]).await?, "runs")?;
            let mut runs = Vec::new();
            for row in client.query(LIST, &[&version.0, &i64::from(limit)]).await? {
                let run = RunId(get(&row, "run_id")?);
                runs.push(run_record(&row, progress(client, run).await?)?);
            }
            Ok((runs, all as u64))
        })
        .await
    }
}

async fn insert_model_version(
    client: &ClientWrapper,
    new: &NewModelVersion,
) -> Result<ModelVersionId, Fault> {
    const INSERT: &str = "
        insert into fleet.model_versions (currency, parameters, fit, data_fingerprint, code_version)
        values ($1, $2, $3, $4, $5)
     returning model_version";
    let models = serde_json::to_value(&new.models).map_err(Fault::nonsense)?;
    let row = client
        .query_one(
            INSERT,
            &[&new.currency.to_string(), &models, &new.fit, &new.data_fingerprint, &new.code_version],
        )
        .await?;
    Ok(ModelVersionId(get(&row, "model_version")?))
}

/// Lets one at a time add to the history, until the transaction ends. Readers go on reading.
async fn lock(client: &ClientWrapper) -> Result<(), Fault> {
    Ok(client.batch_execute("lock table fleet.promotions in share row exclusive mode").await?)
}

async fn insert_promotion(
    client: &ClientWrapper,
    version: ModelVersionId,
    new: &NewPromotion,
) -> Result<Option<Promotion>, Fault> {
    const PROMOTE: &str = "
        with in_force as (
            select promotion, model_version from fleet.promotions order by promotion desc limit 1
        )
        insert into fleet.promotions (model_version, kind, promoted_by, reason, rolls_back_to)
        select $1, 'promote', coalesce($2, session_user::text), $3, (select promotion from in_force)
         where not exists (select from in_force where model_version = $1)
     returning *";
    let row = client.query_opt(PROMOTE, &[&version.0, &new.by, &new.reason]).await?;
    row.as_ref().map(promotion).transpose()
}

fn promotion(row: &Row) -> Result<Promotion, Fault> {
    Ok(Promotion {
        version: ModelVersionId(get(row, "model_version")?),
        kind: word(row, "kind")?,
        promoted_at: get(row, "promoted_at")?,
        promoted_by: get(row, "promoted_by")?,
        reason: get(row, "reason")?,
    })
}
