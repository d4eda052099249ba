//! Runs: which there are, one of them, a new one, and what people decide about one.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::{LINK, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use batch::{CustomerId, Limits, PlanPolicy, Priority, RunId, RunState, Share};
use dispatcher::{DispatchError, Dispatched, Dispatcher, Order};
use documents::{Cancelled, Decided, Digits, Run, RunPage, Started, shape};
use jiff::Timestamp;
use model::ValueTerms;
use serde::Deserialize;
use store::{Archive, DecisionKind, Effect, ModelVersionId, NewDecision, RunRecord, Selection};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Limit;
use crate::Api;
use crate::cursor::RunCursor;
use crate::document::{Tag, json};
use crate::extract::{Id, Path, Query, Text};
use crate::once::{Key, Sent};
use crate::problem::{Fault, Place, Problem};
use crate::seams::Seams;
use crate::urls::BELOW;

/// Among how many of the newest runs one is looked for that is finished.
const LOOKED_AT: u32 = 100;

/// How many customers a run names at most: their numbers fill a quarter of a body.
const MOST_NAMED: usize = 10_000;

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let (list, start, show, cancel) = (list::<S>, start::<S>, show::<S>, cancel::<S>);
    let (release, reject) = (release::<S>, reject::<S>);
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .routes(routes!(release))
        .routes(routes!(reject))
}

/// Which page of a listing.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many lines it has at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// Where it begins: `next` of the page before.
    cursor: Option<String>,
}

impl Page {
    /// How many lines it has at most.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// Where it begins, as `read` understands it.
    pub(crate) fn cursor<C>(&self, read: impl Fn(&str) -> Option<C>) -> Result<Option<C>, Problem> {
        let refused = || Fault::new(Place::Query, "/cursor", "not one that was given out here");
        let cursor = |text: &String| read(text).ok_or_else(|| Problem::Malformed(vec![refused()]));
        self.cursor.as_ref().map(cursor).transpose()
    }
}

/// Answers with a page, and says where the next one is.
pub(crate) fn paged(mut response: Response, path: &str, limit: u32, next: Option<&str>) -> Response {
    if let Some(next) = next {
        let link = format!("<{BELOW}{path}?limit={limit}&cursor={next}>; rel=\"next\"");
        let link = HeaderValue::from_str(&link).expect("a cursor is letters and digits");
        response.headers_mut().insert(LINK, link);
    }
    response
}

/// The runs, the newest first
///
/// A run that is made between two pages tears none of them.
#[utoipa::path(get, path = "/runs", tag = "runs", params(Page),
    responses((status = 200, description = "A page of them", body = RunPage,
        headers(("Link" = String, description = "Where the next page is, if there is one")))))]
async fn list<S: Seams>(State(api): State<Api<S>>, Query(page): Query<Page>) -> Result<Response, Problem> {
    let limit = page.limit();
    let before = page.cursor(RunCursor::read)?.map_or(RunId(i64::MAX), |cursor| cursor.before);
    // One more tells whether there is another page.
    let mut records = api.store.runs_before(before, limit + 1).await?;
    let is_last = records.len() <= limit as usize;
    records.truncate(limit as usize);
    let last = records.last().filter(|_| !is_last);
    let next = last.map(|record| RunCursor { before: record.run }.write());
    let runs = records.iter().map(Run::from).collect();
    let answer = json(StatusCode::OK, &RunPage { runs, next: next.clone() });
    Ok(paged(answer, "/runs", limit, next.as_deref()))
}

/// A run
///
/// `latest` is the newest one. `ETag` tells its states apart.
#[utoipa::path(get, path = "/runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "Its number, or `latest`", example = "latest"),
        ("If-None-Match" = Option<String>, Header, description = "The tag of what is known already")),
    responses(
        (status = 200, description = "The run", body = Run,
            headers(("ETag" = String, description = "Tells this state from others"))),
        (status = 304, description = "Nothing has changed")))]
async fn show<S: Seams>(
    State(api): State<Api<S>>,
    Path(which): Path<Which>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = which.of(&api).await?;
    let (progress, settled) = (&record.progress, record.progress.values + record.progress.rejections);
    let state = format!(
        "{}.{}.{}.{}.{settled}.{}",
        record.run,
        record.state,
        progress.done,
        progress.dead,
        u8::from(record.guard.decision.is_some())
    );
    Ok(Tag::new(&state).answer(&headers, || Run::from(&record)))
}

