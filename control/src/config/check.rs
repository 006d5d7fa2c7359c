//! `[service.check]`: how a service's backends are asked whether they live. The types; [`read()`] reads them.

mod read;
mod status;

use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::time::Duration;

use serde_json::{Map, Value, json};
use wire::Protocol;

pub use read::{CheckDraft, read};
pub use status::StatusSet;

use super::report::Complaint;
use super::value::show_duration;
use super::{BackendAddress, Listen};

/// `[service.check]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckConfig {
    /// What is asked.
    pub kind: CheckKind,
    /// Where; `None`: the backend's own port.
    pub port: Option<NonZeroU16>,
    /// From the beginning of a check to that of the next.
    pub interval: Duration,
    /// How long the whole answer may take; at most the interval.
    pub timeout: Duration,
    /// So many passed checks in a row bring a backend back.
    pub rise: u32,
    /// So many failed checks in a row take it out.
    pub fall: u32,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// Whether a connection is accepted.
    Tcp,
    /// A GET over HTTP or HTTPS.
    Http(HttpCheck),
    /// A datagram, and one back.
    Udp(UdpCheck),
}

/// `type = "http"`, `type = "https"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// Inside TLS.
    pub tls: bool,
    /// What to get.
    pub path: String,
    /// The header `Host`, and the name for TLS; `None`: the backend's address.
    pub host: Option<String>,
    /// The statuses that pass.
    pub status: StatusSet,
    /// What the body must contain.
    pub body: Option<String>,
    /// The SHA-256 that the body must have.
    pub digest: Option<[u8; 32]>,
}

/// `type = "udp"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpCheck {
    /// The payload that is sent.
    pub send: Vec<u8>,
    /// What the answer must contain; `None`: any answer will do.
    pub expect: Option<Vec<u8>>,
}

impl CheckKind {
    /// The word for it in the config.
    pub fn word(&self) -> &'static str {
        match self {
            CheckKind::Tcp => "tcp",
            CheckKind::Http(HttpCheck { tls: false, .. }) => "http",
            CheckKind::Http(HttpCheck { tls: true, .. }) => "https",
            CheckKind::Udp(_) => "udp",
        }
    }

    /// What carries it.
    pub fn protocol(&self) -> Protocol {
        match self {
            CheckKind::Tcp | CheckKind::Http(_) => Protocol::Tcp,
            CheckKind::Udp(_) => Protocol::Udp,
        }
    }
}

impl CheckConfig {
    /// The port of a backend that is asked; `listens` are its service's. `None`: nothing says which.
    pub fn port_of(&self, address: BackendAddress, listens: &[Listen]) -> Option<NonZeroU16> {
        self.port_over(self.kind.protocol(), address, listens)
    }

    fn port_over(&self, protocol: Protocol, address: BackendAddress, listens: &[Listen]) -> Option<NonZeroU16> {
        self.port.or(address.port).or_else(|| {
            let mut ports = listens.iter().filter(|listen| listen.protocol == protocol);
            let first = ports.next().filter(|listen| listen.ports.start() == listen.ports.end())?;
            let same = ports.all(|other| other.ports == first.ports);
            NonZeroU16::new(*first.ports.start()).filter(|_| same)
        })
    }

    /// All that is wrong between the check and its service.
    pub fn faults(&self, listens: &[Listen], backends: impl IntoIterator<Item = BackendAddress>) -> Vec<Complaint> {
        let mut faults = Vec::new();
        let mut protocol = self.kind.protocol();
        if self.port.is_none() && !listens.is_empty() && listens.iter().all(|listen| listen.protocol != protocol) {
            let (word, other) = (self.kind.word(), if protocol == Protocol::Tcp { "udp" } else { "tcp" });
            let message = format!("a check of type `{word}`, but the service listens on {other} only");
            let hint = format!("use type \"{other}\", or say which `port` of its backends answers {word}");
            faults.push(Complaint::hinted(message, hint));
            // With the type that fits, the listens may say the port.
            protocol = listens[0].protocol;
        }
        let without = backends.into_iter().find(|address| self.port_over(protocol, *address, listens).is_none());
        faults.extend(without.map(|address| {
            let message = format!("backend `{address}` has no port of its own that could be checked");
            Complaint::hinted(message, "say which with `port`")
        }));
        faults
    }

    /// The first of them, for callers that want one.
    pub fn fault(&self, listens: &[Listen], backends: impl IntoIterator<Item = BackendAddress>) -> Option<Complaint> {
        self.faults(listens, backends).into_iter().next()
    }

    /// As it stands in the config, every key written out.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("type", json!(self.kind.word()));
        if let Some(port) = self.port {
            put("port", json!(port));
        }
        put("interval", json!(show_duration(self.interval)));
        put("timeout", json!(show_duration(self.timeout)));
        put("rise", json!(self.rise));
        put("fall", json!(self.fall));
        match &self.kind {
            CheckKind::Tcp => {}
            CheckKind::Http(http) => {
                put("path", json!(http.path));
                put("status", json!(http.status.to_string()));
                let digest = http.digest.map(|digest| digest.map(hex).concat());
                for (key, text) in [("host", &http.host), ("body", &http.body), ("digest", &digest)] {
                    if let Some(text) = text {
                        put(key, json!(text));
                    }
                }
            }
            CheckKind::Udp(udp) => {
                put("send", json!(escape(&udp.send)));
                if let Some(expect) = &udp.expect {
                    put("expect", json!(escape(expect)));
                }
            }
        }
        Value::Object(map)
    }
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}")
}

/// The inverse of [`read::unescape`].
fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::read::unescape;
    use super::*;
    use crate::config::value::duration;

    #[test]
    fn what_is_shown_can_be_read_again() {
        let every_byte: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&every_byte)).unwrap(), every_byte);
        for millis in [0, 1, 999, 1000, 1500, 61_000, 86_400_000, 90_061_001] {
            let wanted = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(wanted)).unwrap(), wanted);
        }
    }
}
