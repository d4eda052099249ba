//! Keeps the cache told which runs readers may see.
//!
//! # Failure by failure
//!
//! * **The cache is away, or was emptied.** It is told which runs are visible as soon as it answers, after the values of
//!   partial runs and whose they are have been written to it again. Until then its readers are sent to the store. A list
//!   that was told in vain is told again after as long as that took, a newer one at once.
//! * **It was emptied while it was told, or loses single keys.** No reader takes that for a customer whom a run does not
//!   hold ([`Cache::value`]). Each partial run is looked through, and written again if anything is missing: every few
//!   seconds where that is done in a moment, else a minute later, and in no more than half of the time, however long it
//!   takes.
//! * **A partial run is large, or either of the two is slow or hangs.** Runs are written by a task of its own, beside the
//!   passes: meanwhile chunks are rescued and published, and runs are finished, as ever. There is one such task at a time.
//!   Looking through gives way to a list that is to be told. Both are given up when the term ends, and the next leader
//!   begins anew.
//! * **The coordinator is asked to stop.** Looking through is given up at once; a list that is being told has some seconds.
//! * **Something stands there that nobody can read.** A list is replaced as if nothing had been there, and so is what
//!   stands in the way of a write. Of partial runs each value is read by the look through them, and if one is damaged the
//!   run is written again, which a warning says. Of the last run, the whole one, nobody looks at the values: those who
//!   read a damaged one are sent to the store until the next such run, as if it were lost.
//! * **The cache names what the store has never shown, or is yet to show:** the database went back to a backup and the
//!   cache did not. Seen at the next look, since the list is read before the store is asked and versions only grow. The
//!   list gives way to one that names nothing, behind which nothing comes back that was told before and arrives late,
//!   and is told anew; a warning says so. What the cache holds of the runs that are lost stays until the identity is
//!   renewed (`ltv installation renew`) or it expires: nothing of it is named, but new runs get the same numbers.
//! * **A run's values cannot be read.** Behind that run nothing is named, and the cache's readers are sent to the store.

use std::time::Duration;

use batch::RunId;
use cache::{Cache, Holds, REPLACED, Valued, VisibleRuns};
use resilience::trouble::{Kind, Trouble};
use store::Supervision;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::kind_of;

/// How often the cache is asked whether it still knows.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// How long after a look through partial runs comes the next one: so many times as long as it took, within these limits,
/// and no less than it took. A store whose rows must be read again and again, because the cache loses them, has better
/// things to do.
const PAUSES: (Duration, Duration) = (CHECK_EVERY, Duration::from_mins(1));
const TIMES_AS_LONG: u32 = 100;

/// Customers read from the store at a time.
const PAGE: u32 = 20_000;

/// What the cache was last seen to know, and what is written to it.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    checked_at: Option<Instant>,
    /// When partial runs are looked through again.
    look_at: Option<Instant>,
    /// The list that was told in vain, by its version, and when it is told again, at the earliest.
    in_vain: Option<(i64, Instant)>,
    task: JoinSet<Written>,
    under_way: Option<UnderWay>,
    /// A newer list than the one that is being told is to be told.
    is_news: bool,
    /// The last that was to be written was not.
    is_in_vain: bool,
}

/// What is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    /// What partial runs lack.
    Look,
    /// The list of this version, after the values of its partial runs.
    Tell(i64),
}

/// What came of it, and how long it took.
#[derive(Debug)]
struct Written {
    result: Result<(), Untold>,
    took: Duration,
}

/// What there is to be written.
enum Work {
    Look(Vec<RunId>),
    Tell(VisibleRuns),
}

impl Publication {
    /// Has the cache told about the visible runs if it does not know them: when a run has finished, and every few
    /// seconds, in case it was emptied or away. What takes long goes on when this returns.
    pub(crate) async fn bring_up_to_date<S: Supervision, C: Cache>(
        &mut self,
        store: &S,
        cache: &C,
        has_finished: bool,
        trouble: &Trouble,
    ) {
        while let Some(joined) = self.task.try_join_next() {
            self.end(joined, trouble);
        }
        let is_due = self.checked_at.is_none_or(|checked| checked.elapsed() >= CHECK_EVERY);
        if !is_due && !has_finished && !self.has_news() {
            return;
        }
        self.checked_at = Some(Instant::now());
        if self.under_way.is_none() {
            // What is found now is all that there is.
            self.is_news = false;
        }
        match self.check(store, cache).await {
            Ok(Some(work)) if self.may_begin(&work) => self.begin(store, cache, work),
            Ok(Some(_)) => {}
            Ok(None) if self.is_in_vain => {}
            Ok(None) => trouble.over(),
            Err(Untold { reason, kind }) => trouble.met(reason, kind),
        }
    }

