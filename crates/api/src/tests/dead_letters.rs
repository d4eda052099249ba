use batch::RunId;
use queue::memory::{Broker, Health};
use store::promises::{Ground, accounts, chunk, dead, published};
use store::{Archive, memory::Memory};

use super::ground::Paused;
use super::problems::check_problem;
use super::*;

/// A run with one dead chunk, that goes on.
async fn with_a_dead_chunk() -> (Paused, RunId) {
    let ground = Paused(Memory::new(accounts(), Timestamp::UNIX_EPOCH));
    let run = published(&ground).await;
    dead(&ground, chunk(run, 1)).await;
    (ground, run)
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_is_listed_and_put_back_to_work_once() {
    let (ground, run) = with_a_dead_chunk().await;
    let router = api(ground.store().clone(), Vec::new()).router();

    let listed = get(&router, "/dead-letters").await.json();
    let redriven = post(&router, &format!("/dead-letters/{run}/redrive"), "").await.json();
    let again = post(&router, &format!("/dead-letters/{run}/redrive"), "").await.json();

    let letter = &listed["chunks"][0];
    assert_eq!((&letter["run"], &letter["chunk"]), (&run.to_string().into(), &1.into()));
    assert_eq!((&letter["reason"], &letter["run_is_open"]), (&"it is bad".into(), &true.into()));
    assert_eq!(listed["messages"], Value::Array(Vec::new()));
    assert_eq!((&redriven["chunks"], &redriven["as_run"]), (&1.into(), &Value::Null));
    assert_eq!(again["chunks"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_hides_its_messages_and_nothing_else() {
    let (ground, _) = with_a_dead_chunk().await;
    let broker = Broker::new();
    let router = api_over(ground.store().clone(), broker.connect(), Vec::new()).router();
    broker.set_health(Health::Away);

    let listed = get(&router, "/dead-letters").await;

    assert_eq!(listed.status, 200);
    let listed = listed.json();
    assert_eq!(listed["chunks"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&listed["messages"], &listed["messages_error"]),
        (&Value::Null, &"RabbitMQ does not tell".into())
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_back_is_a_problem() {
    let (ground, run) = with_a_dead_chunk().await;
    assert!(ground.store().cancel_run(run).await.unwrap());
    let router = api(ground.store().clone(), Vec::new()).router();

    check_problem(&post(&router, "/dead-letters/4711/redrive", "").await, 404, "not-found");
    check_problem(&post(&router, &format!("/dead-letters/{run}/redrive"), "").await, 409, "conflict");
    check_problem(&get(&router, &format!("/dead-letters/{run}/redrive")).await, 405, "method-not-allowed");
}
