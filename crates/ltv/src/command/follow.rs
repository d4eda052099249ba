//! Waiting for a run: what a person is told meanwhile, and for how long it is waited.
//!
//! The run needs none of this: it goes on when the command is ended.
//!
//! # Failure by failure
//!
//! * **Nobody leads, or nobody takes the run's work.** Said within seconds, once, and again when it is another.
//! * **The store is away.** Said once; it is asked again until it is back, or until the time is over.
//! * **The run does not end.** Given up a stated time after its deadline.

use std::fmt;
use std::mem::discriminant;
use std::time::Duration;

use anyhow::{Context, bail};
use batch::{DeadlinePolicy, Progress, RunId, forecast};
use jiff::Timestamp;
use store::{Archive, Planning, RunRecord, Staffing};
use tokio::time::{Instant, sleep};

use super::held;
use super::runs::took;
use crate::output::{RunBar, duration};
use crate::stdout::{note, say};

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often it is asked who is at work on it.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// How a run is followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    /// Whether a bar, or lines, show how far it is.
    pub shows_progress: bool,
    /// So long after its deadline it is waited for, and its fleet is looked at meanwhile; none where the roles are this
    /// process's own.
    pub past_deadline: Option<Duration>,
}

/// Follows a run of a store until it is over or held, and fails unless it is finished.
pub(crate) async fn follow(
    store: &(impl Planning + Archive),
    run: RunId,
    following: Following,
) -> anyhow::Result<()> {
    let mut bar = following.shows_progress.then(RunBar::new);
    let mut watch = following.past_deadline.map(Watch::new);
    let record = loop {
        match store.run(run).await {
            Ok(record) => {
                let record = record.with_context(|| format!("there is no run {run}"))?;
                if !record.state.is_open() {
                    break record;
                }
                if let Some(bar) = &mut bar {
                    show(store, bar, &record).await;
                }
                if let Some(watch) = &mut watch {
                    watch.look(store, &record).await;
                }
            }
            // The run goes on without us; so do we when the store is back.
            Err(error) if error.is_transient() => {
                if let Some(watch) = &mut watch {
                    watch.tell(Some(Missing::Store(error.to_string())));
                }
                sleep(ASK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(watch) = &watch
            && watch.is_over()
        {
            bail!(
                "run {run} is not over, and no longer waited for; it goes on, and `ltv runs watch {run}` follows it"
            );
        }
        sleep(LOOK_EVERY).await;
    };
    if let Some(bar) = bar {
        bar.finish();
        say!("run {run} is {} after {}", record.state, duration(took(&record, record.planned_at)))?;
    }
    held::is_shown(&record)
}

async fn show(store: &impl Planning, bar: &mut RunBar, record: &RunRecord) {
    let Ok(now) = store.now().await else { return };
    let policy = DeadlinePolicy::default();
    let seen = forecast(&record.progress, record.planned_at, record.deadline_at, now, &policy);
    bar.show(&record.progress, &seen, now, now.duration_since(record.planned_at).unsigned_abs());
}

/// Who or what a run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    Leader,
    Workers,
    Store(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str(
                "no coordinator leads, and without one it does not end: start `ltv coordinator`, or read its log",
            ),
            Self::Workers => {
                f.write_str("no worker holds a chunk of it: start `ltv worker`, or read its log")
            }
            Self::Store(error) => write!(f, "waiting for the store: {error}"),
        }
    }
}

/// Who is missing for a run to go on.
fn missing(staffing: &Staffing, progress: &Progress) -> Option<Missing> {
    if staffing.leader.is_none() {
        Some(Missing::Leader)
    } else if staffing.held == 0 && !progress.is_settled() {
        Some(Missing::Workers)
    } else {
        None
    }
}

/// What has been seen of the fleet while a run is waited for.
struct Watch {
    gives_up_at: Instant,
    /// Whether that is after the deadline already.
    knows_deadline: bool,
    asked_at: Instant,
    /// The sum of what was done when it was asked last.
    settled: u64,
    told: Option<Missing>,
}

impl Watch {
    fn new(past_deadline: Duration) -> Self {
        let now = Instant::now();
        let gives_up_at = now + past_deadline;
        Self { gives_up_at, knows_deadline: false, asked_at: now, settled: 0, told: None }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.gives_up_at
    }

    /// Asks, now and then, who is at work on the run, and says who is missing.
    async fn look(&mut self, store: &(impl Planning + Archive), record: &RunRecord) {
        if self.asked_at.elapsed() < ASK_EVERY {
            return;
        }
        self.asked_at = Instant::now();
        let (now, staffing) = (store.now().await.ok(), store.staffing(record.run).await.ok());
        self.hear(now, staffing.as_ref(), record.deadline_at, &record.progress);
    }

    /// Hears of the clock and of who is at work, each where it is known: how long to wait rests on the clock alone.
    fn hear(
        &mut self,
        now: Option<Timestamp>,
        staffing: Option<&Staffing>,
        deadline_at: Timestamp,
        progress: &Progress,
    ) {
        if let Some(now) = now
            && !std::mem::replace(&mut self.knows_deadline, true)
        {
            self.gives_up_at += Duration::try_from(deadline_at.duration_since(now)).unwrap_or_default();
        }
        let Some(staffing) = staffing else { return };
        let settled = progress.done + progress.dead;
        // Between two chunks a worker holds none.
        let is_moving = settled != std::mem::replace(&mut self.settled, settled);
        let missing = missing(staffing, progress).filter(|who| !is_moving || *who != Missing::Workers);
        self.tell(missing);
    }

    /// Says it once, whatever the store's error says the next time.
    fn tell(&mut self, missing: Option<Missing>) {
        if let Some(missing) = &missing
            && self.told.as_ref().map(discriminant) != Some(discriminant(missing))
        {
            note!("  {missing}");
        }
        self.told = missing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staffing(leader: Option<&str>, held: u64) -> Staffing {
        Staffing { leader: leader.map(str::to_owned), held }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_learnt_whoever_is_known_to_be_at_work_and_once() {
        let (now, deadline) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let mut watch = Watch::new(Duration::from_secs(5));
        let gives_up_at = watch.gives_up_at;
        let progress = Progress { chunks: 1, ..Progress::default() };

        watch.hear(None, Some(&staffing(Some("c"), 1)), deadline, &progress);
        assert_eq!(watch.gives_up_at, gives_up_at, "no clock was read");
        watch.hear(Some(now), None, deadline, &progress);
        watch.hear(Some(now), Some(&staffing(Some("c"), 1)), deadline, &progress);

        assert_eq!(watch.gives_up_at, gives_up_at + Duration::from_mins(1));
    }

    #[test]
    fn it_is_said_who_is_missing_and_the_leader_first() {
        let half = Progress { chunks: 4, done: 2, ..Progress::default() };
        let settled = Progress { chunks: 4, done: 3, dead: 1, ..Progress::default() };

        assert_eq!(missing(&staffing(None, 0), &half), Some(Missing::Leader));
        assert_eq!(missing(&staffing(None, 2), &settled), Some(Missing::Leader));
        assert_eq!(missing(&staffing(Some("c"), 0), &half), Some(Missing::Workers));
        assert_eq!(missing(&staffing(Some("c"), 1), &half), None);
        assert_eq!(missing(&staffing(Some("c"), 0), &settled), None, "it is about to be finished");
    }
}
