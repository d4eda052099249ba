//! Requests and their replies.

use std::time::Duration;

use batch::{InstallationId, Priority, RequestId};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::{Instant, timeout};

use super::{PATIENCE, Subject, next, next_or_end, trace, until, wait_for_dead_letters};
use crate::{
    Acked, Asked, Connection, Consumer, DeadLetters, Delivery, Error, Heard, MOST_REQUESTS, Message,
    OutgoingRequest, REQUEST_TTL, Replied, Requester, Requests, TraceContext, Waiting,
};

// --- asking and answering -------------------------------------------------------------------------------------

/// And is heard as often as somebody listens.
pub async fn a_request_is_taken_and_its_reply_is_heard<S: Subject>(subject: &S) {
    let (asking, answering) = (subject.connect().await, subject.connect().await);
    let requester = requester(&asking).await;
    let mut server = serve(&answering, 1).await;
    assert!(requester.is_listening());

    let mut waiting = ask(&requester, 17).await;

    assert_eq!((waiting.request(), requester.waiting()), (RequestId(17), 1));
    let asked = next(&mut server).await;
    assert_eq!(asked.message(), Ok(&RequestId(17)));
    assert_eq!((asked.priority(), asked.redelivered()), (Priority::Critical, false));
    assert_eq!(waiting.heard(Duration::ZERO).await, Heard::Silent);
    assert_eq!(asked.reply().await, Replied::Sent);
    assert_eq!(waiting.heard(PATIENCE).await, Heard::Done);
    assert_eq!(waiting.heard(Duration::ZERO).await, Heard::Done);
    assert_eq!(asked.ack().await, Acked::Sent);
    drop(waiting);
    assert_eq!(requester.waiting(), 0);
    until("all is well", async || asking.ready() && answering.ready()).await;
}

/// The largest number included; of the trace, the pairs that a trace consists of.
pub async fn a_request_comes_as_it_was_sent_with_its_trace_and_nothing_else<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 1).await);
    let mut sent = outgoing_request(i64::MAX);
    sent.trace = trace();
    sent.trace.0.push(("customer".into(), "5".into()));

    let _waiting = requester.ask(sent).await.expect("a broker that takes requests");

    let asked = next(&mut server).await;
    assert_eq!(asked.message(), Ok(&RequestId(i64::MAX)));
    assert_eq!(asked.trace(), &trace());
    assert_eq!(asked.ack().await, Acked::Sent);
}

/// Also where two ask for the same.
pub async fn a_reply_reaches_the_process_that_asked_and_no_other<S: Subject>(subject: &S) {
    let (one, other) = (subject.connect().await, subject.connect().await);
    let (ones, others) = (requester(&one).await, requester(&other).await);
    let mut server = serve(&one, 1).await;
    let mut first = ask(&ones, 5).await;
    let mut second = ask(&others, 5).await;

    let asked = next(&mut server).await;
    assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));
    assert_eq!(first.heard(PATIENCE).await, Heard::Done);

    let asked = next(&mut server).await;
    assert_eq!(second.heard(Duration::ZERO).await, Heard::Silent);
    assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));
    assert_eq!(second.heard(PATIENCE).await, Heard::Done);
}

/// Two callers with one key, say.
pub async fn all_who_wait_for_one_request_hear_of_it<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 1).await);
    let (mut first, mut second) = (ask(&requester, 5).await, ask(&requester.clone(), 5).await);
    assert_eq!(requester.waiting(), 2);

    let asked = next(&mut server).await;
    assert_eq!(asked.reply().await, Replied::Sent);

    assert_eq!((first.heard(PATIENCE).await, second.heard(PATIENCE).await), (Heard::Done, Heard::Done));
    assert_eq!(asked.ack().await, Acked::Sent);
}

/// As when an answerer was taken for dead, and was not.
pub async fn answering_twice_is_harmless<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 1).await);
    let mut waiting = ask(&requester, 1).await;

    let asked = next(&mut server).await;
    assert_eq!((asked.reply().await, asked.reply().await), (Replied::Sent, Replied::Sent));
    assert_eq!(waiting.heard(PATIENCE).await, Heard::Done);
    drop(waiting);
    assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));

    let mut other = ask(&requester, 2).await;
    let asked = next(&mut server).await;
    assert_eq!(other.heard(Duration::ZERO).await, Heard::Silent);
    assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));
    assert_eq!(other.heard(PATIENCE).await, Heard::Done);
}

