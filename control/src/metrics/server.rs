//! The HTTP server behind `gateway.metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::gateway::StartError;
use crate::seats;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long a peer may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives the page, or says why not.
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
                _ => "",
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
        let accept = || async { self.listener.accept().await.map(|(stream, _)| stream) };
        seats::serve("gateway.metrics", accept, |stream| converse(stream, Arc::clone(&render))).await;
    }
}

async fn converse(stream: TcpStream, render: Render) {
    let service = service_fn(move |request| {
        let response = answer(&request, &render);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!("gateway.metrics: {error}");
    }
}

fn answer(request: &Request<Incoming>, render: &Render) -> Response<Full<Bytes>> {
    let plain = |status, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match render() {
            Ok(text) => {
                let mut response = plain(StatusCode::OK, text);
                response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(OPENMETRICS));
                response
            }
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        (_, "/metrics") => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned()),
    }
}
