//! One line of the log.

use std::net::SocketAddr;
use std::time::Duration;

use datapath::flow_log::FlowEvent;
use serde::{Deserialize, Serialize};

use super::time;
use crate::operations::PerDirection;

/// A line, as it is written and as `flow who` reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When: RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// `open` or `close`.
    pub event: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who asked.
    pub client: SocketAddr,
    /// What was asked for.
    pub vip: SocketAddr,
    /// Who answers.
    pub backend: SocketAddr,
    /// Where the backend sees it come from.
    pub snat: SocketAddr,
    /// The service's name.
    pub service: String,
    /// What is known at the end.
    #[serde(flatten)]
    pub end: Option<End>,
}

/// What only a `close` has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// When the flow was opened.
    pub opened: String,
    /// How long it stood.
    pub duration_seconds: f64,
    /// How it ended.
    pub reason: String,
    /// Where it stood then, as Linux's conntrack calls it.
    pub state: String,
    /// Packets by direction.
    pub packets: PerDirection,
    /// Bytes by direction.
    pub bytes: PerDirection,
}

/// A line that is not about one flow: the gateway has started, or it stops. No flow outlives that.
#[derive(Debug, Serialize)]
struct Border {
    time: String,
    event: String,
}

const START: &str = "start";
const STOP: &str = "stop";

/// That the gateway has started, with the line break.
pub fn start() -> String {
    border(START)
}

/// That it stops.
pub fn stop() -> String {
    border(STOP)
}

fn border(event: &str) -> String {
    written(&Border { time: time::show(sys::clock::wall()), event: event.to_owned() })
}

/// The time of any line.
pub fn line_time(line: &str) -> Option<&str> {
    Some(line.strip_prefix("{\"time\":\"")?.split_once('"')?.0)
}

/// When the gateway started or stopped, if that is what the line says.
pub fn border_time(line: &str) -> Option<String> {
    // As we write them.
    let (time, event) = line.strip_prefix("{\"time\":\"")?.strip_suffix("\"}")?.split_once("\",\"event\":\"")?;
    [START, STOP].contains(&event).then(|| time.to_owned())
}

/// The event as a line, with its line break.
pub fn line(event: &FlowEvent, service: String) -> String {
    let per_direction = |both: [u64; 2]| PerDirection { original: both[0], reply: both[1] };
    let end = event.ending.map(|ending| End {
        opened: wall(event.opened),
        duration_seconds: event.at.saturating_sub(event.opened).as_secs_f64(),
        reason: ending.name().to_owned(),
        state: event.state.to_string(),
        packets: per_direction(event.packets),
        bytes: per_direction(event.bytes),
    });
    let line = Line {
        time: wall(event.at),
        event: if end.is_some() { "close" } else { "open" }.to_owned(),
        protocol: event.protocol.to_string(),
        client: event.client,
        vip: event.vip,
        backend: event.backend,
        snat: event.snat,
        service,
        end,
    };
    written(&line)
}

fn written(line: &impl Serialize) -> String {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

/// The wall clock at a moment of the process's own.
fn wall(at: Duration) -> String {
    let ago = sys::clock::now().saturating_sub(at);
    time::show(sys::clock::wall() - ago)
}
