//! Requests that only look.

use datapath::FlowFilter;
use hyper::StatusCode;

use super::failure::{Failure, no_json};
use super::route::{Body, Reply, Request, no_body, query};
use super::view;
use crate::catalog::{ServiceEntry, no_backend};
use crate::config::BackendAddress;
use crate::config::value::backend_address;
use crate::operations::{FlowQuestion, Operations};

type Outcome = Result<Reply, Failure>;

/// How many flows are shown unless the request says.
const DEFAULT_FLOWS: usize = 1_000;
/// The answer is in memory as a whole.
const MOST_FLOWS: usize = 1_000_000;

/// As [`query`]; who only looks sends nothing else.
fn asked<const N: usize>(request: &Request, known: [&str; N]) -> Result<[Option<String>; N], Failure> {
    let values = query(request, known)?;
    no_body(request)?;
    Ok(values)
}

/// `GET /v1/status`
pub fn status(gateway: &dyn Operations, request: &Request) -> Outcome {
    asked(request, [])?;
    Reply::ok(&gateway.status())
}

/// `GET /v1/health`
pub fn health(gateway: &mut dyn Operations, request: &Request) -> Outcome {
    asked(request, [])?;
    let health = gateway.health();
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::with(status, &health)
}

/// `GET /v1/counters`
pub fn counters(gateway: &dyn Operations, request: &Request) -> Outcome {
    asked(request, [])?;
    Reply::ok(&gateway.counters())
}

/// `GET /v1/services`
pub fn services(gateway: &dyn Operations, request: &Request) -> Outcome {
    asked(request, [])?;
    let services = gateway.catalog().services().iter();
    Reply::ok(&services.map(|service| view::service(gateway, service)).collect::<Vec<_>>())
}

/// `GET /v1/services/NAME`
pub fn service(gateway: &dyn Operations, name: &str, request: &Request) -> Outcome {
    asked(request, [])?;
    Reply::ok(&view::service(gateway, find(gateway, name)?))
}

/// `GET /v1/services/NAME/backends`
pub fn backends(gateway: &dyn Operations, name: &str, request: &Request) -> Outcome {
    asked(request, [])?;
    Reply::ok(&view::backends(gateway, find(gateway, name)?))
}

/// `GET /v1/services/NAME/backends/ADDRESS`
pub fn backend(gateway: &dyn Operations, name: &str, address: &str, request: &Request) -> Outcome {
    asked(request, [])?;
    let service = find(gateway, name)?;
    let address = parse_address(address)?;
    let entry = service.backend(address).ok_or_else(|| no_backend(service, address))?;
    Reply::ok(&view::backend(gateway, service, entry))
}

/// `GET /v1/backends?service=`
pub fn all_backends(gateway: &dyn Operations, request: &Request) -> Outcome {
    let [service] = asked(request, ["service"])?;
    if let Some(name) = service {
        return Reply::ok(&view::backends(gateway, find(gateway, &name)?));
    }
    let services = gateway.catalog().services().iter();
    Reply::ok(&services.flat_map(|service| view::backends(gateway, service)).collect::<Vec<_>>())
}

/// `GET /v1/flows?service=&limit=`
pub fn flows(gateway: &dyn Operations, request: &Request) -> Outcome {
    let [service, limit] = asked(request, ["service", "limit"])?;
    let service = service.map(|name| find(gateway, &name).map(|service| service.id)).transpose()?;
    let limit = limit.map_or(Ok(DEFAULT_FLOWS), |text| parse_limit(&text))?;
    Ok(Reply { status: StatusCode::OK, body: Body::Flows(gateway.flows(FlowFilter { service, limit })) })
}

/// Asks, and writes each flow down as it comes: there may be a million of them.
pub fn write_flows(question: FlowQuestion) -> Result<Vec<u8>, Failure> {
    let mut list = b"[".to_vec();
    let mut written = Ok(());
    let asked = question(&mut |flow| {
        if list.len() > 1 {
            list.push(b',');
        }
        if written.is_ok() {
            written = serde_json::to_writer(&mut list, flow);
        }
    });
    // No hint to ask for fewer: where few flows match, all slots are looked at whatever the limit.
    let hint = "ask again; if it stays so, `sluicegate status` shows whether the worker hangs";
    asked.map_err(|message| Failure::new(StatusCode::SERVICE_UNAVAILABLE, message, hint))?;
    written.map_err(|error| no_json(&error))?;
    list.push(b']');
    Ok(list)
}

/// `GET /v1/flows/count`
pub fn flow_count(gateway: &dyn Operations, request: &Request) -> Outcome {
    asked(request, [])?;
    Reply::ok(&gateway.flow_count())
}

fn parse_limit(text: &str) -> Result<usize, Failure> {
    if let Ok(limit @ 1..=MOST_FLOWS) = text.parse() {
        return Ok(limit);
    }
    let hint = format!("a number from 1 to {MOST_FLOWS}");
    Err(Failure::new(StatusCode::BAD_REQUEST, format!("`limit` can't be `{text}`"), hint))
}

/// The service with that name.
pub fn find<'a>(gateway: &'a dyn Operations, name: &str) -> Result<&'a ServiceEntry, Failure> {
    let catalog = gateway.catalog();
    catalog.service(name).ok_or_else(|| catalog.no_service(name).into())
}

/// A backend's address from a path.
pub fn parse_address(text: &str) -> Result<BackendAddress, Failure> {
    let failed = |complaint: crate::config::report::Complaint| {
        Failure::new(StatusCode::BAD_REQUEST, complaint.message, complaint.hint.unwrap_or_default())
    };
    backend_address(text).map_err(failed)
}
