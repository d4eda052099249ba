//! What tells a process from every other, its own predecessors included.

/// The longest name that can be given: as long as a host's.
const LONGEST: usize = 64;

/// The name of a process, as an operator gives it: what logs, traces and the story of a run call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenName(String);

/// Why a name cannot be given to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// There is none.
    #[error("it is empty: leave it out, and a name is made up")]
    Empty,
    /// It would not stand well in a log line.
    #[error("it may hold letters, digits, `-`, `_`, `.` and `:`, {LONGEST} of them at most")]
    Unfit,
}

impl std::str::FromStr for GivenName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_fit = |letter: char| letter.is_alphanumeric() || "-_.:".contains(letter);
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().count() > LONGEST || !text.chars().all(is_fit) {
            return Err(InvalidName::Unfit);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The process's name: the one that is given, or host and process, and a random part.
///
/// The random part keeps a restarted container, which has the same name again, from being taken for the one before,
/// and two that live at one time under one name (a Deployment whose name was copied) from being taken for each other:
/// a lease, an attempt and a leadership are one process's.
pub fn instance(given: Option<&GivenName>) -> String {
    let random = rand::random::<u32>();
    if let Some(GivenName(name)) = given {
        return format!("{name}-{random:08x}");
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    format!("{host}-{}-{random:08x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_name_are_told_apart() {
        let given = "worker-0".parse().ok();

        let (one, other) = (instance(given.as_ref()), instance(given.as_ref()));

        assert!(one.starts_with("worker-0-") && other.starts_with("worker-0-"), "{one}, {other}");
        assert_ne!(one, other);
    }

    #[test]
    fn a_name_that_is_empty_or_would_tear_a_log_line_is_refused() {
        assert_eq!("".parse::<GivenName>(), Err(InvalidName::Empty));
        for unfit in ["two words", "line\nbreak", &"x".repeat(65)] {
            assert_eq!(unfit.parse::<GivenName>(), Err(InvalidName::Unfit), "{unfit:?}");
        }
        assert!("eu-1:ltv_worker.0".parse::<GivenName>().is_ok());
    }
}
