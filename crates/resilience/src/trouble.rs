//! What stands in a process's way: told once, and kept for whoever asks whether the process is ready.
//!
//! What fails is tried again, at a pace of its own, and each try fails with much the same words. The first of them is a
//! warning, or an error where somebody has to mend it; the others are for whoever debugs; that it goes again is told too.
//! Several may do the same thing beside each other, as the slots of a worker: each is a [`Party`], and the way is free
//! when it is for all of them.
//!
//! # Failure by failure
//!
//! * **It passes by itself and has to be mended, in turns.** Each kind is told once. What has to be mended stands until
//!   it goes: the same try will meet it again.
//! * **Something else has to be mended.** That is told as well, up to [`MOST_TOLD`] reasons: the words may differ each
//!   time.
//! * **A party ends before it went.** Nobody knows then whether the way is free. What it met stands until another party
//!   gets through, and no longer than [`LEFT_FOR`], since there may be nothing left to do. That counts from its own end,
//!   whoever ends after it: of each kind the latest is kept.

use std::fmt::Display;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many reasons that somebody has to mend are told until it goes.
pub const MOST_TOLD: usize = 5;

/// How long that stands which was met by parties that are no more.
pub const LEFT_FOR: Duration = Duration::from_mins(1);

/// Something that a process does again and again, and whether it goes. A clone is another handle to it.
#[derive(Clone, Debug)]
pub struct Trouble {
    what: &'static str,
    seen: Arc<Mutex<Seen>>,
}

/// One of those who do it beside each other, for as long as it tries.
#[derive(Debug)]
pub struct Party {
    trouble: Trouble,
    number: u64,
}

/// Whether it passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does, as far as is known.
    Passing,
    /// Somebody has to mend it.
    Lasting,
}

/// Why it did not go.
#[derive(Debug)]
struct Met {
    reason: String,
    kind: Kind,
}

/// All that stands in the way at present, and what was told of it.
#[derive(Debug, Default)]
struct Seen {
    /// Parties that ever were.
    parties: u64,
    /// Those for whom it does not go, the latest last.
    met: Vec<(u64, Met)>,
    /// What parties met that are no more, and when they ended: of each kind the latest, the last of them last.
    left: Vec<(Met, Instant)>,
    told: Told,
}

/// What was told since it last went.
#[derive(Debug, Default)]
struct Told {
    passing: bool,
    lasting: Vec<String>,
}

/// The party of whoever does it alone.
const ALONE: u64 = 0;

impl Trouble {
    /// Nothing is in the way of it, so far; `what` names what is done, as in "begin an attempt".
    pub fn new(what: &'static str) -> Self {
        Self { what, seen: Arc::default() }
    }

    /// Somebody who does it beside others.
    pub fn party(&self) -> Party {
        let mut seen = self.lock();
        seen.parties += 1;
        Party { trouble: self.clone(), number: ALONE + seen.parties }
    }

    /// It did not go, for whoever does it alone. Told the first time of each kind.
    pub fn met(&self, reason: impl Display, kind: Kind) {
        self.met_by(ALONE, Met { reason: reason.to_string(), kind });
    }

    /// It went, for whoever does it alone.
    pub fn over(&self) {
        self.over_for(ALONE);
    }

    /// Why it does not go, if so.
    pub fn reason(&self) -> Option<String> {
        self.lock().standing().map(|met| format!("{}: {}", self.what, met.reason))
    }

    fn met_by(&self, party: u64, met: Met) {
        let (what, reason) = (self.what, &met.reason);
        let mut seen = self.lock();
        match met.kind {
            _ if !seen.is_news(&met) => tracing::debug!(what, reason, "it still does not go"),
            Kind::Passing => tracing::warn!(what, reason, "it does not go, and is tried again"),
            Kind::Lasting => tracing::error!(what, reason, "it does not go until somebody mends this"),
        }
        seen.note(party, met);
    }

