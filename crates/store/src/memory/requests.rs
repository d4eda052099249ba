//! Requests and their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use batch::{
    CustomerId, RequestAttempt, RequestEvent, RequestId, RequestRefusal, RequestSnapshot, RequestState,
    RetryPolicy, Verdict,
};
use jiff::Timestamp;

use super::archive::explained;
use super::rows::{Rows, Run};
use super::supervision::visible;
use super::{Base, Memory, invalid, later};
use crate::archive::Explained;
use crate::record::{CommitOutcome, ModelVersionId, ResultRows, Standing, Valued};
use crate::request::{
    Absorbed, Answer, Asked, Known, NewRequest, Origin, Pinned, RequestAssignment, RequestBegin,
    RequestClaim, RequestRecord,
};
use crate::{Result, ValueTerms};

/// The requests, their keys and their answers.
#[derive(Debug, Default)]
pub(super) struct Requests {
    last: i64,
    rows: BTreeMap<RequestId, Request>,
    /// The requests by who asked and the key.
    keys: BTreeMap<(String, String), RequestId>,
    /// Customers' values, or the code of the reason why they have none.
    answers: BTreeMap<(RequestId, CustomerId), std::result::Result<Valued, String>>,
}

#[derive(Debug)]
struct Request {
    new: NewRequest,
    /// Where it stands; its failures are the sum of the two below.
    snapshot: RequestSnapshot,
    failures: u32,
    lost_by: Vec<String>,
    asked_at: Timestamp,
    worker: String,
    pinned: Option<Pinned>,
    reason: Option<String>,
    settled_at: Option<Timestamp>,
    values: u64,
    rejections: u64,
}

impl crate::Requests for Memory {
    async fn ask(&self, new: &NewRequest) -> Result<Asked> {
        new.check()?;
        self.call(|rows, now| Ok(ask(&mut rows.requests, new, now))).await
    }

    async fn begin_request(&self, request: RequestId, claim: &RequestClaim<'_>) -> Result<RequestBegin> {
        self.call(|rows, now| Ok(begin(rows, request, claim, now))).await
    }

    async fn answer_request(&self, attempt: RequestAttempt, answer: &ResultRows) -> Result<CommitOutcome> {
        self.call(|rows, now| commit(&mut rows.requests, attempt, answer, now)).await
    }

    async fn fail_request(
        &self,
        attempt: RequestAttempt,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        self.call(|rows, now| {
            let Some(row) = rows.requests.held(attempt) else { return Ok(None) };
            let verdict = row.snapshot.verdict(policy, now);
            if row.take(RequestEvent::Failed(attempt.attempt, verdict), now).is_err() {
                return Ok(None);
            }
            row.failures += 1;
            row.reason = Some(reason.to_owned());
            Ok(Some(verdict))
        })
        .await
    }

    async fn give_back_request(&self, attempt: RequestAttempt) -> Result<()> {
        self.call(|rows, now| {
            if let Some(row) = rows.requests.held(attempt) {
                // If it is refused, there is nothing to give back.
                let _ = row.take(RequestEvent::GivenBack(attempt.attempt), now);
            }
            Ok(())
        })
        .await
    }

    async fn renew_requests(
        &self,
        worker: &str,
        held: &[RequestAttempt],
        lease: Duration,
    ) -> Result<Vec<Standing>> {
        self.call(|rows, now| {
            let leased_until = later(now, lease);
            let standing = |attempt: &RequestAttempt| {
                let Some(row) = rows.requests.rows.get_mut(&attempt.request) else {
                    return Standing::Superseded;
                };
                row.excuse(worker);
                let is_latest = row.is(attempt);
                let renewed = RequestEvent::Renewed { attempt: attempt.attempt, leased_until };
                if is_latest && row.take(renewed, now).is_ok() {
                    Standing::Held
                } else if is_latest && row.snapshot.state == RequestState::Answered {
                    Standing::Committed
                } else {
                    Standing::Superseded
                }
            };
            Ok(held.iter().map(standing).collect())
        })
        .await
    }

    async fn abandon(&self, request: RequestId) -> Result<bool> {
        self.call(|rows, now| {
            let row = rows.requests.rows.get_mut(&request);
            Ok(row.is_some_and(|row| row.take(RequestEvent::Abandoned, now).is_ok()))
        })
        .await
    }

