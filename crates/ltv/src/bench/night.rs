//! Full nights: real worker and coordinator processes, this one as the dispatcher.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use batch::{Limits, PlanPolicy, Priority, RunId, RunState};
use dispatcher::{Dispatcher, Order};
use queue::{Connection as _, RabbitMq};
use store::postgres::Postgres;
use store::{Archive, FiguresStanding, Selection, Summaries};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{as_of, terms};
use crate::cli::BenchNightArgs;
use crate::config;

/// How long the figures of a night may take.
const FIGURES_PATIENCE: Duration = Duration::from_mins(2);

/// The processes of a fleet.
pub(super) struct Fleet {
    queue: RabbitMq,
    children: Vec<(String, Child)>,
}

/// A night that was measured.
#[derive(Debug)]
pub(super) struct Night {
    pub(super) run: RunId,
    /// From the order to the visible run.
    pub(super) took: Duration,
    /// Plan and publish, confirmed.
    pub(super) dispatch: Duration,
    pub(super) chunks: u64,
}

impl Fleet {
    /// Starts the workers and a coordinator.
    pub(super) async fn start(args: &BenchNightArgs, store: &Postgres) -> anyhow::Result<Self> {
        let queue = config::queue_now(&args.broker, "dispatcher", store.installation().await?).await?;
        let mut children = vec![("coordinator".to_owned(), spawn("coordinator", args)?)];
        for number in 1..=args.workers {
            children.push((format!("worker {number}"), spawn("worker", args)?));
        }
        Ok(Self { queue, children })
    }

    pub(super) fn processes(&self) -> Vec<(String, u32)> {
        self.children.iter().filter_map(|(name, child)| Some((name.clone(), child.id()?))).collect()
    }

    /// Orders a night and waits until its run is visible.
    pub(super) async fn night(&mut self, store: &Postgres, args: &BenchNightArgs) -> anyhow::Result<Night> {
        let dispatcher = Dispatcher {
            store: store.clone(),
            queue: self.queue.clone(),
            policy: PlanPolicy::with_chunks_of(args.chunk_customers),
            trace_context: process::telemetry::inject_current,
        };
        let order = Order {
            selection: Selection::All,
            priority: Priority::Normal,
            as_of: Some(as_of()),
            deadline: Duration::from_mins(30),
            model_version: None,
            terms: terms(),
            again: true,
            // It is compared all the same, which is measured.
            limits: Limits::none(),
        };
        let began = Instant::now();
        let dispatched = dispatcher.dispatch(&order).await?;
        let dispatch = began.elapsed();
        let record = loop {
            self.check_alive()?;
            let record = store.run(dispatched.run).await?.context("the run is there")?;
            if record.state == RunState::Finished {
                break record;
            }
            sleep(Duration::from_millis(20)).await;
        };
        let took = began.elapsed();
        let progress = record.progress;
        anyhow::ensure!(
            progress.dead == 0 && progress.values == progress.customers,
            "the night left {} dead chunks and {} rejections, which a generated base has not",
            progress.dead,
            progress.rejections
        );
        Ok(Night { run: dispatched.run, took, dispatch, chunks: progress.chunks })
    }

    /// Waits until the coordinator has worked out the figures of a night, which comes after it, and before the next.
    pub(super) async fn figured(&mut self, store: &Postgres, run: RunId) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.check_alive()?;
            let figures = store.figures(run).await?.context("the run is finished")?;
            if figures.standing != FiguresStanding::Due {
                return Ok(());
            }
            anyhow::ensure!(began.elapsed() < FIGURES_PATIENCE, "run {run} gets no figures");
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("{name} ended: {status}");
            }
        }
        Ok(())
    }

    /// Asks all to drain, and waits until they are gone: also those behind one that fails to.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.queue.close().await;
        let mut failed = Vec::new();
        for (name, child) in &mut self.children {
            if let Err(error) = drain(child).await {
                failed.push(format!("{name} did not drain: {error:#}"));
            }
        }
        anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
        Ok(())
    }
}

/// Asks one to drain, and waits until it is gone. One that takes too long is killed.
async fn drain(child: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = child.id() {
        // The signal that Kubernetes sends; the standard library only knows SIGKILL.
        Command::new("kill").arg(pid.to_string()).status().await?;
    }
    let Ok(status) = timeout(Duration::from_mins(1), child.wait()).await else {
        child.kill().await?;
        anyhow::bail!("killed after a minute");
    };
    let status = status?;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}

fn spawn(role: &str, args: &BenchNightArgs) -> anyhow::Result<Child> {
    // Should this process be killed with no time to ask them, the kernel does. (It looks at the thread that starts them,
    // which is the main one.)
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM"])
        // The kernel asks nobody who had not told it yet when that happened: whoever finds another parent ends.
        .args(["sh", "-c", r#"[ "$PPID" = "$0" ] || exit 143; exec "$@""#, &std::process::id().to_string()])
        .arg(std::env::current_exe()?)
        .arg(role)
        .env("LTV_DATABASE_URL", args.database.database_url.expose())
        .env("LTV_AMQP_URL", args.broker.amqp_url.expose())
        .env("LTV_QUEUE_PREFIX", &args.broker.queue_prefix)
        .env("LTV_REDIS_URL", args.cache.redis_url.expose())
        .env("LTV_CACHE_PREFIX", &args.cache.cache_prefix)
        .env("LTV_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Ctrl-C reaches this process alone, which asks each of them once: a second signal would end them at once.
        .process_group(0)
        .kill_on_drop(true);
    if role == "worker" {
        command.arg("--slots").arg(args.slots.to_string());
    }
    command.spawn().with_context(|| format!("cannot start a {role}"))
}
