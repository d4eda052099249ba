//! What a server of the source is, how far it has come, and what it lacks of what a read needs.

use std::fmt;

use jiff::Timestamp;

/// How far the fleet's database had come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub(super) cluster: i64,
    /// When its server was started.
    pub(super) started: Timestamp,
    pub(super) timeline: i32,
    pub(super) wal: Wal,
    pub(super) moment: Timestamp,
}

/// What a server is, and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) cluster: i64,
    pub(super) started: Timestamp,
    pub(super) is_replica: bool,
    /// Of a replica that which it follows, as far as it says.
    pub(super) timeline: i32,
    /// How far it has replayed, or written where it is no replica.
    pub(super) wal: Option<Wal>,
    /// Everything that was committed before is there.
    pub(super) moment: Option<Timestamp>,
}

/// What a server lacks, in words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lack {
    pub(super) reason: String,
    /// Whether the mark may be of a server that was started again since, or that another took over from.
    pub(super) may_be_of_mark: bool,
}

impl Lack {
    fn of(reason: String) -> Self {
        Self { reason, may_be_of_mark: false }
    }
}

/// A place in a cluster's WAL, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wal(pub(super) i64);

impl Wal {
    /// The place where the last record before one ends: what is inserted next goes behind the header of its page, and
    /// of its file, which nobody replays before there is a record.
    pub(super) fn of_last_record(next: i64, page: i64, file: i64) -> Self {
        /// The headers of a page, and of a page that begins a file.
        const HEADERS: (i64, i64) = (24, 40);
        let header = if next % file < page { HEADERS.1 } else { HEADERS.0 };
        Self(if next % page == header { next - header } else { next })
    }
}

impl fmt::Display for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// What a place lacks of a mark; `None` if nothing.
pub(super) fn lacking(place: &Place, mark: &Mark) -> Option<Lack> {
    match (place.cluster == mark.cluster, place.is_replica) {
        (true, true) => lacking_of_replica(place, mark),
        (true, false) => lacking_of_namesake(place, mark),
        (false, true) => lacking_of_moment(place, mark).map(Lack::of),
        (false, false) => None,
    }
}

/// Of a replica of the fleet's cluster. On another timeline it may be the one that follows the fleet's, of which a standby
/// was promoted since the mark.
fn lacking_of_replica(place: &Place, mark: &Mark) -> Option<Lack> {
    if place.timeline != mark.timeline {
        let reason = format!(
            "it follows timeline {}, as far as it says, and the fleet's was {} when it was asked{FOLLOWS}",
            place.timeline, mark.timeline
        );
        return Some(Lack { reason, may_be_of_mark: true });
    }
    let lag = match place.wal {
        Some(replayed) if replayed >= mark.wal => None,
        Some(replayed) => Some(format!(
            "it lags behind: it has replayed the fleet's WAL up to {replayed}, and {} is needed",
            mark.wal
        )),
        None => Some("it does not say how far it has replayed the fleet's WAL".into()),
    };
    lag.map(Lack::of)
}

/// Of a server of the fleet's cluster that is no replica: the fleet's own, or one that was it.
fn lacking_of_namesake(place: &Place, mark: &Mark) -> Option<Lack> {
    if place.started == mark.started {
        return None;
    }
    let how = if place.timeline == mark.timeline {
        "it was started from a copy of its disk, or promoted on its own"
    } else {
        "it was promoted"
    };
    let far = match place.wal {
        Some(written) if place.timeline == mark.timeline && written < mark.wal => {
            format!(": its WAL ends at {written}, and {} is needed", mark.wal)
        }
        _ => String::new(),
    };
    let reason = format!(
        "it is of the fleet's cluster, and no replica of the fleet's database any more, since {how}{far}"
    );
    Some(Lack { reason, may_be_of_mark: true })
}

/// Of a replica of another cluster.
fn lacking_of_moment(place: &Place, mark: &Mark) -> Option<String> {
    match place.moment {
        Some(moment) if moment >= mark.moment => None,
        Some(moment) => Some(format!(
            "it lags behind: it is known to have replayed what was committed until {moment}, and {} is needed{MONITOR}",
            mark.moment
        )),
        None => Some(format!(
            "it lags behind, or does not say how far it has replayed: what was committed until {} is needed{MONITOR}",
            mark.moment
        )),
    }
}

const MONITOR: &str = " (its role sees that of a primary at rest only with `grant pg_monitor`)";

