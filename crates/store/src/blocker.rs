//! Who holds what a call needs.

use std::fmt;

/// Somebody else's session at the database, which holds a lock that a call needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blocker {
    /// Its process at the server; 0 for a prepared transaction, which has none.
    pub pid: i32,
    /// Who it is of.
    pub user: String,
    /// What it calls itself.
    pub application: String,
    /// What it does, or did last, as far as we may see it.
    pub query: String,
}

/// How much of a statement is told.
const TOLD: usize = 120;

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a prepared transaction");
        }
        let words: Vec<&str> = self.query.split_whitespace().collect();
        let query: String = words.join(" ").chars().take(TOLD).collect();
        write!(f, "process {} of user {:?}, application {:?}: {query}", self.pid, self.user, self.application)
    }
}

/// Says of a call that it was held up, and by whom.
pub(crate) fn held_by(blockers: &[Blocker]) -> String {
    if blockers.is_empty() {
        return "somebody holds a lock that it needs, and was gone before we saw who".into();
    }
    let told: Vec<String> = blockers.iter().map(ToString::to_string).collect();
    format!("a lock that it needs is held by {}", told.join("; by "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocker_is_told_in_one_line_that_is_not_too_long() {
        let query = format!("copy fleet.values_7\n  to stdout {}", "x".repeat(500));
        let dump = Blocker { pid: 42, user: "backup".into(), application: "pg_dump".into(), query };
        let prepared = Blocker::default();

        let told = held_by(&[dump, prepared]);

        let start = "a lock that it needs is held by process 42 of user \"backup\", application \"pg_dump\": \
                     copy fleet.values_7 to stdout xxx";
        assert!(told.starts_with(start), "{told}");
        assert!(told.ends_with("x; by a prepared transaction"), "{told}");
        assert!(told.len() < 300 && !told.contains('\n'), "{told}");
    }
}
