//! A parameter: the domain that it is checked against, and how it is written without losing a bit.

use serde::{Deserialize, Serialize};

/// A parameter outside its domain.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("parameter {name} = {value}: must be from {least} to {most}")]
pub struct ParameterError {
    /// Which parameter.
    pub name: &'static str,
    /// What it was to be.
    pub value: f64,
    /// The least that is allowed.
    pub least: f64,
    /// The most that is allowed.
    pub most: f64,
}

impl ParameterError {
    /// Lets a value pass that lies in `least..=most`; not a number never does.
    pub(crate) fn check(name: &'static str, value: f64, least: f64, most: f64) -> Result<f64, Self> {
        if (least..=most).contains(&value) { Ok(value) } else { Err(Self { name, value, least, most }) }
    }
}

/// A number that is written as the shortest decimal text that reads back to the same bits.
///
/// As a text, not as a JSON number: serde_json reads numbers with an error of one unit in the last place unless a
/// feature is on that this crate cannot switch on for everybody, and other readers of JSON make no promise at all.
/// A plain number, as people write, is understood too.
#[derive(Clone, Copy)]
pub(crate) struct ExactNumber(pub(crate) f64);

impl Serialize for ExactNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ExactNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// Writes a model as its parameters, each an [`ExactNumber`], and reads it back through its `new`, which checks them in
/// the order in which they stand here. The model says `#[serde(into = "Text", try_from = "Text")]`.
macro_rules! exact_parameters {
    ($model:ty $(where $T:ident: $bound:ident)? { $($name:ident),+ }) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Text {
            $($name: $crate::parameter::ExactNumber),+
        }

        impl$(<$T: $bound>)? From<$model> for Text {
            fn from(model: $model) -> Self {
                Self { $($name: $crate::parameter::ExactNumber(model.$name)),+ }
            }
        }

        impl$(<$T: $bound>)? TryFrom<Text> for $model {
            type Error = $crate::ParameterError;

            fn try_from(text: Text) -> Result<Self, $crate::ParameterError> {
                Self::new($(text.$name.0),+)
            }
        }
    };
}

pub(crate) use exact_parameters;
