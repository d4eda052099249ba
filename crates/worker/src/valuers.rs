//! One valuer for each model version, terms and day, shared by all slots: its tables fill up once.

use std::sync::{Arc, Mutex, PoisonError};

use model::{Currency, Observation, Valuer};
use store::{Assignment, ModelVersionId, Values};

/// What a run needs to value customers.
#[derive(Clone)]
pub(crate) struct Pinned {
    pub(crate) version: ModelVersionId,
    pub(crate) currency: Currency,
    pub(crate) valuer: Arc<Valuer>,
}

/// The valuers used last, the newest first.
#[derive(Default)]
pub(crate) struct Valuers(Mutex<Vec<Pinned>>);

/// Runs with different models that may be at work at a time before tables are built anew.
const KEPT: usize = 4;

impl Valuers {
    /// The valuer that a run pins; `None` if its model version does not exist.
    pub(crate) async fn get<S: Values>(
        &self,
        store: &S,
        assignment: &Assignment,
    ) -> store::Result<Option<Pinned>> {
        if let Some(pinned) = self.find(assignment) {
            return Ok(Some(pinned));
        }
        let Some(model) = store.model_version(assignment.model_version).await? else { return Ok(None) };
        let last_day = Observation::new(assignment.as_of.as_microsecond(), model.currency).last_day();
        let valuer = Arc::new(Valuer::new(model.models, assignment.terms, last_day));
        let pinned = Pinned { version: model.version, currency: model.currency, valuer };
        // Two slots may both have built one; the first is kept, and the other is as good.
        if let Some(first) = self.find(assignment) {
            return Ok(Some(first));
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, pinned.clone());
        kept.truncate(KEPT);
        Ok(Some(pinned))
    }

    fn find(&self, assignment: &Assignment) -> Option<Pinned> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|pinned| pinned.is_for(assignment)).cloned()
    }
}

impl Pinned {
    fn is_for(&self, assignment: &Assignment) -> bool {
        let last_day = Observation::new(assignment.as_of.as_microsecond(), self.currency).last_day();
        self.version == assignment.model_version
            && *self.valuer.terms() == assignment.terms
            && self.valuer.last_day() == last_day
    }
}