/// A run by its number, or the newest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Which {
    Latest,
    Numbered(RunId),
}

impl<'de> Deserialize<'de> for Which {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error, IntoDeserializer};
        let text = String::deserialize(deserializer)?;
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let number: Result<Id<RunId>, serde::de::value::Error> = Id::deserialize(text.into_deserializer());
        number.map(|Id(run)| Self::Numbered(run)).map_err(D::Error::custom)
    }
}

impl Which {
    /// The run as it is recorded.
    pub(crate) async fn of<S: Seams>(self, api: &Api<S>) -> Result<RunRecord, Problem> {
        match self {
            Self::Numbered(run) => existing(&api.store, run).await,
            Self::Latest => {
                let latest = api.store.runs(1).await?.pop();
                latest.ok_or_else(|| Problem::not_found("there are no runs yet"))
            }
        }
    }

    /// The newest that is finished, or the numbered one.
    pub(crate) async fn finished<S: Seams>(self, api: &Api<S>) -> Result<RunRecord, Problem> {
        let Self::Latest = self else { return self.of(api).await };
        let runs = api.store.runs(LOOKED_AT).await?;
        let finished = runs.into_iter().find(|run| run.state == RunState::Finished);
        finished.ok_or_else(|| Problem::not_found("no run is finished yet"))
    }
}

async fn existing(store: &impl Archive, run: RunId) -> Result<RunRecord, Problem> {
    store.run(run).await?.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))
}

/// A run that is wanted. Exactly one of `all`, `segment` and `customers` says whom it is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRun {
    /// The whole base, if true.
    #[serde(default)]
    all: bool,
    /// Everybody in this segment.
    #[schema(value_type = Option<String>, max_length = 200)]
    segment: Option<Text<200>>,
    /// These customers.
    #[schema(value_type = Option<Vec<Digits>>, max_items = 10_000, min_items = 1)]
    customers: Option<Vec<Id<CustomerId>>>,
    /// How urgently.
    #[serde(default)]
    #[schema(value_type = Option<shape::Priority>)]
    priority: Option<Priority>,
    /// How many seconds it may take; half an hour unless said.
    #[schema(minimum = 1, maximum = 604_800)]
    deadline_seconds: Option<u32>,
    /// For which moment; the present one unless said.
    #[schema(value_type = Option<String>, format = DateTime)]
    as_of: Option<Timestamp>,
    /// With which model version; the promoted one unless said.
    #[schema(value_type = Option<Digits>)]
    model_version: Option<Id<Number>>,
    /// Discount, take rate, refund rate and margin; all of the customer's own unless said.
    #[schema(value_type = Option<shape::Terms>)]
    terms: Option<ValueTerms>,
    /// How far it may lie from the run before, before a person has to look at it.
    limits: Option<NewLimits>,
    /// Whether a night that has a run already gets one more.
    #[serde(default)]
    again: bool,
}

/// How far a run may lie from the run before.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLimits {
    /// The share of its customers that may be rejected beyond what the run before leads one to expect.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1)]
    max_rejected_rise: Option<Share>,
    /// The share by which its customers, its transactions and its value may differ.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1)]
    max_change: Option<Share>,
    /// No run is held for so few customers or transactions.
    guard_floor: Option<u64>,
}

/// A plain number of the store's.
#[derive(Clone, Copy)]
struct Number(i64);

impl std::str::FromStr for Number {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

const HALF_AN_HOUR: Duration = Duration::from_mins(30);
const LONGEST_DEADLINE: Duration = Duration::from_hours(7 * 24);

impl NewRun {
    fn order(self) -> Result<Order, Problem> {
        let selection = self.selection()?;
        let deadline =
            self.deadline_seconds.map_or(HALF_AN_HOUR, |seconds| Duration::from_secs(seconds.into()));
        if deadline.is_zero() || deadline > LONGEST_DEADLINE {
            return Err(Problem::invalid(Place::Body, "/deadline_seconds", "from 1 to 604800"));
        }
        Ok(Order {
            selection,
            priority: self.priority.unwrap_or(Priority::Normal),
            as_of: self.as_of,
            deadline,
            model_version: self.model_version.map(|Id(Number(version))| ModelVersionId(version)),
            terms: self.terms.unwrap_or_default(),
            again: self.again,
            limits: self.limits.map(NewLimits::limits).unwrap_or_default(),
        })
    }

