//! Publishing: every message persistent, mandatory and confirmed, each confirmation within a time limit.
//!
//! **Terms.** A *job* is one message to publish and somebody waiting for what becomes of it. It is *under way*
//! from when it is given to lapin until its confirmation; at most `in_flight` are. The *link* is the state of
//! the connection ([`Link`]).
//!
//! **One task owns the connection** and is the only one to publish on its channel, because lapin numbers a
//! message and queues its frames under two different locks: two tasks on one channel can swap the numbers, and
//! a returned message is then pinned on the wrong one. Throughput comes from many jobs under way, not from
//! sharing. The same task makes the connection again when it is lost, and answers jobs while it does.
//!
//! **Failure by failure.**
//!
//! - *No connection*: jobs are answered [`Error::Unavailable`] at once; nobody waits for a reconnect, which is
//!   tried for ever with growing, jittered pauses. The breaker in front counts it and spares even the asking.
//! - *The connection or channel is lost with jobs under way*: [`Error::Unconfirmed`] for each, unless lapin says
//!   that nothing of it was sent. The broker may have them.
//! - *A confirmation does not come in time*: `Unconfirmed` for that job, and the connection is given up: lapin
//!   would otherwise keep the confirmation for ever, and could pin somebody's returned message on it.
//! - *The broker blocks publishers* (memory or disk alarm): new jobs are answered [`Error::Blocked`] at once.
//!   Those under way run into their limit, because lapin then writes nothing at all on this connection; the
//!   connection is kept until the broker unblocks it, since a new one would only be blocked in its turn.
//!   Consuming has a connection of its own and goes on.
//! - *No queue takes the message*: it comes back, the [`Ledger`](super::ledger::Ledger) finds out which it was,
//!   that job is [`Error::Unroutable`], and a second later the topology is declared again (why not at once:
//!   see `consumer`), while others are published. A reply that comes back says only that whoever asked has left.
//! - *An exchange may not be written to*: the broker closes the channel, and with it what is under way is
//!   `Unconfirmed`. The connection is made again, since the right may be given at the broker; the lack is told once.
//! - *The broker answers no* (a queue's leader just died): `Unavailable`, nothing was kept. A request it refuses
//!   because too many wait: [`Error::Full`].
//! - *The exchange was deleted*: the broker closes the channel, the connection is made again, and the topology
//!   with it.
//! - *A caller has less patience than a confirmation may take* (whoever asks or replies): `Unconfirmed` for him, which
//!   the breaker counts; the job goes on.
//! - *A caller stops waiting*: its job is published all the same.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, Event};
use resilience::{Blame, Breaker, Delays};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::connection::{self, Link, call, report};
use super::flight::{Flight, loss, lost};
use super::job::{Frame, Job, closed};
use super::topology;
use super::{DELETION_SETTLES, PROVEN_AFTER, Settings, is_closing};
use crate::Error;
use crate::metrics::{self, Target};

/// Is the way to the publishing task. A clone is another handle to it; the task ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    jobs: mpsc::Sender<Job>,
    link: watch::Receiver<Link>,
    breaker: Breaker,
    closing: Arc<watch::Sender<bool>>,
}

impl Publisher {
    /// Starts the task.
    pub(super) fn start(settings: Arc<Settings>, breaker: Breaker) -> Self {
        let (jobs, queued) = mpsc::channel(settings.in_flight);
        let (link, seen_link) = watch::channel(Link::Connecting);
        let closing = Arc::new(watch::Sender::new(false));
        let task = Task { settings, jobs: queued, link, closing: closing.subscribe() };
        tokio::spawn(task.run());
        Self { jobs, link: seen_link, breaker, closing }
    }

    /// Publishes all of them. The breaker takes them as one call: half open, a whole plan is its probe.
    pub(super) async fn publish(&self, frames: Vec<Frame>) -> Vec<Result<(), Error>> {
        self.publish_within(None, frames).await
    }

    async fn publish_within(&self, limit: Option<Duration>, frames: Vec<Frame>) -> Vec<Result<(), Error>> {
        let targets: Vec<Target> = frames.iter().map(|frame| frame.target.clone()).collect();

        let results = match self.breaker.try_acquire() {
            Err(open) => {
                // The link often knows better why than the breaker does.
                let link = self.link();
                frames
                    .into_iter()
                    .map(|Frame { what, .. }| {
                        let reason = open.to_string();
                        Err(link.refusal(&what).unwrap_or(Error::Unavailable { what, reason }))
                    })
                    .collect()
            }
            Ok(permit) => {
                let results = match limit {
                    None => self.hand_over(frames).await,
                    Some(limit) => self.hand_over_within(limit, frames).await,
                };
                let failed = results.iter().find(|result| blame(result) == Blame::Dependency);
                permit.record(failed.and_then(|result| result.as_ref().err()));
                results
            }
        };

        for (target, result) in targets.into_iter().zip(&results) {
            metrics::published(&target, result);
        }
        results
    }

