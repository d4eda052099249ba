//! Tells of processes that were given one name and live at a time.
//!
//! They are told apart all the same: each name has a random part. So this is a warning, once for each name, and nothing is
//! refused. Workers are looked for in the story of the open runs' attempts, now and then and when a run is settled; a
//! coordinator that waits to lead sees whom it waits for, for longer than a dead one's lease lasts.
//!
//! # Failure by failure
//!
//! * **The store does not answer.** It is looked again some seconds later, also at the runs that were settled meanwhile,
//!   which may be over by then.
//! * **They never work at a time.** Then nobody notices, nor is anybody misled.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use batch::{Presence, RunId, namesakes};
use tokio::time::Instant;

/// How often it is looked for them while a run goes on.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The pause after a look in vain: a pass waits for each.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// When it was last looked for them, and who was told of.
#[derive(Debug, Default)]
pub(crate) struct Namesakes {
    looked_at: Option<Instant>,
    /// When it was last looked in vain.
    in_vain_at: Option<Instant>,
    /// The settled runs that were looked at, as long as they are open.
    settled: BTreeSet<RunId>,
    /// The settled runs that are yet to be looked at, open or not.
    unlooked: BTreeSet<RunId>,
    told: HashSet<String>,
}

impl Namesakes {
    /// Looks for them among those who worked on the open runs, if it is time or a run was settled since, by asking who
    /// that was; the names that were not told of yet.
    pub(crate) async fn look<Asked: Future<Output = store::Result<Vec<Presence>>>>(
        &mut self,
        open: &[RunId],
        settled: &[RunId],
        ask: impl FnOnce(Vec<RunId>) -> Asked,
    ) -> Vec<String> {
        let runs = self.due(open, settled);
        if runs.is_empty() {
            return Vec::new();
        }
        let Ok(presences) = ask(runs).await else {
            self.in_vain_at = Some(Instant::now());
            return Vec::new();
        };
        (self.looked_at, self.in_vain_at) = (Some(Instant::now()), None);
        self.settled.append(&mut self.unlooked);
        let found = namesakes(&presences).into_iter().map(str::to_owned);
        found.filter(|name| self.told.insert(name.clone())).collect()
    }

    /// The runs that are to be looked at now.
    fn due(&mut self, open: &[RunId], settled: &[RunId]) -> Vec<RunId> {
        self.settled.retain(|run| open.contains(run));
        self.unlooked.extend(settled.iter().filter(|run| !self.settled.contains(run)));
        let is_time = self.looked_at.get_or_insert_with(Instant::now).elapsed() >= LOOK_EVERY;
        let is_early = self.in_vain_at.is_some_and(|at| at.elapsed() < TRY_EVERY);
        if is_early || !is_time && self.unlooked.is_empty() {
            return Vec::new();
        }
        let over = self.unlooked.iter().filter(|run| !open.contains(run));
        open.iter().chain(over).copied().collect()
    }
}

/// Says that two living processes have one name.
pub(crate) fn tell(name: &str) {
    tracing::warn!(
        name,
        "two living processes were given one name: logs and dashboards cannot tell them apart, but for the random part; \
         give each its own (LTV_INSTANCE), or leave it out"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is asked of these runs is told whether the store answers; returns of which runs it was asked, if it was.
    async fn look(
        namesakes: &mut Namesakes,
        [open, settled]: [&[i64]; 2],
        answers: bool,
    ) -> Option<Vec<RunId>> {
        let runs = |numbers: &[i64]| -> Vec<RunId> { numbers.iter().copied().map(RunId).collect() };
        let mut asked = None;
        let ask = |runs| {
            asked = Some(runs);
            let away = || store::Error::Unavailable { what: "ask".into(), reason: "it is away".into() };
            std::future::ready(if answers { Ok(Vec::new()) } else { Err(away()) })
        };
        assert!(namesakes.look(&runs(open), &runs(settled), ask).await.is_empty());
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_in_vain_is_none_and_is_tried_again_not_too_soon() {
        let mut namesakes = Namesakes::default();
        let mut is_asked_after = async |seconds: u64, answers: bool, settled: &[i64]| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            look(&mut namesakes, [&[7], settled], answers).await.is_some()
        };

        assert!(!is_asked_after(0, true, &[]).await);
        assert!(is_asked_after(0, false, &[7]).await, "it is settled");
        assert!(!is_asked_after(1, true, &[7]).await, "too soon");
        assert!(is_asked_after(4, true, &[7]).await, "nobody has answered");
        assert!(!is_asked_after(5, true, &[7]).await, "it was looked at");
        assert!(is_asked_after(30, false, &[]).await);
        assert!(is_asked_after(5, true, &[]).await);
        assert!(!is_asked_after(5, true, &[]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_settled_run_is_looked_at_though_it_was_over_before_the_store_answered() {
        let mut namesakes = Namesakes::default();
        let mut asked_after = async |seconds: u64, answers: bool, runs: [&[i64]; 2]| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let asked = look(&mut namesakes, runs, answers).await;
            asked.map(|runs| runs.iter().map(|run| run.0).collect::<Vec<i64>>())
        };

        assert_eq!(asked_after(0, false, [&[7, 8], &[7]]).await, Some(vec![7, 8]));
        assert_eq!(asked_after(1, true, [&[8], &[8]]).await, None, "too soon");
        assert_eq!(asked_after(4, true, [&[9], &[]]).await, Some(vec![9, 7, 8]), "neither was looked at");
        assert_eq!(asked_after(5, true, [&[9], &[]]).await, None, "both were");
        assert_eq!(asked_after(0, true, [&[9], &[9]]).await, Some(vec![9]));
        assert_eq!(asked_after(5, true, [&[9], &[9]]).await, None, "once");
        assert_eq!(asked_after(60, true, [&[], &[]]).await, None, "nobody works");
    }
}