    fn selection(&self) -> Result<Selection, Problem> {
        let invalid = |pointer: &str, detail: &str| Err(Problem::invalid(Place::Body, pointer, detail));
        match (self.all, &self.segment, &self.customers) {
            (true, None, None) => Ok(Selection::All),
            (false, Some(segment), None) => Ok(Selection::Segment(segment.0.clone())),
            (false, None, Some(named)) if named.is_empty() => invalid("/customers", "nobody is named"),
            (false, None, Some(named)) if named.len() > MOST_NAMED => {
                invalid("/customers", "at most 10000: a segment, or the whole base, has no limit")
            }
            (false, None, Some(named)) => {
                let mut customers: Vec<_> = named.iter().map(|Id(customer)| *customer).collect();
                customers.sort_unstable();
                customers.dedup();
                Ok(Selection::Customers(customers))
            }
            _ => invalid("", "exactly one of all, segment and customers says whom it is for"),
        }
    }
}

impl NewLimits {
    fn limits(self) -> Limits {
        let Limits { rejected_rise, change, floor } = Limits::default();
        Limits {
            rejected_rise: self.max_rejected_rise.unwrap_or(rejected_rise),
            change: self.max_change.unwrap_or(change),
            floor: self.guard_floor.unwrap_or(floor),
        }
    }
}

/// Starts a run
///
/// As `ltv dispatch` does. A night that has a run already gets no second one unless `again` says so.
#[utoipa::path(post, path = "/runs", tag = "runs", request_body = NewRun,
    params(Key),
    responses(
        (status = 201, description = "It is recorded, and its chunks are published", body = Started,
            headers(("Location" = String, description = "The run"),
                ("Idempotency-Replayed" = String, description = "`true` where this was answered before"))),
        (status = 200, description = "The night has a run already", body = Started,
            headers(("Location" = String, description = "The run"),
                ("Idempotency-Replayed" = String, description = "`true` where this was answered before")))))]
async fn start<S: Seams>(State(api): State<Api<S>>, sent: Sent) -> Result<Response, Problem> {
    let order = sent.body::<NewRun>()?.order()?;
    let (queue, trace_context) = (api.queue.clone(), api.config.trace_context);
    let done = sent.once(&api.store, move |store| async move {
        let dispatcher = Dispatcher { store, queue, policy: PlanPolicy::default(), trace_context };
        let Dispatched { run, is_new, customers, published, unconfirmed, .. } =
            dispatcher.dispatch(&order).await?;
        let chunks = if is_new { published + unconfirmed } else { 0 };
        Ok(Effect::Dispatched { run, is_new, customers, chunks })
    });
    let done = done.await?;
    let Effect::Dispatched { run, is_new, customers, chunks } = done.effect else {
        return Err(done.mixed_up());
    };
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = json(status, &Started { run, is_new, customers, chunks });
    let location = HeaderValue::from_str(&format!("{BELOW}/runs/{run}")).expect("a number is plain");
    answer.headers_mut().insert(LOCATION, location);
    Ok(done.answer(answer))
}

/// What came of an order.
pub(crate) fn dispatched(dispatched: &Dispatched) -> Effect {
    let &Dispatched { run, is_new, customers, published, unconfirmed, .. } = dispatched;
    let chunks = if is_new { published + unconfirmed } else { 0 };
    Effect::Dispatched { run, is_new, customers, chunks }
}

impl From<DispatchError> for Problem {
    fn from(error: DispatchError) -> Self {
        match error {
            DispatchError::Store(error) => error.into(),
            DispatchError::NoModel => Self::conflict("there is no model version yet to value with"),
            DispatchError::UnknownModel(version) => {
                Self::invalid(Place::Body, "/model_version", format!("there is no model version {version}"))
            }
            DispatchError::UnknownCustomers { missing, first, as_of } => {
                let detail =
                    format!("{missing} of them are not in the base at {as_of}, the first is {first}");
                Self::invalid(Place::Body, "/customers", detail)
            }
            DispatchError::Plan { selection, source } => {
                Self::invalid(Place::Body, "", format!("{selection}: {source}"))
            }
        }
    }
}