/// The process that asked is gone; its request is worked, acked and forgotten.
pub async fn whoever_answers_learns_that_who_asked_has_left<S: Subject>(subject: &S) {
    let (asking, answering) = (subject.connect().await, subject.connect().await);
    let requester = requester(&asking).await;
    let mut server = serve(&answering, 2).await;
    let (mut of_dropped, _) = (ask(&requester, 1).await, ask(&requester, 2).await);
    let asked = [next(&mut server).await, next(&mut server).await];

    drop(requester);

    assert_eq!(of_dropped.heard(PATIENCE).await, Heard::Lost);
    for asked in asked {
        // The broker hears of it a moment later.
        until("it is learnt", async || asked.reply().await == Replied::Left).await;
        assert_eq!(asked.ack().await, Acked::Sent);
    }
}

// --- requests that nobody takes -------------------------------------------------------------------------------

/// And is no dead letter: nobody has to look after it.
pub async fn a_request_that_nobody_took_in_time_is_gone<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let requester = requester(&queue).await;
    let brief = OutgoingRequest { left: Duration::from_millis(50), ..outgoing_request(1) };
    let mut waiting = requester.ask(brief).await.expect("a broker that takes requests");
    assert_eq!(waiting.heard(Duration::from_millis(250)).await, Heard::Silent);

    let mut server = serve(&queue, 1).await;
    let _other = ask(&requester, 2).await;

    let asked = next(&mut server).await;
    assert_eq!(asked.message(), Ok(&RequestId(2)));
    assert_eq!(asked.ack().await, Acked::Sent);
    assert_eq!(queue.dead_letters(1).await, Ok(vec![]));
}

/// Nobody queues behind a full queue.
pub async fn a_full_queue_sheds_and_takes_again_once_there_is_room<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let requester = requester(&queue).await;
    let most = i64::from(MOST_REQUESTS);
    let asking = join_all((1..=most).map(|request| requester.ask(outgoing_request(request)))).await;
    assert!(asking.iter().all(Result::is_ok), "{:?}", asking.iter().find(|result| result.is_err()));

    let shed = requester.ask(outgoing_request(most + 1)).await.expect_err("a full queue");

    assert_eq!(shed, Error::Full { what: format!("ask for request {}", most + 1) });
    assert!(shed.is_transient());
    assert_eq!(requester.waiting(), asking.len());
    let mut server = serve(&queue, 10).await;
    assert_eq!(next(&mut server).await.ack().await, Acked::Sent);
    until("there is room", async || requester.ask(outgoing_request(most + 1)).await.is_ok()).await;
}

/// Lost with what was in it, which costs looks.
pub async fn a_queue_of_requests_that_is_missing_is_told_and_declared_again<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let requester = requester(&queue).await;
    subject.lose_requests().await;

    let error = requester.ask(outgoing_request(1)).await.expect_err("no queue");

    assert!(matches!(error, Error::Unavailable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains("declared again"), "{error}");
    assert_eq!(requester.waiting(), 0);
    let mut waiting = ask_until_taken(&requester, 2).await;
    let mut server = serve(&queue, 1).await;
    assert_eq!(next(&mut server).await.reply().await, Replied::Sent);
    assert_eq!(waiting.heard(PATIENCE).await, Heard::Done);
}

/// Within a time limit; asking again may have it come twice, which the store sees.
pub async fn a_request_that_is_not_confirmed_is_unknown_and_asking_again_is_right<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let requester = requester(&queue).await;
    subject.lose_confirms().await;

    let asking = timeout(REQUEST_TTL / 2, requester.ask(outgoing_request(1))).await;

    let error = asking.expect("a time limit").expect_err("no confirmation came");
    assert!(matches!(error, Error::Unconfirmed { .. }) && error.is_transient(), "{error}");
    assert_eq!(requester.waiting(), 0);
    subject.come_back().await;
    let mut server = serve(&queue, 1).await;
    ask_until_done(&requester, &mut server, 1).await;
}