    pub(super) async fn publish_one(&self, frame: Frame) -> Result<(), Error> {
        self.publish(vec![frame]).await.pop().expect("one message has one result")
    }

    /// Publishes one for somebody who cannot wait as long for a confirmation as others may.
    pub(super) async fn publish_soon(&self, limit: Duration, frame: Frame) -> Result<(), Error> {
        self.publish_within(Some(limit), vec![frame]).await.pop().expect("one message has one result")
    }

    pub(super) fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Waits until the first attempt to connect has ended, one way or the other.
    pub(super) async fn first_attempt(&self) -> Link {
        let mut link = self.link.clone();
        match link.wait_for(|link| *link != Link::Connecting).await {
            Ok(link) => link.clone(),
            Err(_) => Link::Closed,
        }
    }

    /// Waits until the broker blocks publishers; for ever if it never does.
    pub(super) async fn blocked(&self) -> String {
        let mut link = self.link.clone();
        match link.wait_for(|link| matches!(link, Link::Blocked(_))).await.as_deref() {
            Ok(Link::Blocked(reason)) => reason.clone(),
            _ => std::future::pending().await,
        }
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Has everything closed: this task finishes what it holds, consumers end.
    pub(super) async fn close(&self) {
        self.closing.send_replace(true);
        let mut link = self.link.clone();
        // An error means that the task has ended, which is what is waited for.
        let _ = link.wait_for(|link| *link == Link::Closed).await;
    }

    async fn hand_over_within(&self, limit: Duration, frames: Vec<Frame>) -> Vec<Result<(), Error>> {
        let calls: Vec<String> = frames.iter().map(|frame| frame.what.clone()).collect();
        tokio::time::timeout(limit, self.hand_over(frames)).await.unwrap_or_else(|_| {
            let reason = format!("no confirmation within {} s", limit.as_secs_f64());
            let unconfirmed = |what| Err(Error::Unconfirmed { what, reason: reason.clone() });
            calls.into_iter().map(unconfirmed).collect()
        })
    }

    async fn hand_over(&self, frames: Vec<Frame>) -> Vec<Result<(), Error>> {
        let mut waiting = Vec::with_capacity(frames.len());
        for frame in frames {
            let what = frame.what.clone();
            // Looked at here as well as in the task, which could be busy with what is under way.
            let refusal = self.link.borrow().refusal(&what);
            let answer = if let Some(error) = refusal {
                Answer::Now(error)
            } else {
                let (reply, answer) = oneshot::channel();
                match self.jobs.send(Job { frame, reply }).await {
                    Ok(()) => Answer::Later(answer),
                    Err(_) => Answer::Now(closed(&what)),
                }
            };
            waiting.push((what, answer));
        }

        let mut results = Vec::with_capacity(waiting.len());
        for (what, answer) in waiting {
            results.push(match answer {
                Answer::Now(error) => Err(error),
                Answer::Later(answer) => answer.await.unwrap_or_else(|_| Err(closed(&what))),
            });
        }
        results
    }
}

enum Answer {
    Now(Error),
    Later(oneshot::Receiver<Result<(), Error>>),
}

fn blame(result: &Result<(), Error>) -> Blame {
    match result {
        Err(Error::Unavailable { .. } | Error::Blocked { .. } | Error::Unconfirmed { .. }) => {
            Blame::Dependency
        }
        Ok(()) | Err(_) => Blame::Caller,
    }
}

/// Is the one task that owns the publishing connection.
struct Task {
    settings: Arc<Settings>,
    jobs: mpsc::Receiver<Job>,
    link: watch::Sender<Link>,
    closing: watch::Receiver<bool>,
}

/// Why the task stopped serving a connection.
enum End {
    Lost(Error),
    Closed,
}

impl Task {
    async fn run(mut self) {
        let mut delays = Delays::reconnect();
        let mut told = None;
        loop {
            let settings = Arc::clone(&self.settings);
            let error = match self.refusing(establish(&settings)).await {
                None => break,
                Some(Err(error)) => error,
                Some(Ok(session)) => {
                    tracing::info!(url = %settings.url, "connected to RabbitMQ for publishing");
                    report(&self.link, Link::Up);
                    let since = Instant::now();
                    match self.serve(session).await {
                        End::Closed => break,
                        End::Lost(error) => {
                            metrics::reconnect("publish");
                            if since.elapsed() >= PROVEN_AFTER {
                                delays.reset();
                                told = None;
                            }
                            error
                        }
                    }
                }
            };

            log_down(&self.link.borrow(), told.as_ref(), &error);
            told = Some(error.clone());
            report(&self.link, Link::Down(error));
            if self.refusing(delays.pause()).await.is_none() {
                break;
            }
        }

        report(&self.link, Link::Closed);
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            job.refuse(&Link::Closed);
        }
    }

