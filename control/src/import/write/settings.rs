//! The keys of a service.

use std::fmt::Write as _;
use std::time::Duration;

use datapath::service::SchedulerKind;

use super::quoted;
use crate::config::life::Life;
use crate::config::report::Complaint;
use crate::config::value::show_duration;
use crate::config::{Listen, Settings, one_packet, protection};
use crate::import::draft::{Persistence, Service};
use crate::import::notes::Notes;

/// What times of services may be.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(30 * 24);
/// IPVS and HAProxy take each IPv6 address for a client of its own.
const PREFIX_OF_SIX: u8 = 128;

/// All that is said of the service as a whole; `group` is whom it remembers its clients with.
pub fn write(service: &Service, listens: &[Listen], group: Option<&str>, notes: &mut Notes<'_>, out: &mut String) {
    if let Some(scheduler) = service.scheduler {
        let _ = writeln!(out, "scheduler = \"{scheduler}\"");
    }
    if let Some(wanted) = &service.persistence {
        persistence(service.line, wanted, listens, group, notes, out);
    }
    match service.timeout {
        Some(time) if (SHORTEST..=LONGEST).contains(&time) => {
            let _ = writeln!(out, "timeout = \"{}\"", show_duration(time));
        }
        Some(_) => notes.add(service.line, "its idle time is not between 1s and 30d: left out"),
        None => {}
    }
    if service.direct {
        out.push_str("direct = true\n");
    }
    if service.proxy_protocol {
        out.push_str("proxy_protocol = true\n");
    }
    rules_of_our_own(service, listens, notes, out);
}

/// How long clients stay, and who counts as one.
fn persistence(
    line: usize,
    wanted: &Persistence,
    listens: &[Listen],
    group: Option<&str>,
    notes: &mut Notes<'_>,
    out: &mut String,
) {
    let has = |six: bool| listens.iter().any(|listen| listen.address.is_ipv6() == six);
    let time = wanted.time.clamp(SHORTEST, LONGEST);
    if time != wanted.time {
        notes.add(line, format!("clients stay for {}: from 1s to 30d", show_duration(time)));
    }
    let _ = writeln!(out, "persistence = \"{}\"", show_duration(time));
    if let Some(prefix) = wanted.prefix.filter(|prefix| *prefix < 32 && has(false)) {
        let _ = writeln!(out, "persistence_prefix = {prefix}");
    }
    // Services of a group must say the same, whatever they listen on.
    if has(true) || group.is_some() {
        let _ = writeln!(out, "persistence_prefix_ipv6 = {}", wanted.prefix.unwrap_or(PREFIX_OF_SIX));
    }
    if let Some(clients) = wanted.clients {
        let _ = writeln!(out, "persistence_clients = {clients}");
    }
    if let Some(group) = group {
        let _ = writeln!(out, "persistence_group = {}", quoted(group));
    }
}

/// What the config allows only together with other things: it is asked.
fn rules_of_our_own(service: &Service, listens: &[Listen], notes: &mut Notes<'_>, out: &mut String) {
    let scheduler: SchedulerKind = service.scheduler.and_then(|name| name.parse().ok()).unwrap_or_default();
    let mut put = |line: usize, fault: Option<Complaint>, text: String| match fault {
        None => out.push_str(&text),
        Some(Complaint { message, hint }) => {
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            notes.add(line, format!("not carried over: {message}{hint}"));
        }
    };
    if let Some(line) = service.one_packet {
        let settings = Settings { scheduler, proxy_protocol: service.proxy_protocol, ..Settings::default() };
        put(line, one_packet::fault(listens, &settings), "one_packet = true\n".to_owned());
    }
    if let Some(time) = service.slow_start {
        let life = Life { slow_start: Some(time), ..Life::default() };
        let fault = crate::config::settings::timeout(time).err();
        let fault = fault.or_else(|| Some(life.fault(scheduler, true)?.1));
        put(service.line, fault, format!("slow_start = \"{}\"\n", show_duration(time)));
    }
    if let Some((line, sessions)) = service.rate {
        let rate = format!("{sessions}/s");
        put(line, protection::rate_limit(&rate).err(), format!("rate = \"{rate}\"\n"));
    }
}