// --- serving --------------------------------------------------------------------------------------------------

/// What one holds, the others need not wait for.
pub async fn a_server_holds_no_more_requests_than_its_prefetch<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let requester = requester(&queue).await;
    let mut busy = serve(&queue, 0).await;
    let _waiting = ask(&requester, 1).await;
    let held = next(&mut busy).await;
    let _more = [ask(&requester, 2).await, ask(&requester, 3).await];

    let mut idle = serve(&queue, 1).await;

    for request in [2, 3] {
        let asked = next(&mut idle).await;
        assert_eq!(asked.message(), Ok(&RequestId(request)));
        assert_eq!(asked.ack().await, Acked::Sent);
    }
    assert_eq!(held.ack().await, Acked::Sent);
}

/// Dropped, given back, or not taken by one that stopped: it comes again, and can still be answered.
pub async fn a_request_that_was_given_back_comes_again<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 1).await);
    let mut waiting = ask(&requester, 1).await;
    drop(next(&mut server).await);
    assert_eq!(next(&mut server).await.requeue().await, Acked::Sent);
    server.stop().await;

    let mut other = serve(&queue, 1).await;

    let asked = next(&mut other).await;
    assert_eq!((asked.message(), asked.redelivered()), (Ok(&RequestId(1)), true));
    assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));
    assert_eq!(waiting.heard(PATIENCE).await, Heard::Done);
}

/// Nothing that is in the queue can stop who serves, nor has it anybody to reply to.
pub async fn garbage_among_the_requests_is_malformed_and_can_be_dead_lettered<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let mut server = serve(&queue, 1).await;
    let theirs = RequestId(7).encode(InstallationId(0xabc));
    for (body, reason) in [(b"garbage".to_vec(), "line 1 column 1"), (theirs, "0000000000000abc")] {
        subject.put_request(body).await;

        let asked = next(&mut server).await;
        let malformed = asked.message().expect_err("garbage is no request").to_string();
        assert!(malformed.contains(reason), "{malformed}");
        assert_eq!(asked.reply().await, Replied::NotSent);
        assert_eq!(asked.dead_letter(&malformed).await, Ok(Acked::Sent));
    }
    let letters = wait_for_dead_letters(&queue, 2).await;
    let wrong = [("line 1 column 1", false), ("0000000000000abc", true)];
    for (letter, (reason, is_foreign)) in letters.iter().zip(wrong) {
        let malformed = letter.message.as_ref().expect_err("it is about no chunk");
        assert!(malformed.reason.contains(reason) && malformed.is_foreign == is_foreign, "{letter:?}");
        assert!(letter.origin.as_ref().is_some_and(|origin| origin.ends_with("requests")), "{letter:?}");
    }
}

// --- connections that are lost --------------------------------------------------------------------------------

/// Nobody waits for what cannot come; what was asked is worked all the same, and asking again is right.
pub async fn who_waits_hears_at_once_that_the_connection_was_cut<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 10).await);
    let asking = join_all((1..=100).map(|request| requester.ask(outgoing_request(request)))).await;
    let mut waiting: Vec<Waiting> = asking.into_iter().map(|result| result.expect("a broker")).collect();
    let taken = next(&mut server).await;
    let start = Instant::now();

    subject.cut().await;

    for waiting in &mut waiting {
        assert_eq!(waiting.heard(PATIENCE).await, Heard::Lost);
    }
    assert!(start.elapsed() < REQUEST_TTL / 2, "{:?}", start.elapsed());
    assert_eq!(requester.waiting(), 0);
    until("the old way leads nowhere", async || taken.reply().await == Replied::Left).await;
    drop(taken);
    ask_until_done(&requester, &mut server, 1).await;
}

