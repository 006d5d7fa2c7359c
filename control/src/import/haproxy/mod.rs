//! haproxy.cfg: listens, and frontends with their default backends, become services.

mod check;
mod keywords;
mod proxy;
mod server;
mod words;

use super::draft::{Service, Site};
use super::notes::Notes;
use proxy::Proxy;
use words::Section;

/// Reads it.
pub fn read(text: &str, site: &mut Site, notes: &mut Notes<'_>) {
    let (before, sections) = words::sections(text);
    for line in before {
        notes.add(line.number, "it stands in no section");
    }
    let proxies = proxies(&sections, notes);
    let mut used = Vec::new();
    for front in proxies.iter().filter(|proxy| proxy.kind != "backend") {
        let back = front.default_backend.as_ref().and_then(|(line, name)| {
            let found = proxies.iter().find(|proxy| proxy.kind != "frontend" && proxy.name == *name);
            if found.is_none() {
                notes.add(*line, "there is no such backend");
            }
            found
        });
        used.extend(back.map(|back| back.name.clone()));
        site.services.push(join(front, back, notes));
    }
    let is_used = |proxy: &Proxy| proxy.kind != "backend" || used.contains(&proxy.name);
    for unused in proxies.iter().filter(|proxy| !is_used(proxy)) {
        notes.add(unused.line, "no frontend has it as its default_backend");
    }
}

fn proxies(sections: &[Section], notes: &mut Notes<'_>) -> Vec<Proxy> {
    let mut defaults = Proxy::default();
    let mut proxies = Vec::new();
    for section in sections {
        match section.head.word(0) {
            "defaults" => {
                defaults = Proxy::default();
                defaults.take(section, notes);
            }
            "frontend" | "backend" | "listen" => {
                let mut proxy = defaults.clone();
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

/// A service of a frontend and its backend; of a `listen`, which may be both.
fn join(front: &Proxy, back: Option<&Proxy>, notes: &mut Notes<'_>) -> Service {
    let with_servers = back.filter(|_| front.servers.is_empty()).unwrap_or(front);
    let mut service = Service {
        line: front.line,
        name: front.name.clone(),
        listens: front.listens.clone(),
        scheduler: Some(with_servers.scheduler()),
        persistence: with_servers.persistence(),
        timeout: front.idle(with_servers),
        ..Service::default()
    };
    if (front.http || with_servers.http) && !with_servers.servers.is_empty() {
        let why = "carried over as TCP: clients speak HTTP with the servers themselves, and nothing looks into it";
        notes.add(front.line, why);
    }
    service.check = with_servers.check(notes);
    service.proxy_protocol = with_servers.proxy_protocol(notes);
    service.backends.clone_from(&with_servers.servers);
    service
}
