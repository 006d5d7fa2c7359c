//! `[service.check]`, and what means nothing without one.

use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::time::Duration;

use wire::Protocol;

use super::quoted;
use crate::config::value::{backend_address, show_duration};
use crate::config::{BackendAddress, Listen};
use crate::import::draft::{Backend, Check, Service};
use crate::import::notes::Notes;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);

/// All of it; nothing for a service without a check.
pub fn text(
    service: &Service,
    listens: &[Listen],
    backends: &[(BackendAddress, &Backend)],
    notes: &mut Notes<'_>,
) -> String {
    let mut out = String::new();
    let Some(wanted) = &service.check else {
        if service.resets {
            notes.add(service.line, "connections go on: without checks no backend is down");
        }
        return out;
    };
    if service.resets {
        out.push_str("on_down = \"reset\"\n");
    }
    let port = wanted.port.or_else(|| port(wanted, service, listens, backends, notes));
    write(&Check { port, ..wanted.clone() }, service.line, notes, &mut out);
    out
}

/// Checks ask the port that a backend serves. They must be told where that is not to be seen from the config: in a direct
/// service, whose backends have no ports, and in a check of another protocol than the service's.
fn port(
    check: &Check,
    service: &Service,
    listens: &[Listen],
    backends: &[(BackendAddress, &Backend)],
    notes: &mut Notes<'_>,
) -> Option<u16> {
    let protocol = if check.kind == "udp" { Protocol::Udp } else { Protocol::Tcp };
    let is_seen = listens.iter().any(|listen| listen.protocol == protocol);
    if is_seen && !service.direct {
        return None;
    }
    let kept = listens.first().map(|listen| *listen.ports.start());
    let kept = kept.filter(|port| listens.iter().all(|listen| listen.ports == (*port..=*port)));
    let own = |backend: &Backend| backend_address(&backend.address).ok()?.port.map(NonZeroU16::get);
    let ports: Vec<Option<u16>> = backends.iter().map(|(_, backend)| own(backend).or(kept)).collect();
    let first = *ports.first()?;
    if ports.iter().any(|port| *port != first) {
        if is_seen {
            notes.add(service.line, "its backends have different ports: they are asked on the VIP's port");
        }
        return None;
    }
    first.filter(|_| !is_seen || first != kept)
}

fn write(check: &Check, line: usize, notes: &mut Notes<'_>, out: &mut String) {
    let _ = writeln!(out, "[service.check]\ntype = \"{}\"", check.kind);
    if let Some(port) = check.port {
        let _ = writeln!(out, "port = {port}");
    }
    let (shortest, longest) = (Duration::from_millis(50), Duration::from_hours(24));
    let interval = check.interval.map(|interval| interval.clamp(shortest, longest));
    if let Some(interval) = interval {
        if check.interval != Some(interval) {
            notes.add(line, format!("its checks come every {}: from 50ms to 1d", show_duration(interval)));
        }
        let _ = writeln!(out, "interval = \"{}\"", show_duration(interval));
    }
    if let Some(timeout) = check.timeout {
        let most = interval.unwrap_or(DEFAULT_INTERVAL);
        if timeout > most {
            notes.add(line, format!("a check is over before the next begins: its timeout is {}", show_duration(most)));
        }
        let _ = writeln!(out, "timeout = \"{}\"", show_duration(timeout.clamp(shortest, most)));
    }
    for (key, number) in [("rise", check.rise), ("fall", check.fall)] {
        if let Some(asked) = number {
            let number = asked.clamp(1, 1000);
            if number != asked {
                notes.add(line, format!("`{key}` is {number}: from 1 to 1000"));
            }
            let _ = writeln!(out, "{key} = {number}");
        }
    }
    if check.kind.starts_with("http") {
        let texts = [("path", &check.path), ("host", &check.host), ("status", &check.status), ("body", &check.body)];
        write_texts(&texts, out);
    }
    if check.kind == "udp" {
        write_texts(&[("send", &check.send), ("expect", &check.expect)], out);
    }
}

fn write_texts(texts: &[(&str, &Option<String>)], out: &mut String) {
    for (key, text) in texts {
        if let Some(text) = text {
            let _ = writeln!(out, "{key} = {}", quoted(text));
        }
    }
}
