//! The names of what stands in Redis.

use batch::RunId;

/// Makes the keys of one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What comes before the run in the keys of values.
    pub(super) fn values(&self) -> String {
        format!("{}:values:", self.prefix)
    }

    /// What comes before the bucket in the keys of a run's values.
    pub(super) fn values_of(&self, run: RunId) -> String {
        format!("{}{run}:", self.values())
    }

    /// What comes before the run in the keys of members.
    pub(super) fn members(&self) -> String {
        format!("{}:members:", self.prefix)
    }

    pub(super) fn members_of(&self, run: RunId) -> String {
        format!("{}{run}", self.members())
    }

    pub(super) fn visible(&self) -> String {
        format!("{}:visible", self.prefix)
    }

    /// Where it is tried what the server allows.
    pub(super) fn tried(&self, kind: &str) -> String {
        format!("{}:tried:{kind}", self.prefix)
    }

    pub(super) fn progress(&self, run: RunId) -> String {
        format!("{}:progress:{run}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_from_the_prefix() {
        let keys = Keys::new("ltv");

        assert_eq!(keys.values(), "ltv:values:");
        assert_eq!(keys.values_of(RunId(7)), "ltv:values:7:");
        assert_eq!(keys.members_of(RunId(7)), "ltv:members:7");
        assert_eq!(keys.visible(), "ltv:visible");
        assert_eq!(keys.progress(RunId(7)), "ltv:progress:7");
    }
}
