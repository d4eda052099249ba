//! Calls that may be made again: what is done under a key is done once.
//!
//! A key is a row of the store, and what came of the call is kept in the transaction that did it (`store::Keys`). So an
//! answer that got lost, with the process or on the way, is given again, and the work is not done again. Which answer that
//! is follows from the effect alone: the first who asks and the last get the same.
//!
//! # Failure by failure
//!
//! * **The client leaves while it is worked.** The work goes on, in a task of its own, and its effect is kept.
//! * **It asks again meanwhile.** 409, `key-in-use`, with a `Retry-After` of a second.
//! * **This process is killed before the effect.** Its claim lapses with the lease; until then, the same.
//! * **It is killed after the effect.** The effect is there, and the next who asks is told.
//! * **Nothing has happened,** since the store or the broker was away, or what was asked does not fit what is there. The
//!   claim is let go of, and the next try begins at once.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::header::HeaderName;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use store::{Claim, Claimed, Effect, KeyedCall, Keys};
use tokio::time::sleep;
use tracing::Instrument;
use utoipa::IntoParams;

use crate::extract;
use crate::problem::{Fault, Place, Problem};

/// The header that a key is sent in.
pub(crate) const HEADER: &str = "Idempotency-Key";

/// The key of a call, in the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is read by `Sent`, and stands in the document alone")]
pub(crate) struct Key {
    /// Makes a repeat the same call for 24 hours: it is done once, and answered alike.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long a claim is believed in without a renewal.
const LEASE: Duration = Duration::from_secs(20);

/// Whose keys they are, as long as nobody says who he is.
const EVERYBODY: &str = "everybody";

/// How long a key may be.
const LONGEST: usize = 255;

/// A call that changes something, with what it says, and the key that it may have.
pub(crate) struct Sent {
    parts: Parts,
    body: Bytes,
    key: Option<String>,
    fingerprint: [u8; 32],
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let key = key(&parts.headers)?;
        let body = extract::read(body).await?;
        let mut digest = Sha256::new();
        for part in [parts.method.as_str().as_bytes(), parts.uri.path().as_bytes(), &body] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Ok(Self { parts, body, key, fingerprint: digest.finalize().into() })
    }
}

impl Sent {
    /// What the body says, as JSON.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        extract::json_of(&self.parts.headers, &self.body)
    }

    /// Sees that there is no body, where none says anything.
    pub(crate) fn no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() {
            return Ok(());
        }
        Err(Problem::Malformed(vec![Fault::new(Place::Body, "", "this call has none")]))
    }

    /// Does what is called, once where it has a key. `work` is given the store to do it with: what it does there is kept
    /// under the claim, and it returns what that was.
    pub(crate) async fn once<S, Work, Worked>(self, store: &S, work: Work) -> Result<Done, Problem>
    where
        S: Keys,
        Work: FnOnce(S) -> Worked + Send + 'static,
        Worked: Future<Output = Result<Effect, Problem>> + Send,
    {
        let (store, Self { key, fingerprint, .. }) = (store.clone(), self);
        let worked = async move {
            let Some(key) = key else { return work(store).await.map(Done::now) };
            let call = KeyedCall { principal: EVERYBODY, key: &key, fingerprint: &fingerprint };
            match store.claim(&call, LEASE).await? {
                Claimed::Ours(claim) => under(&store, &claim, work).await.map(Done::now),
                Claimed::Done(effect) => Ok(Done { effect, is_replayed: true }),
                Claimed::AtWork => Err(Problem::KeyInUse),
                Claimed::KeyReused => Err(Problem::KeyReused),
            }
        };
        let task = tokio::spawn(worked.in_current_span());
        task.await.map_err(|error| Problem::Internal(error.to_string()))?
    }
}

/// Works under a claim, and holds it meanwhile.
async fn under<S: Keys, Worked: Future<Output = Result<Effect, Problem>>>(
    store: &S,
    claim: &Claim,
    work: impl FnOnce(S) -> Worked,
) -> Result<Effect, Problem> {
    let worked = tokio::select! {
        biased;
        worked = work(store.under(claim)) => worked,
        never = hold(store, claim) => match never {},
    };
    match worked {
        Ok(effect) => {
            // Where nothing was done, that is what came of it.
            store.keep(claim, &effect).await?;
            Ok(effect)
        }
        Err(problem) => {
            if let Err(error) = store.let_go(claim).await {
                tracing::debug!(%error, "a key is let go of when its lease is over");
            }
            Err(problem)
        }
    }
}

/// Renews a claim for as long as it is worked. What is not renewed lapses, and the effect is refused.
async fn hold<S: Keys>(store: &S, claim: &Claim) -> Infallible {
    loop {
        sleep(LEASE / 4).await;
        if let Err(error) = store.renew_claim(claim, LEASE).await {
            tracing::debug!(%error, "the claim of a key is not renewed");
        }
    }
}

/// The key of a call: bare, or as a string in quotes, as the draft of the standard has it.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refused =
        |detail: &str| Problem::Malformed(vec![Fault::new(Place::Header, format!("/{HEADER}"), detail)]);
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refused("it stands twice"));
    }
    let text = value.to_str().map_err(|_| refused("not printable ASCII"))?;
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || bare.len() > LONGEST {
        return Err(refused("from 1 to 255 characters"));
    }
    Ok(Some(bare.to_owned()))
}

/// What came of a call, and whether it was told before.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) effect: Effect,
    is_replayed: bool,
}

impl Done {
    fn now(effect: Effect) -> Self {
        Self { effect, is_replayed: false }
    }

    /// A key stands for one path, so that what is kept under it is of this path's kind.
    pub(crate) fn mixed_up(&self) -> Problem {
        Problem::Internal(format!("something else was kept under the key: {:?}", self.effect))
    }

    /// Answers, and says whether that was answered before.
    pub(crate) fn answer(&self, mut response: Response<Body>) -> Response<Body> {
        if self.is_replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_bare_and_in_quotes() {
        let check = |given: &str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static("idempotency-key"),
                HeaderValue::from_bytes(given.as_bytes()).unwrap(),
            )]);
            assert_eq!(key(&headers).ok().flatten().as_deref(), expected, "{given}");
        };

        check("8e03978e-40d5-43dd-bc93-6894a57f9324", Some("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        check("\"a key\"", Some("a key"));
        check("\"\"", None);
        check("", None);
        check("ä", None);
        check(&"k".repeat(LONGEST), Some(&"k".repeat(LONGEST)));
        check(&"k".repeat(LONGEST + 1), None);
        assert_eq!(key(&HeaderMap::new()), Ok(None));
    }
}
