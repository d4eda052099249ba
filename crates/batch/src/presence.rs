//! Which processes lived when, and whether two of one name lived at a time.
//!
//! A process has the name that it was given and a random part, so that nothing of the fleet takes two for each other. A
//! person who reads a log or a dashboard does, and whoever copied a Deployment with its name did not mean to.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// A process, and from when to when it is known to have lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its name, the random part and all.
    pub name: String,
    /// When it first did something.
    pub from: Timestamp,
    /// When it last did.
    pub to: Timestamp,
}

/// The digits of a name's random part.
const RANDOM: usize = 8;

/// The name that a process was given: without the random part, where there is one.
pub fn given_name(name: &str) -> &str {
    let is_random = |part: &str| part.len() == RANDOM && part.bytes().all(|digit| digit.is_ascii_hexdigit());
    name.rsplit_once('-').filter(|(_, part)| is_random(part)).map_or(name, |(given, _)| given)
}

/// The names that were given to several processes which lived at a time: one did something after another had begun, and
/// before that one had ended. One that was started again after it had died is none.
pub fn namesakes(presences: &[Presence]) -> Vec<&str> {
    let mut by_name: BTreeMap<&str, Vec<&Presence>> = BTreeMap::new();
    for presence in presences {
        by_name.entry(given_name(&presence.name)).or_default().push(presence);
    }
    by_name.retain(|_, presences| {
        presences.sort_by_key(|presence| presence.from);
        // If any two overlap, two that follow each other do.
        presences.windows(2).any(|pair| pair[1].from < pair[0].to)
    });
    by_name.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(name: &str, from: i64, to: i64) -> Presence {
        let at = |second| Timestamp::from_second(second).unwrap();
        Presence { name: name.into(), from: at(from), to: at(to) }
    }

    #[test]
    fn a_name_is_known_without_its_random_part() {
        assert_eq!(given_name("worker-0-00c0ffee"), "worker-0");
        assert_eq!(given_name("worker-0"), "worker-0");
        assert_eq!(given_name("local worker"), "local worker");
    }

    #[test]
    fn two_that_live_at_a_time_are_namesakes_and_one_that_was_started_again_is_not() {
        let began_again = [presence("w-00000001", 0, 10), presence("w-00000002", 10, 20)];
        let at_a_time = [presence("w-00000001", 0, 10), presence("w-00000002", 9, 20)];
        let others = [presence("v-00000001", 0, 10), presence("w-00000002", 0, 10)];

        assert!(namesakes(&began_again).is_empty());
        assert_eq!(namesakes(&at_a_time), ["w"]);
        assert!(namesakes(&others).is_empty());
    }
}
