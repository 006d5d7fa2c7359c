//! Requests that change something. On error nothing has changed.

use hyper::StatusCode;
use serde_json::json;

use super::failure::Failure;
use super::read::{find, parse_address};
use super::route::{Reply, Request, no_body, query};
use super::view;
use crate::catalog::no_backend;
use crate::config::node::Node;
use crate::config::report::{At, Report};
use crate::config::service::{self, Form};
use crate::config::{BackendAddress, ServiceConfig};
use crate::operations::{BackendChange, Edit, Operations, ReloadError};

type Outcome = Result<Reply, Failure>;

/// `POST /v1/services`
pub fn add_service(gateway: &mut dyn Operations, request: &Request) -> Outcome {
    let wanted = whole_service(request)?;
    let name = wanted.name.clone();
    gateway.edit(Edit::AddService(wanted))?;
    Reply::created(&view::service(gateway, find(gateway, &name)?))
}

/// `PUT /v1/services/NAME`
pub fn put_service(gateway: &mut dyn Operations, name: &str, request: &Request) -> Outcome {
    let wanted = whole_service(request)?;
    if wanted.name != name {
        let message = format!("the path says `{name}`, the body says `{}`", wanted.name);
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message, "a service's name can't be changed"));
    }
    let is_new = gateway.catalog().service(name).is_none();
    gateway.edit(Edit::PutService(wanted))?;
    let view = view::service(gateway, find(gateway, name)?);
    if is_new { Reply::created(&view) } else { Reply::ok(&view) }
}

/// `PATCH /v1/services/NAME`
pub fn set_service(gateway: &mut dyn Operations, name: &str, request: &Request) -> Outcome {
    let node = json_body(request)?;
    let mut report = Report::default();
    let draft = service::read(&node, At::root(), Form::Change, &mut report);
    let draft = accepted(draft, report)?;
    let listens: Vec<_> = draft.listens.into_iter().map(|listen| listen.value).collect();
    let edit = Edit::SetService {
        name: name.to_owned(),
        listens: Some(listens).filter(|listens| !listens.is_empty()),
        settings: draft.settings,
        check: draft.check.map(|draft| draft.check),
    };
    gateway.edit(edit)?;
    Reply::ok(&view::service(gateway, find(gateway, name)?))
}

/// `DELETE /v1/services/NAME`
pub fn remove_service(gateway: &mut dyn Operations, name: &str, request: &Request) -> Outcome {
    bare(request)?;
    gateway.edit(Edit::RemoveService { name: name.to_owned() })?;
    Reply::ok(&json!({ "removed": name }))
}

/// `POST /v1/services/NAME/backends`
pub fn add_backend(gateway: &mut dyn Operations, name: &str, request: &Request) -> Outcome {
    let node = json_body(request)?;
    let mut report = Report::default();
    let draft = service::read_backend(&node, At::root(), Form::Whole, &mut report);
    let backend = accepted(draft.and_then(|draft| draft.finish()), report)?;
    let address = backend.address;
    gateway.edit(Edit::AddBackend { service: name.to_owned(), backend })?;
    show_backend(gateway, name, address, StatusCode::CREATED)
}

/// `PATCH /v1/services/NAME/backends/ADDRESS`
pub fn set_backend(gateway: &mut dyn Operations, name: &str, address: &str, request: &Request) -> Outcome {
    let address = parse_address(address)?;
    let node = json_body(request)?;
    let mut report = Report::default();
    let draft = service::read_backend(&node, At::root(), Form::Change, &mut report);
    let draft = accepted(draft, report)?;
    let edit = Edit::SetBackend {
        service: name.to_owned(),
        address,
        change: BackendChange {
            weight: draft.weight,
            vtep: draft.vtep.map(|vtep| vtep.value),
            mac: draft.mac.map(|mac| mac.value),
            max_connections: draft.max_connections,
            sorry: draft.sorry,
        },
    };
    gateway.edit(edit)?;
    show_backend(gateway, name, address, StatusCode::OK)
}

/// `POST /v1/services/NAME/backends/ADDRESS/drain`
pub fn drain_backend(gateway: &mut dyn Operations, name: &str, address: &str, request: &Request) -> Outcome {
    bare(request)?;
    let address = parse_address(address)?;
    gateway.edit(Edit::DrainBackend { service: name.to_owned(), address })?;
    show_backend(gateway, name, address, StatusCode::OK)
}

/// `DELETE /v1/services/NAME/backends/ADDRESS`
pub fn remove_backend(gateway: &mut dyn Operations, name: &str, address: &str, request: &Request) -> Outcome {
    bare(request)?;
    let address = parse_address(address)?;
    gateway.edit(Edit::RemoveBackend { service: name.to_owned(), address })?;
    Reply::ok(&json!({ "removed": address.to_string(), "service": name }))
}

/// `POST /v1/reload`
pub fn reload(gateway: &mut dyn Operations, request: &Request) -> Outcome {
    bare(request)?;
    let report = gateway.reload().inspect_err(|error| {
        // The answer says to look into the log; a reload by signal is told of there, too.
        if matches!(error, ReloadError::Failed(_)) {
            tracing::error!("{error}");
        }
    })?;
    Reply::ok(&report)
}

fn show_backend(gateway: &dyn Operations, name: &str, address: BackendAddress, status: StatusCode) -> Outcome {
    let service = find(gateway, name)?;
    let entry = service.backend(address).ok_or_else(|| no_backend(service, address))?;
    let reply = Reply::ok(&view::backend(gateway, service, entry))?;
    Ok(Reply { status, ..reply })
}

fn whole_service(request: &Request) -> Result<ServiceConfig, Failure> {
    let node = json_body(request)?;
    let mut report = Report::default();
    let draft = service::read(&node, At::root(), Form::Whole, &mut report);
    accepted(draft.and_then(|draft| draft.finish()), report)
}

/// What was read, if nothing was wrong with it.
fn accepted<T>(value: Option<T>, report: Report) -> Result<T, Failure> {
    match value {
        Some(value) if !report.has_errors() => Ok(value),
        _ => Err(Failure::body(report)),
    }
}

fn json_body(request: &Request) -> Result<Node, Failure> {
    query(request, [])?;
    let wrong = |message: String, hint: &str| Err(Failure::new(StatusCode::BAD_REQUEST, message, hint));
    match serde_json::from_slice(&request.body) {
        Ok(node) => Ok(node),
        Err(_) if request.body.is_empty() => wrong("the body is empty".into(), "send a JSON object"),
        // JSON it is, but a key stands there twice.
        Err(error) if error.is_data() => wrong(format!("the body has a {error}"), "remove one of them"),
        Err(error) => wrong(format!("the body is not JSON: {error}"), "send a JSON object"),
    }
}

/// Neither parameters nor a body.
fn bare(request: &Request) -> Result<(), Failure> {
    query(request, [])?;
    no_body(request)
}
