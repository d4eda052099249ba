//! The store as a process reaches it: over a network, and as the world allows.

use std::time::Duration;

use batch::{
    AttemptId, ChunkRef, CustomerId, Evidence, OpenRuns, Outcome, Presence, RetryPolicy, RunId, Verdict,
    WorkSample,
};
use jiff::Timestamp;
use store::{
    Attempts, Begin, Blocker, CommitOutcome, CreatedRun, Error, Figured, Figuring, FinishedRun, History,
    Hold, ModelVersion, ModelVersionId, NewRun, Planning, Publishing, Reading, Result, ResultRows, Selection,
    Standing, Supervision, Term, Valued, Values, VisibleRuns,
};

use tokio::time::sleep;

use super::call::{Call, Server};
use super::fault::Fault;
use super::process::Process;
use super::source::Source;
use super::world::{Obstacle, World};

/// A process's handle to the store.
#[derive(Clone)]
pub(super) struct RemoteStore<S> {
    pub(super) inner: S,
    pub(super) world: World,
    pub(super) process: Process,
    /// How long reading a chunk's histories takes, at the longest.
    pub(super) work: Duration,
    /// What they are read from.
    pub(super) source: Source,
}

impl<S> RemoteStore<S> {
    /// Makes a call: it may fail before it takes effect, or its answer may be lost; the caller sees the same.
    pub(super) async fn call<T>(&self, call: Call, effect: impl Future<Output = Result<T>>) -> Result<T> {
        let what = || call.as_str().to_owned();
        let away = |reason: String| Error::Unavailable { what: what(), reason };
        let fate = self.world.before(&self.process, call).await.map_err(|obstacle| match obstacle {
            Obstacle::Away(reason) => away(reason),
            Obstacle::Broken(reason) => Error::Broken { what: what(), reason },
        })?;
        let answer = effect.await;
        self.world.after(&self.process, fate).await.map_err(away)?;
        answer
    }
}

impl<S: Planning> Planning for RemoteStore<S> {
    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }

    async fn selected(&self, selection: &Selection, as_of: Timestamp) -> Result<Vec<CustomerId>> {
        self.call(Call::Select, self.inner.selected(selection, as_of)).await
    }

    async fn work_sample(&self) -> Result<WorkSample> {
        self.call(Call::SampleWork, self.inner.work_sample()).await
    }

    async fn model_version_to_pin(&self, named: Option<ModelVersionId>) -> Result<Option<ModelVersionId>> {
        self.call(Call::FindModelVersion, self.inner.model_version_to_pin(named)).await
    }

    async fn run_of_night(&self, night: &str) -> Result<Option<CreatedRun>> {
        self.call(Call::FindRun, self.inner.run_of_night(night)).await
    }

    async fn create_run(&self, new: &NewRun) -> Result<CreatedRun> {
        self.call(Call::CreateRun, self.inner.create_run(new)).await
    }
}

impl<S: Publishing> Publishing for RemoteStore<S> {
    async fn trace_of(&self, run: RunId) -> Result<Vec<(String, String)>> {
        self.call(Call::ReadTrace, self.inner.trace_of(run)).await
    }

    async fn mark_published(&self, run: RunId, chunks: &[AttemptId]) -> Result<()> {
        self.call(Call::MarkPublished, self.inner.mark_published(run, chunks)).await
    }
}

impl<S: Attempts> Attempts for RemoteStore<S> {
    async fn begin_attempt(
        &self,
        chunk: ChunkRef,
        worker: &str,
        lease: Duration,
        is_repeat: bool,
    ) -> Result<Begin> {
        let world = &self.world;
        let effect = async {
            let begun = self.inner.begin_attempt(chunk, worker, lease, is_repeat).await;
            if is_repeat {
                world.enter(|ledger| ledger.asked_to_begin(chunk, worker));
            }
            if let Ok(Begin::Assigned(assignment)) = &begun {
                world.enter(|ledger| ledger.begun(assignment.attempt, worker));
            }
            begun
        };
        let begun = self.call(Call::Begin, effect).await?;
        if let Begin::Assigned(assignment) = &begun {
            world.enter(|ledger| ledger.answered(assignment.attempt));
            world.tell(format_args!("{worker} begins {}", assignment.attempt));
        }
        Ok(begun)
    }

    async fn renew_leases(&self, held: &[AttemptId], lease: Duration) -> Result<Vec<AttemptId>> {
        self.call(Call::Renew, self.inner.renew_leases(held, lease)).await
    }

    async fn resume_attempt(&self, attempt: AttemptId, lease: Duration) -> Result<Standing> {
        let effect = async {
            self.world.enter(|ledger| ledger.asked(attempt));
            self.inner.resume_attempt(attempt, lease).await
        };
        self.call(Call::Resume, effect).await
    }

    async fn fail_attempt(
        &self,
        attempt: AttemptId,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        let effect = async {
            let verdict = self.inner.fail_attempt(attempt, reason, policy).await;
            if let Ok(Some(_)) = verdict {
                self.world.enter(|ledger| ledger.ended(attempt, Outcome::Failed));
            }
            verdict
        };
        self.call(Call::Fail, effect).await
    }

