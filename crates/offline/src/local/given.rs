//! Models that come from files, so that nothing has to be fitted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use model::{BgNbd, Currency, GammaGamma, Models, Parameters};
use serde_json::Value as Json;
use store::NewModelVersion;

use crate::Model;
use crate::model_file::ModelFile;

/// Models, and what is known of where they come from.
#[derive(Debug)]
pub struct Given {
    models: Models,
    /// The currency that spend was fitted in, where the file says so.
    currency: Option<Currency>,
    fit: Json,
    data_fingerprint: String,
    code_version: String,
}

const WANTED: &str = "name one document of `ltv models show VERSION --json`, or one bg_nbd and one gamma_gamma that \
                      `ltv fit --model NAME --out` wrote";

impl Given {
    /// Reads models from one document of a model version, or from two files with a model each.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        match paths {
            [one] => {
                let document = document(one)?;
                ensure!(
                    document.get("model").is_none(),
                    "--model {}: this is a single model, and a night needs two; {WANTED}",
                    one.display()
                );
                Self::of_version(document).with_context(|| format!("--model {}", one.display()))
            }
            [one, other] => Self::of_pair(one, other),
            _ => bail!("--model is given {} times; {WANTED}", paths.len()),
        }
    }

    /// The currency that the night is in: `wanted` where it is said, else that of the models.
    pub fn currency(&self, wanted: Option<Currency>) -> Result<Option<Currency>> {
        if let (Some(fitted), Some(wanted)) = (self.currency, wanted) {
            ensure!(
                fitted == wanted,
                "--currency {wanted}: the models of --model were fitted in {fitted}, and spend in another currency \
                 is nothing that they know of"
            );
        }
        Ok(wanted.or(self.currency))
    }

    /// The same as a model version.
    pub fn into_version(self, currency: Currency) -> NewModelVersion {
        let Self { models, fit, data_fingerprint, code_version, .. } = self;
        NewModelVersion { currency, models, fit, data_fingerprint, code_version }
    }

    fn of_version(mut document: Json) -> Result<Self> {
        // The document of `ltv fit --json` has them under `models`, the purchase models alone under `parameters`.
        let models = ["models", "parameters"].iter().find_map(|name| document.get_mut(*name).map(Json::take));
        let models = models.with_context(|| format!("there are no models in this document; {WANTED}"))?;
        let models = serde_json::from_value(models)
            .with_context(|| format!("the models in this document cannot be understood; {WANTED}"))?;
        let text = |name: &str| document.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let currency = match &text("currency")[..] {
            "" => None,
            code => Some(Currency::parse(code)?),
        };
        let (data_fingerprint, code_version) = (text("data_fingerprint"), text("code_version"));
        let fit = document.get_mut("fit").map(Json::take).unwrap_or_default();
        Ok(Self { models, currency, fit, data_fingerprint, code_version })
    }

    fn of_pair(one: &Path, other: &Path) -> Result<Self> {
        let models = (single(one)?, single(other)?);
        let (bg_nbd, gamma_gamma) = match models {
            (Model::BgNbd(bg_nbd), Model::GammaGamma(gamma_gamma))
            | (Model::GammaGamma(gamma_gamma), Model::BgNbd(bg_nbd)) => (bg_nbd, gamma_gamma),
            (first, second) => bail!(
                "--model: a {} and a {}; a night needs a bg_nbd and a gamma_gamma",
                first.name().as_str(),
                second.name().as_str()
            ),
        };
        Ok(Self::of_parameters(bg_nbd, gamma_gamma))
    }

    fn of_parameters(bg_nbd: BgNbd, gamma_gamma: GammaGamma) -> Self {
        Self {
            models: Parameters { bg_nbd, gamma_gamma }.into(),
            currency: None,
            fit: Json::Null,
            data_fingerprint: String::new(),
            code_version: String::new(),
        }
    }
}

fn single(path: &Path) -> Result<Model> {
    let is_single = document(path)?.get("model").is_some();
    ensure!(is_single, "--model {}: this is no single model; {WANTED}", path.display());
    let file = ModelFile::read(path)?;
    ensure!(
        file.segments.is_none(),
        "--model {}: it has a model for each segment, and a night values everybody by one; fit it without \
         --segment-column",
        path.display()
    );
    Ok(file.model)
}

fn document(path: &Path) -> Result<Json> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("open {name}"))?;
    serde_json::from_str(&text).with_context(|| format!("--model {name}: not a JSON document; {WANTED}"))
}
