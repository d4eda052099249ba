//! All values of a run, as a stream.
//!
//! The lines come straight from the store, over a connection of their own, and are handed to the connection a frame at a
//! time: nothing piles up here. Who is slow is dropped, since a connection to the database and a snapshot there wait for
//! him. The last line of NDJSON says that it was the last; of CSV, `Ltv-Customers` says beforehand how many there are. A
//! stream that is cut ends with an error of the connection, never with an orderly end.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use batch::{RunId, RunState};
use bytes::Bytes;
use documents::{ExportEnd, ExportedValue};
use futures_util::stream::{Stream, StreamExt, unfold};
use serde::Deserialize;
use store::{Export, Exports, Valued};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::runs::Which;
use crate::Api;
use crate::extract::{Path, Query};
use crate::pace::Pace;
use crate::problem::Problem;
use crate::seams::Seams;

const CUSTOMERS: HeaderName = HeaderName::from_static("ltv-customers");
const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

/// How large a frame is, at least but for the last.
const FRAME: usize = 64 * 1024;

/// How slow a reader may be.
const PACE: Pace = Pace { bytes_a_second: 256 * 1024, behind: Duration::from_secs(30) };

/// How long a stream may take.
const LONGEST: Duration = Duration::from_mins(15);

pub(crate) fn routes<S: Seams>() -> OpenApiRouter<Api<S>> {
    let values = values::<S>;
    OpenApiRouter::new().routes(routes!(values))
}

/// In which form.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// What is wanted, whatever `Accept` says.
    #[param(inline)]
    format: Option<Format>,
}

/// A form that values are written in.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// A line of JSON for each customer, and a last one that says so.
    Ndjson,
    /// A line for each customer, after one that names the columns.
    Csv,
}

impl Format {
    /// The form that a client accepts; the first that it names, where it names both.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
        if given.peek().is_none() {
            return Some(Self::Ndjson);
        }
        given.flat_map(|value| value.split(',')).find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default().to_ascii_lowercase();
            let is_refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            match &*range {
                _ if is_refused => None,
                NDJSON | "application/*" | "*/*" => Some(Self::Ndjson),
                CSV | "text/*" => Some(Self::Csv),
                _ => None,
            }
        })
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => NDJSON,
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// All values of a finished run
///
/// In no order, a line for each customer who has a value. `latest` is the newest run that is finished. The last line of
/// NDJSON is `{"end":true,…}`; `Ltv-Customers` says how many lines there are in either form. Whoever reads slower than
/// 256 kB a second, by more than half a minute, is dropped, and no stream takes longer than a quarter of an hour.
#[utoipa::path(get, path = "/runs/{run}/values", tag = "runs",
    params(("run" = String, Path, description = "Its number, or `latest`", example = "latest"), Asked,
        ("If-None-Match" = Option<String>, Header, description = "The tag of what is there already")),
    responses(
        (status = 200, description = "The values", content(
            (ExportedValue = "application/x-ndjson"), (String = "text/csv")),
            headers(("Ltv-Customers" = String, description = "How many customers there are"),
                ("ETag" = String, description = "A finished run never changes"))),
        (status = 304, description = "They are there already")))]
