//! One valuer for each model version, terms and day, shared by all slots: its tables fill up once.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use model::{Currency, Observation, ValueTerms, Valuer};
use store::{ModelVersionId, Values};

/// What it takes to value customers for a run or a request.
#[derive(Clone)]
pub(crate) struct Pinned {
    version: ModelVersionId,
    pub(crate) currency: Currency,
    pub(crate) valuer: Arc<Valuer>,
}

/// The valuers used last, the newest first.
#[derive(Default)]
pub(crate) struct Valuers(Mutex<Vec<Pinned>>);

/// Runs with different models that may be at work at a time before tables are built anew.
const KEPT: usize = 4;

impl Valuers {
    /// The valuer of a model version for a moment and terms; `None` if there is no such version.
    pub(crate) async fn get<S: Values>(
        &self,
        store: &S,
        version: ModelVersionId,
        as_of: Timestamp,
        terms: ValueTerms,
    ) -> store::Result<Option<Pinned>> {
        if let Some(pinned) = self.find(version, as_of, terms) {
            return Ok(Some(pinned));
        }
        let Some(model) = store.model_version(version).await? else { return Ok(None) };
        let last_day = Observation::new(as_of.as_microsecond(), model.currency).last_day();
        let valuer = Arc::new(Valuer::new(model.models, terms, last_day));
        let pinned = Pinned { version: model.version, currency: model.currency, valuer };
        // Two slots may both have built one; the first is kept, and the other is as good.
        if let Some(first) = self.find(version, as_of, terms) {
            return Ok(Some(first));
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, pinned.clone());
        kept.truncate(KEPT);
        Ok(Some(pinned))
    }

    fn find(&self, version: ModelVersionId, as_of: Timestamp, terms: ValueTerms) -> Option<Pinned> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|pinned| pinned.is_for(version, as_of, terms)).cloned()
    }
}

impl Pinned {
    fn is_for(&self, version: ModelVersionId, as_of: Timestamp, terms: ValueTerms) -> bool {
        let last_day = Observation::new(as_of.as_microsecond(), self.currency).last_day();
        self.version == version && *self.valuer.terms() == terms && self.valuer.last_day() == last_day
    }
}
