//! Model versions that were asked for. They never change, so that one is enough for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use store::{ModelVersion, ModelVersionId, Values};

/// How many are kept. There is a new one every few weeks.
const KEPT: usize = 16;

/// The model versions that were asked for last.
#[derive(Default)]
pub(crate) struct Models(Mutex<BTreeMap<ModelVersionId, Arc<ModelVersion>>>);

impl Models {
    /// A model version, from the store the first time.
    pub(crate) async fn get(
        &self,
        store: &impl Values,
        version: ModelVersionId,
    ) -> store::Result<Arc<ModelVersion>> {
        if let Some(known) = self.known(version) {
            return Ok(known);
        }
        let Some(model) = store.model_version(version).await? else {
            let what = format!("read model version {version}");
            return Err(store::Error::Invalid {
                what,
                reason: "a value names it, and it is not there".into(),
            });
        };
        let model = Arc::new(model);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(version, model.clone());
        if kept.len() > KEPT {
            kept.pop_first();
        }
        Ok(model)
    }

    fn known(&self, version: ModelVersionId) -> Option<Arc<ModelVersion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }
}