    async fn look(&self, requests: &[RequestId]) -> Result<Vec<RequestRecord>> {
        self.call(|rows, now| {
            let mut requests = requests.to_vec();
            requests.sort_unstable();
            requests.dedup();
            let found = requests.iter().filter_map(|request| rows.requests.rows.get(request));
            Ok(found.map(|row| row.record(now)).collect())
        })
        .await
    }

    async fn answer_of(&self, request: RequestId) -> Result<Option<Answer>> {
        self.call(|rows, now| {
            let all = &rows.requests;
            let rows = all.of(request).map(|(customer, outcome)| all.known(request, customer, outcome));
            Ok(all.rows.get(&request).map(|row| Answer { record: row.record(now), rows: rows.collect() }))
        })
        .await
    }

    async fn latest(&self, customers: &[CustomerId]) -> Result<Vec<Known>> {
        self.call(|rows, _| {
            let mut customers = customers.to_vec();
            customers.sort_unstable();
            Ok(customers.iter().filter_map(|&customer| newest(self.base(), rows, customer)).collect())
        })
        .await
    }

    async fn stale(&self, valued: &[(CustomerId, Timestamp)]) -> Result<Vec<CustomerId>> {
        self.call(|rows, now| {
            let has_since = |(customer, as_of): &&(CustomerId, Timestamp)| {
                rows.happened.range((*customer, *as_of)..(*customer, now.max(*as_of))).next().is_some()
            };
            let mut stale: Vec<_> = valued.iter().filter(has_since).map(|(customer, _)| *customer).collect();
            stale.sort_unstable();
            Ok(stale)
        })
        .await
    }

    async fn absorb(&self, after: RequestId, retention: Duration, limit: u32) -> Result<Absorbed> {
        self.call(|rows, now| Ok(absorb(self.base(), rows, after, retention, limit as usize, now))).await
    }
}

impl Requests {
    /// The request, if this attempt may be at work on it.
    fn held(&mut self, attempt: RequestAttempt) -> Option<&mut Request> {
        self.rows.get_mut(&attempt.request).filter(|row| row.is(&attempt))
    }

    /// What was answered to a request, by customer.
    fn of(
        &self,
        request: RequestId,
    ) -> impl Iterator<Item = (CustomerId, &std::result::Result<Valued, String>)> {
        let all = (request, CustomerId(i64::MIN))..=(request, CustomerId(i64::MAX));
        self.answers.range(all).map(|((_, customer), outcome)| (*customer, outcome))
    }

    fn known(
        &self,
        request: RequestId,
        customer: CustomerId,
        outcome: &std::result::Result<Valued, String>,
    ) -> Known {
        let pinned = self.rows[&request].pinned.expect("what is answered was begun");
        Known {
            customer,
            outcome: outcome.clone(),
            origin: Origin::Request(request),
            as_of: pinned.as_of,
            model_version: pinned.model_version,
        }
    }
}

impl Request {
    fn is(&self, attempt: &RequestAttempt) -> bool {
        let as_of = self.pinned.map(|pinned| pinned.as_of);
        self.snapshot.attempt == attempt.attempt && as_of == Some(attempt.as_of)
    }

    /// Lets an event happen to it, or says why it does not happen.
    fn take(&mut self, event: RequestEvent, now: Timestamp) -> std::result::Result<(), RequestRefusal> {
        self.snapshot = self.snapshot.after(event, now)?;
        if matches!(self.snapshot.state, RequestState::Answered | RequestState::Failed) {
            self.settled_at = Some(now);
        }
        Ok(())
    }

    /// Forgives a worker what was lost by it: it is there.
    fn excuse(&mut self, worker: &str) {
        self.lost_by.retain(|lost_by| lost_by != worker);
        self.snapshot.failures = self.failures + self.lost_by.len() as u32;
    }

    fn record(&self, now: Timestamp) -> RequestRecord {
        let lasting = |until: Timestamp| until.duration_since(now).try_into().unwrap_or(Duration::ZERO);
        let leased_until = self.snapshot.leased_until.filter(|until| now < *until);
        RequestRecord {
            request: self.snapshot.request,
            asked_by: self.new.asked_by.clone(),
            key: self.new.key.clone(),
            customers: self.new.customers.len() as u64,
            state: self.snapshot.state_at(now),
            asked_at: self.asked_at,
            expires_at: self.snapshot.expires_at,
            left: lasting(self.snapshot.expires_at),
            leased_for: leased_until.map(lasting),
            pinned: self.pinned,
            failures: self.snapshot.failures,
            reason: self.reason.clone(),
            settled_at: self.settled_at,
            values: self.values,
            rejections: self.rejections,
        }
    }
}