const FOLLOWS: &str = " (without `grant pg_monitor` its role sees a change of that some minutes late)";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn mark() -> Mark {
        let (started, moment) = (at("2026-11-01T00:00:00Z"), at("2026-11-28T02:00:00Z"));
        Mark { cluster: 7, started, timeline: 3, wal: Wal(1_000), moment }
    }

    fn check(place: &Place, expected: Option<&str>) {
        let lack = lacking(place, &mark());
        let is_expected = match (&lack, expected) {
            (None, None) => true,
            (Some(lack), Some(expected)) => lack.reason.contains(expected),
            _ => false,
        };
        assert!(is_expected, "{place:?}: {lack:?}");
    }

    /// A replica that was started by itself, and has replayed all.
    fn replica(cluster: i64) -> Place {
        let started = at("2026-11-02T00:00:00Z");
        Place { cluster, started, is_replica: true, timeline: 3, wal: Some(Wal(1_000)), moment: None }
    }

    #[test]
    fn a_replica_of_the_fleets_cluster_is_told_by_its_wal_and_by_no_clock() {
        let replica = Place { moment: Some(at("1970-01-01T00:00:00Z")), ..replica(7) };

        check(&replica, None);
        check(
            &Place { wal: Some(Wal(999)), moment: Some(at("2030-01-01T00:00:00Z")), ..replica.clone() },
            Some("up to 0/3E7, and 0/3E8 is needed"),
        );
        check(&Place { wal: None, ..replica.clone() }, Some("does not say"));
        check(
            &Place { timeline: 2, ..replica.clone() },
            Some("timeline 2, as far as it says, and the fleet's was 3"),
        );
        check(&Place { timeline: 4, wal: Some(Wal(9_000)), ..replica }, Some("pg_monitor"));
    }

    #[test]
    fn a_replica_on_another_timeline_may_be_right_and_the_mark_old_and_one_that_lags_behind_is_not() {
        let check = |place: Place, expected: bool| {
            let lack = lacking(&place, &mark());
            assert_eq!(lack.map(|lack| lack.may_be_of_mark), Some(expected), "{place:?}");
        };

        check(Place { timeline: 4, ..replica(7) }, true);
        check(Place { timeline: 2, ..replica(7) }, true);
        check(Place { wal: Some(Wal(999)), ..replica(7) }, false);
    }

    #[test]
    fn a_server_of_the_fleets_cluster_that_is_no_replica_is_the_fleets_own_or_is_not_read() {
        let own = Place { started: mark().started, is_replica: false, ..replica(7) };
        let copy = Place { is_replica: false, ..replica(7) };

        check(&own, None);
        check(&copy, Some("copy of its disk"));
        check(
            &Place { wal: Some(Wal(999)), ..copy.clone() },
            Some("its WAL ends at 0/3E7, and 0/3E8 is needed"),
        );
        check(&Place { wal: Some(Wal(9_000)), ..copy.clone() }, Some("copy of its disk"));
        check(&Place { timeline: 4, wal: Some(Wal(9_000)), ..copy.clone() }, Some("since it was promoted"));
        assert!(
            lacking(&copy, &mark()).is_some_and(|lack| lack.may_be_of_mark),
            "it may be the fleet's, started again"
        );
    }

    #[test]
    fn a_replica_of_another_cluster_is_told_by_what_was_committed_there() {
        let replica =
            Place { wal: Some(Wal(5)), timeline: 1, moment: Some(at("2026-11-28T02:00:00Z")), ..replica(8) };

        check(&replica, None);
        check(
            &Place { moment: Some(at("2026-11-28T01:59:59Z")), ..replica.clone() },
            Some("until 2026-11-28T01:59:59Z"),
        );
        check(&Place { moment: None, ..replica }, Some("pg_monitor"));
    }

    #[test]
    fn another_database_is_believed_and_its_wal_means_nothing() {
        check(&Place { is_replica: false, timeline: 9, wal: Some(Wal(5)), ..replica(8) }, None);
    }

    #[test]
    fn what_comes_next_behind_a_header_is_where_the_last_record_ends() {
        const PAGE: i64 = 8_192;
        const FILE: i64 = 16 << 20;
        let check = |next: i64, expected: i64| {
            assert_eq!(Wal::of_last_record(next, PAGE, FILE), Wal(expected), "{next}");
        };

        check(FILE + 3 * PAGE + 1_000, FILE + 3 * PAGE + 1_000);
        check(FILE + 3 * PAGE + 24, FILE + 3 * PAGE);
        check(FILE + 3 * PAGE + 40, FILE + 3 * PAGE + 40);
        check(FILE + 40, FILE);
        check(FILE + 24, FILE + 24);
    }

    #[test]
    fn a_place_is_written_as_postgresql_writes_it() {
        assert_eq!(Wal((2 << 32) + 0xAB_CDEF).to_string(), "2/ABCDEF");
    }
}
