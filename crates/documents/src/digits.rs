//! The numbers of the store, as they stand in an answer over HTTP.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A number of the store's as a string of digits, in the document of the api. It is never built.
#[derive(Clone, Copy, Debug)]
pub struct Digits;

impl PartialSchema for Digits {
    fn schema() -> RefOr<Schema> {
        // What has 64 bits is taken; a pattern can say so only of what has 18 digits.
        let digits = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^(0|-?[1-9][0-9]{0,17})$"));
        digits.examples(["4711"]).into()
    }
}

impl ToSchema for Digits {
    fn name() -> Cow<'static, str> {
        "Digits".into()
    }
}
