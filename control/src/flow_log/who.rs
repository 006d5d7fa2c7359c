//! `flow who`: whose flow it was that a backend saw.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;

use super::line::{Line, border_time};
use super::time;
use crate::config::report::Complaint;

/// A flow that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Since when it stood.
    pub opened: String,
    /// Until when, at the latest; none: that is not in the log.
    pub closed: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who asked.
    pub client: SocketAddr,
    /// What was asked for.
    pub vip: SocketAddr,
    /// Who answered.
    pub backend: SocketAddr,
    /// The service's name.
    pub service: String,
}

/// A moment, as the log has it.
pub fn moment(text: &str) -> Result<String, Complaint> {
    time::parse(text, sys::clock::wall()).ok_or_else(|| {
        let hint = "in UTC: \"2026-11-21T14:05:00Z\", or \"14:05\" for today";
        Complaint::hinted(format!("`{text}` is not a moment"), hint)
    })
}

/// All flows that backends saw as `snat`, or those of one moment, in the order of the log.
///
/// # Errors
/// The file cannot be read.
pub fn search(path: &Path, snat: SocketAddr, at: Option<&str>) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let wanted = format!("\"snat\":\"{snat}\"");
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        if let Some(time) = border_time(&line) {
            end_all(&mut found, &time);
            continue;
        }
        // Most lines are about others. A line that was cut off, when the disk was full, says nothing.
        let Some(line) =
            Some(line).filter(|line| line.contains(&wanted)).and_then(|line| serde_json::from_str(&line).ok())
        else {
            continue;
        };
        note(&mut found, line);
    }
    found.retain(|flow| {
        at.is_none_or(|at| flow.opened.as_str() <= at && flow.closed.as_deref().is_none_or(|end| at <= end))
    });
    Ok(found)
}

/// Nothing outlives the gateway: what has no end yet has this one.
fn end_all(found: &mut [Found], time: &str) {
    for flow in found.iter_mut().filter(|flow| flow.closed.is_none()) {
        flow.closed = Some(time.to_owned());
    }
}

/// A port is used by one flow to a backend at a time: of one whose end was lost, the next is the end.
fn note(found: &mut Vec<Found>, line: Line) {
    let Line { time, protocol, client, vip, backend, snat, service, end, .. } = line;
    // Where nothing is translated, the port is the client's, who may ask several VIPs from it.
    let of_port = |flow: &&mut Found| {
        (flow.backend, &flow.protocol) == (backend, &protocol) && (client != snat || flow.vip == vip)
    };
    let before = found.iter_mut().rev().filter(|flow| flow.closed.is_none()).find(of_port);
    let (opened, closed) = match end {
        Some(end) => (end.opened, Some(time)),
        None => (time, None),
    };
    match before {
        Some(flow) if closed.is_some() && (flow.client, flow.vip) == (client, vip) => {
            flow.closed = closed;
            return;
        }
        Some(flow) if flow.opened <= opened => flow.closed = Some(opened.clone()),
        _ => {}
    }
    found.push(Found { opened, closed, protocol, client, vip, backend, service });
}