    /// Does something else and answers jobs meanwhile. `None` when the queue is closed, or nobody is left.
    async fn refusing<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return Some(result),
                () = is_closing(&mut self.closing) => return None,
                job = self.jobs.recv() => job?.refuse(&self.link.borrow()),
            }
        }
    }

    /// Takes what happened to the connection; an error is the end of it.
    fn hear(&self, event: Option<Event>, flight: &Flight) -> Result<(), Error> {
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                tracing::warn!(reason, "RabbitMQ takes no messages at present");
                report(&self.link, Link::Blocked(reason));
            }
            Some(Event::ConnectionUnblocked) => {
                tracing::info!("RabbitMQ takes messages again");
                report(&self.link, Link::Up);
                if flight.is_tainted {
                    return Err(lost("confirmations were missed while it was blocked"));
                }
            }
            Some(Event::Error(error)) => return Err(loss(&error)),
            Some(_) => {}
            None => return Err(lost("the connection ended")),
        }
        Ok(())
    }

    async fn serve(&mut self, session: Session) -> End {
        let Session { connection, channel, mut events } = session;
        let mut flight = Flight::new(&self.settings, channel);
        let mut is_open = true;
        let mut is_draining = false;
        let settings = Arc::clone(&self.settings);
        let mut declaring = std::pin::pin!(Fuse::terminated());

        let end = loop {
            if declaring.is_terminated() && std::mem::take(&mut flight.met_unroutable) {
                declaring.set(declare_later(&settings).fuse());
            }
            if !is_open && flight.is_empty() {
                break End::Closed;
            }
            let has_room = is_open && flight.has_room();
            tokio::select! {
                biased;
                event = events.next() => if let Err(error) = self.hear(event, &flight) {
                    break End::Lost(error);
                },
                Some(first) = flight.under_way.next() => {
                    if let Err(error) = flight.land(first, *self.link.borrow() == Link::Up) {
                        break End::Lost(error);
                    }
                }
                declared = &mut declaring => match declared {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => {
                        tracing::debug!(%error, "cannot declare what is missing, trying again");
                        flight.met_unroutable = true;
                    }
                    Err(error) => break End::Lost(error),
                },
                job = self.jobs.recv(), if has_room => match job {
                    None => is_open = false,
                    Some(job) if *self.link.borrow() == Link::Up => flight.launch(job),
                    Some(job) => job.refuse(&self.link.borrow()),
                },
                () = is_closing(&mut self.closing), if !is_draining => {
                    // What was handed over before is still published; `recv` ends after that.
                    is_draining = true;
                    self.jobs.close();
                }
            }
        };

        match &end {
            End::Lost(error) => flight.abandon(error),
            End::Closed => connection::close(&self.settings, &connection).await,
        }
        end
    }
}

/// Is a connection ready to publish on.
struct Session {
    connection: Connection,
    channel: Channel,
    events: BoxStream<'static, Event>,
}

async fn establish(settings: &Settings) -> Result<Session, Error> {
    topology::declare(settings).await?;
    let connection = connection::open(settings, "publish").await?;
    let events = connection.events_listener().boxed();
    let channel = connection::open_channel(settings, &connection).await?;
    let confirm_select = channel.confirm_select(ConfirmSelectOptions::default());
    call(settings, "ask for confirmations", confirm_select).await?;
    Ok(Session { connection, channel, events })
}

/// Declares everything again, once what was deleted is gone.
async fn declare_later(settings: &Settings) -> Result<(), Error> {
    tokio::time::sleep(DELETION_SETTLES).await;
    topology::declare(settings).await
}

/// Logs a loss once, not every attempt to mend it; a lack of a right also where it shows anew with each publishing.
fn log_down(before: &Link, told: Option<&Error>, error: &Error) {
    let is_known = *before == Link::Down(error.clone()) || (!error.is_transient() && told == Some(error));
    if is_known {
        tracing::debug!(%error, "still cannot publish to RabbitMQ");
    } else if error.is_transient() {
        tracing::warn!(%error, "cannot publish to RabbitMQ, trying again");
    } else {
        tracing::error!(%error, "cannot publish to RabbitMQ until somebody mends this, trying again");
    }
}
