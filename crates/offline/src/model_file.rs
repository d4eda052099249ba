//! A fitted model as a JSON document: its name, its parameters by name, and how far the fit can be trusted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use documents::{FittedModel, FittedSegment};

use crate::models::{Model, ModelName};
use files::NewFile;

/// What is read back from the document of a fit.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// The model of all customers together.
    pub model: Model,
    /// The column of the segments, and each segment's model.
    pub segments: Option<(String, BTreeMap<String, Model>)>,
}

impl ModelFile {
    /// Reads the document of a fit.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("open {name}"))?;
        let document: FittedModel = serde_json::from_str(&text)
            .with_context(|| format!("{name}: not a model that `ltv fit` wrote"))?;
        Self::understand(document).with_context(|| format!("{name}"))
    }

    fn understand(document: FittedModel) -> Result<Self> {
        let name = ModelName::parse(&document.model)
            .ok_or_else(|| anyhow!("there is no model {:?}", document.model))?;
        let segment = |(segment, of): (String, FittedSegment)| {
            let model = model(name, &of.parameters).with_context(|| format!("segment {segment}"))?;
            Ok((segment, model))
        };
        let segments =
            document.segments.unwrap_or_default().into_iter().map(segment).collect::<Result<_>>()?;
        Ok(Self {
            model: model(name, &document.parameters)?,
            segments: document.segment_column.map(|column| (column, segments)),
        })
    }
}

fn model(name: ModelName, parameters: &BTreeMap<String, f64>) -> Result<Model> {
    let wanted = name.parameters();
    if let Some(unknown) = parameters.keys().find(|name| !wanted.contains(&name.as_str())) {
        bail!("{} has no parameter {unknown}", name.as_str());
    }
    let value = |wanted: &&str| {
        parameters.get(*wanted).copied().ok_or_else(|| anyhow!("the parameter {wanted} is missing"))
    };
    let values: Vec<f64> = wanted.iter().map(value).collect::<Result<_>>()?;
    Ok(Model::new(name, &values)?)
}

/// Names numbers that stand in the order of a model's parameters.
pub(crate) fn by_name(name: ModelName, values: &[f64]) -> BTreeMap<String, f64> {
    name.parameters().iter().zip(values).map(|(name, &value)| ((*name).to_owned(), value)).collect()
}

/// Writes a document, whole or not at all.
pub(crate) fn write(mut file: NewFile, document: &FittedModel) -> Result<()> {
    writeln!(file, "{}", documents::indented(document))
        .with_context(|| format!("write {}", file.name().display()))?;
    file.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_bytes_are_a_model_or_refused(bytes: Vec<u8>) {
            let _ = serde_json::from_slice::<FittedModel>(&bytes).map(ModelFile::understand);
        }

        #[test]
        fn a_model_file_of_any_numbers_is_read_or_refused(
            model in prop::sample::select(vec!["bg_nbd", "pareto_nbd", "gamma_gamma", "bg_bb", "sbg", "bdw", "none"]),
            parameters in prop::collection::btree_map("(r|alpha|a|b|s|beta|p|q|v|c|gamma|delta)", any::<f64>(), 0..6),
        ) {
            let document = serde_json::json!({ "model": model, "parameters": parameters });

            if let Ok(read) = serde_json::from_value(document).map_err(Into::into).and_then(ModelFile::understand) {
                prop_assert!(read.model.parameters().iter().all(|parameter| parameter.is_finite()));
            }
        }
    }
}
