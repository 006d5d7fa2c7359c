//! The HTTP server behind `gateway.metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::gateway::StartError;
use crate::seats;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a peer may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives the page, or says why not. It may take its time: it is called on a thread that may wait.
pub type Render = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// A bound socket: whoever asks before [`MetricsServer::serve`] waits.
pub struct MetricsServer {
    listener: TcpListener,
}

impl MetricsServer {
    /// Binds the address of `gateway.metrics`.
    pub async fn bind(address: SocketAddr) -> Result<MetricsServer, StartError> {
        let failed = |error: std::io::Error| {
            let hint = match error.kind() {
                std::io::ErrorKind::AddrInUse => "another program has that port: see `ss -lntp`, or choose another",
                std::io::ErrorKind::AddrNotAvailable => "it must be an address of this machine",
                _ => "this user may not, or the machine has no such address: choose another, with a port from 1024 on",
            };
            StartError::new("gateway.metrics", format!("cannot listen on {address}: {error}"), hint)
        };
        Ok(MetricsServer { listener: TcpListener::bind(address).await.map_err(failed)? })
    }

    /// Where it listens.
    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Answers until dropped; then all connections end, and nobody holds `render` any more.
    pub async fn serve(self, render: Render) {
        // One page at a time: all need the same gateway, and who waits here ends with the server.
        let render = Arc::new(Mutex::new(render));
        let accept = || async { self.listener.accept().await.map(|(stream, _)| stream) };
        seats::serve("gateway.metrics", accept, |stream| converse(stream, Arc::clone(&render))).await;
    }
}

async fn converse(stream: TcpStream, render: Arc<Mutex<Render>>) {
    let service = service_fn(move |request| {
        let (refusal, render) = (refusal(&request), Arc::clone(&render));
        async move {
            Ok::<_, Infallible>(match refusal {
                Some(response) => response,
                None => page(render).await,
            })
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("gateway.metrics: {error}");
    }
}

async fn page(render: Arc<Mutex<Render>>) -> Response<Full<Bytes>> {
    let turn = render.lock_owned().await;
    let made = tokio::task::spawn_blocking(move || {
        let made = turn();
        drop(turn);
        made
    })
    .await;
    match made.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(text) => {
            let mut response = plain(StatusCode::OK, text);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The answer to whoever does not ask for the page.
fn refusal(request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => None,
        (_, "/metrics") => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            Some(response)
        }
        _ => Some(plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned())),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
