//! `flow who`: whose flow it was that a backend saw.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::files::{files, lines};
use super::line::{Line, border_time, line_time};
use super::time;
use crate::config::report::Complaint;

pub use super::time::Span;

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

/// A moment, as far as it is said.
pub fn moment(text: &str) -> Result<Span, Complaint> {
    time::parse(text, sys::clock::wall()).ok_or_else(|| {
        let hint = "in UTC: \"2026-11-21T14:05:00Z\", or \"14:05\" for today";
        Complaint::hinted(format!("`{text}` is not a moment"), hint)
    })
}

/// What was found, and what could not be read.
#[derive(Debug, Default)]
pub struct Answer {
    /// In the order of the log.
    pub found: Vec<Found>,
    /// Which files could not be read, or not to their end, and why: sentences.
    pub unread: Vec<String>,
}

/// What a line says that matters here.
enum Event {
    /// Of a flow with the address that was asked for.
    Flow(Box<Line>),
    /// The gateway started or stopped then.
    Border(String),
}

/// All flows that backends saw as `snat`, or those of one moment, from the log and what was rotated away from it.
pub fn search(log: &Path, snat: SocketAddr, at: Option<&Span>) -> Answer {
    let mut unread = Vec::new();
    let files = by_age(log, &mut unread);
    let mut found: Vec<Found> = Vec::new();
    for event in events(&files, snat, at, &mut unread) {
        match event {
            Event::Flow(line) => note(&mut found, *line),
            Event::Border(time) => end_all(&mut found, &time),
        }
    }
    found.retain(|flow| {
        at.is_none_or(|at| flow.opened <= *at.end() && flow.closed.as_ref().is_none_or(|end| at.start() <= end))
    });
    Answer { found, unread }
}

/// The files with anything in them, the oldest first, each with the time of its first line: names say less.
fn by_age(log: &Path, unread: &mut Vec<String>) -> Vec<(String, PathBuf)> {
    let files = files(log).unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            unread.push(format!("what was rotated away from {} cannot be found: {error}", log.display()));
        }
        vec![log.to_owned()]
    });
    let mut begun = Vec::new();
    for path in files {
        match begin(&path) {
            Ok(Some(time)) => begun.push((time, path)),
            Ok(None) => {}
            Err(error) => unread.push(format!("{} cannot be read: {error}", path.display())),
        }
    }
    begun.sort();
    begun
}

/// The time of the first line that has one.
fn begin(path: &Path) -> io::Result<Option<String>> {
    for line in lines(path)? {
        if let Some(time) = line_time(&line?) {
            return Ok(Some(time.to_owned()));
        }
    }
    Ok(None)
}

/// What is said of that address. Of a moment, only files are read in which something of it can stand: no flow outlives the gateway, so
/// neither those before its last start or stop until then, nor those behind the next. A flow that still stands may have
/// its only line in any of the others.
fn events(
    files: &[(String, PathBuf)],
    snat: SocketAddr,
    at: Option<&Span>,
    unread: &mut Vec<String>,
) -> impl Iterator<Item = Event> + use<> {
    let later = at.map_or(files.len(), |at| files.partition_point(|(begin, _)| begin <= at.end()));
    let has_border = |events: &[Event], ends: fn(&String, &Span) -> bool| {
        let is_end = |event: &Event| matches!((event, at), (Event::Border(time), Some(at)) if ends(time, at));
        events.iter().any(is_end)
    };
    let mut parts = VecDeque::new();
    for (_, path) in files[..later].iter().rev() {
        parts.push_front(read(path, snat, unread));
        if has_border(&parts[0], |border, at| border < at.start()) {
            break;
        }
    }
    for (_, path) in &files[later..] {
        if parts.back().is_some_and(|events| has_border(events, |border, at| border > at.end())) {
            break;
        }
        parts.push_back(read(path, snat, unread));
    }
    parts.into_iter().flatten()
}

/// What one file says of the address. What stands before a broken place is known.
fn read(path: &Path, snat: SocketAddr, unread: &mut Vec<String>) -> Vec<Event> {
    let mut events = Vec::new();
    let wanted = format!("\"snat\":\"{snat}\"");
    let outcome = lines(path).and_then(|mut lines| {
        lines.try_for_each(|line| {
            events.extend(event(&line?, &wanted));
            Ok(())
        })
    });
    if let Err(error) = outcome {
        unread.push(format!("{} cannot be read to its end: {error}", path.display()));
    }
    events
}

/// Most lines are about others. A line that was cut off, when the disk was full, says nothing.
fn event(line: &str, wanted: &str) -> Option<Event> {
    if let Some(time) = border_time(line) {
        return Some(Event::Border(time));
    }
    Some(line).filter(|line| line.contains(wanted)).and_then(|line| serde_json::from_str(line).ok()).map(Event::Flow)
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