async fn values<S: Seams>(
    State(api): State<Api<S>>,
    Path(which): Path<Which>,
    Query(asked): Query<Asked>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = asked.format.or_else(|| Format::accepted(&headers));
    let format = format.ok_or(Problem::NotAcceptable("application/x-ndjson or text/csv".into()))?;
    let record = which.finished(&api).await?;
    let run = record.run;
    if record.state != RunState::Finished {
        let detail = format!("run {run} is {}, and only what is finished is shown", record.state);
        return Err(Problem::conflict(detail));
    }
    let tag = format!("W/\"{run}.{}\"", format.name());
    if headers.get(IF_NONE_MATCH).is_some_and(|held| held.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let body = if method == Method::HEAD { None } else { Some(stream(&api, run, format).await?) };
    let head = [
        (CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (CUSTOMERS, HeaderValue::from(record.progress.values)),
        (CONTENT_DISPOSITION, plain(&format!("attachment; filename=\"run-{run}.{}\"", format.name()))),
        (ETAG, plain(&tag)),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-transform, max-age=86400")),
        (VARY, HeaderValue::from_static("Accept")),
    ];
    Ok((head, body.unwrap_or_else(Body::empty)).into_response())
}

fn plain(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("numbers and names of forms are plain")
}

async fn stream<S: Seams>(api: &Api<S>, run: RunId, format: Format) -> Result<Body, Problem> {
    let gone = || Problem::not_found(format!("the values of run {run} are not there any more"));
    let draining = api.config.draining.clone();
    Ok(match format {
        Format::Csv => {
            let Export { pieces, .. } = api.store.export_csv(run).await?.ok_or_else(gone)?;
            sent(pieces, draining)
        }
        Format::Ndjson => {
            let export = api.store.export_values(run).await?.ok_or_else(gone)?;
            sent(lines(export, run), draining)
        }
    })
}

/// Writes values as lines, with the last one after them.
fn lines(export: Export<Vec<Valued>>, run: RunId) -> impl Stream<Item = store::Result<Bytes>> + Send + Unpin {
    let Export { customers, pieces } = export;
    let lines = pieces.map(|piece| {
        let values = piece?;
        let mut lines = Vec::with_capacity(FRAME);
        for valued in &values {
            ExportedValue::write(valued, &mut lines);
        }
        Ok(Bytes::from(lines))
    });
    let end = futures_util::stream::once(std::future::ready({
        let mut end = Vec::new();
        ExportEnd::write(run, customers, &mut end);
        Ok(Bytes::from(end))
    }));
    // Behind an error nothing comes: the end is said only of what is whole.
    let mut is_cut = false;
    Box::pin(lines.chain(end).take_while(move |piece| {
        let goes_on = !is_cut;
        is_cut |= piece.is_err();
        std::future::ready(goes_on)
    }))
}

/// What a stream hands over.
enum Frame {
    Piece(Bytes),
    End,
}

/// Hands pieces over to a connection, from a task that gives up a reader who is too slow.
fn sent(
    pieces: impl Stream<Item = store::Result<Bytes>> + Send + Unpin + 'static,
    draining: CancellationToken,
) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    let handing = async move {
        if let Err(why) = hand_over(pieces, &sender, draining).await {
            tracing::info!(why, "a stream of values was cut");
        }
    };
    tokio::spawn(handing.in_current_span());
    // Whatever ends the task, only its own word is an orderly end.
    let frames = unfold(Some(receiver), |receiver| async move {
        let mut receiver: mpsc::Receiver<Frame> = receiver?;
        match receiver.recv().await {
            Some(Frame::Piece(piece)) => Some((Ok(piece), Some(receiver))),
            Some(Frame::End) => None,
            None => Some((Err(std::io::Error::other("the stream was cut")), None)),
        }
    });
    Body::from_stream(frames)
}

async fn hand_over(
    mut pieces: impl Stream<Item = store::Result<Bytes>> + Unpin,
    to: &mpsc::Sender<Frame>,
    draining: CancellationToken,
) -> Result<(), String> {
    let over = Instant::now() + LONGEST;
    let (mut taken, mut waited) = (0, Duration::ZERO);
    loop {
        let next = tokio::select! {
            biased;
            () = draining.cancelled() => return Err("the process is about to end".into()),
            () = to.closed() => return Err("the reader has left".into()),
            next = timeout_at(over, pieces.next()) => next.map_err(|_| "it took too long")?,
        };
        let frame = match next {
            Some(piece) => Frame::Piece(piece.map_err(|error| error.to_string())?),
            None => Frame::End,
        };
        if let Frame::Piece(piece) = &frame {
            taken += piece.len() as u64;
        }
        let began = Instant::now();
        let is_end = matches!(frame, Frame::End);
        let patience = PACE.left(taken, waited).min(over.saturating_duration_since(began));
        let handed = tokio::select! {
            biased;
            () = draining.cancelled() => return Err("the process is about to end".into()),
            handed = timeout(patience, to.send(frame)) => handed,
        };
        waited += began.elapsed();
        match handed {
            Err(_) => return Err(format!("the reader is too slow: {taken} bytes, waited for {waited:?}")),
            Ok(Err(_)) => return Err("the reader has left".into()),
            Ok(Ok(())) if is_end => return Ok(()),
            Ok(Ok(())) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::iter;

    use super::*;

    #[test]
    fn the_form_is_what_a_client_accepts_first() {
        let check = |given: &str, expected: Option<Format>| {
            let headers = HeaderMap::from_iter([(ACCEPT, given.parse().unwrap())]);
            assert_eq!(Format::accepted(&headers), expected, "{given}");
        };

        check("*/*", Some(Format::Ndjson));
        check("application/x-ndjson", Some(Format::Ndjson));
        check("text/csv, application/x-ndjson", Some(Format::Csv));
        check("text/html, Text/CSV;q=0.9", Some(Format::Csv));
        check("application/x-ndjson;q=0, text/csv", Some(Format::Csv));
        check("text/html", None);
        assert_eq!(Format::accepted(&HeaderMap::new()), Some(Format::Ndjson));
    }

    fn piece(length: usize) -> Bytes {
        vec![b'x'; length].into()
    }

    fn away() -> store::Error {
        store::Error::Unavailable { what: "export".into(), reason: "it is away".into() }
    }

    async fn read(body: Body) -> (usize, bool) {
        let mut frames = body.into_data_stream();
        let mut bytes = 0;
        while let Some(frame) = frames.next().await {
            let Ok(frame) = frame else { return (bytes, false) };
            bytes += frame.len();
        }
        (bytes, true)
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_has_no_orderly_end() {
        let whole = sent(iter([Ok(piece(5)), Ok(piece(7))]), CancellationToken::new());
        let cut = sent(iter([Ok(piece(5)), Err(away()), Ok(piece(7))]), CancellationToken::new());

        assert_eq!(read(whole).await, (12, true));
        assert_eq!(read(cut).await, (5, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_reads_nothing_is_dropped_and_so_is_what_he_kept() {
        let (alive, dropped) = mpsc::channel::<()>(1);
        let pieces = futures_util::stream::repeat_with(move || {
            let _kept = &alive;
            Ok(piece(FRAME))
        });

        let body = sent(Box::pin(pieces), CancellationToken::new());
        let mut dropped = dropped;
        let began = Instant::now();
        assert_eq!(dropped.recv().await, None);

        assert!(began.elapsed() >= PACE.behind && began.elapsed() < PACE.behind * 2);
        let (bytes, is_whole) = read(body).await;
        assert!(bytes <= 2 * FRAME && !is_whole);
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_process_does() {
        let draining = CancellationToken::new();
        let body = sent(Box::pin(futures_util::stream::repeat_with(|| Ok(piece(FRAME)))), draining.clone());

        draining.cancel();

        assert!(!read(body).await.1);
    }
}
