//! The roles of the fleet in one process, on seams in memory: the same plan, the same attempts, the same values.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use batch::{Limits, PlanPolicy, Priority, RetryPolicy, RunId, SupervisePolicy};
use coordinator::{Coordinator, CoordinatorConfig, Troubles, Unfinishable};
use dispatcher::{Dispatcher, Order};
use jiff::Timestamp;
use model::ValueTerms;
use queue::memory::Broker;
use resilience::Delays;
use store::memory::{Accounts, Memory};
use store::{ModelVersionId, ModelVersions, NewModelVersion, Selection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use worker::{ComputeOn, FaultPlan, Lane, Worker, WorkerConfig};

/// What a night says that was asked to stop.
pub const STOPPED: &str = "stopped before the night was over; nothing was written";

/// How long a lease lasts. Nobody but us is there to take a chunk over.
const LEASE: Duration = Duration::from_secs(20);

/// How far apart passes are, at most. A pass costs microseconds where no server is asked.
const PASS_INTERVAL: Duration = Duration::from_millis(100);

/// A night to be lived through.
pub struct Night {
    /// Who is valued.
    pub base: Accounts,
    /// By which models.
    pub version: NewModelVersion,
    /// By which rates.
    pub terms: ValueTerms,
    /// For which moment.
    pub as_of: Timestamp,
    /// Within which time.
    pub deadline: Duration,
    /// Customers in a chunk of average work.
    pub chunk_customers: u32,
    /// Threads that compute.
    pub threads: NonZeroUsize,
    /// What the clock shows when the night begins.
    pub now: Timestamp,
    /// How the roles carry their traces.
    pub telemetry: Telemetry,
}

/// How traces are carried from one role to the next.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry {
    /// Reads the context of the present span, as pairs.
    pub trace_context: fn() -> Vec<(String, String)>,
    /// Links an attempt's span to the trace that the message carries.
    pub link: fn(&tracing::Span, &[(String, String)]),
}

impl Night {
    /// Lives through the night; afterwards the store holds the finished run. Fails if a role does, or if it is asked to
    /// stop. `follow` watches the run until it is over.
    pub async fn live(
        self,
        stop: &CancellationToken,
        follow: impl AsyncFnOnce(&Memory, RunId) -> Result<()>,
    ) -> Result<(Memory, RunId)> {
        let Self { base, version, terms, as_of, deadline, chunk_customers, threads, now, telemetry } = self;
        let (store, broker) = (Memory::new(base, now), Broker::new());
        let model_version = store.save_model_version(&version, None).await?;

        let (unfinishable, mut never) = told_once();
        let over = CancellationToken::new();
        let _ended_in_any_case = over.clone().drop_guard();
        let worker = Worker {
            store: store.clone(),
            store_for_requests: store.clone(),
            queue: broker.connect(),
            // Nobody here reads nearer than the store: a second copy of every value would be all that a cache had to give.
            cache: cache::Nothing,
            config: worker_config(threads, telemetry),
        };
        let coordinator = Coordinator {
            store: store.clone(),
            queue: broker.connect(),
            cache: cache::Nothing,
            config: coordinator_config(unfinishable),
        };
        let mut worker = tokio::spawn(worker.run(over.clone().cancelled_owned()));
        let mut coordinator = tokio::spawn(coordinator.run(over.clone().cancelled_owned()));

        let dispatcher = Dispatcher {
            store: store.clone(),
            queue: broker.connect(),
            policy: PlanPolicy::with_chunks_of(chunk_customers),
            trace_context: telemetry.trace_context,
        };
        let run = dispatcher.dispatch(&order(as_of, deadline, model_version, terms)).await?.run;
        tokio::select! {
            biased;
            () = stop.cancelled() => bail!(STOPPED),
            ended = &mut worker => return Err(match ended {
                Ok(Err(error)) => anyhow!(error).context("the worker ended"),
                Ok(Ok(())) => anyhow!("the worker ended before the night was over"),
                Err(panic) => anyhow!(panic).context("the worker panicked"),
            }),
            ended = &mut coordinator => return Err(match ended {
                Ok(()) => anyhow!("the coordinator ended before the night was over"),
                Err(panic) => anyhow!(panic).context("the coordinator panicked"),
            }),
            Some(reason) = never.recv() => return Err(reason),
            followed = follow(&store, run) => followed?,
        }
        over.cancel();
        worker.await??;
        coordinator.await?;
        Ok((store, run))
    }
}

fn worker_config(threads: NonZeroUsize, telemetry: Telemetry) -> WorkerConfig {
    WorkerConfig {
        name: "local worker".into(),
        // While one chunk is computed, another one is read or committed.
        lanes: vec![Lane::of_all_priorities(u16::try_from(2 * threads.get()).unwrap_or(u16::MAX))],
        // Nobody asks here.
        requests: None,
        lease: LEASE,
        retry: RetryPolicy::default(),
        compute_on: ComputeOn::Threads(threads),
        troubles: worker::Troubles::default(),
        delays: Delays::reconnect,
        grace_period: Duration::from_secs(10),
        alive: Arc::new(|| {}),
        link: telemetry.link,
        faults: FaultPlan::default(),
    }
}

/// Tells of the first run that cannot be finished: there is no other here, and nobody who could mend it.
fn told_once() -> (Arc<Unfinishable>, mpsc::Receiver<anyhow::Error>) {
    let (sender, receiver) = mpsc::channel(1);
    let tell = move |run: RunId, error: &store::Error| {
        // A full channel has told it already; a closed one has nobody left to hear it.
        let _ = sender.try_send(anyhow!("run {run} cannot be finished: {error}; nothing was written"));
    };
    (Arc::new(tell), receiver)
}

fn coordinator_config(unfinishable: Arc<Unfinishable>) -> CoordinatorConfig {
    CoordinatorConfig {
        troubles: Troubles::default(),
        name: "local coordinator".into(),
        policy: SupervisePolicy { lease_duration: LEASE, ..SupervisePolicy::default() },
        pass_interval: PASS_INTERVAL,
        leadership_lease: Duration::from_secs(10),
        alive: Arc::new(|| {}),
        unfinishable,
    }
}

fn order(as_of: Timestamp, deadline: Duration, model_version: ModelVersionId, terms: ValueTerms) -> Order {
    Order {
        selection: Selection::All,
        priority: Priority::Normal,
        as_of: Some(as_of),
        deadline,
        model_version: Some(model_version),
        terms,
        again: false,
        // There is no run before.
        limits: Limits::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_that_cannot_be_finished_ends_the_night_with_the_reason_however_often_it_is_told() {
        let (unfinishable, mut never) = told_once();
        let reason = "12 customers planned, 11 settled".into();
        let error = store::Error::Invalid { what: "finish a run".into(), reason };

        unfinishable(RunId(1), &error);
        unfinishable(RunId(1), &error);

        let reason = never.recv().await.expect("it was told").to_string();
        assert_eq!(
            reason,
            "run 1 cannot be finished: finish a run: 12 customers planned, 11 settled; nothing was written"
        );
        assert!(never.try_recv().is_err());
    }
}
