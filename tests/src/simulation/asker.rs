//! Whoever asks urgent questions while a night goes on, and what he is told.
//!
//! He asks each question under a key of its own, sends its message, waits, looks, and sends it again, until the question
//! is answered or has failed; if he dies, he does so again under the same keys. What he may leave he asks again later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{CustomerId, RequestId, RequestState};
use jiff::Timestamp;
use queue::{OutgoingRequest, Requester, Requests as _, TraceContext};
use store::{Answer, Asked, Known, NewRequest, RequestRecord, Requests};
use tokio::time::sleep;

use super::base::Customers;
use super::hands::Hands;
use super::process::Process;
use super::rule::Rule;
use super::scene::Question;

/// How long nothing is done after something failed.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked in a night, and what was heard. It outlives whoever asks. A clone is another handle to it.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The request of each question.
    requests: BTreeMap<usize, RequestId>,
    /// What was answered, as it was first read.
    answers: BTreeMap<RequestId, Vec<Known>>,
    /// The newest moment for which something is known of a customer.
    newest: BTreeMap<CustomerId, Timestamp>,
    /// The questions that nobody waits for any more.
    over: Vec<usize>,
}

impl State {
    /// Takes note of what is known of customers, and gives the newest moment for which something is known of each.
    fn learn(&mut self, known: &[Known]) -> BTreeMap<CustomerId, Timestamp> {
        let newest = known.iter().map(|known| {
            let newest = self.newest.entry(known.customer).or_insert(known.as_of);
            *newest = (*newest).max(known.as_of);
            (known.customer, *newest)
        });
        newest.collect()
    }
}

