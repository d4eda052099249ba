//! Sheds load: each class of work has so many places, and no queue before them.
//!
//! A place is taken before anything of the body is read, and given back when the last of the answer has been handed to
//! the connection, or the client has left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{Method, Request, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;
use crate::problem::Problem;
use crate::urls::BELOW;

/// A kind of work, by what it holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Looks that cost a query at most, and what people decide.
    Read,
    /// Values that have to be fresh.
    Fresh,
    /// Many customers at once.
    Batch,
    /// Whole runs.
    Export,
    /// What goes on for as long as a client listens.
    Stream,
}

impl Class {
    const ALL: [Self; 5] = [Self::Read, Self::Fresh, Self::Batch, Self::Export, Self::Stream];

    /// The class of a request; none for what has to be answered while everything else is shed.
    pub(crate) fn of(request: &Request<Body>) -> Option<Self> {
        let path = request.uri().path().strip_prefix(BELOW).unwrap_or_default();
        let query = request.uri().query().unwrap_or_default();
        let ends = |end: &str| path.ends_with(end);
        Some(match path {
            "/health" | "/metrics" | "/openapi.json" => return None,
            _ if path.starts_with("/runs/") && ends("/values") => Self::Export,
            _ if path.starts_with("/runs/") && ends("/events") => Self::Stream,
            "/batches" if request.method() == Method::POST => Self::Batch,
            _ if query.split('&').any(|pair| pair == "fresh=true") => Self::Fresh,
            _ => Self::Read,
        })
    }

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Fresh => "fresh",
            Self::Batch => "batch",
            Self::Export => "export",
            Self::Stream => "stream",
        }
    }

    /// How many places it has. At 2 ms a look, 512 are a quarter of a million a second.
    pub(crate) fn places(self) -> usize {
        match self {
            Self::Read => 512,
            Self::Fresh => 64,
            Self::Batch => 16,
            Self::Export => 2,
            Self::Stream => 256,
        }
    }
}

/// The places of all classes.
pub(crate) struct Gates([Arc<Semaphore>; 5]);

impl Default for Gates {
    fn default() -> Self {
        Self(Class::ALL.map(|class| Arc::new(Semaphore::new(class.places()))))
    }
}

impl Gates {
    /// Takes a place, or says that there is none.
    pub(crate) fn admit(&self, class: Class) -> Result<Place, Problem> {
        let gate = &self.0[class as usize];
        let permit = gate.clone().try_acquire_owned().map_err(|_| {
            metrics::shed(class);
            Problem::Overloaded(class.name())
        })?;
        metrics::in_use(class, class.places() - gate.available_permits());
        Ok(Place { class, gate: gate.clone(), _permit: permit })
    }
}

/// A place that is taken, until it is dropped.
pub(crate) struct Place {
    class: Class,
    gate: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Keeps the place until the answer has been sent.
    pub(crate) fn until_sent(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(Held { body, _place: self }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The permit itself goes a moment later.
        metrics::in_use(self.class, (self.class.places() - self.gate.available_permits()).saturating_sub(1));
    }
}

/// A body that holds a place.
struct Held {
    body: Body,
    _place: Place,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_apart_by_what_it_holds_up() {
        let check = |method: Method, uri: &str, expected: Option<Class>| {
            let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
            assert_eq!(Class::of(&request), expected, "{uri}");
        };

        check(Method::GET, "/api/ltv/health", None);
        check(Method::GET, "/api/ltv/metrics", None);
        check(Method::GET, "/api/ltv/customers/7", Some(Class::Read));
        check(Method::GET, "/api/ltv/customers/7?view=full&fresh=true", Some(Class::Fresh));
        check(Method::POST, "/api/ltv/batches", Some(Class::Batch));
        check(Method::GET, "/api/ltv/batches/7", Some(Class::Read));
        check(Method::GET, "/api/ltv/runs/7/values", Some(Class::Export));
        check(Method::GET, "/api/ltv/runs/7/events", Some(Class::Stream));
        check(Method::GET, "/elsewhere", Some(Class::Read));
    }

    #[test]
    fn a_class_that_is_full_refuses_until_somebody_leaves_and_no_other_notices() {
        let gates = Gates::default();
        let first = gates.admit(Class::Export).unwrap();
        let second = gates.admit(Class::Export).unwrap();

        assert_eq!(gates.admit(Class::Export).err(), Some(Problem::Overloaded("export")));
        assert!(gates.admit(Class::Read).is_ok());

        drop(first);
        let third = gates.admit(Class::Export);
        assert!(third.is_ok());
        drop((second, third));
    }

    #[test]
    fn a_place_is_held_until_the_answer_has_been_sent() {
        let gates = Gates::default();
        let places: Vec<_> =
            (0..Class::Export.places()).map(|_| gates.admit(Class::Export).unwrap()).collect();
        let answers: Vec<_> =
            places.into_iter().map(|place| place.until_sent(Response::new(Body::from("values")))).collect();

        assert!(gates.admit(Class::Export).is_err());

        drop(answers);
        assert!(gates.admit(Class::Export).is_ok());
    }
}
