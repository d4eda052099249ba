//! What memory alone can show of requests: faults on request. The promises are tested beside the chunks'.

use std::collections::VecDeque;
use std::time::Duration;

use batch::RequestId;
use tokio::time::{Instant, timeout};

use crate::memory::{Broker, Faults, MemoryRequester, OnDeliver, OnPublish, OnReply, OnSettle};
use crate::{
    Acked, Asked as _, Consumer as _, Delivery as _, Error, Heard, Memory, OutgoingRequest, REQUEST_TTL,
    Replied, Requester as _, Requests as _, TraceContext, Waiting,
};

const MINUTE: Duration = Duration::from_mins(1);

/// Does these things one after another, then nothing more.
#[derive(Default)]
struct Script {
    request: VecDeque<OnPublish>,
    deliver: VecDeque<OnDeliver>,
    settle: VecDeque<OnSettle>,
    reply: VecDeque<OnReply>,
}

impl Faults for Script {
    fn on_request(&mut self, _: &OutgoingRequest) -> OnPublish {
        self.request.pop_front().unwrap_or(OnPublish::Keep)
    }

    fn on_request_deliver(&mut self, _: &[u8]) -> OnDeliver {
        self.deliver.pop_front().unwrap_or(OnDeliver::Give)
    }

    fn on_request_settle(&mut self, _: &[u8]) -> OnSettle {
        self.settle.pop_front().unwrap_or(OnSettle::Arrive)
    }

    fn on_reply(&mut self, _: RequestId) -> OnReply {
        self.reply.pop_front().unwrap_or(OnReply::Give)
    }
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_request_is_as_the_faults_say() {
    use OnPublish::{Delay, Duplicate, Garble, Keep, Lose, Overtake, Refuse, Unconfirmed};
    let check = async |fault: OnPublish, expected: &[Option<i64>], told: Option<&str>| {
        let request = [Keep, fault.clone()].into();
        let (queue, requester) = begin(Script { request, ..Script::default() }).await;
        let _first = ask(&requester, 1).await.unwrap();

        let second = ask(&requester, 2).await;

        assert_eq!(second.map_err(|error| error.to_string()).err().as_deref(), told, "{fault:?}");
        assert_eq!(drain(&queue).await, expected, "{fault:?}");
    };
    let lost = "ask for request 2: not confirmed, and may have been published all the same: \
                the confirmation was lost";
    let full = Error::Full { what: String::new() };

    check(Keep, &[Some(1), Some(2)], None).await;
    check(Lose, &[Some(1)], None).await;
    check(Duplicate, &[Some(1), Some(2), Some(2)], None).await;
    check(Overtake, &[Some(2), Some(1)], None).await;
    check(Garble(b"garbage".to_vec()), &[Some(1), None], None).await;
    check(Delay(Duration::from_secs(1)), &[Some(1), Some(2)], None).await;
    check(Unconfirmed { is_kept: true }, &[Some(1), Some(2)], Some(lost)).await;
    check(Unconfirmed { is_kept: false }, &[Some(1)], Some(lost)).await;
    check(Refuse(full), &[Some(1)], Some("ask for request 2: as many wait already as may")).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_after_its_time_is_gone() {
    let request = [OnPublish::Delay(REQUEST_TTL)].into();
    let (queue, requester) = begin(Script { request, ..Script::default() }).await;

    let _waiting = [ask(&requester, 1).await, ask(&requester, 2).await];

    assert_eq!(drain(&queue).await, [Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_reply_is_as_the_faults_say() {
    use OnReply::{Cut, Delay, Double, Give, Lose, Unsent};
    let check = async |fault: OnReply, told: Replied, heard: Heard, after: u64| {
        let (queue, requester) = begin(Script { reply: [fault].into(), ..Script::default() }).await;
        let mut server = queue.serve(1).await.unwrap();
        let mut waiting = ask(&requester, 1).await.unwrap();
        let start = Instant::now();

        let asked = server.next().await.unwrap();
        assert_eq!(asked.reply().await, told, "{fault:?}");
        assert_eq!(asked.ack().await, Acked::Sent);

        assert_eq!(waiting.heard(MINUTE).await, heard, "{fault:?}");
        assert_eq!(start.elapsed(), Duration::from_secs(after), "{fault:?}");
        drop(waiting);
        assert_eq!(requester.waiting(), 0);
    };

    check(Give, Replied::Sent, Heard::Done, 0).await;
    check(Double, Replied::Sent, Heard::Done, 0).await;
    check(Delay(Duration::from_secs(7)), Replied::Sent, Heard::Done, 7).await;
    check(Delay(MINUTE * 2), Replied::Sent, Heard::Silent, 60).await;
    check(Lose, Replied::Sent, Heard::Silent, 60).await;
    check(Unsent, Replied::NotSent, Heard::Silent, 60).await;
    check(Cut, Replied::Sent, Heard::Lost, 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_taken_request_is_as_the_faults_say() {
    use OnDeliver::{Cut, Delay, Garble, Give, Lose};
    let check = async |fault: OnDeliver, expected: &[Option<i64>]| {
        let deliver = [Give, fault.clone()].into();
        let (queue, requester) = begin(Script { deliver, ..Script::default() }).await;
        let _waiting = [ask(&requester, 1).await, ask(&requester, 2).await, ask(&requester, 3).await];

        assert_eq!(drain(&queue).await, expected, "{fault:?}");
    };

    check(Give, &[Some(1), Some(2), Some(3)]).await;
    check(Lose, &[Some(1), Some(3)]).await;
    check(Delay(Duration::from_secs(1)), &[Some(1), Some(3), Some(2)]).await;
    check(Garble(b"garbage".to_vec()), &[Some(1), None, Some(3)]).await;
    check(Cut, &[Some(1), Some(2), Some(3)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_ack_brings_the_request_again_whatever_was_told() {
    for told in [Acked::Sent, Acked::NotSent] {
        let settle = [OnSettle::Lose(told)].into();
        let (queue, requester) = begin(Script { settle, ..Script::default() }).await;
        let mut server = queue.serve(1).await.unwrap();
        let _waiting = ask(&requester, 1).await;

        assert_eq!(server.next().await.unwrap().ack().await, told);

        assert!(server.next().await.unwrap().redelivered());
    }
}

async fn begin(script: Script) -> (Memory, MemoryRequester) {
    let queue = Broker::with_faults(script).connect();
    let requester = queue.requester().await.unwrap();
    (queue, requester)
}

async fn ask(requester: &MemoryRequester, request: i64) -> Result<Waiting, Error> {
    let left = REQUEST_TTL;
    requester.ask(OutgoingRequest { request: RequestId(request), left, trace: TraceContext::default() }).await
}

/// Takes and acks what comes within some seconds: the numbers, or `None` for garbage.
async fn drain(queue: &Memory) -> Vec<Option<i64>> {
    let mut server = queue.serve(10).await.unwrap();
    let mut taken = Vec::new();
    while let Ok(Some(asked)) = timeout(Duration::from_secs(5), server.next()).await {
        taken.push(asked.message().ok().map(|request| request.0));
        assert_eq!(asked.ack().await, Acked::Sent);
    }
    taken
}
