//! Attempts at the chunks of two runs: one that is read from a server that does not answer, and one that fails by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use batch::{Attempt, AttemptId, ChunkId, ChunkRef, Priority, RunId, Verdict};
use jiff::Timestamp;
use store::{
    Assignment, Begin, CommitOutcome, Error, History, ModelVersion, ModelVersionId, Reading, Result,
    ResultRows, Standing, ValueTerms,
};
use tokio::time::sleep;

use super::*;
use crate::attempt::Ended;

/// Its store answers, and the server that histories are read from does not.
const AWAY: RunId = RunId(1);
const FAILS: RunId = RunId(2);

#[tokio::test(start_paused = true)]
async fn that_an_attempt_ends_says_the_way_is_free_for_it_alone_and_only_if_it_got_through() {
    let store = HalfAway::default();
    let bench = Arc::new(bench(store.clone()));
    let reason = || bench.config.troubles.work.reason();
    let waits = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { attempt(&bench, AWAY).await }
    });
    while reason().is_none() {
        sleep(Duration::from_millis(10)).await;
    }

    let failed = attempt(&bench, FAILS).await;
    let beside_it = reason();
    store.is_superseded.store(true, Ordering::Relaxed);
    let superseded = waits.await.unwrap();
    let behind_it = reason();
    let _ = attempt(&bench, FAILS).await;

    assert!(matches!((failed, superseded), (Ended::Failed, Ended::Superseded)));
    let away = "work on an attempt: read: it is away";
    assert_eq!((beside_it.as_deref(), behind_it.as_deref()), (Some(away), Some(away)));
    assert_eq!(reason(), None, "another one got through");
}

async fn attempt(bench: &Workbench<HalfAway, cache::Memory>, run: RunId) -> Ended {
    let chunk = ChunkRef { run, chunk: ChunkId(1) };
    let assignment = Assignment {
        attempt: AttemptId { chunk, attempt: Attempt(1) },
        customers: Vec::new(),
        losses: 0,
        is_whole: true,
        as_of: Timestamp::UNIX_EPOCH,
        model_version: ModelVersionId(run.0),
        terms: ValueTerms::default(),
    };
    let holding = Held::default().hold(chunk).expect("nobody holds it");
    bench.attempt(&assignment, Priority::Normal, &holding).await
}

fn bench(store: HalfAway) -> Workbench<HalfAway, cache::Memory> {
    let faults = FaultPlan::default();
    let valuation = Arc::new(Valuation::start(ComputeOn::TheCaller, None));
    let config = WorkerConfig {
        name: "worker".into(),
        lanes: vec![Lane::of_all_priorities(2)],
        requests: None,
        lease: Duration::from_secs(20),
        retry: RetryPolicy::default(),
        compute_on: ComputeOn::TheCaller,
        troubles: Troubles::default(),
        delays: Delays::reconnect,
        grace_period: Duration::from_secs(20),
        alive: Arc::new(|| {}),
        link: |_, _| {},
        faults,
    };
    Workbench { store, cache: cache::Memory::default(), valuation, gave_up: CancellationToken::new(), config }
}

/// A store that answers, but for what is read for one of the runs.
#[derive(Clone, Default)]
struct HalfAway {
    is_superseded: Arc<AtomicBool>,
}

impl Attempts for HalfAway {
    async fn begin_attempt(&self, _: ChunkRef, _: &str, _: Duration, _: bool) -> Result<Begin> {
        Ok(Begin::NoRun)
    }

    async fn renew_leases(&self, held: &[AttemptId], _: Duration) -> Result<Vec<AttemptId>> {
        Ok(held.to_vec())
    }

    async fn resume_attempt(&self, _: AttemptId, _: Duration) -> Result<Standing> {
        let is_superseded = self.is_superseded.load(Ordering::Relaxed);
        Ok(if is_superseded { Standing::Superseded } else { Standing::Held })
    }

    async fn fail_attempt(&self, _: AttemptId, _: &str, _: &RetryPolicy) -> Result<Option<Verdict>> {
        Ok(Some(Verdict::DeadLetter))
    }

    async fn give_back(&self, _: AttemptId) -> Result<()> {
        Ok(())
    }

    async fn wait_until_available(&self) {}
}

impl Values for HalfAway {
    async fn read_histories(&self, _: &Reading<'_>) -> Result<Vec<History>> {
        Ok(Vec::new())
    }

    async fn commit_attempt(&self, _: AttemptId, _: &ResultRows) -> Result<CommitOutcome> {
        Ok(CommitOutcome::Refused)
    }

    /// The first thing that is read. One that is missing is the chunk's own fault.
    async fn model_version(&self, version: ModelVersionId) -> Result<Option<ModelVersion>> {
        if version == ModelVersionId(AWAY.0) {
            return Err(Error::Unavailable { what: "read".into(), reason: "it is away".into() });
        }
        Ok(None)
    }
}