/// Every call is answered at once, and all goes on afterwards.
pub async fn asking_and_serving_outlive_an_outage<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 1).await);
    let mut waiting = ask(&requester, 1).await;

    subject.go_away().await;

    assert_eq!(waiting.heard(PATIENCE).await, Heard::Lost);
    until("the loss is noticed", async || !queue.ready() && !requester.is_listening()).await;
    let start = Instant::now();
    let error = requester.ask(outgoing_request(2)).await.expect_err("no broker");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().starts_with("ask for request 2: "), "{error}");
    subject.come_back().await;
    ask_until_done(&requester, &mut server, 1).await;
    until("all is well", async || queue.ready() && requester.is_listening()).await;
}

/// A process may start before its broker.
pub async fn asking_and_serving_can_begin_while_the_broker_is_away<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    subject.go_away().await;
    until("the loss is noticed", async || !queue.ready()).await;

    let (requester, mut server) = (requester(&queue).await, serve(&queue, 1).await);

    assert!(!requester.is_listening());
    subject.come_back().await;
    ask_until_done(&requester, &mut server, 1).await;
}

/// Whether they were heard or not, and whoever left first.
pub async fn ten_thousand_requests_leave_nobody_behind<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 100).await);

    let asking = stream::iter(1..=10_000).map(async |request| {
        let mut waiting = ask(&requester, request).await;
        // Some leave before they are answered.
        request % 10 == 0 || waiting.heard(PATIENCE).await == Heard::Done
    });
    let asking = asking.buffer_unordered(100).all(async |went_well| went_well);
    let answering = async {
        loop {
            let asked = next(&mut server).await;
            assert_eq!((asked.reply().await, asked.ack().await), (Replied::Sent, Acked::Sent));
        }
    };
    tokio::select! {
        all_well = asking => assert!(all_well),
        () = answering => {}
    }

    assert_eq!(requester.waiting(), 0);
}

/// For whoever waits, asks, or serves.
pub async fn closing_ends_asking_and_serving<S: Subject>(subject: &S) {
    let queue = subject.connect().await;
    let (requester, mut server) = (requester(&queue).await, serve(&queue, 1).await);
    let mut waiting = ask(&requester, 1).await;
    drop(next(&mut server).await);

    queue.close().await;

    assert_eq!(waiting.heard(PATIENCE).await, Heard::Lost);
    until("serving has ended", async || next_or_end(&mut server).await.is_none()).await;
    let error = requester.ask(outgoing_request(2)).await.expect_err("a closed queue");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(!requester.is_listening());
    assert!(matches!(queue.requester().await, Err(Error::Unavailable { .. })));
    assert!(matches!(queue.serve(1).await, Err(Error::Unavailable { .. })));
}

// --- what the tests say ---------------------------------------------------------------------------------------

fn outgoing_request(request: i64) -> OutgoingRequest {
    OutgoingRequest { request: RequestId(request), left: REQUEST_TTL, trace: TraceContext::default() }
}

async fn requester<Q: Requests>(queue: &Q) -> Q::Requester {
    queue.requester().await.expect("an open queue")
}

async fn serve<Q: Requests>(queue: &Q, prefetch: u16) -> Q::Server {
    queue.serve(prefetch).await.expect("an open queue")
}

async fn ask(requester: &impl Requester, request: i64) -> Waiting {
    requester.ask(outgoing_request(request)).await.expect("a broker that takes requests")
}

/// Asks until the broker is there to take it.
async fn ask_until_taken(requester: &impl Requester, request: i64) -> Waiting {
    super::until_some("the request is taken", async || requester.ask(outgoing_request(request)).await.ok())
        .await
}

/// Asks, and answers whatever comes, until it is done. So soon after trouble the way back may be lost once more, or the
/// breaker keep a reply.
async fn ask_until_done<C: Consumer<Delivery: Asked>>(
    requester: &impl Requester,
    server: &mut C,
    request: i64,
) {
    loop {
        let mut waiting = ask_until_taken(requester, request).await;
        let heard = loop {
            tokio::select! {
                biased;
                heard = waiting.heard(PATIENCE) => break heard,
                asked = next(server) => {
                    until("the reply is sent", async || asked.reply().await != Replied::NotSent).await;
                    let _ = asked.ack().await;
                }
            }
        };
        match heard {
            Heard::Done => return,
            Heard::Lost => {}
            Heard::Silent => panic!("neither a reply nor the loss of it was heard"),
        }
    }
}
