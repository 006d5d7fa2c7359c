//! What the readers understood, in Sluicegate's terms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Everything that a file says.
#[derive(Debug, Default)]
pub struct Site {
    /// Stand where the file says "any address".
    pub vips: Vec<IpAddr>,
    /// Interfaces that the file names.
    pub interfaces: Vec<String>,
    /// In the order of the file.
    pub services: Vec<Service>,
}

/// A service.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Where it begins in the file.
    pub line: usize,
    /// What the file calls it.
    pub name: String,
    /// `address:port/protocol`, each with its line; the address may be `*` or `[*]`: any of IPv4, of IPv6.
    pub listens: Vec<(usize, String)>,
    /// Sluicegate's word for how it is scheduled.
    pub scheduler: Option<&'static str>,
    /// How long clients stay.
    pub persistence: Option<Persistence>,
    /// How long a connection may be idle.
    pub timeout: Option<Duration>,
    /// Direct server return.
    pub direct: bool,
    /// Backends get a PROXY header.
    pub proxy_protocol: bool,
    /// Connections of backends whose checks fail are reset.
    pub resets: bool,
    /// How long backends take to get their whole weight.
    pub slow_start: Option<Duration>,
    /// At most so many new connections a second, and the line that says so.
    pub rate: Option<(usize, u32)>,
    /// The line that wants each datagram scheduled by itself.
    pub one_packet: Option<usize>,
    /// How backends are checked.
    pub check: Option<Check>,
    /// Who serves it.
    pub backends: Vec<Backend>,
    /// How many were left out already that are no sorry ones.
    pub lost: usize,
}

/// How a service remembers its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Persistence {
    /// How long they stay.
    pub time: Duration,
    /// Clients whose addresses agree in so many bits are one.
    pub prefix: Option<u8>,
    /// How many there is room for.
    pub clients: Option<u32>,
    /// Whose table it is, if others remember theirs there too.
    pub group: Option<String>,
}

/// A backend.
#[derive(Debug, Clone, Default)]
pub struct Backend {
    /// Its line.
    pub line: usize,
    /// `address:port`, or the address.
    pub address: String,
    /// 0 drains.
    pub weight: u32,
    /// At most so many connections.
    pub most: Option<u32>,
    /// Only when no other is left.
    pub sorry: bool,
}

/// A health check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Sluicegate's word for what is asked.
    pub kind: &'static str,
    /// Another port than the backend's.
    pub port: Option<u16>,
    /// From one to the next.
    pub interval: Option<Duration>,
    /// How long the answer may take.
    pub timeout: Option<Duration>,
    /// So many passed ones bring it back.
    pub rise: Option<u32>,
    /// So many failed ones take it out.
    pub fall: Option<u32>,
    /// HTTP's path.
    pub path: Option<String>,
    /// HTTP's host.
    pub host: Option<String>,
    /// HTTP's statuses.
    pub status: Option<String>,
    /// What HTTP's body must contain.
    pub body: Option<String>,
    /// UDP's payload, as the config writes it.
    pub send: Option<String>,
    /// What UDP's answer must contain, as the config writes it.
    pub expect: Option<String>,
}

/// IPVS's schedulers have the same names here.
pub fn ipvs_scheduler(name: &str) -> Option<&'static str> {
    name.parse().ok().map(datapath::service::SchedulerKind::name)
}

/// An address before a port: IPv6 gets its brackets.
pub fn bracketed(address: &str) -> String {
    if address.parse::<Ipv6Addr>().is_ok() { format!("[{address}]") } else { address.to_owned() }
}

/// `255.255.255.0`, `24`, or `64` for IPv6 as a prefix length.
pub fn prefix(text: &str) -> Option<u8> {
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        return (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones() as u8);
    }
    text.parse().ok().filter(|bits| (1..=128).contains(bits))
}
