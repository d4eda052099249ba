//! One comparison, piece by piece.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use batch::{CustomerId, InRun, Movements, RunId, Steps, Worth};
use model::{Account, Rejection};
use store::{
    Archive, Both, Comparison, Comparisons, GoOn, Held, History, ModelVersion, Past, RunRecord, Span, Values,
};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::revaluation::{Pasts, Revaluation};
use crate::{Mover, metrics};

/// The longest rest between two pieces.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// How work on a comparison ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It is complete.
    Complete {
        /// How many customers were compared, since it was taken.
        customers: u64,
    },
    /// It can never be made.
    Impossible(String),
    /// A run is open.
    Later,
    /// Somebody else has it.
    Lost,
}

/// Why work on a comparison does not go on.
enum Stuck {
    Store(store::Error),
    Impossible(String),
}

impl From<store::Error> for Stuck {
    fn from(error: store::Error) -> Self {
        match error {
            // What is stored makes no sense, and will make no more sense the next time.
            store::Error::Invalid { .. } => Self::Impossible(error.to_string()),
            error => Self::Store(error),
        }
    }
}

impl From<JoinError> for Stuck {
    fn from(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                match text {
                    Some(text) => Self::Impossible(format!("computing panicked: {text}")),
                    None => resume_unwind(panic),
                }
            }
            Err(_) => Self::Impossible("computing was given up".into()),
        }
    }
}

/// Two runs that are compared: what it takes to revalue somebody, and the segments.
struct Runs {
    revaluation: Revaluation,
    segments: Both<Vec<Option<String>>>,
}

impl<S: Comparisons + Archive + Values> Mover<S> {
    /// Works on a comparison for as long as it goes.
    pub(crate) async fn compare(&self, comparison: &Comparison) -> Result<End, store::Error> {
        match self.piece_by_piece(comparison).await {
            Ok(end) => Ok(end),
            Err(Stuck::Store(error)) => Err(error),
            Err(Stuck::Impossible(reason)) => {
                self.store.give_up_comparison(comparison, &reason).await?;
                Ok(End::Impossible(reason))
            }
        }
    }

    async fn piece_by_piece(&self, comparison: &Comparison) -> Result<End, Stuck> {
        let revaluation = self.revaluation(comparison).await?;
        let runs = Arc::new(Runs { revaluation, segments: comparison.segments.clone() });
        let (mut after, mut customers) = (comparison.after, 0);
        loop {
            let began = Instant::now();
            let Some(piece) = self.store.next_piece(comparison, after).await? else { break };
            let span = Span { after, up_to: piece.up_to, customers: piece.customers.len() as u64 };
            let moved = self.moved(&runs, piece.customers).await?;
            match self.store.add_piece(comparison, span, &moved, self.config.lease).await? {
                GoOn::Next => {}
                GoOn::Later => return Ok(End::Later),
                GoOn::Lost => return Ok(End::Lost),
            }
            after = Some(span.up_to);
            customers += span.customers;
            // Half the time is left to whoever asks.
            sleep(began.elapsed().min(LONGEST_REST)).await;
        }
        let is_ours = self.store.complete_comparison(comparison, after).await?;
        Ok(if is_ours { End::Complete { customers } } else { End::Lost })
    }

    /// What moved among some customers.
    async fn moved(&self, runs: &Arc<Runs>, customers: Vec<Both<Option<Held>>>) -> Result<Movements, Stuck> {
        let count = customers.len();
        let (movements, to_ask) = busy({
            let runs = Arc::clone(runs);
            move || without_the_source(&runs, customers)
        })
        .await?;
        metrics::compared(count, to_ask.len());
        if to_ask.is_empty() {
            return Ok(movements);
        }
        let pasts = self.pasts(&runs.revaluation, &to_ask).await?;
        let runs = Arc::clone(runs);
        busy(move || with_the_source(&runs, movements, &to_ask, pasts)).await
    }

    /// What the source says of customers about both moments.
    async fn pasts(&self, revaluation: &Revaluation, of: &[Both<Held>]) -> Result<Vec<Pasts>, store::Error> {
        let customers: Vec<CustomerId> = of.iter().map(|both| both.now.customer).collect();
        let [known, then, later, now] = revaluation.looks().map(|look| Past {
            customers: &customers,
            until: look.until,
            observed_until: look.observed_until,
            currency: revaluation.currency(),
            contracts: look.contracts,
        });
        let known = accounts(self.store.read_past(&known).await?);
        let then = accounts(self.store.read_past(&then).await?);
        let later = accounts(self.store.read_past(&later).await?);
        let now = accounts(self.store.read_past(&now).await?);
        let all = known.zip(then).zip(later.zip(now));
        Ok(all.map(|((known, then), (later, now))| Pasts { known, then, later, now }).collect())
    }

