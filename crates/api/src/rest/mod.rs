//! The resources, a file each.

mod customers;
mod health;
mod problems;

use utoipa_axum::router::OpenApiRouter;

use crate::openapi::base;
use crate::seams::{Over, Seams};
use crate::urls::BELOW;
use crate::Api;

/// All resources, with what each says of itself.
pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let resources = OpenApiRouter::new()
        .merge(customers::routes())
        .merge(health::routes())
        .merge(problems::routes());
    OpenApiRouter::with_openapi(base()).nest(BELOW, resources)
}

/// What they say of themselves does not depend on the servers.
pub(crate) fn documented() -> utoipa::openapi::OpenApi {
    let (_, document) =
        routes::<Over<store::memory::Memory, queue::Memory, cache::Memory>>().split_for_parts();
    document
}
