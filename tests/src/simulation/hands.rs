//! The hands of a process: the product's roles, with a world between them and the servers.

use std::sync::Arc;
use std::time::Duration;

use batch::{PlanPolicy, RetryPolicy, RunId, SupervisePolicy};
use coordinator::{Coordinator, CoordinatorConfig, Troubles};
use dispatcher::{Dispatcher, Order};
use queue::memory::Broker;
use resilience::{Delays, Jitter};
use store::memory::Memory;
use worker::{ComputeOn, FaultPlan, Lane, RequestConfig, Worker, WorkerConfig};

use super::asker::Heard;
use super::mutation::Mutation;
use super::process::Process;
use super::remote_cache::RemoteCache;
use super::remote_queue::RemoteQueue;
use super::remote_store::RemoteStore;
use super::rule::Rule;
use super::scene::{LEASE, REQUEST_LEASE, Scene, night_terms};
use super::source::Source;
use super::world::World;

/// What a process is given to reach the world with.
pub(super) struct Hands {
    pub(super) mutation: Option<Mutation>,
    pub(super) world: World,
    pub(super) scene: Scene,
    pub(super) store: Memory,
    pub(super) broker: Broker,
    pub(super) cache: cache::Memory,
    pub(super) source: Source,
    pub(super) seed: u64,
    pub(super) heard: Heard,
}

impl Hands {
    pub(super) fn store(&self, process: &Process) -> RemoteStore<Memory> {
        RemoteStore {
            inner: self.store.clone(),
            world: self.world.clone(),
            process: process.clone(),
            work: self.scene.work,
            source: self.source.clone(),
        }
    }

    pub(super) fn queue(&self, process: &Process) -> RemoteQueue {
        RemoteQueue {
            inner: self.broker.connect(),
            broker: self.broker.clone(),
            world: self.world.clone(),
            process: process.clone(),
            store: self.store.clone(),
        }
    }

    fn cache(&self, process: &Process) -> RemoteCache {
        RemoteCache {
            inner: self.cache.clone(),
            world: self.world.clone(),
            process: process.clone(),
            believes_newer: self.mutation == Some(Mutation::AnybodysList),
        }
    }

    pub(super) async fn work(self: Arc<Self>, process: Process) {
        let faults: Vec<String> = [
            self.scene.poison.map(|customer| format!("panic={customer}")),
            (self.mutation == Some(Mutation::AckBeforeCommit)).then(|| "ack-first=0".into()),
            (self.mutation == Some(Mutation::ReplyBeforeCommit)).then(|| "reply-first=0".into()),
        ]
        .into_iter()
        .flatten()
        .collect();
        let faults: FaultPlan = match &faults[..] {
            [] => FaultPlan::default(),
            faults => faults.join(",").parse().expect("these are faults"),
        };
        let worker = Worker {
            store: self.store(&process),
            store_for_requests: self.store(&process),
            queue: self.queue(&process),
            cache: self.cache(&process),
            config: WorkerConfig {
                name: process.name().into(),
                lanes: vec![Lane::of_all_priorities(self.scene.slots)],
                requests: Some(RequestConfig { slots: 1, lease: REQUEST_LEASE, terms: night_terms() }),
                lease: LEASE,
                retry: RetryPolicy::default(),
                compute_on: ComputeOn::TheCaller,
                troubles: worker::Troubles::default(),
                delays: || Delays::reconnect().with_jitter(Jitter::None),
                grace_period: self.scene.grace_period,
                alive: Arc::new(|| {}),
                link: |_, _| {},
                faults,
            },
        };
        let asked = process.asked().clone();
        if let Err(error) = worker.run(asked.cancelled_owned()).await {
            self.world.violation(Rule::End, format_args!("{} ended: {error}", process.name()));
        }
    }

    pub(super) async fn coordinate(self: Arc<Self>, process: Process) {
        let coordinator = Coordinator {
            store: self.store(&process),
            queue: self.queue(&process),
            cache: self.cache(&process),
            config: CoordinatorConfig {
                troubles: Troubles::default(),
                name: process.name().into(),
                policy: SupervisePolicy { lease_duration: LEASE, ..SupervisePolicy::default() },
                pass_interval: Duration::from_secs(1),
                leadership_lease: Duration::from_secs(10),
                alive: Arc::new(|| {}),
                unfinishable: Arc::new({
                    let world = self.world.clone();
                    move |run, error| world.violation(Rule::OneOutcome, format_args!("run {run}: {error}"))
                }),
            },
        };
        let asked = process.asked().clone();
        coordinator.run(asked.cancelled_owned()).await;
    }

    pub(super) async fn dispatch(self, process: Process, order: Order) -> Option<RunId> {
        let chunk_customers = self.scene.chunk_customers;
        let dispatcher = Dispatcher {
            store: self.store(&process),
            queue: self.queue(&process),
            policy: PlanPolicy {
                chunk_customers,
                max_chunk_customers: 2 * chunk_customers,
                ..PlanPolicy::default()
            },
            trace_context: Vec::new,
        };
        match dispatcher.dispatch(&order).await {
            Ok(dispatched) => Some(dispatched.run),
            Err(error) => {
                self.world.tell(format_args!("{}: {error}", process.name()));
                None
            }
        }
    }
}
