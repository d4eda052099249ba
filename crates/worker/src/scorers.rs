//! One scorer for each model version and terms, shared by all slots: its tables fill up once.

use std::sync::{Arc, Mutex, PoisonError};

use model::{Currency, Scorer, Terms};
use store::{ModelVersionId, Values};

/// What a run needs to value customers.
#[derive(Clone)]
pub(crate) struct Pinned {
    pub(crate) version: ModelVersionId,
    pub(crate) currency: Currency,
    pub(crate) scorer: Arc<Scorer>,
}

/// The scorers used last, the newest first.
#[derive(Default)]
pub(crate) struct Scorers(Mutex<Vec<Pinned>>);

/// Runs with different models that may be at work at a time before tables are built anew.
const KEPT: usize = 4;

impl Scorers {
    /// The scorer that a run pins; `None` if its model version does not exist.
    pub(crate) async fn get<S: Values>(
        &self,
        store: &S,
        version: ModelVersionId,
        terms: Terms,
    ) -> store::Result<Option<Pinned>> {
        if let Some(pinned) = self.find(version, terms) {
            return Ok(Some(pinned));
        }
        let Some(model) = store.model_version(version).await? else { return Ok(None) };
        let scorer = Arc::new(Scorer::new(model.parameters, terms));
        let pinned = Pinned { version, currency: model.currency, scorer };
        // Two slots may both have built one; the first is kept, and the other is as good.
        if let Some(first) = self.find(version, terms) {
            return Ok(Some(first));
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, pinned.clone());
        kept.truncate(KEPT);
        Ok(Some(pinned))
    }

    fn find(&self, version: ModelVersionId, terms: Terms) -> Option<Pinned> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|pinned| pinned.version == version && *pinned.scorer.terms() == terms).cloned()
    }
}