impl Heard {
    /// How many questions are over.
    pub(super) fn over(&self) -> usize {
        self.lock().over.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    /// Asks all that is not over yet, each when its time comes, and ends when it is asked to.
    pub(super) async fn ask(self: Arc<Self>, process: Process) {
        let questions = self.scene.questions.iter().enumerate();
        let open = questions.filter(|(number, _)| !self.heard.lock().over.contains(number));
        let asking = open.map(|(number, question)| self.see_through(&process, number, question));
        let all = async {
            futures_util::future::join_all(asking).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = process.asked().cancelled() => {}
            () = all => {}
        }
    }

    async fn see_through(&self, process: &Process, number: usize, question: &Question) {
        sleep(question.after).await;
        let requester = loop {
            match self.queue(process).requester().await {
                Ok(requester) => break requester,
                Err(_) => sleep(PAUSE).await,
            }
        };
        loop {
            match self.try_once(process, &requester, number, question).await {
                Ok(Some(record)) => {
                    self.is_over_well(&record, question);
                    if record.state != RequestState::Answered
                        || self.read(process, &record, question).await.is_ok()
                    {
                        self.heard.lock().over.push(number);
                        return;
                    }
                }
                Ok(None) => {}
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Asks once, waits, and looks; none if the question is not over then.
    async fn try_once(
        &self,
        process: &Process,
        requester: &impl Requester,
        number: usize,
        question: &Question,
    ) -> store::Result<Option<RequestRecord>> {
        let store = self.store(process);
        let new = NewRequest {
            asked_by: "a dashboard".into(),
            key: Some(format!("question {number}")),
            fingerprint: vec![number as u8],
            customers: question.customers.clone(),
            lasts: question.lasts,
            trace: Vec::new(),
            is_waited_for: true,
        };
        let request = match store.ask(&new).await? {
            Asked::New(request) => request,
            Asked::Known(record) if is_settled(&record) => return Ok(Some(*record)),
            Asked::Known(record) => record.request,
            Asked::KeyReused => {
                self.world.violation(Rule::Answer, format_args!("the key of question {number} is another's"));
                return Ok(None);
            }
        };
        let first = *self.heard.lock().requests.entry(number).or_insert(request);
        if first != request {
            let what = format_args!("question {number} is request {first}, and then request {request}");
            self.world.violation(Rule::Answer, what);
        }
        let outgoing = OutgoingRequest { request, left: question.lasts, trace: TraceContext::default() };
        match requester.ask(outgoing).await {
            Ok(mut waiting) => {
                let limit = self.world.draw(|chance| chance.millis(500..15_000));
                let heard = waiting.heard(limit).await;
                self.world.tell(format_args!("{process} hears of request {request}: {heard:?}"));
            }
            Err(_) => sleep(PAUSE).await,
        }
        if self.world.draw(|chance| chance.happens(0.1)) {
            let is_left = store.abandon(request).await?;
            self.world.tell(format_args!("{process} leaves request {request}: {is_left}"));
        }
        Ok(store.look(&[request]).await?.pop().filter(is_settled))
    }

    /// Whether it may be over as it is.
    fn is_over_well(&self, record: &RequestRecord, question: &Question) {
        let is_poisoned = self.scene.poison.is_some_and(|poison| question.customers.contains(&poison));
        let was_lost = record.reason.as_deref() == Some("its workers never came back");
        if record.state == RequestState::Failed && !is_poisoned && !was_lost {
            self.world.violation(
                Rule::Answer,
                format_args!("it failed, and nothing was wrong with it: {record:?}"),
            );
        }
        if record.state == RequestState::Answered && is_poisoned {
            self.world.violation(Rule::Answer, format_args!("it was answered, and cannot be: {record:?}"));
        }
    }

    /// Reads an answer, and what is known of its customers.
    async fn read(
        &self,
        process: &Process,
        record: &RequestRecord,
        question: &Question,
    ) -> store::Result<()> {
        let store = self.store(process);
        let Some(answer) = store.answer_of(record.request).await? else {
            self.world.violation(Rule::Answer, format_args!("request {} is not there", record.request));
            return Ok(());
        };
        self.answer_is_exact(&answer, question);
        let floor = self.heard.lock().learn(&answer.rows);
        let known = store.latest(&question.customers).await?;
        self.nothing_is_older(&known, &floor);
        self.heard.lock().learn(&known);
        Ok(())
    }

    /// Each customer has one outcome, to the bit, for the moment that was pinned, and the same whenever it is read.
    fn answer_is_exact(&self, answer: &Answer, question: &Question) {
        let request = answer.record.request;
        let violation =
            |what: String| self.world.violation(Rule::Answer, format_args!("request {request}: {what}"));
        let Some(pinned) = answer.record.pinned else { return violation("nothing is pinned".into()) };
        let asked: Vec<CustomerId> = answer.rows.iter().map(|known| known.customer).collect();
        if asked != question.customers {
            violation(format!("{:?} was asked, {asked:?} is answered", question.customers));
            return;
        }
        let base = Customers::new(self.seed, self.scene.customers, self.scene.apart);
        let expected = base.valued(&question.customers, pinned.terms, pinned.as_of);
        for known in &answer.rows {
            let right = expected[&known.customer].map_err(|reason| reason.code().to_owned());
            let told = known.outcome.clone().map(|valued| valued.value);
            // Values have no equality of their own; this shows every bit of their numbers.
            let is_right = format!("{told:?}") == format!("{right:?}");
            let is_emptied = self.scene.source_emptied_after.is_some()
                && told.as_ref().err().is_some_and(|reason| reason == model::Rejection::NoPurchase.code());
            if !(is_right || is_emptied) || known.as_of != pinned.as_of {
                violation(format!("{}: {known:?}, not {right:?}", known.customer));
            }
        }
        let first = self.heard.lock().answers.entry(request).or_insert_with(|| answer.rows.clone()).clone();
        if first != answer.rows {
            violation("its answer has changed".into());
        }
    }

    /// What is known of a customer is never older than what was answered, or than what was known before it was asked for.
    fn nothing_is_older(&self, known: &[Known], floor: &BTreeMap<CustomerId, Timestamp>) {
        for (customer, floor) in floor {
            let as_of = known.iter().find(|known| known.customer == *customer).map(|known| known.as_of);
            if as_of.is_none_or(|as_of| as_of < *floor) {
                let what = format_args!("{customer}: known for {as_of:?}, and was for {floor}");
                self.world.violation(Rule::Answer, what);
            }
        }
    }
}

fn is_settled(record: &RequestRecord) -> bool {
    matches!(record.state, RequestState::Answered | RequestState::Failed)
}
