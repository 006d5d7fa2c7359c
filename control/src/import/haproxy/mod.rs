//! haproxy.cfg: listens, and frontends with their default backends, become services.

mod alike;
mod bind;
mod check;
mod connect;
mod keywords;
mod known;
mod options;
mod proxy;
mod server;
mod sharing;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use super::draft::{Service, Site};
use super::notes::Notes;
use proxy::Proxy;
use words::{Line, Section};

/// Reads it.
pub fn read(text: &str, site: &mut Site, notes: &mut Notes<'_>) {
    let (before, sections) = words::sections(text);
    for line in before {
        notes.add(line.number, "it stands in no section");
    }
    let proxies = proxies(&sections, notes);
    let vip = site.vips.iter().find(|vip| vip.is_ipv4()).copied();
    let (mut used, mut with_servers) = (Vec::new(), Vec::new());
    for front in proxies.iter().filter(|proxy| proxy.kind != "backend") {
        let back = front.default_backend.as_ref().and_then(|(line, name)| {
            let found = proxies.iter().find(|proxy| proxy.kind != "frontend" && proxy.name == *name);
            if found.is_none() {
                notes.add(*line, "there is no such backend");
            }
            found
        });
        used.extend(back.map(|back| back.name.clone()));
        if let Some(line) = [Some(front), back].into_iter().flatten().find_map(|proxy| proxy.disabled) {
            notes.add(front.line, format!("the service was left out: line {line} says `disabled`"));
            continue;
        }
        let listens = bind::listens(front, &proxies, vip, notes);
        site.services.push(join(front, back, listens, &proxies, notes));
        with_servers.push(back.unwrap_or(front));
    }
    sharing::part_groups_of_one(&mut site.services);
    sharing::note_maxima(&with_servers, notes);
    let is_used = |proxy: &Proxy| proxy.kind != "backend" || used.contains(&proxy.name);
    for unused in proxies.iter().filter(|proxy| !is_used(proxy)) {
        notes.add(unused.line, "no frontend has it as its default_backend");
    }
}

fn proxies(sections: &[Section], notes: &mut Notes<'_>) -> Vec<Proxy> {
    let mut defaults: Vec<Proxy> = Vec::new();
    let mut proxies = Vec::new();
    for section in sections {
        match section.head.word(0) {
            "defaults" => {
                let above = named(&section.head).map(|name| find(&defaults, name, &section.head, notes));
                let mut proxy = above.unwrap_or_default();
                proxy.take(section, notes);
                defaults.push(proxy);
            }
            "frontend" | "backend" | "listen" => {
                let mut proxy = match named(&section.head) {
                    Some(name) => find(&defaults, name, &section.head, notes),
                    None => defaults.last().cloned().unwrap_or_default(),
                };
                proxy.take(section, notes);
                proxies.push(proxy);
            }
            "global" => notes.add(section.head.number, "settings of the process: Sluicegate has its own in [gateway]"),
            _ => notes
                .add(section.head.number, "the section was left out: it is about HTTP, names or HAProxy's own process"),
        }
    }
    proxies
}

/// `defaults from NAME`, `backend web from NAME`: whose settings are the beginning.
fn named(head: &Line) -> Option<&str> {
    let is_nameless = head.word(0) == "defaults" && head.word(1) == "from";
    let at = if is_nameless { 1 } else { 2 };
    (head.word(at) == "from").then(|| head.word(at + 1))
}

fn find(defaults: &[Proxy], name: &str, head: &Line, notes: &mut Notes<'_>) -> Proxy {
    let found = defaults.iter().rev().find(|defaults| defaults.name == name && !name.is_empty());
    if found.is_none() {
        notes.add(head.number, format!("there is no `defaults {name}` above: it begins with none"));
    }
    found.cloned().unwrap_or_default()
}

/// A service of a frontend and its backend; of a `listen`, which may be both.
fn join(
    front: &Proxy,
    back: Option<&Proxy>,
    listens: Vec<(usize, String)>,
    all: &[Proxy],
    notes: &mut Notes<'_>,
) -> Service {
    if back.is_some_and(|back| back.line != front.line) && !front.servers.is_empty() {
        notes.add(front.line, "its own servers were left out: as in HAProxy, `default_backend` gets all");
    }
    let with_servers = back.unwrap_or(front);
    let servers = &with_servers.servers;
    if (front.http || with_servers.http) && !servers.is_empty() {
        let why = "carried over as TCP: clients speak HTTP with the servers themselves, and nothing looks into it";
        notes.add(front.line, why);
    }
    Service {
        line: front.line,
        name: front.name.clone(),
        listens,
        scheduler: Some(with_servers.scheduler()),
        persistence: tables::persistence(with_servers, all, notes),
        timeout: front.idle(with_servers),
        rate: front.rate,
        slow_start: alike::slow_start(servers, notes),
        resets: alike::resets(servers, notes),
        check: with_servers.check(notes),
        proxy_protocol: alike::proxy_protocol(&front.binds, servers, notes),
        backends: servers.iter().map(|server| server.backend.clone()).collect(),
        lost: with_servers.lost,
        ..Service::default()
    }
}
