//! keepalived.conf: virtual servers become services. VRRP stays with keepalived.

mod check;
mod real;
#[cfg(test)]
mod tests;
mod tree;

use std::time::Duration;

use super::draft::{Backend, Persistence, Service, Site, bracketed, ipvs_scheduler, prefix};
use super::notes::Notes;
use tree::Statement;

/// keepalived's when `persistence_timeout` says no time.
const DEFAULT_PERSISTENCE: Duration = Duration::from_mins(6);

/// Reads it.
pub fn read(text: &str, site: &mut Site, notes: &mut Notes<'_>) {
    let statements = tree::parse(text);
    let groups: Vec<&Statement> = statements.iter().filter(|one| one.keyword() == "virtual_server_group").collect();
    for statement in &statements {
        match statement.keyword() {
            "virtual_server" => site.services.extend(virtual_server(statement, &groups, notes)),
            "virtual_server_group" => {}
            "vrrp_instance" => vrrp(statement, site, notes),
            "include" => notes.add(statement.line, "the included file was not read: import it by itself"),
            "global_defs" => notes.add(statement.line, "settings of keepalived itself"),
            "vrrp_script" | "vrrp_sync_group" | "vrrp_track_process" | "vrrp_track_file" | "track_group" => {
                notes.add(statement.line, "VRRP stays with keepalived: it moves the VIP between gateways");
            }
            _ => notes.add(statement.line, "not a virtual server"),
        }
    }
}

fn vrrp(instance: &Statement, site: &mut Site, notes: &mut Notes<'_>) {
    let why = "VRRP stays with keepalived: it moves the VIP between gateways. Keep this block and drop the virtual servers there";
    notes.add(instance.line, why);
    let named = instance.find("interface").map(|interface| interface.word(1).to_owned());
    if let Some(name) = named.filter(|name| !site.interfaces.contains(name)) {
        site.interfaces.push(name);
    }
}

/// What a virtual server says, with what only the reader needs to know.
#[derive(Default)]
struct Draft {
    service: Service,
    /// How real servers are reached that do not say so themselves.
    kind: Option<String>,
    /// Theirs if they have none.
    weight: u32,
    /// Of the virtual server; real servers may say otherwise.
    check: check::Defaults,
    /// How real servers are checked, each with its line.
    checks: Vec<(usize, real::Checked)>,
    sorry: Option<Backend>,
}

fn virtual_server(server: &Statement, groups: &[&Statement], notes: &mut Notes<'_>) -> Option<Service> {
    let udp = server.find("protocol").is_some_and(|protocol| protocol.word(1).eq_ignore_ascii_case("UDP"));
    let protocol = if udp { "udp" } else { "tcp" };
    if let Some(sctp) = server.find("protocol").filter(|protocol| protocol.word(1).eq_ignore_ascii_case("SCTP")) {
        notes.add(sctp.line, "the service was left out: Sluicegate carries TCP and UDP only");
        return None;
    }
    let listens = listens(server, groups, protocol, notes)?;
    let name = format!("{protocol}-{}-{}", server.word(1), server.word(2));
    let service = Service { line: server.line, name, listens, scheduler: Some("wlc"), ..Service::default() };
    let mut draft = Draft { service, weight: 1, ..Draft::default() };
    for statement in server.block.iter().filter(|statement| statement.keyword() != "real_server") {
        draft.set(statement, notes);
    }
    let reals: Vec<&Statement> = server.block.iter().filter(|statement| statement.keyword() == "real_server").collect();
    let kind = draft.kind_with(&reals);
    if kind.eq_ignore_ascii_case("TUN") {
        let why = "the service was left out: Sluicegate makes no IPIP tunnels; use DR (direct) or NAT";
        notes.add(server.line, why);
        return None;
    }
    draft.service.direct = kind.eq_ignore_ascii_case("DR");
    for real in reals {
        draft.real_server(real, &kind, notes);
    }
    draft.agree(notes);
    let Draft { mut service, sorry, .. } = draft;
    if let (Some(sorry), Some(_)) = (&sorry, &service.check) {
        notes.add(sorry.line, "the sorry server is checked as the others are");
    }
    service.backends.extend(sorry);
    Some(service)
}

