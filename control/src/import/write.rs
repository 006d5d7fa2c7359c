//! From drafts to the text of a config that passes `check`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use datapath::service::SchedulerKind;
use wire::Protocol;

use super::draft::{Backend, Check, Service, Site};
use super::notes::Notes;
use crate::config::life::Life;
use crate::config::report::Complaint;
use crate::config::rules::overlap;
use crate::config::value::{backend_address, listen, show_duration, show_listen};
use crate::config::{BackendAddress, Listen, Settings, Severity, one_packet, parse, protection};

/// Addresses of nobody (RFC 5737, RFC 3849) where the file says "any".
const PLACEHOLDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PLACEHOLDER_OF_SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// IPVS and HAProxy take each IPv6 address for a client of its own.
const PREFIX_OF_SIX: u8 = 128;
const LONGEST_NAME: usize = 63;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);

/// The config, and how many services it has.
pub fn config(site: &Site, notes: &mut Notes<'_>) -> (String, usize) {
    let head = head(site, notes);
    let mut shaper = Shaper { vips: site.vips.clone(), ..Shaper::default() };
    let tables: Vec<Table> = site.services.iter().filter_map(|service| shaper.shape(service, notes)).collect();
    let kept = passing(&head, &tables, notes);
    if kept.is_empty() {
        return (String::new(), 0);
    }
    (format!("{head}{}", kept.concat()), kept.len())
}

fn head(site: &Site, notes: &mut Notes<'_>) -> String {
    let known: Vec<&String> = site.interfaces.iter().filter(|name| is_interface(name)).collect();
    let mut head =
        String::from("# Where packets come in: towards the clients, and towards the backends if that is another.\n");
    if known.is_empty() {
        notes.add(0, "the file names no interface: `eth0` stands for it, put yours");
        head.push_str("[[interface]]\nname = \"eth0\"\n");
    }
    for name in known {
        let _ = write!(head, "[[interface]]\nname = {}\n", quoted(name));
    }
    head
}

fn is_interface(name: &str) -> bool {
    let text = format!("[[interface]]\nname = {}\n", quoted(name));
    parse("imported", text.as_bytes(), &[0]).is_ok()
}

/// A service as it is written.
struct Table {
    line: usize,
    /// All before the check.
    settings: String,
    /// The check, and what means nothing without one.
    check: String,
    backends: String,
}

impl Table {
    fn text(&self) -> String {
        format!("{}{}{}", self.settings, self.check, self.backends)
    }

    fn unchecked(&self) -> String {
        format!("{}{}", self.settings, self.backends)
    }
}

/// The services with which the config passes `check`; the others are noted.
fn passing(head: &str, tables: &[Table], notes: &mut Notes<'_>) -> Vec<String> {
    let fault = |tables: &str| {
        let text = format!("{head}{tables}");
        parse("imported", text.as_bytes(), &[0]).err().map(|problems| {
            let error = problems.iter().find(|problem| problem.severity == Severity::Error);
            error.map(|problem| problem.message.clone()).unwrap_or_default()
        })
    };
    let mut kept: Vec<String> = tables.iter().map(Table::text).collect();
    if fault(&kept.concat()).is_none() {
        return kept;
    }
    kept.clear();
    for table in tables {
        match fault(&table.text()) {
            None => kept.push(table.text()),
            // A service without a check is better than none.
            Some(why) if fault(&table.unchecked()).is_none() => {
                notes.add(table.line, format!("its check was left out: {why}"));
                kept.push(table.unchecked());
            }
            Some(why) => notes.add(table.line, format!("the service was left out: {why}")),
        }
    }
    // They do not stand together: more than readers are able to make of a file.
    if let Some(why) = fault(&kept.concat()) {
        notes.add(0, why);
        kept.clear();
    }
    kept
}

/// Makes services fit each other.
#[derive(Default)]
struct Shaper {
    vips: Vec<IpAddr>,
    names: Vec<String>,
    listens: Vec<Listen>,
}

