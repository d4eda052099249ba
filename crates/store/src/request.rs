//! Requests: urgent questions of one or some customers, and their answers.
//!
//! A **request** is a row: who asked, about whom, until when an answer is worth something. A worker begins an
//! **attempt** at it, and what it commits is the **answer**: a value or a rejection for each customer, for the moment
//! that the first attempt pinned. Which transitions there are is [`batch::RequestSnapshot::after`]'s to say.
//!
//! # Failure by failure
//!
//! * **The message is lost, or the worker is.** Whoever waits looks at the request, and sends its message again if it is
//!   still waiting, or if its lease has expired. Any number of messages for one request are answered once.
//! * **The worker is killed with the request in hand.** Once the lease has expired the next that begins takes over, and
//!   the loss is counted. After as many losses and failures as are allowed the request has failed.
//! * **A worker was only taken for lost**: the store was away, or it stood still. When it comes back
//!   ([`Requests::renew_requests`]) or asks again, its loss is forgiven. What it would commit is refused.
//! * **The answer to a begin is lost.** The worker asks again and says so: it begins anew, and that costs nothing.
//! * **The answer to a commit is lost.** [`Requests::renew_requests`] says where the attempt stands.
//! * **The store crashes after a begin.** PostgreSQL need not have it on its disk yet. See
//!   [`batch::RequestAttempt`].
//! * **The store crashes after a question** without a key, whose asker waits: the same. The asker finds no such request,
//!   or, since its number may have been given to the next question, none of its customers in the answer; it asks again.
//!   An answer is on the disk before anybody hears of it.
//! * **Whoever asked is killed.** Asked again with the same key, it finds the same request, whatever became of it.
//! * **Nobody ever asks again.** The request expires, with nobody having to do anything about it, and is forgotten
//!   when it is old.

use std::future::Future;
use std::time::Duration;

use batch::{CustomerId, RequestAttempt, RequestId, RequestState, RetryPolicy, RunId, Verdict};
use jiff::Timestamp;
use model::ValueTerms;

use crate::record::{CommitOutcome, ModelVersionId, ResultRows, Standing, Valued};
use crate::{Error, Result};

/// Requests, from the question to the answer. The side of whoever asks, of the worker that answers, and of the
/// coordinator that clears away.
pub trait Requests: Clone + Send + Sync + 'static {
    /// Records a request, or finds the one that was asked under its key. One that was abandoned or has expired is asked
    /// again: whoever gets a request that is waiting has to send a message for it.
    fn ask(&self, new: &NewRequest) -> impl Future<Output = Result<Asked>> + Send;

    /// Begins an attempt: counts it, before any work, and pins what is not pinned yet; or says why there is nothing to
    /// do. Takes over from a worker whose lease has expired.
    fn begin_request(
        &self,
        request: RequestId,
        claim: &RequestClaim<'_>,
    ) -> impl Future<Output = Result<RequestBegin>> + Send;

    /// Commits an answer: its values, its rejections and the request's `answered` in one transaction, or nothing at all
    /// if the attempt is no longer the latest.
    fn answer_request(
        &self,
        attempt: RequestAttempt,
        rows: &ResultRows,
    ) -> impl Future<Output = Result<CommitOutcome>> + Send;

    /// Records that an attempt failed through the request's own fault, and decides what follows; `None` if the attempt
    /// was not the latest any more. It is the caller who sees to it that somebody tries again.
    fn fail_request(
        &self,
        attempt: RequestAttempt,
        reason: &str,
        policy: &RetryPolicy,
    ) -> impl Future<Output = Result<Option<Verdict>>> + Send;

    /// Gives a request back unfinished because its worker is draining. It costs the request nothing.
    fn give_back_request(&self, attempt: RequestAttempt) -> impl Future<Output = Result<()>> + Send;

    /// Renews the leases of a worker's attempts and says where each stands, in their order. Those that were taken for
    /// lost are excused: the worker is there.
    fn renew_requests(
        &self,
        worker: &str,
        held: &[RequestAttempt],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Standing>>> + Send;

    /// Leaves a request that nobody is at work on; false if somebody is, or it is over.
    fn abandon(&self, request: RequestId) -> impl Future<Output = Result<bool>> + Send;

    /// Where requests stand, by their number; those that are not there are left out.
    fn look(&self, requests: &[RequestId]) -> impl Future<Output = Result<Vec<RequestRecord>>> + Send;

    /// Where a request stands, with its answer by customer, if it has one.
    fn answer_of(&self, request: RequestId) -> impl Future<Output = Result<Option<Answer>>> + Send;

    /// The newest that is known of customers, ascending, by the moment that they were valued for: from an answer, or from
    /// a run that readers see, which wins where both are for the same moment. Customers whom neither holds are left out.
    fn latest(&self, customers: &[CustomerId]) -> impl Future<Output = Result<Vec<Known>>> + Send;

    /// Those who have bought since, or began a subscription, or ended one, ascending: what is known of them is stale.
    /// Asked about customers, each once with the moment that he was valued for. What was entered late, for a moment
    /// before that, does not show, nor does what it cost to win somebody; what is still to come does not count.
    fn stale(
        &self,
        valued: &[(CustomerId, Timestamp)],
    ) -> impl Future<Output = Result<Vec<CustomerId>>> + Send;

    /// Clears away what is older than `retention` among the next requests after one: of their answers those that
    /// something newer is known instead of, and the requests that have no answer, or none any more.
    fn absorb(
        &self,
        after: RequestId,
        retention: Duration,
        limit: u32,
    ) -> impl Future<Output = Result<Absorbed>> + Send;
}

