//! Which coordinator leads.
//!
//! Any number of coordinators may run; one leads, under a term that the store issues and that only grows. The lease is
//! renewed beside the passes, because finishing a large run takes longer than a lease. Leadership saves work; it is not
//! what keeps a night correct.
//!
//! # Failure by failure
//!
//! * **The leader dies.** Its lease runs out and another takes a new term.
//! * **The leader is stopped, and comes back when another leads.** What it does then is guarded by its old term, or
//!   harmless: publishing twice makes a duplicate, and progress that it saw long ago is behind what the cache knows and
//!   changes nothing there. Its next renewal tells it that it leads no more.
//! * **Two lead for a moment.** Every action is guarded by the state that it expects; one of them finds nothing left to
//!   do.
//! * **The leader's broker is away,** and not that of others. After half a minute it gives way: it gives its lease up and
//!   keeps out of the way until everybody who waits has asked for it. If nobody else takes it, nobody can do better; it
//!   leads on, and gives way again when the broker has been away for twice as long, and so on.
//! * **The clock was set back after the leader had died.** Its lease ends in the far future. Nobody believes one that ends
//!   later than his own would.
//! * **The store is away, or read-only.** Whoever led goes on believing so: the store's guard decides when it is back. The
//!   reason is told once, and the process is not ready.

use std::time::Duration;

use batch::given_name;
use store::{Supervision, Term};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{CoordinatorConfig, kind_of, namesakes};

/// How long the broker may be away before a leader gives way for the first time.
const GIVE_WAY_AFTER: Duration = Duration::from_secs(30);

/// What a coordinator does about the leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bid {
    /// Takes or renews it.
    Lead,
    /// Gives it up.
    GiveWay,
    /// Leaves it to others for now.
    StandAside,
}

/// What a coordinator knows of itself when it bids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    leads: bool,
    /// How long its broker has been away.
    broker_away: Option<Duration>,
    /// How long ago it gave way.
    gave_way: Option<Duration>,
    /// How often it gave way since its broker went away.
    times: u32,
}

/// Decides what to do about the leadership.
fn bid(standing: Standing, lease: Duration) -> Bid {
    let Standing { leads, broker_away, gave_way, times } = standing;
    let Some(away) = broker_away else { return Bid::Lead };
    // Everybody asks three times in a lease.
    if gave_way.is_some_and(|ago| ago < lease / 2) {
        return Bid::StandAside;
    }
    let patience = GIVE_WAY_AFTER.saturating_mul(1 << times.min(16));
    if leads && away >= patience { Bid::GiveWay } else { Bid::Lead }
}

/// Takes the leadership when it is free and renews it, three times in a lease, for ever.
pub(crate) async fn keep_leading<S: Supervision>(
    store: S,
    config: CoordinatorConfig,
    led: watch::Sender<Option<Term>>,
    broker_away_since: watch::Receiver<Option<Instant>>,
) {
    let mut renewal = interval(config.leadership_lease / 3);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bidding = Bidding::default();
    loop {
        renewal.tick().await;
        let (before, away_since) = (*led.borrow(), *broker_away_since.borrow());
        let term = match bidding.ask(&store, &config, before, away_since).await {
            Ok(term) => {
                config.troubles.leadership.over();
                term
            }
            // The store's guard decides; keep what we believe until it answers.
            Err(error) => {
                config.troubles.leadership.met(&error, kind_of(&error));
                continue;
            }
        };
        led.send_if_modified(|before| {
            let is_changed = *before != term;
            if is_changed {
                tracing::info!(coordinator = %config.name, ?term, "leadership changed");
            }
            *before = term;
            is_changed
        });
        bidding.tell_who_leads(&store, &config, term).await;
    }
}

/// What a coordinator remembers of its bids.
#[derive(Debug, Default)]
struct Bidding {
    /// When it gave way, and how often since its broker went away.
    gave_way: Option<Instant>,
    times: u32,
    /// The one whose lease it waits for, of whom it told, and since when.
    awaited: Option<(String, Instant)>,
    has_told_of_namesake: bool,
}

impl Bidding {
    /// Does about the leadership what is to be done; under which term it leads then.
    async fn ask<S: Supervision>(
        &mut self,
        store: &S,
        config: &CoordinatorConfig,
        leads: Option<Term>,
        away_since: Option<Instant>,
    ) -> store::Result<Option<Term>> {
        if away_since.is_none() {
            self.times = 0;
        }
        let standing = Standing {
            leads: leads.is_some(),
            broker_away: away_since.map(|since| since.elapsed()),
            gave_way: self.gave_way.map(|at| at.elapsed()),
            times: self.times,
        };
        match (bid(standing, config.leadership_lease), leads) {
            (Bid::GiveWay, Some(term)) => {
                tracing::warn!(coordinator = %config.name, "gives way: its broker is away");
                (self.gave_way, self.times) = (Some(Instant::now()), self.times.saturating_add(1));
                store.abdicate(&config.name, term).await.map(|()| None)
            }
            (Bid::StandAside, _) => Ok(None),
            (Bid::Lead | Bid::GiveWay, _) => store.lead(&config.name, config.leadership_lease).await,
        }
    }

    /// Says whose lease it waits for, once of each.
    async fn tell_who_leads<S: Supervision>(
        &mut self,
        store: &S,
        config: &CoordinatorConfig,
        term: Option<Term>,
    ) {
        if term.is_some() {
            self.awaited = None;
            return;
        }
        let Ok(Some(leader)) = store.leader().await else { return };
        match &self.awaited {
            Some((awaited, since)) if *awaited == leader => {
                // A dead one's lease would have ended by now.
                let is_alive = since.elapsed() > config.leadership_lease.saturating_mul(2);
                let has_our_name = given_name(&leader) == given_name(&config.name);
                if is_alive && has_our_name && !std::mem::replace(&mut self.has_told_of_namesake, true) {
                    namesakes::tell(given_name(&leader));
                }
            }
            _ => {
                tracing::info!(coordinator = %config.name, %leader, "waits for the lease of the one that leads");
                self.awaited = Some((leader, Instant::now()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn check(standing: Standing, expected: Bid) {
        assert_eq!(bid(standing, LEASE), expected, "{standing:?}");
    }

    #[test]
    fn a_leader_gives_way_when_its_broker_has_been_away_for_long() {
        let leader = Standing { leads: true, ..Standing::default() };
        let away = |seconds| Standing { broker_away: Some(Duration::from_secs(seconds)), ..leader };

        check(leader, Bid::Lead);
        check(away(29), Bid::Lead);
        check(away(30), Bid::GiveWay);
        check(Standing { leads: false, ..away(30) }, Bid::Lead);
    }

    #[test]
    fn who_gave_way_lets_the_others_ask_and_leads_on_if_nobody_can_do_better() {
        let away = |seconds, ago| Standing {
            broker_away: Some(Duration::from_secs(seconds)),
            gave_way: Some(Duration::from_secs(ago)),
            times: 1,
            leads: false,
        };

        check(away(34, 4), Bid::StandAside);
        check(away(35, 5), Bid::Lead);
        check(Standing { leads: true, ..away(59, 29) }, Bid::Lead);
        check(Standing { leads: true, ..away(60, 30) }, Bid::GiveWay);
        check(Standing { broker_away: None, ..away(34, 4) }, Bid::Lead);
    }
}
