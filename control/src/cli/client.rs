//! One HTTP request over the gateway's socket.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Failed;
use super::show::problem;
use crate::api::view::ErrorBody;
use crate::operations::Health;

/// A long list of flows may take the gateway 20 seconds, all else a second or so; after this it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who asks whether it is healthy wants to hear so within 2 seconds.
const HASTE: Duration = Duration::from_millis(1_500);

/// A gateway's socket.
pub struct Client<'a> {
    socket: &'a Path,
    patience: Duration,
}

impl<'a> Client<'a> {
    /// Asks the gateway there.
    pub fn new(socket: &'a Path) -> Client<'a> {
        Client { socket, patience: PATIENCE }
    }

    /// Asks the gateway there, which must answer at once.
    pub fn hasty(socket: &'a Path) -> Client<'a> {
        Client { socket, patience: HASTE }
    }

    /// Whether it can serve. A gateway that cannot says so by a status as of an error.
    pub fn health(&self) -> Result<Health, Failed> {
        let (status, bytes) = self.exchange(&Method::GET, "/v1/health", None)?;
        serde_json::from_slice(&bytes).map_err(|_| refused(status, &bytes))
    }

    /// `GET`
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.ask(&Method::GET, path, None)
    }

    /// Any request.
    pub fn ask<T: DeserializeOwned>(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<T, Failed> {
        let (status, bytes) = self.exchange(method, path, body)?;
        if !status.is_success() {
            return Err(refused(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            let message =
                format!("error: the answer on {} is not one of sluicegate's: {error}\n", self.socket.display());
            Failed::AtRunTime(message)
        })
    }

    /// Any request, whatever comes of it.
    fn exchange(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failed::AtRunTime(format!("error: cannot set up to ask the gateway: {error}\n")))?;
        let asked =
            runtime.block_on(async { tokio::time::timeout(self.patience, self.send(method, path, body)).await });
        asked.map_err(|_| self.silent())?
    }

    async fn send(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), Failed> {
        let stream = UnixStream::connect(self.socket).await.map_err(|error| self.unreachable(&error))?;
        let broken = |error: hyper::Error| {
            Failed::AtRunTime(format!("error: the gateway on {} broke off: {error}\n", self.socket.display()))
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Its errors come back through the sender.
        tokio::spawn(connection);
        let body = Full::new(Bytes::from(body.map(ToString::to_string).unwrap_or_default()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| Failed::Wrong(format!("error: no request can say that: {error}\n")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, error: &std::io::Error) -> Failed {
        let socket = self.socket.display();
        let (reason, help) = match error.kind() {
            ErrorKind::NotFound => {
                ("No such file", "start it with `sluicegate run --config FILE`, or name its socket with --socket PATH")
            }
            ErrorKind::ConnectionRefused if !self.is_socket() => {
                ("it is no socket", "name the gateway's with --socket PATH: `gateway.api` of its config")
            }
            ErrorKind::ConnectionRefused => (
                "nobody answers",
                "the gateway has died or is just starting; start it with `sluicegate run --config FILE`",
            ),
            ErrorKind::PermissionDenied => {
                ("Permission denied", "run this as the user that runs the gateway, usually root")
            }
            _ => {
                return Failed::AtRunTime(format!("error: cannot ask the gateway (connect {socket}: {error})\n"));
            }
        };
        Failed::AtRunTime(format!("error: is sluicegate running? (connect {socket}: {reason})\n  help: {help}\n"))
    }

    /// The kernel refuses a connection to whatever else is there as it does where nobody listens.
    fn is_socket(&self) -> bool {
        std::fs::metadata(self.socket).is_ok_and(|found| found.file_type().is_socket())
    }

    fn silent(&self) -> Failed {
        let (socket, seconds) = (self.socket.display(), self.patience.as_secs_f32());
        Failed::AtRunTime(format!(
            "error: the gateway on {socket} has not answered for {seconds} s\n  help: see its log\n"
        ))
    }
}

/// What the gateway says about a request that it refuses. Wrong values are wrong usage.
fn refused(status: StatusCode, bytes: &[u8]) -> Failed {
    let body: ErrorBody = serde_json::from_slice(bytes)
        .unwrap_or_else(|_| ErrorBody { error: format!("the gateway answered {status}"), ..ErrorBody::default() });
    let mut message = format!("error: {}\n", body.error);
    if let Some(hint) = &body.hint {
        message = message + "  help: " + hint + "\n";
    }
    // One problem alone is the error itself.
    if body.problems.len() > 1 || body.problems.iter().any(|found| !body.error.ends_with(&found.message)) {
        message.extend(body.problems.iter().map(problem));
    }
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Failed::Wrong(message),
        _ => Failed::AtRunTime(message),
    }
}

/// A name as a segment of a path.
pub fn segment(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
