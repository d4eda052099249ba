//! What the document of the api says of documents, held against each in full.

use serde_json::Value;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(components(schemas(
    crate::DeadLetters,
    crate::Explanation,
    crate::Promoted,
    crate::RolledBack,
    crate::Run,
    crate::RunSummary,
    crate::ShownModel,
)))]
struct Document;

#[test]
fn every_field_of_a_document_is_in_its_schema_and_no_other() {
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let check = |name: &str, golden: &str| {
        let golden: Value = serde_json::from_str(golden).unwrap();
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name}");
        compare(&document, schema, &golden, name);
    };

    check("DeadLetters", include_str!("../golden/dead_letters.json"));
    check("Explanation", include_str!("../golden/explanation.json"));
    check("Promoted", include_str!("../golden/promoted.json"));
    check("RolledBack", include_str!("../golden/rolled_back.json"));
    check("Run", include_str!("../golden/run.json"));
    check("RunSummary", include_str!("../golden/run_summary.json"));
    check("ShownModel", include_str!("../golden/model_version.json"));
}

fn compare(document: &Value, schema: &Value, golden: &Value, place: &str) {
    match golden {
        Value::Object(fields) => {
            let known = properties(document, schema);
            if known.is_empty() {
                return; // what differs from fit to fit
            }
            for (name, field) in fields {
                let of = known.iter().find(|(known, _)| known == name);
                let (_, of) = of.unwrap_or_else(|| panic!("{place}: {name} is in no schema"));
                compare(document, of, field, &format!("{place}.{name}"));
            }
            for (name, _) in known {
                assert!(fields.contains_key(&name), "{place}: {name} is in the schema alone");
            }
        }
        Value::Array(items) => {
            let schema = parts(document, schema)
                .into_iter()
                .find_map(|part| part.get("items"))
                .unwrap_or(&Value::Null);
            for item in items {
                compare(document, schema, item, &format!("{place}[]"));
            }
        }
        _ => {}
    }
}

/// The properties of an object, whatever it is put together of.
fn properties(document: &Value, schema: &Value) -> Vec<(String, Value)> {
    let parts = parts(document, schema);
    let of = parts.iter().filter_map(|part| part["properties"].as_object());
    of.flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

/// A schema and all that it refers to.
fn parts<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        return parts(document, document.pointer(pointer).unwrap());
    }
    let composed = ["allOf", "oneOf", "anyOf"].iter().filter_map(|of| schema[of].as_array()).flatten();
    std::iter::once(schema).chain(composed.flat_map(|part| parts(document, part))).collect()
}