    /// Whether there is a newer list to be told than the one that was.
    pub(crate) fn has_news(&self) -> bool {
        self.is_news && self.under_way.is_none()
    }

    /// Waits until the list that is being told is, and gives up everything else.
    pub(crate) async fn is_told(&mut self, trouble: &Trouble) {
        if self.under_way == Some(UnderWay::Look) {
            self.give_up();
        }
        while let Some(joined) = self.task.join_next().await {
            self.end(joined, trouble);
        }
    }

    /// Leaves it to whoever leads.
    pub(crate) fn leads_no_more(&mut self) {
        *self = Self::default();
    }

    /// Asks both what they know, and says what is to be written now.
    async fn check<S: Supervision, C: Cache>(
        &mut self,
        store: &S,
        cache: &C,
    ) -> Result<Option<Work>, Untold> {
        let known = match cache.visible().await {
            Ok(known) => known,
            Err(error) if error.is_transient() => return Err(error.into()),
            // What nobody can read says nothing, and is replaced.
            Err(_) => None,
        };
        let visible = store.visible_runs().await?;
        let visible = VisibleRuns { version: visible.version, runs: visible.runs };
        let known = match known {
            Some(known) if is_of_another_past(&known, &visible) => {
                // It may be about runs that are no more.
                self.give_up();
                clear(cache, &known, &visible).await?;
                None
            }
            known => known,
        };
        let Some((_, partial)) = visible.runs.split_last() else {
            self.is_in_vain = false;
            return Ok(None);
        };
        let Some(known) = known.filter(|known| known.version >= visible.version) else {
            return Ok(Some(Work::Tell(visible)));
        };
        let partial: Vec<RunId> = partial.iter().copied().filter(|run| known.runs.contains(run)).collect();
        if partial.is_empty() {
            self.is_in_vain = false;
        }
        let is_early = self.look_at.is_some_and(|at| at > Instant::now());
        Ok((!partial.is_empty() && !is_early).then_some(Work::Look(partial)))
    }

    /// Whether something may be written now: beside nothing, or in the place of what can wait.
    fn may_begin(&mut self, work: &Work) -> bool {
        match (self.under_way, work) {
            (Some(UnderWay::Tell(version)), work) => {
                self.is_news = matches!(work, Work::Tell(visible) if visible.version > version);
                false
            }
            (Some(UnderWay::Look), Work::Look(_)) => false,
            (None, Work::Look(_)) => true,
            (_, Work::Tell(visible)) => self
                .in_vain
                .is_none_or(|(version, again_at)| visible.version > version || again_at <= Instant::now()),
        }
    }

    fn begin<S: Supervision, C: Cache>(&mut self, store: &S, cache: &C, work: Work) {
        self.give_up();
        self.is_news = false;
        let (store, cache) = (store.clone(), cache.clone());
        self.under_way = Some(match &work {
            Work::Look(_) => UnderWay::Look,
            Work::Tell(visible) => UnderWay::Tell(visible.version),
        });
        self.task.spawn(async move {
            let began = Instant::now();
            let result = match work {
                Work::Look(runs) => put_again_what_is_missing(&store, &cache, &runs).await,
                Work::Tell(visible) => tell_anew(&store, &cache, visible).await,
            };
            Written { result, took: began.elapsed() }
        });
    }

    /// Gives up what is under way: what is dropped is cancelled by the store.
    fn give_up(&mut self) {
        self.task = JoinSet::new();
        self.under_way = None;
    }