fn listens(
    server: &Statement,
    groups: &[&Statement],
    protocol: &str,
    notes: &mut Notes<'_>,
) -> Option<Vec<(usize, String)>> {
    match server.word(1) {
        "fwmark" => {
            let why = "the service was left out: a firewall mark stands for packets that other rules chose. Listen on their ports, \
                       with a `persistence_group` if they belong together";
            notes.add(server.line, why);
            None
        }
        "group" => {
            let Some(group) = groups.iter().find(|group| group.word(1) == server.word(2)) else {
                notes.add(server.line, "the service was left out: there is no such virtual_server_group");
                return None;
            };
            let mut listens = Vec::new();
            for member in &group.block {
                match member.keyword() {
                    "fwmark" => notes.add(member.line, "a firewall mark stands for packets that other rules chose"),
                    _ => listens.extend(range(member, protocol).into_iter().map(|place| (member.line, place))),
                }
            }
            Some(listens)
        }
        address => Some(vec![(server.line, place(address, server.word(2), protocol))]),
    }
}

/// `192.168.200.1-10 80`: a range of the last number.
fn range(member: &Statement, protocol: &str) -> Vec<String> {
    let (address, port) = (member.word(0), member.word(1));
    let Some((first, last)) = address.split_once('-') else { return vec![place(address, port, protocol)] };
    let split = first.rsplit_once('.').and_then(|(net, first)| Some((net, first.parse::<u8>().ok()?)));
    match (split, last.parse::<u8>()) {
        (Some((net, first)), Ok(last)) => {
            (first..=last).map(|host| place(&format!("{net}.{host}"), port, protocol)).collect()
        }
        _ => vec![place(address, port, protocol)],
    }
}

/// Port 0, or none, is all of them.
fn place(address: &str, port: &str, protocol: &str) -> String {
    let port = if matches!(port, "" | "0") { "1-65535" } else { port };
    format!("{}:{port}/{protocol}", bracketed(address))
}

fn server_address(server: &Statement) -> String {
    match server.word(2) {
        "" | "0" => server.word(1).to_owned(),
        port => format!("{}:{port}", bracketed(server.word(1))),
    }
}

impl Draft {
    fn set(&mut self, statement: &Statement, notes: &mut Notes<'_>) {
        let service = &mut self.service;
        match statement.keyword() {
            "lb_algo" | "lvs_sched" => match ipvs_scheduler(statement.word(1)) {
                Some(scheduler) => service.scheduler = Some(scheduler),
                None => notes.add(statement.line, "there is no such scheduler: `wlc` in its place"),
            },
            "lb_kind" | "lvs_method" => self.kind = Some(statement.word(1).to_owned()),
            "weight" => self.weight = statement.number(1).unwrap_or(1),
            "persistence_timeout" => {
                let time = statement.number(1).map_or(DEFAULT_PERSISTENCE, Duration::from_secs);
                let prefix = service.persistence.as_ref().and_then(|persistence| persistence.prefix);
                // 0 is none.
                service.persistence =
                    (!time.is_zero()).then_some(Persistence { time, prefix, ..Persistence::default() });
            }
            "persistence_granularity" => {
                let prefix = prefix(statement.word(1));
                if prefix.is_none() {
                    let why = format!("`{}` is no netmask: each client counts for itself", statement.word(1));
                    notes.add(statement.line, why);
                }
                let time = service.persistence.as_ref().map_or(DEFAULT_PERSISTENCE, |persistence| persistence.time);
                service.persistence = Some(Persistence { time, prefix, ..Persistence::default() });
            }
            "sorry_server" => {
                let address = server_address(statement);
                self.sorry = Some(Backend { line: statement.line, address, weight: 1, most: None, sorry: true });
            }
            "protocol" | "real_server" => {}
            _ if self.check.set(statement, notes) => {}
            "quorum" | "quorum_up" | "quorum_down" | "hysteresis" => {
                notes.add(statement.line, "there is no quorum: a service serves while one backend is up");
            }
            "alpha" | "omega" => notes.add(statement.line, "backends are up until their checks fail"),
            "ops" => service.one_packet = Some(statement.line),
            "persistence_engine" => notes.add(statement.line, "persistence engines look into packets"),
            "ha_suspend" => notes.add(statement.line, "checks go on whoever has the VIP"),
            _ => notes.add(statement.line, "not known to Sluicegate"),
        }
    }
}
