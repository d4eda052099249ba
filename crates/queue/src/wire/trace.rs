//! The trace that a message belongs to, which travels beside it and not in it.

/// Carries a W3C trace context as the pairs it is written in. Pairs with other keys are not carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext(pub Vec<(String, String)>);

impl TraceContext {
    /// The keys of a trace context.
    pub const KEYS: [&str; 2] = ["traceparent", "tracestate"];

    /// Finds a value by its key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}
