//! `ltv dispatch`

use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context, bail};
use batch::{CustomerId, PlanPolicy};
use dispatcher::{Dispatched, Dispatcher, Order};
use queue::{Connection as _, RabbitMq};
use store::postgres::{Duty, SourceStanding};
use store::{Archive as _, ModelVersionId, Selection};
use tracing::Instrument;

use super::follow::{Following, follow};
use super::held;
use crate::cli::DispatchArgs;
use crate::config;
use crate::output::{count, duration};
use crate::stdout::{Unsaid, note, say};

pub(crate) async fn run(args: &DispatchArgs) -> anyhow::Result<()> {
    let order = order(args)?;
    let store = config::store_for(Duty::Dispatch, &args.database, "dispatcher").await?;
    if let Some(SourceStanding::Behind(standing)) = store.look_at_source().await? {
        note!("  the plan waits for the server that customers are read from: {standing}");
    }
    let queue = config::queue_now(&args.broker, "dispatcher", store.installation().await?).await?;
    let dispatcher = Dispatcher {
        store: store.clone(),
        queue: queue.clone(),
        policy: PlanPolicy::with_chunks_of(args.chunk_customers),
        trace_context: process::telemetry::inject_current,
    };
    let span = tracing::info_span!("dispatch");
    let dispatched = tokio::select! {
        biased;
        dispatched = dispatcher.dispatch(&order).instrument(span) => dispatched?,
        never = tell_of_alarms(&queue) => match never {},
    };
    queue.close().await;

    if !args.json {
        tell(&dispatched)?;
    }
    if args.wait {
        let following = Following { shows_progress: !args.json, past_deadline: Some(args.give_up) };
        follow(&store, dispatched.run, following).await?;
    } else if !dispatched.is_new
        && let Some(record) = store.run(dispatched.run).await?
        && let Err(stands) = held::is_shown(&record)
    {
        note!("{stands}");
    }
    if args.json {
        say!("{}", documents::line(&document(&dispatched)))?;
    }
    Ok(())
}

/// Says at once what the confirmations are waited for; they are, for as long as one may take.
async fn tell_of_alarms(queue: &RabbitMq) -> Infallible {
    let reason = queue.blocked().await;
    note!(
        "  RabbitMQ takes no messages at present ({reason}): what it does not confirm, the coordinator publishes when it \
         takes messages again"
    );
    std::future::pending().await
}

fn order(args: &DispatchArgs) -> anyhow::Result<Order> {
    let selection = match (&args.segment, &args.customers) {
        (Some(segment), _) => Selection::Segment(segment.clone()),
        (_, Some(file)) => Selection::Customers(read_customers(file)?),
        _ => Selection::All,
    };
    Ok(Order {
        selection,
        priority: args.priority,
        as_of: args.as_of,
        deadline: args.deadline,
        model_version: args.model_version.map(ModelVersionId),
        terms: args.terms.terms()?,
        again: args.again,
        limits: args.guard.limits(),
    })
}

fn read_customers(file: &Path) -> anyhow::Result<Vec<CustomerId>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut customers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let customer = line.parse().with_context(|| {
            format!("{}, line {}: {line:?} is not a customer's number", file.display(), index + 1)
        })?;
        customers.push(customer);
    }
    customers.sort_unstable();
    customers.dedup();
    if customers.is_empty() {
        bail!("{} names no customers", file.display());
    }
    Ok(customers)
}

fn tell(dispatched: &Dispatched) -> Result<(), Unsaid> {
    let Dispatched { run, is_new, customers, published, unconfirmed, failure, plan_took, publish_took } =
        dispatched;
    if *is_new {
        say!(
            "run {run}: {} customers in {} chunks, planned in {}, published in {}",
            count(*customers),
            count(published + unconfirmed),
            duration(*plan_took),
            duration(*publish_took)
        )?;
    } else {
        say!("run {run} is this night's run already, {} more chunks published", count(*published))?;
    }
    if *unconfirmed > 0 {
        let reason = failure.as_deref().unwrap_or("no reason is known");
        say!("{} chunks were not confirmed ({reason}); the coordinator publishes them", count(*unconfirmed))?;
    }
    Ok(())
}

fn document(dispatched: &Dispatched) -> documents::Dispatched {
    documents::Dispatched {
        run: dispatched.run,
        is_new: dispatched.is_new,
        customers: dispatched.customers,
        published: dispatched.published,
        unconfirmed: dispatched.unconfirmed,
        reason: dispatched.failure.clone(),
        plan_seconds: dispatched.plan_took.as_secs_f64(),
        publish_seconds: dispatched.publish_took.as_secs_f64(),
    }
}
