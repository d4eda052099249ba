//! When a run will be finished, judged by the work that is committed.

use std::time::Duration;

use jiff::Timestamp;

use super::DeadlinePolicy;
use super::pace::Pace;
use crate::Progress;

/// How a run stands against its deadline. [`DeadlinePolicy`] has the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It will be finished with time to spare, or it is too early to tell.
    OnTrack,
    /// It will be finished with little time to spare, or a little late.
    AtRisk,
    /// At its pace it needs much longer than it has.
    Infeasible,
    /// The deadline is over.
    Missed,
}

impl Outlook {
    /// The words for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnTrack => "on track",
            Self::AtRisk => "at risk",
            Self::Infeasible => "infeasible",
            Self::Missed => "missed",
        }
    }
}

/// What a run's committed work says about its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// When it will be finished; `None` while nothing is committed.
    pub finish_at: Option<Timestamp>,
    /// How that stands against the deadline.
    pub outlook: Outlook,
}

/// Predicts a run's end from its mean pace since it was planned.
///
/// Committed work alone counts. While nothing is committed there is no pace: the outlook is judged by the time
/// that is left, never by an estimate of zero.
pub fn forecast(
    progress: &Progress,
    planned_at: Timestamp,
    deadline_at: Timestamp,
    now: Timestamp,
    policy: &DeadlinePolicy,
) -> Forecast {
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    let elapsed = seconds(planned_at, now).max(0.0);
    let allowed = seconds(planned_at, deadline_at).max(0.0);
    if now > deadline_at {
        return Forecast { finish_at: None, outlook: Outlook::Missed };
    }

    let share = progress.share();
    let Some(pace) = Pace::mean(share, elapsed) else {
        let is_late = elapsed > policy.silent_share * allowed;
        let outlook = if is_late { Outlook::AtRisk } else { Outlook::OnTrack };
        return Forecast { finish_at: None, outlook };
    };

    let left = pace.seconds_left(share);
    let outlook = match left / seconds(now, deadline_at).max(f64::MIN_POSITIVE) {
        ratio if ratio > policy.infeasible_above => Outlook::Infeasible,
        ratio if ratio > policy.at_risk_above => Outlook::AtRisk,
        _ => Outlook::OnTrack,
    };
    let finish_at = Duration::try_from_secs_f64(left).ok().and_then(|left| now.checked_add(left).ok());
    Forecast { finish_at, outlook }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn progress(share: f64) -> Progress {
        Progress { work: 1_000.0, work_settled: 1_000.0 * share, ..Progress::default() }
    }

    fn check(share: f64, now: i64, finish: Option<i64>, outlook: Outlook) {
        let found = forecast(&progress(share), at(0), at(1_800), at(now), &DeadlinePolicy::default());

        assert_eq!(found, Forecast { finish_at: finish.map(at), outlook }, "share {share} at {now} s");
    }

    #[test]
    fn the_pace_of_committed_work_gives_the_finish() {
        check(0.5, 600, Some(1_200), Outlook::OnTrack);
        check(0.25, 400, Some(1_600), Outlook::OnTrack);
        check(0.25, 440, Some(1_760), Outlook::AtRisk);
        check(0.25, 900, Some(3_600), Outlook::Infeasible);
        check(1.0, 900, Some(900), Outlook::OnTrack);
    }

    #[test]
    fn without_committed_work_nothing_is_promised() {
        check(0.0, 0, None, Outlook::OnTrack);
        check(0.0, 1_000, None, Outlook::AtRisk);
    }

    #[test]
    fn after_the_deadline_it_is_missed() {
        check(0.99, 1_801, None, Outlook::Missed);
    }
}