    fn over_for(&self, party: u64) {
        if self.lock().goes_for(party) {
            tracing::info!(what = self.what, "it goes again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Party {
    /// It did not go. Told the first time of each kind, whichever party it was.
    pub fn met(&self, reason: impl Display, kind: Kind) {
        self.trouble.met_by(self.number, Met { reason: reason.to_string(), kind });
    }

    /// It went, which says nothing of other parties that are in trouble, and mends what was left by those that are no
    /// more.
    pub fn over(&self) {
        self.trouble.over_for(self.number);
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.trouble.lock().leave(self.number);
    }
}

impl Seen {
    /// What stands in the way: what somebody has to mend before what passes, and the latest of each.
    fn standing(&self) -> Option<&Met> {
        let is_lasting = |met: &&Met| met.kind == Kind::Lasting;
        let left = self.left.iter().rev().filter(|(_, since)| since.elapsed() < LEFT_FOR);
        let met = || self.met.iter().rev().map(|(_, met)| met).chain(left.clone().map(|(met, _)| met));
        met().find(is_lasting).or_else(|| met().next())
    }

    /// Whether this is to be told; it counts as told from now on.
    fn is_news(&mut self, met: &Met) -> bool {
        if self.standing().is_none() {
            (self.left, self.told) = (Vec::new(), Told::default());
        }
        match met.kind {
            Kind::Passing => !mem::replace(&mut self.told.passing, true),
            Kind::Lasting => {
                let lasting = &mut self.told.lasting;
                let is_news = lasting.len() < MOST_TOLD && !lasting.contains(&met.reason);
                if is_news {
                    lasting.push(met.reason.clone());
                }
                is_news
            }
        }
    }

    fn note(&mut self, party: u64, met: Met) {
        let met = match self.take(party) {
            Some(before) if before.kind == Kind::Lasting && met.kind == Kind::Passing => before,
            _ => met,
        };
        self.met.push((party, met));
    }

    /// Whether that was the last thing in the way.
    fn goes_for(&mut self, party: u64) -> bool {
        let was_standing = self.standing().is_some();
        let _ = self.take(party);
        self.left.clear();
        let is_over = was_standing && self.met.is_empty();
        if is_over {
            self.told = Told::default();
        }
        is_over
    }

    fn leave(&mut self, party: u64) {
        let Some(met) = self.take(party) else { return };
        self.left.retain(|(before, _)| before.kind != met.kind);
        self.left.push((met, Instant::now()));
    }

    fn take(&mut self, party: u64) -> Option<Met> {
        let place = self.met.iter().position(|(number, _)| *number == party)?;
        Some(self.met.remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(reason: &str, kind: Kind) -> Met {
        Met { reason: reason.into(), kind }
    }

    #[test]
    fn the_latest_reason_stands_until_it_goes() {
        let begin = Trouble::new("begin");
        let seen = begin.clone();

        begin.met("refused", Kind::Passing);
        begin.met("no such table", Kind::Lasting);
        let reason = seen.reason();
        begin.over();

        assert_eq!(reason.as_deref(), Some("begin: no such table"));
        assert_eq!(seen.reason(), None);
    }

    #[test]
    fn what_has_to_be_mended_stands_though_it_passes_by_itself_in_turns_with_it() {
        let begin = Trouble::new("begin");

        begin.met("no such table", Kind::Lasting);
        begin.met("refused", Kind::Passing);

        assert_eq!(begin.reason().as_deref(), Some("begin: no such table"));
    }

    #[test]
    fn each_kind_is_told_once_until_it_goes_and_other_things_to_mend_a_bounded_number_of_times() {
        let mut seen = Seen::default();
        let tell = |seen: &mut Seen, reason: &str, kind| {
            let is_news = seen.is_news(&met(reason, kind));
            seen.note(1, met(reason, kind));
            is_news
        };

        let in_turns = [Kind::Passing, Kind::Lasting].repeat(3);
        let told: Vec<bool> = in_turns.iter().map(|kind| tell(&mut seen, "no", *kind)).collect();
        let others = (0..100).filter(|number| tell(&mut seen, &number.to_string(), Kind::Lasting)).count();
        assert!(seen.goes_for(1));
        let anew = tell(&mut seen, "no", Kind::Passing);

        assert_eq!(told, [true, true, false, false, false, false]);
        assert_eq!(others, MOST_TOLD - 1);
        assert!(anew);
    }

    #[test]
    fn what_goes_for_one_says_nothing_of_the_others() {
        let work = Trouble::new("work");
        let (one, other) = (work.party(), work.party());

        one.met("refused", Kind::Passing);
        other.over();
        let still = work.reason();
        other.met("lags", Kind::Passing);
        one.over();
        let of_the_other = work.reason();
        other.over();

        assert_eq!(still.as_deref(), Some("work: refused"));
        assert_eq!(of_the_other.as_deref(), Some("work: lags"));
        assert_eq!(work.reason(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_party_met_that_is_no_more_stands_until_another_gets_through_and_not_for_ever() {
        let work = Trouble::new("work");
        let (one, other) = (work.party(), work.party());
        one.met("refused", Kind::Passing);
        drop(one);
        let left = work.reason();
        other.over();
        let through = work.reason();

        other.met("refused", Kind::Passing);
        drop(other);
        tokio::time::advance(LEFT_FOR).await;

        assert_eq!((left.as_deref(), through), (Some("work: refused"), None));
        assert_eq!(work.reason(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_stood_its_time_is_not_called_back_by_a_party_that_ends_later() {
        let work = Trouble::new("work");
        let (one, other) = (work.party(), work.party());
        one.met("no such table", Kind::Lasting);
        drop(one);
        other.met("refused", Kind::Passing);

        tokio::time::advance(LEFT_FOR).await;
        drop(other);

        assert_eq!(work.reason().as_deref(), Some("work: refused"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_stands_its_own_time_whoever_ends_meanwhile() {
        let work = Trouble::new("work");
        let half = LEFT_FOR / 2;
        let leave = |reason: &str, kind| work.party().met(reason, kind);

        leave("no such table", Kind::Lasting);
        tokio::time::advance(half).await;
        leave("refused", Kind::Passing);
        let meanwhile = work.reason();
        tokio::time::advance(half).await;
        let then = work.reason();
        leave("lags", Kind::Passing);
        tokio::time::advance(half).await;
        let of_the_last = work.reason();
        tokio::time::advance(half).await;

        assert_eq!(meanwhile.as_deref(), Some("work: no such table"));
        assert_eq!(then.as_deref(), Some("work: refused"), "what has to be mended stood its time");
        assert_eq!(of_the_last.as_deref(), Some("work: lags"));
        assert_eq!(work.reason(), None);
    }
}
