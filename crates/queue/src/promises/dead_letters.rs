//! What cannot be done: put away with its reason, looked at, thrown away.

use batch::{InstallationId, Priority};

use Priority::{Critical, High, Normal};

use super::{
    Subject, chunk_of, consume, next, outgoing, plan, publish, trace, until, wait_for_dead_letters,
    wait_for_waiting,
};
use crate::{Acked, Connection, DeadLetters, DeadMessage, Delivery, Message, Outgoing};

/// Nothing that is in a queue can stop a consumer.
pub async fn garbage_is_delivered_as_malformed_and_can_be_dead_lettered<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    subject.put(Critical, b"garbage".to_vec()).await;

    let delivery = next(&mut consumer).await;
    let malformed = delivery.message().expect_err("garbage is no message").clone();
    assert_eq!(delivery.dead_letter(&malformed.to_string()).await, Ok(Acked::Sent));

    let letters = wait_for_dead_letters(&queue, 1).await;
    assert_eq!(letters[0].message, Err(malformed));
    assert!(letters[0].reason.contains("line 1 column 1"), "{}", letters[0].reason);
    wait_for_waiting(&queue, [0, 0, 0]).await;
}

/// Its numbers mean other chunks.
pub async fn a_message_of_another_installation_is_taken_for_none_of_ours<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    let theirs = outgoing(Critical, 7).message.encode(InstallationId(0xabc));
    let older = br#"{"v":1,"run":7,"chunk":7,"attempt":0}"#.to_vec();
    for (body, sender) in [(theirs, "0000000000000abc"), (older, "older release")] {
        subject.put(Critical, body).await;

        let delivery = next(&mut consumer).await;
        let refused = delivery.message().expect_err("it is not ours").clone();
        assert!(refused.is_foreign && refused.reason.contains(sender), "{refused}");
        assert_eq!(delivery.dead_letter(&refused.to_string()).await, Ok(Acked::Sent));
    }

    let letters = wait_for_dead_letters(&queue, 2).await;
    assert!(letters.iter().all(|letter| letter.message.as_ref().is_err_and(|refused| refused.is_foreign)));
}

/// Enough to find out what happened, and to put it back.
pub async fn a_dead_letter_says_where_it_came_from_and_why<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    let sent = Outgoing { trace: trace(), ..outgoing(High, 7) };
    publish(&queue, vec![sent.clone()]).await;

    assert_eq!(next(&mut consumer).await.dead_letter("poison").await, Ok(Acked::Sent));

    let letters = wait_for_dead_letters(&queue, 1).await;
    let DeadMessage { message, reason, origin, trace } = &letters[0];
    assert_eq!((message, reason.as_str(), trace), (&Ok(sent.message), "poison", &sent.trace));
    assert!(origin.as_ref().is_some_and(|origin| origin.ends_with("high")), "{origin:?}");
}

/// Cut between characters.
pub async fn a_reason_of_any_length_is_taken<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, vec![outgoing(Normal, 1)]).await;

    let settled = next(&mut consumer).await.dead_letter(&"€".repeat(100_000)).await;

    assert_eq!(settled, Ok(Acked::Sent));
    assert_eq!(wait_for_dead_letters(&queue, 1).await[0].reason, "€".repeat(333));
}

/// Looking changes nothing.
pub async fn dead_letters_are_seen_in_their_order_no_more_than_asked_for_and_stay<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    for chunk in 1..=5 {
        publish(&queue, vec![outgoing(Normal, chunk)]).await;
        assert_eq!(next(&mut consumer).await.dead_letter("poison").await, Ok(Acked::Sent));
    }

    assert_eq!(queue.dead_letters(0).await, Ok(Vec::new()));
    // Again and again, because the second look shows whether the first one left them there.
    for _ in 0..3 {
        let letters = wait_for_dead_letters(&queue, 3).await;
        let seen = letters.iter().map(|letter| letter.message.as_ref().ok().map(|m| m.chunk.chunk.0));
        assert_eq!(seen.collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    }
}

/// Gone for good.
pub async fn discarding_dead_letters_counts_them<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, plan(Normal, 3)).await;
    for _ in 0..3 {
        assert_eq!(next(&mut consumer).await.dead_letter("poison").await, Ok(Acked::Sent));
    }

    assert_eq!(queue.discard_dead_letters().await, Ok(3));

    assert_eq!(queue.discard_dead_letters().await, Ok(0));
    assert_eq!(queue.dead_letters(10).await, Ok(Vec::new()));
}

/// And is not lost between the two.
pub async fn what_cannot_be_dead_lettered_comes_again<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut consumer = consume(&queue, 1).await;
    publish(&queue, vec![outgoing(Normal, 1)]).await;
    let delivery = next(&mut consumer).await;
    subject.go_away().await;
    until("the loss is noticed", async || !queue.ready()).await;

    let error = delivery.dead_letter("poison").await.expect_err("nothing takes it");

    assert!(error.is_transient(), "{error}");
    subject.come_back().await;
    let again = next(&mut consumer).await;
    assert_eq!((chunk_of(&again), again.redelivered()), (1, true));
    until("it can be asked", async || queue.ready()).await;
    assert_eq!(queue.dead_letters(10).await, Ok(Vec::new()));
    assert_eq!(again.ack().await, Acked::Sent);
}
