//! Requests and replies against a real RabbitMQ, beyond the promises: what a restart does, and how long it all takes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use ::queue::{
    Acked, Asked as _, Connection as _, Delivery as _, Error, Heard, OutgoingRequest, REQUEST_TTL, RabbitMq,
    Replied, Requester as _, Requests as _, TraceContext, Waiting,
};
use batch::RequestId;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use crate::proxy::Proxy;
use crate::queue::{Broker, NOBODY, PATIENCE, config, connect, finish, next, place, until, until_some};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_broker_is_heard_by_all_who_wait_and_requests_go_on() {
    let broker = Broker::alone();
    let queue = connect().await;
    let requester = queue.requester().await.unwrap();
    let mut server = queue.serve(10).await.unwrap();
    let asking = join_all((1..=100).map(|request| requester.ask(outgoing(request)))).await;
    let mut waiting: Vec<Waiting> = asking.into_iter().map(Result::unwrap).collect();
    let taken = next(&mut server).await;

    broker.stop();

    // Well before the broker is back.
    let everybody = join_all(waiting.iter_mut().map(|waiting| waiting.heard(PATIENCE)));
    let heard = timeout(Duration::from_secs(5), everybody).await.expect("at once");
    assert_eq!(heard, [Heard::Lost; 100]);
    assert_eq!(requester.waiting(), 0);
    assert_eq!(taken.reply().await, Replied::NotSent);
    assert_eq!(taken.ack().await, Acked::NotSent);
    broker.start();

    // So soon after, the way back may be lost once more.
    let mut again = None;
    while again != Some(Heard::Done) {
        let mut waiting =
            until_some("a request is taken", async || requester.ask(outgoing(1)).await.ok()).await;
        again = Some(loop {
            tokio::select! {
                biased;
                heard = waiting.heard(PATIENCE) => break heard,
                asked = next(&mut server) => {
                    until("the reply is sent", async || asked.reply().await != Replied::NotSent).await;
                    let _ = asked.ack().await;
                }
            }
        });
        assert_ne!(again, Some(Heard::Silent));
    }
    until("all is well", async || queue.ready()).await;
    finish(queue, Some(server)).await;
}

/// It accepts what is sent and says nothing: frozen, or behind a proxy that is.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_is_given_up_by_who_asks_after_a_few_tries() {
    let _broker = Broker::shared();
    let stack = tests::Stack::from_env();
    let proxy = Proxy::start(place(stack.amqp_url())).await;
    let url = stack.amqp_url().replace(place(stack.amqp_url()), proxy.address());
    let queue = RabbitMq::connect_now(config(&url, &tests::unique("requests"))).await.unwrap();
    let requester = queue.requester().await.unwrap();
    proxy.mute_the_server();

    let mut failures = 0;
    until("it is given up", async || {
        let start = Instant::now();
        let error = requester.ask(outgoing(1)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}: {error}", start.elapsed());
        failures += 1;
        queue.breaker().state() == resilience::State::Open
    })
    .await;

    assert!(failures <= 8, "{failures} tries");
    let start = Instant::now();
    assert!(matches!(requester.ask(outgoing(1)).await, Err(Error::Unavailable { .. })));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    proxy.pass();
    until("requests are taken", async || requester.ask(outgoing(1)).await.is_ok()).await;
    finish(queue, NOBODY).await;
}

/// Its time grows with the machine's load; a broker or a client that collects small packets shows as 40 ms.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_reply_take_milliseconds() {
    const MEDIAN: Duration = Duration::from_millis(20);
    let _broker = Broker::shared();
    let (queue, answering) = pair().await;
    let requester = queue.requester().await.unwrap();
    let mut server = answering.serve(1).await.unwrap();
    let answering_all = tokio::spawn(async move {
        loop {
            let asked = next(&mut server).await;
            assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));
        }
    });

    let mut times = Vec::new();
    for request in 1..=2_100 {
        let start = Instant::now();
        let mut waiting = requester.ask(outgoing(request)).await.unwrap();
        assert_eq!(waiting.heard(PATIENCE).await, Heard::Done);
        times.push(start.elapsed());
    }

    let mut warm = times.split_off(100);
    warm.sort_unstable();
    let [median, late] = [warm[1_000], warm[1_980]];
    println!("a request and its reply: p50 {median:?}, p99 {late:?}, longest {:?}", warm[1_999]);
    assert!(median < MEDIAN, "{median:?}");
    assert_eq!(requester.waiting(), 0);
    answering_all.abort();
    answering.close().await;
    finish(queue, NOBODY).await;
}

/// Two processes, with queues of their own.
async fn pair() -> (RabbitMq, RabbitMq) {
    let config = config(tests::Stack::from_env().amqp_url(), &tests::unique("requests"));
    (RabbitMq::connect_now(config.clone()).await.unwrap(), RabbitMq::connect_now(config).await.unwrap())
}

fn outgoing(request: i64) -> OutgoingRequest {
    OutgoingRequest { request: RequestId(request), left: REQUEST_TTL, trace: TraceContext::default() }
}