    async fn give_back(&self, attempt: AttemptId) -> Result<()> {
        let effect = async {
            self.world.enter(|ledger| ledger.ended(attempt, Outcome::GivenBack));
            self.inner.give_back(attempt).await
        };
        let given = self.call(Call::GiveBack, effect).await;
        if given.is_err() {
            self.world.enter(|ledger| ledger.given_in_vain(attempt));
        }
        given
    }

    async fn wait_until_available(&self) {
        self.world.wait_for(Server::Store).await;
    }
}

impl<S: Values> Values for RemoteStore<S> {
    async fn read_histories(&self, reading: &Reading<'_>) -> Result<Vec<History>> {
        let longest = self.work.as_millis() as u64;
        sleep(self.world.draw(|chance| chance.millis(0..longest + 1))).await;
        let effect = async { Ok(self.source.read(self.inner.read_histories(reading).await?)) };
        self.call(Call::ReadHistories, effect).await
    }

    async fn commit_attempt(&self, attempt: AttemptId, rows: &ResultRows) -> Result<CommitOutcome> {
        let effect = async {
            let outcome = self.inner.commit_attempt(attempt, rows).await;
            if let Ok(CommitOutcome::Committed) = outcome {
                self.world.enter(|ledger| ledger.committed(attempt));
            }
            outcome
        };
        let outcome = self.call(Call::Commit, effect).await?;
        self.world.tell(format_args!("{} commits {attempt}: {outcome:?}", self.process.name()));
        Ok(outcome)
    }

    async fn model_version(&self, version: ModelVersionId) -> Result<Option<ModelVersion>> {
        self.call(Call::ReadModelVersion, self.inner.model_version(version)).await
    }
}

impl<S: Supervision> Supervision for RemoteStore<S> {
    async fn lead(&self, leader: &str, lease: Duration) -> Result<Option<Term>> {
        self.call(Call::Lead, self.inner.lead(leader, lease)).await
    }

    async fn leader(&self) -> Result<Option<String>> {
        self.inner.leader().await
    }

    async fn abdicate(&self, leader: &str, term: Term) -> Result<()> {
        self.call(Call::Abdicate, self.inner.abdicate(leader, term)).await
    }

    async fn snapshot(&self) -> Result<OpenRuns> {
        self.call(Call::Snapshot, self.inner.snapshot()).await
    }

    /// Of no consequence but for a warning.
    async fn presences(&self, runs: &[RunId]) -> Result<Vec<Presence>> {
        self.inner.presences(runs).await
    }

    /// No clock is set back in these nights.
    async fn shorten_lease(&self, term: Term, attempt: AttemptId, lease: Duration) -> Result<bool> {
        self.inner.shorten_lease(term, attempt, lease).await
    }

    async fn rescue(&self, term: Term, attempt: AttemptId, verdict: Verdict) -> Result<bool> {
        let effect = async {
            let is_rescued = self.inner.rescue(term, attempt, verdict).await;
            if let Ok(true) = is_rescued {
                self.world.rescued(attempt);
            }
            is_rescued
        };
        let is_rescued = self.call(Call::Rescue, effect).await?;
        if is_rescued {
            self.world.tell(format_args!("{} rescues {attempt}: {verdict:?}", self.process.name()));
        }
        Ok(is_rescued)
    }

    async fn evidence(&self, run: RunId) -> Result<Option<Evidence>> {
        self.call(Call::Compare, self.inner.evidence(run)).await
    }

    async fn hold_run(&self, term: Term, run: RunId, hold: &Hold) -> Result<bool> {
        let is_held = self.call(Call::Hold, self.inner.hold_run(term, run, hold)).await?;
        if is_held {
            self.world.tell(format_args!("{} holds run {run}: {hold}", self.process.name()));
        }
        Ok(is_held)
    }

    async fn finish_run(&self, term: Term, run: RunId) -> Result<Option<FinishedRun>> {
        let effect = async {
            if self.world.strikes(Fault::Locked, format_args!("run {run}")) {
                let reader = Blocker { pid: 1, application: "pg_dump".into(), ..Blocker::default() };
                return Err(Error::Blocked { what: Call::Finish.to_string(), by: vec![reader] });
            }
            self.inner.finish_run(term, run).await
        };
        let finished = self.call(Call::Finish, effect).await?;
        if finished.is_some() {
            self.world.tell(format_args!("{} finishes run {run}", self.process.name()));
        }
        Ok(finished)
    }

    async fn values_after(&self, run: RunId, after: Option<CustomerId>, limit: u32) -> Result<Vec<Valued>> {
        self.call(Call::ReadValues, self.inner.values_after(run, after, limit)).await
    }

    async fn visible_runs(&self) -> Result<VisibleRuns> {
        self.call(Call::ListVisible, self.inner.visible_runs()).await
    }
}

/// No run in memory is due for figures.
impl<S: Figuring> Figuring for RemoteStore<S> {
    async fn runs_without_figures(&self, limit: u32) -> Result<Vec<RunId>> {
        self.inner.runs_without_figures(limit).await
    }

    async fn compute_figures(&self, run: RunId) -> Result<Figured> {
        self.inner.compute_figures(run).await
    }
}
