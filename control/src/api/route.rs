//! From method and path to the function that answers.

use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::failure::{Failure, no_json};
use super::{change, read};
use crate::config::report::{nearest, suggest};
use crate::operations::{FlowQuestion, Operations};

/// A request, read whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Still percent-encoded.
    pub path: String,
    /// Without the question mark, still percent-encoded.
    pub query: String,
    /// At most a megabyte.
    pub body: Vec<u8>,
}

/// What goes back.
pub struct Reply {
    /// HTTP's status.
    pub status: StatusCode,
    /// What the client reads.
    pub body: Body,
}

/// A body that is still to be written: not under the gateway's lock.
pub enum Body {
    /// Something small.
    Json(Value),
    /// The list of flows that it finds.
    Flows(FlowQuestion),
}

impl Body {
    /// As it goes over the socket.
    pub fn write(self) -> Result<Vec<u8>, Failure> {
        match self {
            Body::Json(json) => Ok(json.to_string().into_bytes()),
            Body::Flows(question) => read::write_flows(question),
        }
    }
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: &impl Serialize) -> Result<Reply, Failure> {
        Reply::with(StatusCode::OK, body)
    }

    /// 201 with this body.
    pub fn created(body: &impl Serialize) -> Result<Reply, Failure> {
        Reply::with(StatusCode::CREATED, body)
    }

    /// Any status with this body.
    pub fn with(status: StatusCode, body: &impl Serialize) -> Result<Reply, Failure> {
        let json = serde_json::to_value(body).map_err(|error| no_json(&error))?;
        Ok(Reply { status, body: Body::Json(json) })
    }
}

type Outcome = Result<Reply, Failure>;

/// Answers one request.
pub fn answer(gateway: &mut dyn Operations, request: &Request) -> Outcome {
    let segments = segments(&request.path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(("v1", rest)) = segments.split_first().map(|(first, rest)| (*first, rest)) else {
        return Err(unknown_path(&request.path));
    };
    let method = Verb::of(&request.method);
    match rest {
        ["services", rest @ ..] => services(gateway, method, rest, request),
        ["status"] => only_get(method, || read::status(gateway, request)),
        ["health"] => only_get(method, || read::health(gateway, request)),
        ["counters"] => only_get(method, || read::counters(gateway, request)),
        ["backends"] => only_get(method, || read::all_backends(gateway, request)),
        ["flows"] => only_get(method, || read::flows(gateway, request)),
        ["flows", "count"] => only_get(method, || read::flow_count(gateway, request)),
        ["reload"] if method == Verb::Post => change::reload(gateway, request),
        ["reload"] => Err(wrong_method("POST")),
        _ => Err(unknown_path(&request.path)),
    }
}

/// The methods that mean something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Verb {
    fn of(method: &Method) -> Verb {
        match method.as_str() {
            "GET" => Verb::Get,
            "POST" => Verb::Post,
            "PUT" => Verb::Put,
            "PATCH" => Verb::Patch,
            "DELETE" => Verb::Delete,
            _ => Verb::Other,
        }
    }
}

fn only_get(method: Verb, answer: impl FnOnce() -> Outcome) -> Outcome {
    if method == Verb::Get { answer() } else { Err(wrong_method("GET")) }
}

fn services(gateway: &mut dyn Operations, method: Verb, rest: &[&str], request: &Request) -> Outcome {
    match (rest, method) {
        ([], Verb::Get) => read::services(gateway, request),
        ([], Verb::Post) => change::add_service(gateway, request),
        ([name], Verb::Get) => read::service(gateway, name, request),
        ([name], Verb::Put) => change::put_service(gateway, name, request),
        ([name], Verb::Patch) => change::set_service(gateway, name, request),
        ([name], Verb::Delete) => change::remove_service(gateway, name, request),
        ([_], _) => Err(wrong_method("GET, PUT, PATCH, DELETE")),
        ([name, "backends"], Verb::Get) => read::backends(gateway, name, request),
        ([name, "backends"], Verb::Post) => change::add_backend(gateway, name, request),
        ([] | [_, "backends"], _) => Err(wrong_method("GET, POST")),
        ([name, "backends", address], Verb::Get) => read::backend(gateway, name, address, request),
        ([name, "backends", address], Verb::Patch) => change::set_backend(gateway, name, address, request),
        ([name, "backends", address], Verb::Delete) => change::remove_backend(gateway, name, address, request),
        ([_, "backends", _], _) => Err(wrong_method("GET, PATCH, DELETE")),
        ([name, "backends", address, "drain"], Verb::Post) => change::drain_backend(gateway, name, address, request),
        ([_, "backends", _, "drain"], _) => Err(wrong_method("POST")),
        _ => Err(unknown_path(&request.path)),
    }
}

const PATHS: &[&str] = &[
    "/v1/status",
    "/v1/health",
    "/v1/services",
    "/v1/backends",
    "/v1/flows",
    "/v1/flows/count",
    "/v1/counters",
    "/v1/reload",
];

fn unknown_path(path: &str) -> Failure {
    let shown: String = path.chars().take(100).collect();
    Failure::new(StatusCode::NOT_FOUND, format!("there is no path `{shown}`"), suggest(&shown, PATHS))
}

fn wrong_method(allow: &'static str) -> Failure {
    let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method", allow);
    Failure { allow: Some(allow), ..failure }
}

fn segments(path: &str) -> Result<Vec<String>, Failure> {
    path.trim_start_matches('/').split('/').map(decode).collect()
}

/// Percent-decoding.
fn decode(text: &str) -> Result<String, Failure> {
    let failed = || Failure::new(StatusCode::BAD_REQUEST, "the address has a broken % sequence", "write % as %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = behind;
            continue;
        }
        let (&[high, low], behind) = behind.split_first_chunk().ok_or_else(failed)?;
        let digit = |byte| char::from(byte).to_digit(16).ok_or_else(failed);
        bytes.push((digit(high)? << 4 | digit(low)?) as u8);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| failed())
}

/// An empty object is as good as nothing.
pub fn no_body(request: &Request) -> Result<(), Failure> {
    if matches!(request.body.trim_ascii(), b"" | b"{}") {
        return Ok(());
    }
    Err(Failure::new(StatusCode::BAD_REQUEST, "this request takes no body", "leave the body out"))
}

/// The query's values in the order of `known`; any other name is an error.
pub fn query<const N: usize>(request: &Request, known: [&str; N]) -> Result<[Option<String>; N], Failure> {
    let mut values = [const { None }; N];
    for pair in request.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let Some(at) = known.iter().position(|known| *known == name) else {
            let hint = match nearest(&name, known) {
                Some(candidate) => format!("did you mean `{candidate}`?"),
                None if N == 0 => "this path takes none".to_owned(),
                None => format!("known: {}", known.join(", ")),
            };
            return Err(Failure::new(StatusCode::BAD_REQUEST, format!("unknown parameter `{name}`"), hint));
        };
        values[at] = Some(decode(value)?);
    }
    Ok(values)
}
