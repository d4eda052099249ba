//! Keeps the cache told which runs readers may see.
//!
//! # Failure by failure
//!
//! * **The cache is away, or was emptied.** It is told which runs are visible as soon as it answers, after the values of
//!   partial runs and whose they are have been written to it again. Until then its readers are sent to the store.
//! * **It was emptied while it was told, or loses single keys.** No reader takes that for a customer whom a run does not
//!   hold ([`Cache::value`]). Each partial run is looked through, and written again if anything is missing: every few
//!   seconds, but no more than a hundredth of the time goes into it, and no less than once a minute.
//! * **Something stands there that nobody can read.** It is replaced in the same pass, as if nothing had been there.
//! * **The cache names what the store has never shown, or is yet to show:** the database went back to a backup and the
//!   cache did not. Seen at the next look, since the list is read before the store is asked and versions only grow. The
//!   list gives way to one that names nothing, behind which nothing comes back that was told before and arrives late,
//!   and is told anew; a warning says so. What the cache holds of the runs that are lost stays until the identity is
//!   renewed (`ltv installation renew`) or it expires: nothing of it is named, but new runs get the same numbers.
//! * **A run's values cannot be read.** Behind that run nothing is named, and the cache's readers are sent to the store.

use std::time::Duration;

use batch::RunId;
use cache::{Cache, Valued, VisibleRuns};
use resilience::trouble::{Kind, Trouble};
use store::Supervision;
use tokio::time::Instant;

use crate::kind_of;

/// How often the cache is asked whether it still knows.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// How often at least partial runs are looked through, and how much of the time may go into it: a store whose rows must be
/// read again and again, because the cache loses them, has better things to do.
const LOOK_EVERY: Duration = Duration::from_mins(1);
const SHARE_OF_TIME: u32 = 100;

/// Customers read from the store at a time.
const PAGE: u32 = 20_000;

/// What the cache was last seen to know.
#[derive(Debug, Default)]
pub(crate) struct Publication {
    checked_at: Option<Instant>,
    /// When partial runs are looked through again.
    look_at: Option<Instant>,
}

impl Publication {
    /// Tells the cache about the visible runs if it does not know them: when a run has finished, and every few
    /// seconds, in case it was emptied or away.
    pub(crate) async fn bring_up_to_date<S: Supervision, C: Cache>(
        &mut self,
        store: &S,
        cache: &C,
        has_finished: bool,
        trouble: &Trouble,
    ) {
        let is_due = self.checked_at.is_none_or(|checked| checked.elapsed() >= CHECK_EVERY);
        if !is_due && !has_finished {
            return;
        }
        self.checked_at = Some(Instant::now());
        match self.tell(store, cache).await {
            Ok(()) => trouble.over(),
            Err(Untold { reason, kind }) => trouble.met(reason, kind),
        }
    }

    async fn tell<S: Supervision, C: Cache>(&mut self, store: &S, cache: &C) -> Result<(), Untold> {
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
                clear(cache, &known, &visible).await?;
                None
            }
            known => known,
        };
        if visible.runs.is_empty() {
            return Ok(());
        }
        let Some(known) = known.filter(|known| known.version >= visible.version) else {
            self.look_at = None;
            return tell_anew(store, cache, visible).await;
        };
        let began = Instant::now();
        if self.look_at.is_some_and(|at| at > began) {
            return Ok(());
        }
        put_again_what_is_missing(store, cache, &visible.runs, &known.runs).await?;
        let pause = began.elapsed().saturating_mul(SHARE_OF_TIME).clamp(CHECK_EVERY, LOOK_EVERY);
        self.look_at = Some(Instant::now() + pause);
        Ok(())
    }
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

/// Writes the values of partial runs again that the cache names and does not hold, or not all of.
async fn put_again_what_is_missing<S: Supervision, C: Cache>(
    store: &S,
    cache: &C,
    visible: &[RunId],
    named: &[RunId],
) -> Result<(), Untold> {
    let (_, partial) = visible.split_last().expect("there is a visible run");
    for &run in partial.iter().filter(|run| named.contains(run)) {
        let is_here = cache.holds_all(run).await?;
        if !is_here && let Err(Failed::Untold(untold)) = put_run(store, cache, run).await {
            return Err(untold);
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
    use super::*;

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
