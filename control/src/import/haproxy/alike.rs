//! What a service says for all of its backends, of what each server says for itself.

use std::time::Duration;

use super::bind::Bind;
use super::check::HttpCheck;
use super::server::{Checked, Server};
use crate::import::draft::Check;
use crate::import::notes::Notes;

/// HAProxy's own `inter`.
const INTERVAL: Duration = Duration::from_secs(2);

/// Whether backends get a PROXY header: all of them, or none; and none where clients bring theirs, which goes through.
pub fn proxy_protocol(binds: &[Bind], servers: &[Server], notes: &mut Notes<'_>) -> bool {
    if binds.iter().any(|bind| bind.accepts_header) {
        for bind in binds.iter().filter(|_| servers.iter().any(|server| server.wants_header)) {
            let why = if bind.accepts_header {
                "servers get the client's PROXY header and no second one: leave `proxy_protocol` out"
            } else {
                "clients bring no PROXY header here, and servers get none: make it a service of its own with `proxy_protocol`"
            };
            notes.add(bind.line, why);
        }
        return false;
    }
    let why = "all backends of a service get PROXY headers, or none: none, since not all servers have this";
    all(servers, |server| server.introduced, why, notes)
}

/// Whether connections end with the check's failure: all of them, or none.
pub fn resets(servers: &[Server], notes: &mut Notes<'_>) -> bool {
    let why = "connections of all backends that are down end, or of none: they go on, since not all servers have this";
    all(servers, |server| server.resets, why, notes)
}

fn all(servers: &[Server], wants: impl Fn(&Server) -> bool, why: &str, notes: &mut Notes<'_>) -> bool {
    let everyone = servers.iter().all(&wants);
    for server in servers.iter().filter(|server| !everyone && wants(server)) {
        notes.add(server.backend.line, why);
    }
    everyone && !servers.is_empty()
}

/// How long backends take to get their whole weight, if all say the same.
pub fn slow_start(servers: &[Server], notes: &mut Notes<'_>) -> Option<Duration> {
    let first = servers.first()?.slow_start;
    if servers.iter().all(|server| server.slow_start == first) {
        return first;
    }
    for server in servers.iter().filter(|server| server.slow_start.is_some()) {
        let why = "all backends of a service start slowly, in the same time, or none: none, since servers differ";
        notes.add(server.backend.line, why);
    }
    None
}

/// How servers are checked, each with its line.
fn checks<'a>(servers: &'a [Server], http: &HttpCheck, notes: &mut Notes<'_>) -> Vec<(usize, &'a Checked)> {
    let mut checks = Vec::new();
    for server in servers {
        let Some(checked) = &server.checked else { continue };
        match http.fault(&server.backend.address) {
            Some((line, why)) => notes.add(line, why),
            None => checks.push((server.backend.line, checked)),
        }
    }
    checks
}

/// The check, if any server is checked: of a section in this line, with its `timeout check`.
pub fn check(
    servers: &[Server],
    line: usize,
    timeout: Option<Duration>,
    http: &HttpCheck,
    notes: &mut Notes<'_>,
) -> Option<Check> {
    let checks = checks(servers, http, notes);
    let (first_line, first) = *checks.first()?;
    for (line, _) in checks.iter().filter(|(_, other)| *other != first) {
        notes.add(*line, "all backends of a service are checked in the same way: as the first that is checked");
    }
    if checks.len() < servers.len() {
        notes.add(line, "all backends of a service are checked, or none: those without `check` are too");
    }
    let mut check = Check {
        kind: "tcp",
        port: first.port,
        interval: first.interval,
        // Without its own, a check may take HAProxy the whole interval.
        timeout: Some(timeout.or(first.interval).unwrap_or(INTERVAL)),
        rise: first.rise,
        fall: first.fall,
        ..Check::default()
    };
    if http.is_asked() {
        http.put(first.tls, &mut check, notes);
    } else if first.tls {
        notes.add(first_line, "only HTTP is checked over TLS: whether a connection is accepted is checked instead");
    }
    Some(check)
}
