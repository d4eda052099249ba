//! The resources, a file each.

mod batches;
mod customers;
mod dead_letters;
mod events;
mod fresh;
mod health;
mod models;
mod movements;
mod problems;
mod requests;
mod runs;
mod top;
mod values;

use utoipa_axum::router::OpenApiRouter;

use crate::Api;
use crate::openapi::base;
use crate::seams::{Over, Seams};
use crate::urls::BELOW;

/// All resources, with what each says of itself.
pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let resources = OpenApiRouter::new()
        .merge(batches::routes())
        .merge(customers::routes())
        .merge(dead_letters::routes())
        .merge(events::routes())
        .merge(health::routes())
        .merge(models::routes())
        .merge(movements::routes())
        .merge(problems::routes())
        .merge(requests::routes())
        .merge(runs::routes())
        .merge(top::routes())
        .merge(values::routes());
    OpenApiRouter::with_openapi(base()).nest(BELOW, resources)
}

/// What they say of themselves does not depend on the servers.
pub(crate) fn documented() -> utoipa::openapi::OpenApi {
    let (_, document) =
        routes::<Over<store::memory::Memory, queue::Memory, cache::Memory>>().split_for_parts();
    document
}

/// How many are listed at most: from 1 to 1,000.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Limit(u32);

impl Limit {
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u32> for Limit {
    type Error = &'static str;

    fn try_from(limit: u32) -> Result<Self, Self::Error> {
        if (1..=1_000).contains(&limit) { Ok(Self(limit)) } else { Err("not from 1 to 1000") }
    }
}
