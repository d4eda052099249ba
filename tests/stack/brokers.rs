//! Brokers as their owners give them: queues made by others, rights that are lacking, names that are taken.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use batch::RequestId;
use queue::{
    Acked, Asked as _, Consumer as _, Delivery as _, Error, Heard, OutgoingRequest, REQUEST_TTL, RabbitMq,
    RabbitMqConfig, Replied, Requester as _, Requests as _, TraceContext,
};
use serde_json::{Value, json};
use tests::{Answer, Fleet, PATIENCE, Process, eventually, unique};

use crate::readiness;
use crate::store::program;

/// The users as docs/grants.md has them.
pub(crate) struct Users {
    pub(crate) runner: String,
    pub(crate) reader: String,
    asker: String,
}

/// Makes what docs/grants.md says, for a fleet's installation; the URLs are those of its users.
pub(crate) fn made_as_documented(fleet: &Fleet) -> Users {
    define(fleet, &["permissions", "exchanges", "queues", "bindings"])
}

/// Makes some of it.
fn define(fleet: &Fleet, sections: &[&str]) -> Users {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grants.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, block) = document.split_once("```json\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let ours = prefix(fleet);
    let [runner, reader, asker] = ["runner", "reader", "asker"].map(unique);
    let block = block
        .replace("ltv.9f86d081884c7d65.v2", &ours)
        .replace(r"ltv\\.9f86d081884c7d65\\.v2", &ours.replace('.', r"\\."))
        .replace("ltv_runner", &runner)
        .replace("ltv_reader", &reader)
        .replace("ltv_asker", &asker);

    let mut definitions: Value = serde_json::from_str(&block).unwrap();
    let object = definitions.as_object_mut().unwrap();
    object.retain(|section, _| sections.contains(&section.as_str()));
    object.insert("users".into(), json!([user(&runner), user(&reader), user(&asker)]));
    import(fleet, &definitions);
    let [runner, reader, asker] = [runner, reader, asker].map(|user| fleet.stack().amqp_url_of(&user));
    Users { runner, reader, asker }
}

/// What the names of a fleet's queues begin with.
fn prefix(fleet: &Fleet) -> String {
    let names = fleet.ltv(&["installation", "show", "--json"]).json();
    names["queues"][0].as_str().unwrap().strip_suffix(".critical").unwrap().to_owned()
}

/// Lets a user make nothing, and write and read what these patterns say; the URL is the user's.
fn allow(fleet: &Fleet, name: &str, write: &str, read: &str) -> String {
    let rights = json!({"user": name, "vhost": "/", "configure": "^$", "write": write, "read": read});
    import(fleet, &json!({"users": [user(name)], "permissions": [rights]}));
    fleet.stack().amqp_url_of(name)
}

fn user(name: &str) -> Value {
    json!({"name": name, "password": name, "tags": ""})
}

fn import(fleet: &Fleet, definitions: &Value) {
    let file = std::env::temp_dir().join(unique("definitions.json"));
    std::fs::write(&file, definitions.to_string()).unwrap();
    fleet.stack().define(&file);
    std::fs::remove_file(&file).unwrap();
}

fn refused(answer: &Answer, told: &[&str]) {
    assert_eq!(answer.code, Some(1), "{answer:?}");
    for told in told {
        assert!(answer.err.contains(told), "{told:?} is not in {}", answer.err);
    }
}

async fn says(process: &Process, told: &[&str]) {
    eventually(PATIENCE, &format!("it says {told:?}"), async || {
        let log = process.log();
        log.lines().any(|line| told.iter().all(|told| line.contains(told))).then_some(())
    })
    .await;
}

