//! `server` lines, and HAProxy's times.

use std::net::IpAddr;
use std::time::Duration;

use super::known;
use super::options::Options;
use super::words::Line;
use crate::config::value::backend_address;
use crate::import::draft::{Backend, bracketed};
use crate::import::notes::Notes;

/// A server, and what a service says for all of its backends.
#[derive(Debug, Clone)]
pub struct Server {
    /// What is its own.
    pub backend: Backend,
    /// How it is checked, if it is.
    pub checked: Option<Checked>,
    /// Wants a PROXY header of version 2.
    pub introduced: bool,
    /// Wants one of whatever version.
    pub wants_header: bool,
    /// `slowstart`
    pub slow_start: Option<Duration>,
    /// `on-marked-down shutdown-sessions`
    pub resets: bool,
}

/// How a server is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// `port`
    pub port: Option<u16>,
    /// `inter`
    pub interval: Option<Duration>,
    /// `rise`
    pub rise: Option<u32>,
    /// `fall`
    pub fall: Option<u32>,
    /// `check-ssl`
    pub tls: bool,
}

/// `2s`, `500ms`; milliseconds if it does not say. 0 is none.
pub fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let time = match unit {
        "us" => Some(Duration::from_micros(number)),
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    };
    time.filter(|time| !time.is_zero())
}

/// Without HAProxy's word for the family.
pub fn plain(place: &str) -> &str {
    place.strip_prefix("ipv4@").or_else(|| place.strip_prefix("ipv6@")).unwrap_or(place)
}

/// The address of a server; before a port IPv6 may stand without brackets there. No port, or 0, is the client's.
fn server_address(place: &str) -> Result<String, &'static str> {
    let place = plain(place);
    match place.rsplit_once(':') {
        Some((_, port)) if port.starts_with(['+', '-']) => {
            Err("left out: a backend has a port of its own or the client's, none that is counted from the client's")
        }
        Some((address, "0")) if !address.ends_with(':') => Ok(address.to_owned()),
        Some((address, port)) if !place.ends_with(']') && place.matches(':').count() > 1 => {
            Ok(format!("{}:{port}", bracketed(address)))
        }
        _ => Ok(place.to_owned()),
    }
}

/// A `server` line with its options, those of the `default-server` lines above it among them; `None`: it was left out.
pub fn read(line: &Line, options: &Options, notes: &mut Notes<'_>) -> Option<Server> {
    if options.on("ssl").is_some() {
        notes.add(line.number, "left out: Sluicegate does not speak TLS to servers");
        return None;
    }
    let address = server_address(line.word(2)).map_err(|why| notes.add(line.number, why)).ok()?;
    options.note(known::SERVER, notes);
    let checked = checked(&address, options, notes);
    let backend = Backend {
        line: line.number,
        address,
        weight: if options.on("disabled").is_some() { 0 } else { options.value("weight").unwrap_or(1) },
        most: options.value("maxconn"),
        sorry: options.on("backup").is_some(),
    };
    let introduced = options.last(&known::PROXY_V2).is_some_and(|last| !last.name.starts_with("no-"));
    Some(Server {
        backend,
        checked,
        introduced,
        wants_header: introduced || options.on("send-proxy").is_some(),
        slow_start: options.last(&["slowstart"]).and_then(|choice| time(&choice.argument)),
        resets: options.last(&["on-marked-down"]).is_some_and(|choice| choice.argument == "shutdown-sessions"),
    })
}

fn checked(address: &str, options: &Options, notes: &mut Notes<'_>) -> Option<Checked> {
    options.on("check")?;
    if let Some(other) = options.last(&["addr"])
        && is_another(&other.argument, address)
    {
        notes.add(other.line, "`addr`: no check asks another machine: the server counts as one without `check`");
        return None;
    }
    Some(Checked {
        port: options.value("port"),
        interval: options.last(&["inter"]).and_then(|choice| time(&choice.argument)),
        rise: options.value("rise"),
        fall: options.value("fall"),
        tls: options.on("check-ssl").is_some(),
    })
}

/// Whether that is not where the server is.
pub fn is_another(machine: &str, server: &str) -> bool {
    let own = backend_address(server).ok().map(|address| address.ip);
    plain(machine).parse::<IpAddr>().ok() != own
}
