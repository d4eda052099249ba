//! Commands and roles without their servers.

use std::time::Duration;

use crate::{SOON, fleet};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_server_is_one_line_that_names_it_without_its_password_and_says_what_to_do() {
    let fleet = fleet().await;
    let check = |arguments: &[&str], place: &str| {
        let answer = fleet.answer(arguments);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        let lines: Vec<&str> = answer.err.lines().collect();
        assert_eq!(lines.len(), 1, "{}", answer.err);
        assert!(lines[0].contains(place), "it names the server: {}", lines[0]);
        assert!(lines[0].contains("scripts/stack up"), "it says what to do: {}", lines[0]);
        assert!(!answer.err.contains("secret"), "{}", answer.err);
    };

    let postgres = ["--database-url", "postgres://ltv:secret@127.0.0.1:1/ltv"];
    check(&[&["runs", "list"][..], &postgres].concat(), "postgres://ltv:***@127.0.0.1:1/ltv");
    check(&[&["migrate"][..], &postgres].concat(), "postgres://ltv:***@127.0.0.1:1/ltv");
    let rabbitmq = ["--amqp-url", "amqp://ltv:secret@127.0.0.1:1"];
    check(&[&["dispatch", "--all"][..], &rabbitmq].concat(), "amqp://ltv:***@127.0.0.1:1");
    check(&[&["dead-letters", "list"][..], &rabbitmq].concat(), "amqp://ltv:***@127.0.0.1:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_a_server_says_so_once_without_the_password_and_waits() {
    let fleet = fleet().await;
    let mut lonely = [
        fleet.worker(&["--redis-url", "redis://ltv:secret@127.0.0.1:1", "--log", "info"]),
        fleet.worker(&["--amqp-url", "amqp://ltv:secret@127.0.0.1:1", "--log", "info"]),
        fleet.worker(&["--database-url", "postgres://ltv:secret@127.0.0.1:1/ltv", "--log", "info"]),
        fleet.coordinator(&["--database-url", "postgres://ltv:secret@127.0.0.1:1/ltv", "--log", "info"]),
    ];

    for role in &mut lonely {
        role.says("@127.0.0.1:1", Duration::from_secs(10)).await;

        assert!(!role.has_ended(), "{}", role.log());
        assert!(!role.log().contains("secret"), "{}", role.log());
        role.terminate();
        assert_eq!(role.ended(SOON).await.code(), Some(0), "{}", role.log());
    }
}