const DISPATCH: [&str; 4] = ["dispatch", "--all", "--as-of", tests::AS_OF];

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_not_made_is_named_to_who_may_not_make_it() {
    let fleet = Fleet::new(&program()).await;
    let check = |sections: &[&str], told: &[&str]| {
        let users = define(&fleet, sections);
        let answer = fleet.answer(&[&DISPATCH[..], &["--amqp-url", &users.runner]].concat());
        refused(&answer, &[told, &["Have it made, by the names and settings in docs/grants.md"]].concat());
        assert!(!answer.err.contains("delete"), "{}", answer.err);
    };

    check(&["permissions"], &[".chunks, exchange ", ".critical, queue ", ".dead-letter: not there"]);
    check(&["permissions", "exchanges"], &["find queue ", ".critical, queue "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_makes_is_what_the_fleet_would_make() {
    let fleet = Fleet::new(&program()).await;
    made_as_documented(&fleet);

    // As a user who may configure: what is otherwise made would be refused.
    let dispatched = fleet.answer(&DISPATCH);

    assert_eq!(dispatched.code, Some(0), "{dispatched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_others_have_made_are_bound_by_who_may_bind_them() {
    let fleet = Fleet::new(&program()).await;
    let narrow = define(&fleet, &["permissions", "exchanges", "queues"]).runner;
    let wide = allow(&fleet, &unique("user"), ".*", ".*");
    let dispatch = |url: &str| fleet.ltv(&[&DISPATCH[..], &["--json", "--amqp-url", url]].concat()).json();

    let unbound = dispatch(&narrow);
    assert_eq!(unbound["published"], 0, "{unbound}");
    let told = unbound["reason"].as_str().unwrap_or_default();
    assert!(told.contains("no queue to route it to"), "{unbound}");

    let bound = dispatch(&wide);
    assert_eq!(bound["unconfirmed"], 0, "{bound}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_name_already_is_never_said_to_be_deleted_unless_it_is_a_queue_of_ours() {
    let taken = async |section: &str, thing: Value| {
        let fleet = Fleet::new(&program()).await;
        let mut thing = thing;
        thing["name"] = format!("{}{}", prefix(&fleet), thing["name"].as_str().unwrap()).into();
        import(&fleet, &json!({ section: [thing] }));
        let answer = fleet.answer(&DISPATCH);
        refused(
            &answer,
            &["PRECONDITION_FAILED", "choose another prefix for the fleet's names (--queue-prefix)"],
        );
        answer.err
    };

    let exchange = json!({"name": ".chunks", "type": "topic", "vhost": "/", "durable": true,
                          "auto_delete": false, "internal": false, "arguments": {}});
    let told = taken("exchanges", exchange).await;
    assert!(!told.contains("delete"), "{told}");

    for (name, cost) in [
        (".high", "the coordinator publishes again what is lost with it"),
        (".dead-letter", "The dead letters in it are lost for good: look at them first"),
    ] {
        let queue =
            json!({"name": name, "vhost": "/", "durable": true, "auto_delete": false, "arguments": {}});
        let told = taken("queues", queue).await;
        assert!(told.contains("If it is the fleet's own, `rabbitmqctl delete_queue "), "{told}");
        assert!(told.contains(cost), "{told}");
        assert_eq!(told.contains("publishes again"), name == ".high", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_may_not_be_read_is_named_and_the_others_are_worked_on() {
    let fleet = Fleet::new(&program()).await;
    made_as_documented(&fleet);
    let ours = prefix(&fleet);
    let name = unique("user");
    let url = allow(&fleet, &name, ".*", &format!("^{ours}[.](critical|high|requests)$"));
    let coordinator = fleet.coordinator(&[]);
    let worker = fleet.worker(&["--amqp-url", &url]);
    let right = format!("Give the user the right to read {ours}.normal");
    says(&worker, &["cannot consume from one queue until somebody mends this", &right]).await;
    let (server, body) = readiness::not_ready(&worker).await;
    assert!(server == "rabbitmq" && body.contains(&right), "{body}");

    let urgent = fleet.dispatch(&["--priority", "critical"]).await;
    fleet.finished(urgent).await;

    let run = fleet.dispatch(&["--again"]).await;
    allow(&fleet, &name, ".*", ".*");
    fleet.finished(run).await;
    fleet.assert_exact(run).await;
    let told = worker.log().lines().filter(|line| line.contains("until somebody mends this")).count();
    assert_eq!(told, 1, "{}", worker.log());
    readiness::ready(&worker).await;
    drop((coordinator, worker));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_may_not_be_written_to_is_named() {
    let fleet = Fleet::new(&program()).await;
    made_as_documented(&fleet);
    let name = unique("user");
    let url = allow(&fleet, &name, "^$", ".*");
    let broker = ["--amqp-url", &url];

    let dispatched = fleet.ltv(&[&DISPATCH[..], &["--json"], &broker].concat()).json();
    let told = dispatched["reason"].as_str().unwrap_or_default();
    let exchange = format!("{}.chunks", prefix(&fleet));
    assert!(told.contains(&exchange) && told.contains("Give the user the right to write"), "{told}");

    let coordinator = fleet.coordinator(&broker);
    let worker = fleet.worker(&broker);
    says(&coordinator, &["cannot publish to RabbitMQ until somebody mends this", &exchange]).await;
    allow(&fleet, &name, ".*", ".*");
    let run = batch::RunId(dispatched["run"].as_i64().unwrap());
    fleet.finished(run).await;
    fleet.assert_exact(run).await;
    drop((coordinator, worker));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_and_whoever_answers_needs_the_documented_rights_and_is_told_which_is_lacking() {
    let fleet = Fleet::new(&program()).await;
    let users = made_as_documented(&fleet);
    let ours = fleet.queue_config().await;
    let connect = async |url: &str| {
        let config = RabbitMqConfig { url: url.into(), ..ours.clone() };
        RabbitMq::connect_now(config).await.unwrap()
    };
    let (asking, answering) = (connect(&users.asker).await, connect(&users.runner).await);
    let requester = asking.requester().await.unwrap();
    let mut server = answering.serve(1).await.unwrap();
    let request =
        || OutgoingRequest { request: RequestId(1), left: REQUEST_TTL, trace: TraceContext::default() };

    let mut waiting = requester.ask(request()).await.unwrap();

    let asked = server.next().await.unwrap();
    assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));
    assert_eq!(waiting.heard(PATIENCE).await, Heard::Done);
    let refused = answering.requester().await.unwrap().ask(request()).await.unwrap_err();
    let told = refused.to_string();
    assert!(matches!(refused, Error::Refused { .. }), "{told}");
    let replies = format!("{}.replies", prefix(&fleet));
    assert!(
        told.contains(&format!("Give the user the right to configure, write to and read from {replies}.*"))
    );
    assert!(!told.contains(&format!("{replies}.0")), "{told}");
}
