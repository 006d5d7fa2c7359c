//! `bind` lines.

use std::net::IpAddr;

use super::known;
use super::options::Options;
use super::proxy::Proxy;
use super::server::plain;
use super::words::Line;
use crate::config::value::listen;
use crate::config::{Listen, rules};
use crate::import::draft::bracketed;
use crate::import::notes::Notes;

/// A place where a section listens.
#[derive(Debug, Clone)]
pub struct Bind {
    /// Its line.
    pub line: usize,
    /// `address:port/tcp`; "any" is `*` for IPv4 and `[*]` for IPv6.
    place: String,
    /// IPv4 that comes with IPv6: whoever asks for it by name has it first.
    by_the_way: bool,
    /// `accept-proxy`
    pub accepts_header: bool,
}

/// All places of a line whose addresses stand at this word.
pub fn read(line: &Line, at: usize, notes: &mut Notes<'_>) -> Vec<Bind> {
    let options = Options::read(line, at + 1, known::BIND);
    if options.on("ssl").is_some() {
        notes.add(line.number, "TLS ends at the servers: this bind was left out");
        return Vec::new();
    }
    options.note(known::BIND, notes);
    let accepts_header = options.on("accept-proxy").is_some();
    let mut binds = Vec::new();
    for place in line.word(at).split(',').filter(|place| !place.is_empty()) {
        match places(place, &options) {
            Ok(places) => binds.extend(places.into_iter().map(|(place, by_the_way)| Bind {
                line: line.number,
                place,
                by_the_way,
                accepts_header,
            })),
            Err(why) => notes.add(line.number, why),
        }
    }
    binds
}

/// The places, and whether each comes by the way.
fn places(place: &str, options: &Options) -> Result<Vec<(String, bool)>, &'static str> {
    let is_six = place.starts_with("ipv6@");
    let place = plain(place);
    if place.starts_with('/') || place.contains('@') {
        return Err("left out: services listen on addresses only");
    }
    let Some((address, ports)) = place.rsplit_once(':') else { return Err("left out: it has no port") };
    let of_six_alone = options.last(&["v4v6", "v6only"]).is_some_and(|last| last.name == "v6only");
    let is_any_of_six = matches!(address, "::" | "[::]") || is_six && matches!(address, "" | "*");
    let addresses = match address {
        _ if is_any_of_six && of_six_alone => vec![("[*]".to_owned(), false)],
        // Linux listens on both then.
        _ if is_any_of_six => vec![("[*]".to_owned(), false), ("*".to_owned(), true)],
        "" | "*" | "0.0.0.0" => vec![("*".to_owned(), false)],
        address => vec![(bracketed(address), false)],
    };
    let with_ports = |(address, by_the_way)| (format!("{address}:{ports}/tcp"), by_the_way);
    Ok(addresses.into_iter().map(with_ports).collect())
}

/// Where a section listens, each with its line, without what others have first. `vip` stands for any address of IPv4.
pub fn listens(front: &Proxy, all: &[Proxy], vip: Option<IpAddr>, notes: &mut Notes<'_>) -> Vec<(usize, String)> {
    let mut kept = Vec::new();
    for bind in &front.binds {
        let first = of_others(front, all).find(|(_, other)| bind.by_the_way && other.covers(bind, vip));
        match first {
            None => kept.push((bind.line, bind.place.clone())),
            Some((proxy, _)) if proxy.line == front.line => {}
            Some((_, other)) => {
                let why =
                    format!("IPv6 only: line {} asks for IPv4 by name, and Linux gives it what comes so", other.line);
                notes.add(bind.line, why);
            }
        }
    }
    kept
}

/// What asks for its places by name: of the section itself, then of the others.
fn of_others<'a>(front: &'a Proxy, all: &'a [Proxy]) -> impl Iterator<Item = (&'a Proxy, &'a Bind)> {
    let others = all.iter().filter(|proxy| proxy.line != front.line && proxy.disabled.is_none());
    let binds = |proxy: &'a Proxy| proxy.binds.iter().map(move |bind| (proxy, bind));
    std::iter::once(front).chain(others).flat_map(binds).filter(|(_, bind)| !bind.by_the_way)
}

impl Bind {
    /// Whether all of another's packets come here.
    fn covers(&self, other: &Bind, vip: Option<IpAddr>) -> bool {
        let (Some(own), Some(other)) = (self.listen(vip), other.listen(vip)) else { return false };
        rules::overlap(&own, &other) && own.ports.start() <= other.ports.start() && own.ports.end() >= other.ports.end()
    }

    fn listen(&self, vip: Option<IpAddr>) -> Option<Listen> {
        // Without a VIP, an address that nobody has.
        let vip = vip.map_or_else(|| "192.0.2.1".to_owned(), |vip| vip.to_string());
        listen(&self.place.strip_prefix('*').map_or_else(|| self.place.clone(), |rest| format!("{vip}{rest}"))).ok()
    }
}