/// A request to be recorded.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// Who asks: the owner of the key.
    pub asked_by: String,
    /// What makes a repeat find the same request; `None` for a question that is not repeated.
    pub key: Option<String>,
    /// Tells what was asked, so that a key is not used for something else.
    pub fingerprint: Vec<u8>,
    /// About whom: ascending, each once, at least one.
    pub customers: Vec<CustomerId>,
    /// How long an answer is worth something, from now.
    pub lasts: Duration,
    /// The trace that it is asked in, as pairs.
    pub trace: Vec<(String, String)>,
    /// Whether whoever asks waits for the answer, and asks again if the question is not there any more. Then the store
    /// need not wait until the question is on its disk, unless it has a key.
    pub is_waited_for: bool,
}

impl NewRequest {
    /// Whether a store that crashes may forget it.
    pub(crate) fn may_be_forgotten(&self) -> bool {
        self.is_waited_for && self.key.is_none()
    }

    /// Whether it asks about anybody, and names each customer once, in order.
    pub(crate) fn check(&self) -> Result<()> {
        let is_asked = !self.customers.is_empty() && i32::try_from(self.customers.len()).is_ok();
        if is_asked && self.customers.is_sorted_by(|left, right| left < right) {
            return Ok(());
        }
        let reason = "the customers have to ascend, each once, and there has to be one".into();
        Err(Error::Invalid { what: "record a request".into(), reason })
    }
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// It was recorded under this number.
    New(RequestId),
    /// It was asked before, and stands so now.
    Known(Box<RequestRecord>),
    /// Something else was asked under its key.
    KeyReused,
}

/// How a worker asks for a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestClaim<'a> {
    /// Its name, which is that of one process.
    pub worker: &'a str,
    /// How long the attempt is believed to be alive without a renewal.
    pub lease: Duration,
    /// Whether this process asked before and got no answer.
    pub is_repeat: bool,
    /// Failures and losses after which the request has failed.
    pub max_failures: u32,
    /// Discount, take rate, refund rate and margin, where no run over the whole base is visible whose terms are pinned.
    pub terms: ValueTerms,
}

/// What `begin_request` answers.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestBegin {
    /// Work to do.
    Assigned(Box<RequestAssignment>),
    /// It is answered, failed, expired or abandoned.
    Over(RequestState),
    /// Another attempt is believed to be at work on it for so long.
    AtWork(Duration),
    /// It is to be tried again, but not for so long.
    NotDue(Duration),
    /// There is no model version yet.
    NoModel,
    /// There is no such request.
    NotThere,
}

/// An attempt at a request with all that it needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestAssignment {
    /// The attempt, and the fencing token.
    pub attempt: RequestAttempt,
    /// About whom was asked, ascending.
    pub customers: Vec<CustomerId>,
    /// Attempts before this one whose worker never came back.
    pub losses: u32,
    /// How long an answer is still worth something.
    pub left: Duration,
    /// The model version that the first attempt pinned.
    pub model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin.
    pub terms: ValueTerms,
    /// The trace that it was asked in, as pairs.
    pub trace: Vec<(String, String)>,
}

/// A request as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestRecord {
    /// Its number.
    pub request: RequestId,
    /// Who asked.
    pub asked_by: String,
    /// The key under which it can be asked again.
    pub key: Option<String>,
    /// About how many customers.
    pub customers: u64,
    /// Where it stands.
    pub state: RequestState,
    /// When it was asked, for the last time.
    pub asked_at: Timestamp,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// How long that is from now.
    pub left: Duration,
    /// How long the attempt at work is still believed to be alive; none if there is none, or it is taken for lost.
    pub leased_for: Option<Duration>,
    /// What the first attempt pinned, once there was one.
    pub pinned: Option<Pinned>,
    /// Attempts that failed or were lost.
    pub failures: u32,
    /// Why the last of them failed.
    pub reason: Option<String>,
    /// When it was answered or failed.
    pub settled_at: Option<Timestamp>,
    /// Customers with a value.
    pub values: u64,
    /// Customers without one.
    pub rejections: u64,
}

/// What the first attempt at a request pins, so that all of them value the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pinned {
    /// The moment that the customers are valued for: the database's, when it began.
    pub as_of: Timestamp,
    /// The model version that was in force.
    pub model_version: ModelVersionId,
    /// Discount, take rate, refund rate, margin: those of the newest visible run over the whole base.
    pub terms: ValueTerms,
}

/// What is known of a customer, and where from.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The customer.
    pub customer: CustomerId,
    /// His value with its inputs, or the code of the reason why he has none.
    pub outcome: std::result::Result<Valued, String>,
    /// What he was valued for.
    pub origin: Origin,
    /// The moment that he was valued for.
    pub as_of: Timestamp,
    /// By which model version.
    pub model_version: ModelVersionId,
}

/// What a customer was valued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A request.
    Request(RequestId),
    /// A run.
    Run(RunId),
}

/// A request and what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request.
    pub record: RequestRecord,
    /// What was committed for it, by customer. Of an old one there may be less than there was.
    pub rows: Vec<Known>,
}

/// What was cleared away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Absorbed {
    /// Customers' answers.
    pub answers: u64,
    /// Requests.
    pub requests: u64,
    /// After which request to go on; none once all that is old enough was looked at.
    pub after: Option<RequestId>,
}
