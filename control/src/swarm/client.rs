//! A client of the Docker Engine API: GET over a unix socket or TCP, with TLS if there are certificates. Every wait has an
//! end and every answer a largest size.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::list::parse_list;
use super::tls;
use crate::config::Endpoint;

/// A manager without a leader holds its answers back for half a minute: by then others were asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// For an answer that comes bit by bit, from its beginning: a list of many tasks over a narrow link.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// For a connection that breaks to say why.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// A hundred thousand tasks are 200 MB; more is nonsense.
const LARGEST_ANSWER: usize = 256 << 20;
/// What is shown of an error's text.
const SHOWN: usize = 200;

/// Why the API did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No connection, or it broke.
    #[error("{0}: {1}")]
    Broken(String, String),
    /// No answer in time.
    #[error("{0}: no answer within {PATIENCE:?}")]
    Slow(String),
    /// It has begun in time, and goes on and on.
    #[error("{0}: no end of the answer within {LONGEST_ANSWER:?}")]
    Endless(String),
    /// An answer, but a refusal.
    #[error("{0}: {1}: {2}")]
    Refused(String, StatusCode, String),
    /// Not what was asked for.
    #[error("{0}: {1}")]
    Nonsense(String, String),
}

/// Makes connections to one engine.
#[derive(Clone)]
pub struct Engine {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
}

impl ApiError {
    /// With the remedy if it is about certificates.
    fn broken(name: &str, error: &(dyn Error + 'static)) -> ApiError {
        ApiError::Broken(name.to_owned(), tls::explain(error).unwrap_or_else(|| chain(error)))
    }
}

/// What lies below says more.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text = format!("{text}: {cause}");
        below = cause.source();
    }
    text
}

impl Engine {
    /// The engine at that endpoint.
    pub fn new(endpoint: Endpoint, tls: Option<Arc<ClientConfig>>) -> Engine {
        Engine { endpoint, tls }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection, ApiError> {
        let name = self.endpoint.to_string();
        match tokio::time::timeout(PATIENCE, self.open(&name)).await {
            Ok(opened) => opened,
            Err(_) => Err(ApiError::Slow(name)),
        }
    }

    async fn open(&self, name: &str) -> Result<Connection, ApiError> {
        let failed = |error: io::Error| ApiError::broken(name, &error);
        match &self.endpoint {
            Endpoint::Unix(path) => over(UnixStream::connect(path).await.map_err(failed)?, name).await,
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let Some(tls) = &self.tls else { return over(stream, name).await };
                let server = ServerName::try_from(host.clone());
                let server = server.map_err(|error| ApiError::Nonsense(name.to_owned(), error.to_string()))?;
                let stream = TlsConnector::from(Arc::clone(tls)).connect(server, stream).await.map_err(failed)?;
                over(stream, name).await
            }
        }
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    name: &str,
) -> Result<Connection, ApiError> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| ApiError::broken(name, &error))?;
    let (tell, end) = oneshot::channel();
    // Ends when the sender is dropped or the peer closes.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to Docker ended: {error}");
            let _ = tell.send(error);
        }
    });
    Ok(Connection { name: name.to_owned(), sender, end })
}

/// One connection.
pub struct Connection {
    name: String,
    sender: SendRequest<Empty<Bytes>>,
    /// Why it ended.
    end: oneshot::Receiver<hyper::Error>,
}

