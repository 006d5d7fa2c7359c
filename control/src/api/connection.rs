//! Reading requests whole, writing answers. Nobody may hold the API up: bodies are bounded, every wait has an end, and the
//! gateway's lock is taken on a thread that may wait, and not held while an answer is written.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;

use super::failure::Failure;
use super::route::{Reply, Request, answer};
use super::socket::Listener;
use crate::operations::Operations;
use crate::seats;

/// The largest body: a service with some ten thousand backends.
pub const BODY_LIMIT_BYTES: usize = 1 << 20;
/// How long a client may take over a request's head, and again over its body.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// Answers requests until dropped; then the socket's file is gone and all connections end.
pub async fn serve<O: Operations>(listener: Listener, gateway: Arc<Mutex<O>>) {
    let accept = || async { listener.inner.accept().await.map(|(stream, _)| stream) };
    seats::serve("the API", accept, |stream| connection(stream, Arc::clone(&gateway))).await;
}

async fn connection<O: Operations>(stream: UnixStream, gateway: Arc<Mutex<O>>) {
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, Infallible>(respond(request, gateway).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(READ_PATIENCE);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("an API connection ended: {error}");
    }
}

async fn respond<O: Operations>(request: hyper::Request<Incoming>, gateway: Arc<Mutex<O>>) -> Response<Full<Bytes>> {
    let request = match read_whole(request).await {
        Ok(request) => request,
        Err(failure) => return write(Err(failure)),
    };
    let work = tokio::task::spawn_blocking(move || {
        let outcome = answer(&mut *gateway.lock().unwrap_or_else(PoisonError::into_inner), &request);
        // Who stops the gateway waits for all that have it.
        drop(gateway);
        write(outcome)
    });
    work.await.unwrap_or_else(|error| {
        tracing::error!("an API request failed: {error}");
        let error = "the gateway failed over this request";
        write(Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error, "see its log")))
    })
}

async fn read_whole(request: hyper::Request<Incoming>) -> Result<Request, Failure> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > BODY_LIMIT_BYTES as u64 {
        return Err(too_large());
    }
    let reading = Limited::new(body, BODY_LIMIT_BYTES).collect();
    let body = match tokio::time::timeout(READ_PATIENCE, reading).await {
        Ok(Ok(body)) => body.to_bytes().to_vec(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(Failure::new(StatusCode::BAD_REQUEST, format!("the body is broken: {error}"), ""));
        }
        Err(_) => {
            let hint = format!("send it within {} s", READ_PATIENCE.as_secs());
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not come", hint));
        }
    };
    Ok(Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body,
    })
}

fn too_large() -> Failure {
    let hint = format!("at most {BODY_LIMIT_BYTES} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", hint)
}

fn write(outcome: Result<Reply, Failure>) -> Response<Full<Bytes>> {
    let written = outcome.and_then(|reply| Ok((reply.status, reply.body.write()?)));
    let (status, allow, mut body) = match written {
        Ok((status, body)) => (status, None, body),
        // These three fields are strings and lists of strings: there is always a JSON of them.
        Err(failure) => (failure.status, failure.allow, serde_json::to_vec(&failure.body).unwrap_or_default()),
    };
    body.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