    async fn revaluation(&self, comparison: &Comparison) -> Result<Revaluation, Stuck> {
        let Some(before) = comparison.before else {
            return Err(Stuck::Impossible("there is no run before it".into()));
        };
        if let Some(obstacle) = &comparison.obstacle {
            return Err(Stuck::Impossible(format!("of run {before}: {obstacle}")));
        }
        let (before, now) = (self.pinned(before).await?, self.pinned(comparison.run).await?);
        let (was, is) = (before.1.currency, now.1.currency);
        if was != is {
            return Err(Stuck::Impossible(format!("run {} is in {was}, and this one in {is}", before.0.run)));
        }
        let built = spawn_blocking(move || Revaluation::new(before, now)).await?;
        Ok(built)
    }

    async fn pinned(&self, run: RunId) -> Result<(RunRecord, ModelVersion), Stuck> {
        let record = self.store.run(run).await?;
        let record = record.ok_or_else(|| Stuck::Impossible(format!("run {run} is not there any more")))?;
        let version = record.model_version;
        let model = self.store.model_version(version).await?;
        let model = model.ok_or_else(|| Stuck::Impossible(format!("model version {version} is missing")))?;
        Ok((record, model))
    }
}

/// Does what keeps a thread busy off the asynchronous ones.
async fn busy<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stuck> {
    Ok(spawn_blocking(work).await?)
}

fn accounts(histories: Vec<History>) -> impl Iterator<Item = Result<Account, Rejection>> {
    let mut histories = histories;
    // Who was read by himself, because his rows fail, comes last.
    histories.sort_unstable_by_key(|history| history.customer);
    histories.into_iter().map(|history| history.account)
}

/// Adds everybody whose movement can be told from what the two runs hold; returns the others.
fn without_the_source(runs: &Runs, customers: Vec<Both<Option<Held>>>) -> (Movements, Vec<Both<Held>>) {
    let (mut movements, mut to_ask) = (Movements::default(), Vec::new());
    for Both { before, now } in customers {
        let (before, now) = match (before, now) {
            (Some(before), Some(now)) => (before, now),
            (before, now) => {
                let nobody = InRun { segment: None, worth: Worth::Absent };
                let was = before.as_ref().map_or(nobody, |held| in_run(&runs.segments.before, held));
                let is = now.as_ref().map_or(nobody, |held| in_run(&runs.segments.now, held));
                movements.add(was, is, &Steps::default());
                continue;
            }
        };
        let steps = match (&before.valued, &now.valued) {
            (Some(was), Some(is)) => runs.revaluation.by_themselves(was, is),
            _ => Some(Steps::default()),
        };
        match steps {
            Some(steps) => add(&mut movements, runs, &before, &now, &steps),
            None => to_ask.push(Both { before, now }),
        }
    }
    (movements, to_ask)
}

fn with_the_source(
    runs: &Runs,
    mut movements: Movements,
    customers: &[Both<Held>],
    pasts: Vec<Pasts>,
) -> Movements {
    for (Both { before, now }, pasts) in customers.iter().zip(pasts) {
        let steps = match (&before.valued, &now.valued) {
            (Some(was), Some(is)) => runs.revaluation.by_source(was, is, pasts),
            _ => Steps::default(),
        };
        add(&mut movements, runs, before, now, &steps);
    }
    movements
}

fn add(movements: &mut Movements, runs: &Runs, before: &Held, now: &Held, steps: &Steps) {
    let (was, is) = (in_run(&runs.segments.before, before), in_run(&runs.segments.now, now));
    movements.add(was, is, steps);
}

fn in_run<'a>(segments: &'a [Option<String>], held: &Held) -> InRun<'a> {
    InRun {
        segment: segments.get(held.segment as usize).and_then(Option::as_deref),
        worth: held
            .valued
            .as_ref()
            .map_or(Worth::Rejected, |valued| Worth::Valued(valued.value.value_minor())),
    }
}