impl Shaper {
    fn shape(&mut self, service: &Service, notes: &mut Notes<'_>) -> Option<Table> {
        let listens = self.listens(service, notes);
        if listens.is_empty() {
            notes.add(service.line, "the service was left out: nothing that it listens on could be carried over");
            return None;
        }
        let backends = backends(service, &listens, notes);
        if backends.is_empty() {
            notes.add(service.line, "the service was left out: it has no backend that could be carried over");
            return None;
        }
        let name = self.name(&service.name);
        let mut out = format!("\n[[service]]\nname = {}\nlisten = ", quoted(&name));
        let texts: Vec<String> = listens.iter().map(|listen| quoted(&show_listen(listen))).collect();
        let _ = match &texts[..] {
            [one] => writeln!(out, "{one}"),
            several => writeln!(out, "[{}]", several.join(", ")),
        };
        settings(service, &listens, notes, &mut out);
        let mut check = String::new();
        if let Some(wanted) = &service.check {
            if service.resets {
                check.push_str("on_down = \"reset\"\n");
            }
            let port = wanted.port.or_else(|| port_of_another_protocol(wanted, &listens, &backends));
            write_check(&Check { port, ..wanted.clone() }, service.line, notes, &mut check);
        } else if service.resets {
            notes.add(service.line, "connections go on: without checks no backend is down");
        }
        self.listens.extend(listens);
        let mut table = Table { line: service.line, settings: out, check, backends: String::new() };
        for (address, backend) in backends {
            write_backend(address, backend, &mut table.backends);
        }
        Some(table)
    }

    fn listens(&self, service: &Service, notes: &mut Notes<'_>) -> Vec<Listen> {
        let mut kept: Vec<Listen> = Vec::new();
        for (line, text) in &service.listens {
            let place = match (text.strip_prefix('*'), text.strip_prefix("[*]")) {
                (Some(rest), _) => format!("{}{rest}", self.any(PLACEHOLDER.into(), *line, notes)),
                (_, Some(rest)) => format!("[{}]{rest}", self.any(PLACEHOLDER_OF_SIX.into(), *line, notes)),
                _ => text.clone(),
            };
            match listen(&place) {
                Err(complaint) => notes.add(*line, complaint.message),
                Ok(listen) if self.listens.iter().chain(&kept).any(|other| overlap(other, &listen)) => {
                    notes.add(*line, format!("`{}` is taken by what stands above", show_listen(&listen)));
                }
                Ok(listen) => kept.push(listen),
            }
        }
        kept
    }

    /// The VIP of the placeholder's family, if one was given.
    fn any(&self, placeholder: IpAddr, line: usize, notes: &mut Notes<'_>) -> IpAddr {
        let given = self.vips.iter().find(|vip| vip.is_ipv6() == placeholder.is_ipv6());
        given.copied().unwrap_or_else(|| {
            let why = format!("a service has a VIP of its own: {placeholder} stands for it, give yours with --vip");
            notes.add(line, why);
            placeholder
        })
    }

    /// Unique, and of letters that names may have.
    fn name(&mut self, wanted: &str) -> String {
        let fits = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let clean: String = wanted.chars().map(fits).skip_while(|c| !c.is_ascii_alphanumeric()).collect();
        let mut name: String = if clean.is_empty() { "service".to_owned() } else { clean };
        name.truncate(LONGEST_NAME);
        let (stem, mut number) = (name.clone(), 2);
        while self.names.contains(&name) {
            let tail = format!("-{number}");
            name = stem.chars().take(LONGEST_NAME - tail.len()).collect::<String>() + &tail;
            number += 1;
        }
        self.names.push(name.clone());
        name
    }
}

