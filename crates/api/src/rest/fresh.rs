//! Answers that somebody waits for: what an outcome of asking is over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use batch::{CustomerId, RequestState};
use documents::{Fresh, KnownCustomer, KnownInFull, Request, Served, ServedFrom, Told};
use store::{Answer, Archive, Known, ModelVersion, ModelVersionId, RequestRecord, Requests};

use super::customers::View;
use crate::Api;
use crate::asking::{Outcome, Question};
use crate::document::json;
use crate::preferences::{self, Waits};
use crate::problem::{Fault, Place, Problem};
use crate::seams::Seams;
use crate::urls::BELOW;

/// How long a value is waited for that has to be fresh, unless something else is preferred.
pub(super) const FRESH_WAIT: Duration = Duration::from_secs(2);

/// Who asks, as long as nobody says who he is.
const ANYBODY: &str = "anybody";

/// An answer, or that there is none yet.
pub(super) enum Asked {
    Answered(Box<Answer>),
    Pending(Box<RequestRecord>),
}

/// Reads how long to wait.
pub(super) fn waits(headers: &HeaderMap, query: Option<&str>, otherwise: Duration) -> Result<Waits, Problem> {
    let fault = || Fault::new(Place::Query, "/wait", "not a time, as in 2s or 500ms");
    let malformed = || Problem::Malformed(vec![fault()]);
    let query = query.map(|text| preferences::duration(text).ok_or_else(malformed)).transpose()?;
    Ok(Waits::of(headers, query, otherwise))
}

/// Asks about customers, ascending.
pub(super) async fn ask<S: Seams>(
    api: &Api<S>,
    customers: Vec<CustomerId>,
    key: Option<String>,
    wait: Duration,
) -> Result<Asked, Problem> {
    let trace = (api.config.trace_context)();
    let question = Question { asked_by: ANYBODY.into(), key, customers, wait, trace };
    match api.asking().await?.ask(&question).await {
        Outcome::Answered(answer) => Ok(Asked::Answered(answer)),
        Outcome::Pending(record) => Ok(Asked::Pending(record)),
        Outcome::Over(record) => Err(over(&record)),
        other => Err(refused(other)),
    }
}

/// One that has ended without an answer.
fn over(record: &RequestRecord) -> Problem {
    match record.state {
        RequestState::Failed => Problem::NotValued(format!("request {} has failed", record.request)),
        // Somebody left it, or its time was over, while this one waited: asked again, it is asked anew.
        _ => Problem::TooSlow,
    }
}

/// What is no answer and no state of a request.
pub(super) fn refused(outcome: Outcome) -> Problem {
    match outcome {
        Outcome::Full => Problem::Overloaded("requests"),
        Outcome::KeyReused => Problem::KeyReused,
        Outcome::NoModel => Problem::NoModel,
        Outcome::NotThere => Problem::not_found("there is no such request"),
        Outcome::Away(error) => error.into(),
        Outcome::Answered(_) | Outcome::Pending(_) | Outcome::Over(_) => {
            Problem::Internal("an outcome was taken for a refusal".into())
        }
    }
}

/// Says that a request is good, and where its answer will be.
pub(super) fn pending(record: &RequestRecord, waits: &Waits) -> Response {
    let mut response = json(StatusCode::ACCEPTED, &Request::new(record));
    let location = format!("{BELOW}/requests/{}", record.request);
    let location = HeaderValue::from_str(&location).expect("digits can stand in a header");
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    waits.tell(response.headers_mut());
    response
}

/// A customer's value, worked out for whoever asks.
pub(super) async fn customer<S: Seams>(
    api: &Api<S>,
    customer: CustomerId,
    view: View,
    waits: &Waits,
) -> Result<Response, Problem> {
    if api.store.customers_there(&[customer]).await?.is_empty() {
        return Err(Problem::not_found(format!("there is no customer {customer}")));
    }
    let answer = match ask(api, vec![customer], None, waits.wait).await? {
        Asked::Answered(answer) => answer,
        Asked::Pending(record) => return Ok(pending(&record, waits)),
    };
    let told = Telling::of(api, &answer.rows, view).await?;
    let Some(known) = answer.rows.first() else {
        return Err(Problem::Internal("an answer without its customer".into()));
    };
    let mut response = json(StatusCode::OK, &told.fresh(known, ServedFrom::Computed));
    waits.tell(response.headers_mut());
    Ok(response)
}

/// What it takes to tell of customers: their models, and who of them is stale.
pub(super) struct Telling {
    view: View,
    models: BTreeMap<ModelVersionId, Arc<ModelVersion>>,
    /// None where it cannot be asked.
    stale: Option<Vec<CustomerId>>,
}

impl Telling {
    pub(super) async fn of<S: Seams>(api: &Api<S>, known: &[Known], view: View) -> Result<Self, Problem> {
        let versions: BTreeSet<ModelVersionId> = known.iter().map(|known| known.model_version).collect();
        let mut models = BTreeMap::new();
        for version in versions {
            models.insert(version, api.models.get(&api.store, version).await?);
        }
        let valued: Vec<_> = known.iter().map(|known| (known.customer, known.as_of)).collect();
        // What was answered is no less true where the source is away.
        let stale = if valued.is_empty() { Some(Vec::new()) } else { api.store.stale(&valued).await.ok() };
        Ok(Self { view, models, stale })
    }

    pub(super) fn told(&self, known: &Known) -> Told {
        let model = &self.models[&known.model_version];
        match self.view {
            View::Short => Told::Short(KnownCustomer::new(known, model)),
            View::Full => Told::Full(Box::new(KnownInFull::new(known, model))),
        }
    }

    pub(super) fn is_stale(&self, known: &Known) -> Option<bool> {
        self.stale.as_ref().map(|stale| stale.binary_search(&known.customer).is_ok())
    }

    pub(super) fn fresh(&self, known: &Known, from: ServedFrom) -> Fresh {
        Fresh { told: self.told(known), stale: self.is_stale(known), served: Served::now(from) }
    }
}