impl Connection {
    /// Whom it leads to.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The answer's body, whole.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, ApiError> {
        let response = self.begin(path).await?;
        match tokio::time::timeout(LONGEST_ANSWER, whole(response)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(Stopped::Silent)) => Err(ApiError::Slow(self.what(path))),
            Ok(Err(Stopped::Broken(why))) => Err(ApiError::Nonsense(self.what(path), why)),
            Err(_) => Err(ApiError::Endless(self.what(path))),
        }
    }

    /// The answer as what it should be.
    pub async fn read<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ApiError> {
        let body = self.get(path).await?;
        parse(&body).map_err(|why| ApiError::Nonsense(self.what(path), why))
    }

    /// A list, as [`parse_list`] takes it.
    pub async fn read_list<T: DeserializeOwned>(
        &mut self,
        path: &str,
        kind: &str,
    ) -> Result<(Vec<T>, Vec<String>), ApiError> {
        let body = self.get(path).await?;
        parse_list(&body, kind).map_err(|why| ApiError::Nonsense(self.what(path), why))
    }

    /// An answer that never ends, piece by piece.
    pub async fn stream(mut self, path: &str) -> Result<Stream, ApiError> {
        let response = self.begin(path).await?;
        Ok(Stream { body: response.into_body(), _connection: self })
    }

    fn what(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap_or(path);
        format!("{} GET {path}", self.name)
    }

    /// The beginning of the answer.
    async fn begin(&mut self, path: &str) -> Result<Response<Incoming>, ApiError> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(path)).await;
        answer.unwrap_or_else(|_| Err(ApiError::Slow(self.what(path))))
    }

    async fn ask(&mut self, path: &str) -> Result<Response<Incoming>, ApiError> {
        let request = Request::get(path).header(HOST, "docker").body(Empty::new());
        let request = request.map_err(|error| ApiError::Nonsense(self.name.clone(), error.to_string()))?;
        let sent = match self.sender.ready().await {
            Ok(()) => self.sender.send_request(request).await,
            Err(error) => Err(error),
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(self.broken(error).await),
        };
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let text = whole(response).await.unwrap_or_default();
        let shown: String = message(&text).chars().take(SHOWN).filter(|c| !c.is_control()).collect();
        Err(ApiError::Refused(self.what(path), status, shown))
    }

    /// A manager that does not like our certificate says so after the handshake, to whoever reads next. The request itself
    /// was only cancelled then.
    async fn broken(&mut self, error: hyper::Error) -> ApiError {
        let end = tokio::time::timeout(LAST_WORDS, &mut self.end).await;
        let error = end.ok().and_then(Result::ok).unwrap_or(error);
        if error.is_parse() {
            let ask = "if it speaks TLS there, set ca, cert and key in [swarm]";
            return ApiError::Broken(self.name.clone(), format!("no HTTP: {ask}"));
        }
        ApiError::broken(&self.name, &error)
    }
}

/// Why there is no whole body.
enum Stopped {
    /// Nothing came any more.
    Silent,
    /// It broke off, or is too long.
    Broken(String),
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Stopped> {
    let mut body = Limited::new(response.into_body(), LARGEST_ANSWER);
    let mut bytes = Vec::new();
    while let Some(piece) = tokio::time::timeout(PATIENCE, body.frame()).await.map_err(|_| Stopped::Silent)? {
        let piece = piece.map_err(|error| Stopped::Broken(error.to_string()))?;
        bytes.extend_from_slice(&piece.into_data().unwrap_or_default());
    }
    Ok(bytes.into())
}

/// Docker says what is wrong in `{"message": …}`.
fn message(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| json.get("message")?.as_str());
    said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// The answer, or what is wrong with it.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("not what Docker should answer: {error}"))
}

/// An answer that comes piece by piece.
pub struct Stream {
    body: Incoming,
    _connection: Connection,
}

impl Stream {
    /// Waits for the next piece. False: there will be none.
    pub async fn next(&mut self) -> bool {
        matches!(self.body.frame().await, Some(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A manager that answers so many pieces of ten bytes, one after such a pause.
    async fn trickle(mut stream: DuplexStream, pieces: usize, pause: Duration) {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 10 * pieces);
        let _ = stream.write_all(head.as_bytes()).await;
        for _ in 0..pieces {
            tokio::time::sleep(pause).await;
            let _ = stream.write_all(&[b' '; 10]).await;
        }
    }

    async fn answer(pieces: usize, pause: Duration) -> Result<usize, String> {
        let (ours, theirs) = duplex(4096);
        tokio::spawn(trickle(theirs, pieces, pause));
        let mut connection = over(ours, "manager").await.unwrap();
        connection.get("/tasks?filters=x").await.map(|body| body.len()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_long_answer_may_take_its_time_but_not_be_silent_nor_go_on_for_ever() {
        let half = Duration::from_millis(500);
        let (long, silent, endless) = tokio::join!(answer(6, half), answer(2, 6 * half), answer(40, half));
        assert_eq!(long, Ok(60));
        assert_eq!(silent, Err("manager GET /tasks: no answer within 2s".to_owned()));
        assert_eq!(endless, Err("manager GET /tasks: no end of the answer within 10s".to_owned()));
    }
}