fn backends<'a>(service: &'a Service, listens: &[Listen], notes: &mut Notes<'_>) -> Vec<(BackendAddress, &'a Backend)> {
    let mut kept: Vec<(BackendAddress, &Backend)> = Vec::new();
    for backend in &service.backends {
        let mut address = match backend_address(&backend.address) {
            Ok(address) => address,
            Err(complaint) => {
                let hint = complaint.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                notes.add(backend.line, format!("{}{hint}", complaint.message));
                continue;
            }
        };
        if let (true, Some(port)) = (service.direct, address.port) {
            if listens.iter().any(|listen| listen.ports != (port.get()..=port.get())) {
                notes.add(backend.line, "left out: with direct server return the port can't differ from the VIP's");
                continue;
            }
            address.port = None;
        }
        if kept.iter().any(|(other, _)| *other == address) {
            notes.add(backend.line, "left out: the service has this backend already");
            continue;
        }
        kept.push((address, backend));
    }
    kept
}

/// Checks of another protocol than the service's ask the port that its backends serve; here they must say which.
fn port_of_another_protocol(check: &Check, listens: &[Listen], backends: &[(BackendAddress, &Backend)]) -> Option<u16> {
    let protocol = if check.kind == "udp" { Protocol::Udp } else { Protocol::Tcp };
    if listens.iter().any(|listen| listen.protocol == protocol) {
        return None;
    }
    let kept = listens.first().map(|listen| *listen.ports.start());
    let kept = kept.filter(|port| listens.iter().all(|listen| listen.ports == (*port..=*port)));
    let mut ports = backends.iter().map(|(address, _)| address.port.map(std::num::NonZeroU16::get).or(kept));
    let first = ports.next()??;
    ports.all(|port| port == Some(first)).then_some(first)
}

fn settings(service: &Service, listens: &[Listen], notes: &mut Notes<'_>, out: &mut String) {
    if let Some(scheduler) = service.scheduler {
        let _ = writeln!(out, "scheduler = \"{scheduler}\"");
    }
    let has = |like: IpAddr| listens.iter().any(|listen| listen.address.is_ipv6() == like.is_ipv6());
    let in_range = |time: &Duration| (Duration::from_secs(1)..=Duration::from_hours(30 * 24)).contains(time);
    if let Some((time, prefix)) = service.persistence {
        let time = time.clamp(Duration::from_secs(1), Duration::from_hours(30 * 24));
        let _ = writeln!(out, "persistence = \"{}\"", show_duration(time));
        if let Some(prefix) = prefix.filter(|prefix| *prefix < 32 && has(Ipv4Addr::UNSPECIFIED.into())) {
            let _ = writeln!(out, "persistence_prefix = {prefix}");
        }
        if has(Ipv6Addr::UNSPECIFIED.into()) {
            let _ = writeln!(out, "persistence_prefix_ipv6 = {}", prefix.unwrap_or(PREFIX_OF_SIX));
        }
    }
    match service.timeout {
        Some(time) if in_range(&time) => {
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

fn write_check(check: &Check, line: usize, notes: &mut Notes<'_>, out: &mut String) {
    let _ = writeln!(out, "[service.check]\ntype = \"{}\"", check.kind);
    if let Some(port) = check.port {
        let _ = writeln!(out, "port = {port}");
    }
    let (shortest, longest) = (Duration::from_millis(50), Duration::from_hours(24));
    let interval = check.interval.map(|interval| interval.clamp(shortest, longest));
    if let Some(interval) = interval {
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
        if let Some(number) = number {
            let _ = writeln!(out, "{key} = {}", number.clamp(1, 1000));
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

fn write_backend(address: BackendAddress, backend: &Backend, out: &mut String) {
    let _ = writeln!(out, "[[service.backend]]\naddress = \"{address}\"");
    if backend.weight != 1 {
        let _ = writeln!(out, "weight = {}", backend.weight.min(65_535));
    }
    if let Some(most) = backend.most.filter(|most| *most > 0) {
        let _ = writeln!(out, "max_connections = {most}");
    }
    if backend.sorry {
        out.push_str("sorry = true\n");
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