fn ask(requests: &mut Requests, new: &NewRequest, now: Timestamp) -> Asked {
    let key = new.key.clone().map(|key| (new.asked_by.clone(), key));
    let expires_at = later(now, new.lasts);
    if let Some(known) = key.as_ref().and_then(|key| requests.keys.get(key)) {
        let row = requests.rows.get_mut(known).expect("a key has a request");
        if row.new.fingerprint != new.fingerprint {
            return Asked::KeyReused;
        }
        if row.take(RequestEvent::AskedAgain { expires_at }, now).is_ok() {
            (row.failures, row.asked_at) = (0, now);
            row.lost_by.clear();
            (row.pinned, row.reason) = (None, None);
        }
        return Asked::Known(Box::new(row.record(now)));
    }
    requests.last += 1;
    let request = RequestId(requests.last);
    requests.keys.extend(key.map(|key| (key, request)));
    let row = Request {
        new: new.clone(),
        snapshot: RequestSnapshot::asked(request, expires_at),
        failures: 0,
        lost_by: Vec::new(),
        asked_at: now,
        worker: String::new(),
        pinned: None,
        reason: None,
        settled_at: None,
        values: 0,
        rejections: 0,
    };
    requests.rows.insert(request, row);
    Asked::New(request)
}

fn begin(rows: &mut Rows, request: RequestId, claim: &RequestClaim<'_>, now: Timestamp) -> RequestBegin {
    let pinned = pin(rows, claim.terms, now);
    let leased_until = rows.mutations.lease_end(claim.worker, now, claim.lease);
    let Some(row) = rows.requests.rows.get_mut(&request) else { return RequestBegin::NotThere };
    let Some(pinned) = row.pinned.or(pinned) else { return RequestBegin::NoModel };
    row.excuse(claim.worker);
    // Refused unless the clock was set back since the lease was given.
    let _ = row.take(RequestEvent::Shortened, now);
    let is_over = row.snapshot.leased_until.is_some_and(|until| until <= now);
    let is_own = row.worker == claim.worker && (claim.is_repeat || is_over);
    let lost = RequestEvent::Lost(row.snapshot.verdict_of_loss(claim.max_failures, now));
    if !is_own && row.take(lost, now).is_ok() {
        row.lost_by.push(row.worker.clone());
        if row.snapshot.state == RequestState::Failed {
            row.reason = Some("its workers never came back".into());
        }
    }
    let record = row.record(now);
    match row.take(RequestEvent::Begun { leased_until, is_own }, now) {
        Ok(()) => {
            claim.worker.clone_into(&mut row.worker);
            row.pinned = Some(pinned);
            RequestBegin::Assigned(Box::new(assignment(row, pinned, record.left)))
        }
        Err(RequestRefusal::AtWork) => RequestBegin::AtWork(record.leased_for.unwrap_or_default()),
        Err(RequestRefusal::NotDue) => {
            let due = row.snapshot.retry_at.unwrap_or(now);
            RequestBegin::NotDue(due.duration_since(now).unsigned_abs())
        }
        Err(_) => RequestBegin::Over(record.state),
    }
}

/// What a first attempt pins now; none if there is no model version.
fn pin(rows: &Rows, terms: ValueTerms, now: Timestamp) -> Option<Pinned> {
    let in_force = rows.promotions.last().map(|row| row.promotion.version);
    let latest = || rows.model_versions.last().map(|version| version.version);
    let model_version: ModelVersionId = in_force.or_else(latest)?;
    let seen = visible(rows).into_iter().filter_map(|run| rows.run(run));
    let terms = seen.filter(|run| run.is_whole).map(|run| run.terms).next().unwrap_or(terms);
    Some(Pinned { as_of: now, model_version, terms })
}

fn assignment(row: &Request, pinned: Pinned, left: Duration) -> RequestAssignment {
    let RequestSnapshot { request, attempt, .. } = row.snapshot;
    RequestAssignment {
        attempt: RequestAttempt { request, attempt, as_of: pinned.as_of },
        customers: row.new.customers.clone(),
        losses: row.lost_by.len() as u32,
        left,
        model_version: pinned.model_version,
        terms: pinned.terms,
        trace: row.new.trace.clone(),
    }
}

