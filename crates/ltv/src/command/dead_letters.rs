//! `ltv dead-letters`

use std::time::Duration;

use anyhow::{Context, bail};
use batch::{Limits, PlanPolicy, Priority, RunState};
use dispatcher::{Dispatcher, Order};
use documents::{DeadChunk, DeadLetters, DeadMessage};
use queue::{Connection as _, DeadLetters as _};
use store::postgres::Duty;
use store::{Archive, Selection};

use crate::cli::{DeadLettersArgs, DiscardArgs, RedriveArgs};
use crate::config;
use crate::output::{count, table};
use crate::stdout::{put, say};

pub(crate) async fn list(args: &DeadLettersArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.list.database, "command").await?;
    let queue = config::queue_now(&args.broker, "command", store.installation().await?).await?;
    let chunks = store.dead_chunks(args.list.limit).await?;
    let messages = queue.dead_letters(args.list.limit as usize).await?;
    queue.close().await;

    if args.list.json {
        let messages = messages.iter().map(|dead| DeadMessage {
            reason: dead.reason.clone(),
            queue: dead.origin.clone(),
            what: dead.to_string(),
        });
        let letters = DeadLetters {
            chunks: chunks.iter().map(DeadChunk::from).collect(),
            messages: messages.collect(),
        };
        say!("{}", documents::line(&letters))?;
        return Ok(());
    }
    if chunks.is_empty() && messages.is_empty() {
        say!("there are no dead letters")?;
    }
    if !chunks.is_empty() {
        say!("Chunks that used up their attempts\n")?;
        let rows: Vec<_> = chunks
            .iter()
            .map(|dead| {
                vec![
                    dead.chunk.run.to_string(),
                    dead.chunk.chunk.to_string(),
                    count(dead.customers),
                    dead.reason.clone().unwrap_or_default(),
                ]
            })
            .collect();
        put(table(&["run", "chunk", "customers", "reason"], &[3], &rows))?;
        say!("\n  `ltv dead-letters redrive RUN` puts them back to work")?;
    }
    if !messages.is_empty() {
        say!("Messages that made no sense, or were not ours\n")?;
        let rows: Vec<_> = messages
            .iter()
            .map(|dead| vec![dead.origin.clone().unwrap_or_default(), dead.reason.clone()])
            .collect();
        put(table(&["queue", "reason"], &[1], &rows))?;
        say!("\n  `ltv dead-letters discard` throws them away")?;
    }
    Ok(())
}

/// Puts a run's dead chunks back to work: within the run while it goes on or is held; after that as a run of their own for
/// the same moment and model, whose values take the place of those that are missing.
pub(crate) async fn redrive(args: &RedriveArgs) -> anyhow::Result<()> {
    let store = config::store_for(Duty::Dispatch, &args.run.database, "dispatcher").await?;
    let id = args.run.run;
    let run = store.run(id).await?.with_context(|| format!("there is no run {id}"))?;
    if !run.state.is_over() {
        let chunks = store.redrive(id).await?;
        say!("{} chunks of run {id} are back; the coordinator publishes them", count(chunks))?;
        return Ok(());
    }
    if matches!(run.state, RunState::Cancelled | RunState::Rejected) {
        bail!("run {id} was {}: dispatch its customers again instead", run.state);
    }
    let customers = store.dead_customers(id).await?;
    if customers.is_empty() {
        bail!("run {id} has no dead chunks");
    }
    let queue = config::queue_now(&args.broker, "dispatcher", store.installation().await?).await?;
    let dispatcher = Dispatcher {
        store,
        queue: queue.clone(),
        policy: PlanPolicy::default(),
        trace_context: process::telemetry::inject_current,
    };
    let order = Order {
        selection: Selection::Customers(customers),
        priority: Priority::High,
        as_of: Some(run.as_of),
        deadline: Duration::from_mins(30),
        model_version: Some(run.model_version),
        terms: run.terms,
        again: true,
        limits: Limits::default(),
    };
    let dispatched = dispatcher.dispatch(&order).await?;
    queue.close().await;
    say!(
        "run {} values the {} customers of run {id}'s dead chunks",
        dispatched.run,
        count(dispatched.customers)
    )?;
    Ok(())
}

pub(crate) async fn discard(args: &DiscardArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.database, "command").await?;
    let queue = config::queue_now(&args.broker, "command", store.installation().await?).await?;
    let discarded = queue.discard_dead_letters().await?;
    queue.close().await;
    say!("{} messages thrown away", count(u64::from(discarded)))?;
    Ok(())
}
