//! The one error of a wrong configuration.

use std::fmt::Display;

/// Reports a setting that breaks its rule, by the name of its field. A person must change the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct InvalidConfig {
    /// The field of the configuration, as it is spelled in the code.
    pub field: &'static str,
    sentence: String,
}

impl InvalidConfig {
    /// Reports a field in a sentence of the caller's own. It is shown to everybody: no secret belongs in it.
    pub fn new(field: &'static str, sentence: impl Into<String>) -> Self {
        Self { field, sentence: sentence.into() }
    }

    /// Reports the URL of a server, `called` so, and says what it should look like.
    pub fn url(called: &str, problem: impl Display, expected: &str) -> Self {
        Self::new("url", format!("{called}: {problem}; expected {expected}"))
    }

    /// Refuses the configuration unless the rule, to be read after "must be", holds for the field.
    pub fn unless(holds: bool, field: &'static str, rule: &str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(field, format!("{field} must be {rule}"))) }
    }

    /// The same error, in what the setting is a part of.
    #[must_use]
    pub fn of(self, whole: &str) -> Self {
        Self { sentence: format!("{whole}: {}", self.sentence), ..self }
    }
}