    fn end(&mut self, joined: Result<Written, JoinError>, trouble: &Trouble) {
        let Written { result, took } = match joined {
            Ok(written) => written,
            Err(error) if error.is_cancelled() => return,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let now = Instant::now();
        match self.under_way.take() {
            Some(UnderWay::Look) => self.look_at = Some(now + pause_after(took)),
            Some(UnderWay::Tell(version)) => {
                self.look_at = None;
                self.in_vain = result.is_err().then(|| (version, now + took));
            }
            None => {}
        }
        self.is_in_vain = result.is_err();
        match result {
            Ok(()) => trouble.over(),
            Err(Untold { reason, kind }) => trouble.met(reason, kind),
        }
    }
}

/// How long partial runs are left alone after a look that took so long.
fn pause_after(took: Duration) -> Duration {
    let (shortest, longest) = PAUSES;
    took.saturating_mul(TIMES_AS_LONG).clamp(shortest, longest).max(took)
}

/// Why the cache was not told, and whether that passes by itself.
#[derive(Debug, PartialEq, Eq)]
struct Untold {
    reason: String,
    kind: Kind,
}

impl From<store::Error> for Untold {
    fn from(error: store::Error) -> Self {
        Self { kind: kind_of(&error), reason: error.to_string() }
    }
}

impl From<cache::Error> for Untold {
    fn from(error: cache::Error) -> Self {
        let kind = if error.is_transient() { Kind::Passing } else { Kind::Lasting };
        Self { reason: error.to_string(), kind }
    }
}

/// Writes the values of partial runs and whose they are, then names the visible runs.
async fn tell_anew<S: Supervision, C: Cache>(
    store: &S,
    cache: &C,
    visible: VisibleRuns,
) -> Result<(), Untold> {
    // All but the last are partial. Where the cache lacks a customer in the last one, the store is asked; where it lacks
    // one in the others, an older run must be tried, and the readers must be able to tell that from what was lost.
    let (_, partial) = visible.runs.split_last().expect("there is a visible run");
    let mut named = visible.runs.clone();
    for (place, &run) in partial.iter().enumerate() {
        match put_run(store, cache, run).await {
            Ok(()) => {}
            Err(Failed::Unreadable(error)) => {
                // Behind a run that cannot be told nothing is named: what it holds is not known.
                tracing::warn!(run.id = %run, %error, "readers of the cache are sent to the store for older runs");
                named.truncate(place);
                break;
            }
            Err(Failed::Untold(untold)) => return Err(untold),
        }
    }
    let visible = VisibleRuns { version: visible.version, runs: named };
    cache.put_visible(&visible).await?;
    Ok(())
}

/// Whether what the cache names cannot have been told by this store. It was read before the store was asked, so it is
/// not newer; and of the same version it is the same list, or its beginning where the rest could not be told.
fn is_of_another_past(named: &VisibleRuns, visible: &VisibleRuns) -> bool {
    named.version > visible.version
        || named.version == visible.version && !visible.runs.starts_with(&named.runs)
}

/// Lets nothing be named in the place of a list of another past, unless somebody has replaced it meanwhile. What a
/// coordinator was about to tell before is not taken for news: only the version that is visible now is newer.
async fn clear<C: Cache>(cache: &C, known: &VisibleRuns, visible: &VisibleRuns) -> Result<(), Untold> {
    let nothing = VisibleRuns { version: visible.version - 1, runs: Vec::new() };
    if cache.replace_visible(known, &nothing).await? {
        tracing::warn!(
            named = ?known.runs,
            known = known.version,
            visible = visible.version,
            "the cache named runs of another past: the database went back, and readers are told anew; `ltv \
             installation renew` keeps what is left of it from being read"
        );
    }
    Ok(())
}

/// Writes the values of those of the partial runs again that the cache does not hold, or not all of, or not as they were
/// written.
async fn put_again_what_is_missing<S: Supervision, C: Cache>(
    store: &S,
    cache: &C,
    partial: &[RunId],
) -> Result<(), Untold> {
    for &run in partial {
        let held = cache.holds_all(run).await?;
        if held == Holds::All {
            continue;
        }
        match put_run(store, cache, run).await {
            Ok(()) if held == Holds::Damaged => tracing::warn!(run.id = %run, "{REPLACED}"),
            Ok(()) | Err(Failed::Unreadable(_)) => {}
            Err(Failed::Untold(untold)) => return Err(untold),
        }
    }
    Ok(())
}

/// Why a run's values were not written to the cache.
enum Failed {
    /// One of the two did not answer, or the store has to be mended. What is named now stays named until then.
    Untold(Untold),
    /// The store's rows cannot be understood: another release wrote them.
    Unreadable(store::Error),
}

/// Writes the values of a run, and whose they are.
async fn put_run<S: Supervision, C: Cache>(store: &S, cache: &C, run: RunId) -> Result<(), Failed> {
    let mut after = None;
    let mut members = Vec::new();
    loop {
        let page = store.values_after(run, after, PAGE).await.map_err(|error| match error {
            store::Error::Invalid { .. } => Failed::Unreadable(error),
            error => Failed::Untold(error.into()),
        })?;
        let Some(last) = page.last() else { break };
        after = Some(last.customer);
        let values: Vec<Valued> =
            page.iter().map(|valued| Valued::of(valued.customer, &valued.value)).collect();
        cache.put_values(run, &values).await.map_err(|error| Failed::Untold(error.into()))?;
        members.extend(values.iter().map(|valued| valued.customer));
    }
    cache.put_members(run, &members).await.map_err(|error| Failed::Untold(error.into()))
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use store::memory::Memory;
    use store::promises::{accounts, as_of};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    fn list(version: i64) -> Work {
        Work::Tell(VisibleRuns { version, runs: vec![RunId(2), RunId(1)] })
    }

    fn look() -> Work {
        Work::Look(vec![RunId(2)])
    }

    #[test]
    fn looks_take_half_of_the_time_at_most() {
        let check = |took: u64, expected: u64| {
            assert_eq!(pause_after(Duration::from_millis(took)), Duration::from_millis(expected), "{took}");
        };

        check(0, 5_000);
        check(50, 5_000);
        check(300, 30_000);
        check(600, 60_000);
        check(60_000, 60_000);
        check(600_000, 600_000);
    }

    #[tokio::test(start_paused = true)]
    async fn one_thing_is_written_at_a_time_and_looking_gives_way_to_news() {
        let may_begin = |under_way, work: &Work| {
            let mut publication = Publication { under_way, ..Publication::default() };
            (publication.may_begin(work), publication.is_news)
        };

        assert_eq!(may_begin(None, &look()), (true, false));
        assert_eq!(may_begin(None, &list(7)), (true, false));
        assert_eq!(may_begin(Some(UnderWay::Look), &look()), (false, false));
        assert_eq!(may_begin(Some(UnderWay::Look), &list(7)), (true, false));
        assert_eq!(may_begin(Some(UnderWay::Tell(7)), &look()), (false, false));
        assert_eq!(may_begin(Some(UnderWay::Tell(7)), &list(7)), (false, false));
        assert_eq!(may_begin(Some(UnderWay::Tell(7)), &list(8)), (false, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_in_vain_is_told_again_after_as_long_as_that_took_and_what_is_newer_at_once() {
        let (mut publication, trouble) = (Publication::default(), Trouble::new("tell the cache"));
        publication.under_way = Some(UnderWay::Tell(7));
        let result = Err(Untold { reason: "it is full".into(), kind: Kind::Passing });

        publication.end(Ok(Written { result, took: Duration::from_mins(1) }), &trouble);

        assert_eq!(trouble.reason(), Some("tell the cache: it is full".into()));
        assert!(!publication.may_begin(&list(7)));
        assert!(publication.may_begin(&list(8)), "nobody has told it yet");
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(publication.may_begin(&list(7)));
    }

    /// It was told by somebody else, and then the cache is asked every few seconds, as ever, and not with each pass.
    #[tokio::test(start_paused = true)]
    async fn news_that_turned_out_to_be_known_is_no_news() {
        let (store, cache) = (Memory::new(accounts(), as_of()), cache::Memory::new());
        let (mut publication, trouble) = (Publication::default(), Trouble::new("tell the cache"));
        publication.is_news = true;
        assert!(publication.has_news());

        publication.bring_up_to_date(&store, &cache, false, &trouble).await;

        assert!(!publication.has_news());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_given_up_when_the_term_ends() {
        let mut publication = Publication { under_way: Some(UnderWay::Tell(7)), ..Publication::default() };
        let (goes_on, ended) = oneshot::channel::<()>();
        publication.task.spawn(async move {
            let _goes_on = goes_on;
            pending().await
        });

        publication.leads_no_more();

        assert_eq!((publication.task.len(), publication.under_way), (0, None));
        let ended = timeout(Duration::from_secs(1), ended).await.expect("the task does not live on");
        assert!(ended.is_err(), "it was dropped");
    }

    #[test]
    fn what_somebody_has_to_mend_is_told_as_such() {
        let (what, reason) = ("read a page of values".to_owned(), "permission denied".to_owned());
        let broken = store::Error::Broken { what: what.clone(), reason: reason.clone() };
        let away = store::Error::Unavailable { what, reason };

        assert_eq!(Untold::from(broken).kind, Kind::Lasting);
        assert_eq!(Untold::from(away).kind, Kind::Passing);
        assert_eq!(Untold::from(cache::Error::Malformed("a list".into())).kind, Kind::Lasting);
        assert_eq!(Untold::from(cache::Error::Unavailable("it is away".into())).kind, Kind::Passing);
    }
}
