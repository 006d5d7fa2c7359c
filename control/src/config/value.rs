//! The texts that stand in strings: addresses, listens, durations. Each is understood or complained about.

use std::net::SocketAddr;
use std::time::Duration;

use datapath::service::SchedulerKind;
use wire::MacAddr;

use super::report::{Complaint, suggest};
use super::{BackendAddress, Listen};

pub use super::address::{bracketed, host, ipv4_host, subnet};
use super::address::{host_before_port, port, split};
pub use super::listen::listen;

/// A listen as it is written in the config, with its protocol.
pub fn show_listen(listen: &Listen) -> String {
    listen.to_string()
}

/// `10.0.0.11:8000`, or `10.0.0.11` to keep the port; `[2001:db8::11]:8000` or `2001:db8::11`.
pub fn backend_address(text: &str) -> Result<BackendAddress, Complaint> {
    match split(text) {
        (ip, Some(port_text)) => Ok(BackendAddress { ip: host_before_port(ip)?, port: Some(port(port_text)?) }),
        (ip, None) => Ok(BackendAddress { ip: host(ip)?, port: None }),
    }
}

/// `127.0.0.1:9180`
pub fn socket(text: &str) -> Result<SocketAddr, Complaint> {
    let socket: SocketAddr = text
        .parse()
        .map_err(|_| Complaint::hinted(format!("`{text}` is not an address and a port"), "e.g. \"127.0.0.1:9180\""))?;
    port(&socket.port().to_string())?;
    Ok(socket)
}

/// A MAC address of one station.
pub fn mac(text: &str) -> Result<MacAddr, Complaint> {
    let mac: MacAddr = text.parse().map_err(|_| {
        Complaint::hinted(format!("`{text}` is not a MAC address"), "six bytes, e.g. 02:42:0a:00:00:03")
    })?;
    if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
        let hint = "the first byte of a station's address is even, and not all are zero";
        return Err(Complaint::hinted(format!("`{text}` is not the MAC address of one station"), hint));
    }
    Ok(mac)
}

/// A scheduler by IPVS's name.
pub fn scheduler(text: &str) -> Result<SchedulerKind, Complaint> {
    text.parse().map_err(|_| {
        let known: Vec<&str> = SchedulerKind::ALL.iter().map(|kind| kind.name()).collect();
        Complaint::hinted(format!("unknown scheduler `{text}`"), suggest(text, &known))
    })
}

/// One of a few words.
pub fn word<T: Copy>(what: &str, text: &str, known: &[(&str, T)]) -> Result<T, Complaint> {
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Err(Complaint::hinted(format!("unknown {what} `{text}`"), suggest(text, &names)))
}

/// A service's name: it stands in URLs and labels.
pub fn service_name(text: &str) -> Result<String, Complaint> {
    let hint = "letters, digits, `.`, `_` and `-`, at most 63, the first a letter or a digit";
    let fits = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if fits { Ok(text.to_owned()) } else { Err(Complaint::hinted(format!("`{text}` can't be a service's name"), hint)) }
}

/// `2h`, `1h30m`, `90 s`, `500ms`.
pub fn duration(text: &str) -> Result<Duration, Complaint> {
    let complaint = || {
        let hint = "whole numbers, each with a unit (d, h, m, s or ms), e.g. \"2h\", \"1h30m\", \"500ms\"";
        Complaint::hinted(format!("`{text}` is not a duration"), hint)
    };
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return Err(complaint());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(complaint)?;
        let (number, behind) = rest.split_at(digits);
        let behind = behind.trim_start();
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let part = number.parse().ok().and_then(|number: u64| with_unit(number, unit)).ok_or_else(complaint)?;
        sum = sum.checked_add(part).ok_or_else(complaint)?;
        rest = behind.trim_start();
    }
    Ok(sum)
}

/// A duration as it is written in the config, in the largest unit that divides it.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let fits = units.iter().find(|(_, each)| millis >= *each && millis.is_multiple_of(*each));
    fits.map_or_else(|| "0s".to_owned(), |(unit, each)| format!("{}{unit}", millis / each))
}

fn with_unit(number: u64, unit: &str) -> Option<Duration> {
    let seconds_each = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds_each).map(Duration::from_secs)
}
