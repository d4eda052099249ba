//! `ltv dead-letters`

use std::time::Duration;

use anyhow::{Context, bail};
use batch::{InstallationId, Limits, PlanPolicy, Priority, RunState};
use dispatcher::{Dispatcher, Order};
use documents::{DeadChunk, DeadLetters, DeadMessage};
use queue::{Connection as _, DELIVERY_LIMIT, DeadLetters as _};
use store::postgres::Duty;
use store::{Archive, Selection};

use crate::cli::{DeadLettersArgs, DiscardArgs, RedriveArgs};
use crate::config;
use crate::output::{count, table};
use crate::stdout::{put, say};

pub(crate) async fn list(args: &DeadLettersArgs) -> anyhow::Result<()> {
    let store = config::store_now(&args.list.database, "command").await?;
    let installation = store.installation().await?;
    let chunks = store.dead_chunks(args.list.limit).await?;
    let asking = messages(args, installation);
    if args.list.json {
        let messages = asking.await;
        let letters = DeadLetters {
            chunks: chunks.iter().map(DeadChunk::from).collect(),
            messages: messages.as_ref().ok().map(|messages| messages.iter().map(message).collect()),
            messages_error: messages.as_ref().err().map(|error| format!("{error:#}")),
        };
        say!("{}", documents::line(&letters))?;
        return messages.map(drop);
    }

    // First, because RabbitMQ may be away, or send what nobody can read.
    say_chunks(&chunks)?;
    let messages = asking.await?;
    if chunks.is_empty() && messages.is_empty() {
        say!("there are no dead letters")?;
    }
    if !messages.is_empty() {
        say!("Messages that made no sense, were not ours, or came back too often\n")?;
        let rows: Vec<_> = messages.iter().map(row).collect();
        put(table(&["queue", "chunk", "reason"], &[1, 2], &rows))?;
        say!("\n  `ltv dead-letters discard` throws them away")?;
    }
    Ok(())
}

/// What is among the dead letters of the broker.
async fn messages(
    args: &DeadLettersArgs,
    installation: InstallationId,
) -> anyhow::Result<Vec<queue::DeadMessage>> {
    let queue = config::queue_now(&args.broker, "command", installation).await?;
    let messages = queue.dead_letters(args.list.limit as usize).await;
    queue.close().await;
    Ok(messages?)
}

fn message(dead: &queue::DeadMessage) -> DeadMessage {
    DeadMessage { reason: dead.reason.clone(), queue: dead.origin.clone(), what: dead.to_string() }
}

fn say_chunks(chunks: &[store::DeadChunk]) -> anyhow::Result<()> {
    if chunks.is_empty() {
        return Ok(());
    }
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
    Ok(())
}

/// The queue, the chunk and the reason of a message.
fn row(dead: &queue::DeadMessage) -> Vec<String> {
    let chunk = dead.message.as_ref().map(|message| {
        let chunk = message.chunk;
        format!("{} of run {}", chunk.chunk, chunk.run)
    });
    // RabbitMQ's own word.
    let reason = match dead.reason.as_str() {
        "delivery_limit" => {
            format!(
                "came back more than {DELIVERY_LIMIT} times; its chunk gets another message if it needs one"
            )
        }
        reason => reason.to_owned(),
    };
    vec![dead.origin.clone().unwrap_or_default(), chunk.unwrap_or_default(), reason]
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

#[cfg(test)]
mod tests {
    use batch::{Attempt, AttemptId, ChunkId, ChunkRef, RunId};
    use queue::{Malformed, TraceContext};

    use super::*;

    #[test]
    fn a_message_is_listed_with_its_chunk_if_it_has_one_and_why() {
        let check = |message: Result<AttemptId, Malformed>, reason: &str, expected: [&str; 3]| {
            let origin = Some("ltv.normal".to_owned());
            let dead =
                queue::DeadMessage { message, reason: reason.into(), origin, trace: TraceContext::default() };
            assert_eq!(row(&dead), expected);
        };
        let chunk = ChunkRef { run: RunId(7), chunk: ChunkId(3) };

        check(
            Ok(AttemptId { chunk, attempt: Attempt(0) }),
            "delivery_limit",
            [
                "ltv.normal",
                "3 of run 7",
                "came back more than 10 times; its chunk gets another message if it needs one",
            ],
        );
        let malformed = Malformed { reason: "v: unknown".into(), is_foreign: false };
        check(
            Err(malformed),
            "malformed message: v: unknown",
            ["ltv.normal", "", "malformed message: v: unknown"],
        );
    }
}