fn commit(
    requests: &mut Requests,
    attempt: RequestAttempt,
    answer: &ResultRows,
    now: Timestamp,
) -> Result<CommitOutcome> {
    let values = answer.values.iter().map(|valued| (valued.customer, Ok(valued.clone())));
    let rejections =
        answer.rejections.iter().map(|rejected| (rejected.customer, Err(rejected.reason.code().to_owned())));
    let rows: BTreeMap<_, _> =
        values.chain(rejections).map(|(customer, outcome)| ((attempt.request, customer), outcome)).collect();
    let count = answer.values.len() + answer.rejections.len();
    let held = requests.held(attempt).filter(|row| row.new.customers.len() == count);
    let Some(row) = held else { return Ok(CommitOutcome::Refused) };
    let answered = RequestEvent::Answered(attempt.attempt);
    if row.snapshot.after(answered, now).is_err() {
        return Ok(CommitOutcome::Refused);
    }
    if rows.len() != count {
        return Err(invalid("answer a request", "a customer would have two answers"));
    }

    // From here on nothing stands in the way.
    row.take(answered, now).expect("it was allowed a moment ago");
    (row.values, row.rejections) = (answer.values.len() as u64, answer.rejections.len() as u64);
    requests.answers.extend(rows);
    Ok(CommitOutcome::Committed)
}

/// What one of the runs that readers see holds about a customer.
fn of_runs(base: &dyn Base, rows: &Rows, customer: CustomerId) -> Option<Known> {
    let known = |(id, run): (_, &Run)| {
        let outcome = match explained(base, run, customer) {
            Explained::Valued(valued) => Ok(valued),
            Explained::Rejected(reason) => Err(reason),
            Explained::Absent => return None,
        };
        let (origin, as_of, model_version) = (Origin::Run(id), run.as_of, run.model_version);
        Some(Known { customer, outcome, origin, as_of, model_version })
    };
    visible(rows).into_iter().filter_map(|id| Some((id, rows.run(id)?))).find_map(known)
}

fn of_requests(requests: &Requests, customer: CustomerId) -> Option<Known> {
    let answers = requests.answers.iter().filter(|((_, of), _)| *of == customer);
    let known = answers.map(|((request, _), outcome)| requests.known(*request, customer, outcome));
    known.max_by_key(|known| (known.as_of, known.origin))
}

fn newest(base: &dyn Base, rows: &Rows, customer: CustomerId) -> Option<Known> {
    let both = of_requests(&rows.requests, customer).into_iter().chain(of_runs(base, rows, customer));
    let wins = |one: &Known, other: &Known| {
        rows.mutations.wins(one.as_of, other.as_of).then(one.origin.cmp(&other.origin))
    };
    both.max_by(wins)
}

fn absorb(
    base: &dyn Base,
    rows: &mut Rows,
    after: RequestId,
    retention: Duration,
    limit: usize,
    now: Timestamp,
) -> Absorbed {
    let next: Vec<RequestId> =
        rows.requests.rows.keys().copied().filter(|request| *request > after).take(limit).collect();
    let is_old = |request: &&RequestId| {
        let row = &rows.requests.rows[request];
        later(row.settled_at.unwrap_or(row.snapshot.expires_at), retention) <= now
    };
    let old: Vec<RequestId> = next.iter().filter(is_old).copied().collect();
    let mut absorbed = Absorbed::default();
    let superseded: Vec<(RequestId, CustomerId)> = old
        .iter()
        .flat_map(|&request| rows.requests.of(request).map(move |(customer, _)| (request, customer)))
        .filter(|&(request, customer)| {
            newest(base, rows, customer).is_some_and(|known| known.origin != Origin::Request(request))
        })
        .collect();
    for answer in superseded {
        absorbed.answers += u64::from(rows.requests.answers.remove(&answer).is_some());
    }
    for &request in &old {
        if rows.requests.of(request).next().is_none() {
            rows.requests.rows.remove(&request);
            rows.requests.keys.retain(|_, of| *of != request);
            absorbed.requests += 1;
        }
    }
    let is_all_old = old.len() == next.len() && next.len() == limit;
    absorbed.after = next.last().copied().filter(|_| is_all_old);
    absorbed
}
