//! `bind` and `server` lines, and HAProxy's times.

use std::time::Duration;

use super::words::Line;
use crate::import::draft::{Backend, bracketed};
use crate::import::notes::Notes;

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

/// `2s`, `500ms`; milliseconds if it does not say.
pub fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}

/// The address of a `bind` as listens; "any" becomes `*` for IPv4 and `[*]` for IPv6.
pub fn listens(place: &str, line: &Line) -> Result<Vec<String>, &'static str> {
    let place = plain(place);
    if place.starts_with('/') || place.contains('@') {
        return Err("left out: services listen on addresses only");
    }
    let Some((address, ports)) = place.rsplit_once(':') else { return Err("left out: it has no port") };
    let addresses = match address {
        "" | "*" | "0.0.0.0" => vec!["*".to_owned()],
        // Linux listens on both then.
        "::" | "[::]" if line.has("v4v6") => vec!["[*]".to_owned(), "*".to_owned()],
        "::" | "[::]" => vec!["[*]".to_owned()],
        address => vec![bracketed(address)],
    };
    Ok(addresses.into_iter().map(|address| format!("{address}:{ports}/tcp")).collect())
}

/// Without HAProxy's word for the family.
fn plain(place: &str) -> &str {
    place.strip_prefix("ipv4@").or_else(|| place.strip_prefix("ipv6@")).unwrap_or(place)
}

/// The address of a server; before a port IPv6 may stand without brackets there.
fn server_address(place: &str) -> String {
    match place.rsplit_once(':') {
        Some((address, port)) if !place.ends_with(']') && place.matches(':').count() > 1 => {
            format!("{}:{port}", bracketed(address))
        }
        _ => place.to_owned(),
    }
}

/// A `server` line; `None`: it was left out.
pub fn read(line: &Line, notes: &mut Notes<'_>) -> Option<(Backend, Option<Checked>)> {
    let address = server_address(plain(line.word(2)));
    if line.has("ssl") {
        notes.add(line.number, "left out: Sluicegate does not speak TLS to servers");
        return None;
    }
    for (word, why) in DROPPED {
        if line.has(word) {
            notes.add(line.number, *why);
        }
    }
    let backend = Backend {
        line: line.number,
        address,
        weight: if line.has("disabled") { 0 } else { number(line, "weight").unwrap_or(1) },
        most: number(line, "maxconn"),
        sorry: line.has("backup"),
    };
    let is_checked = line.has("check") && !line.has("no-check");
    let checked = is_checked.then(|| Checked {
        port: number(line, "port"),
        interval: line.after("inter").and_then(time),
        rise: number(line, "rise"),
        fall: number(line, "fall"),
        tls: line.has("check-ssl"),
    });
    Some((backend, checked))
}

/// The ways to ask for a PROXY header of version 2; what the latter two add to it is left out.
pub const PROXY_V2: [&str; 3] = ["send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"];

const DROPPED: &[(&str, &str)] = &[
    ("cookie", "cookies are HTTP: `persistence` keeps clients by their addresses"),
    ("send-proxy", "PROXY headers have version 2 here: the server must be told, then set `proxy_protocol`"),
    ("maxconn", "who comes beyond `max_connections` goes to the next backend, or is refused: no one queues"),
    ("agent-check", "there are no agent checks"),
    ("slowstart", "not carried over: the full weight counts at once"),
    ("source", "the source address is chosen by `[gateway] snat`"),
    ("disabled", "carried over with weight 0: it is drained"),
    ("track", "what another server's check finds is not carried over"),
    ("on-marked-down", "connections of a backend that is down go on"),
    ("resolvers", "names are not resolved: give addresses"),
];

fn number<T: std::str::FromStr>(line: &Line, word: &str) -> Option<T> {
    line.after(word)?.parse().ok()
}
