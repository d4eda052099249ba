//! The one error of a wrong configuration.

/// Reports a setting that breaks its rule, by the name of its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {rule}")]
pub struct InvalidConfig {
    /// The field of the configuration, as it is spelled in the code.
    pub field: &'static str,
    /// What the field must be, to be read after "must be".
    pub rule: &'static str,
}

/// Refuses the configuration unless the rule holds for the field.
pub(crate) fn require(holds: bool, field: &'static str, rule: &'static str) -> Result<(), InvalidConfig> {
    if holds { Ok(()) } else { Err(InvalidConfig { field, rule }) }
}