/// Cancels a run
///
/// Its values never become visible, and its night may be planned again. One that is held is rejected instead.
#[utoipa::path(post, path = "/runs/{run}/cancel", tag = "runs",
    params(("run" = Digits, Path, description = "Its number"), Key),
    responses((status = 200, description = "It is cancelled", body = Cancelled,
        headers(("Idempotency-Replayed" = String, description = "`true` where this was answered before")))))]
async fn cancel<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(run)): Path<Id<RunId>>,
    sent: Sent,
) -> Result<Response, Problem> {
    sent.no_body()?;
    let done = sent.once(&api.store, move |store| async move {
        let record = existing(&store, run).await?;
        let refuse = |what: &str| Err(Problem::conflict(format!("run {run} is {what}")));
        match record.state {
            RunState::Held => return refuse("held: it can be released or rejected"),
            RunState::Finished | RunState::Rejected => return refuse(&format!("over: {}", record.state)),
            RunState::Planned | RunState::Running | RunState::Cancelled => {}
        }
        let is_new = store.cancel_run(run).await?;
        if !is_new && existing(&store, run).await?.state != RunState::Cancelled {
            return refuse("over, or held, since a moment ago");
        }
        Ok(Effect::Cancelled { run, is_new })
    });
    let done = done.await?;
    let Effect::Cancelled { run, is_new } = done.effect else { return Err(done.mixed_up()) };
    Ok(done.answer(json(StatusCode::OK, &Cancelled { run, is_new })))
}

/// What a person says about a run that is held.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Saying {
    /// Why, for the record.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    reason: Text<200>,
    /// Who says so, for the record; the database's user unless given.
    #[schema(value_type = Option<String>, max_length = 200)]
    by: Option<Text<200>>,
}

/// Has a run shown that is held
#[utoipa::path(post, path = "/runs/{run}/release", tag = "runs", request_body = Saying,
    params(("run" = Digits, Path, description = "Its number"), Key),
    responses((status = 200, description = "The coordinator shows it", body = Decided,
        headers(("Idempotency-Replayed" = String, description = "`true` where this was answered before")))))]
async fn release<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(run)): Path<Id<RunId>>,
    sent: Sent,
) -> Result<Response, Problem> {
    decide(&api, run, DecisionKind::Release, sent).await
}

/// Drops a run that is held
///
/// Its night may be planned again.
#[utoipa::path(post, path = "/runs/{run}/reject", tag = "runs", request_body = Saying,
    params(("run" = Digits, Path, description = "Its number"), Key),
    responses((status = 200, description = "Its values are dropped", body = Decided,
        headers(("Idempotency-Replayed" = String, description = "`true` where this was answered before")))))]
async fn reject<S: Seams>(
    State(api): State<Api<S>>,
    Path(Id(run)): Path<Id<RunId>>,
    sent: Sent,
) -> Result<Response, Problem> {
    decide(&api, run, DecisionKind::Reject, sent).await
}

async fn decide<S: Seams>(
    api: &Api<S>,
    run: RunId,
    kind: DecisionKind,
    sent: Sent,
) -> Result<Response, Problem> {
    let Saying { reason: Text(reason), by } = sent.body()?;
    if reason.trim().is_empty() {
        return Err(Problem::invalid(Place::Body, "/reason", "it is for the record, and says nothing"));
    }
    let new = NewDecision { kind, by: by.map(|by| by.0), reason };
    let done = sent.once(&api.store, move |store| async move {
        existing(&store, run).await?;
        let is_new = store.decide(run, &new).await?;
        // Said twice, it has happened once.
        let said = existing(&store, run).await?;
        if is_new || said.guard.decision.as_ref().is_some_and(|decision| decision.kind == kind) {
            return Ok(Effect::Decided { run, kind, is_new });
        }
        Err(Problem::conflict(format!("run {run} is {}, and not held", said.state)))
    });
    let done = done.await?;
    let Effect::Decided { run, kind, is_new } = done.effect else { return Err(done.mixed_up()) };
    Ok(done.answer(json(StatusCode::OK, &Decided { run, decision: kind, is_new })))
}
