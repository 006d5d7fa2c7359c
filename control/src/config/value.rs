//! The texts that stand in strings: addresses, listens, durations. Each is understood or complained about.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use datapath::service::{Listen, SchedulerKind};
use wire::{MacAddr, Protocol};

use super::BackendAddress;
use super::report::{Complaint, nearest, suggest};

/// An IPv4 address of one host.
pub fn host(text: &str) -> Result<Ipv4Addr, Complaint> {
    let address = ipv4(text)?;
    match oddity(address) {
        Some(kind) => Err(Complaint::hinted(
            format!("`{address}` is {kind}"),
            "give the address of one host, as others on the network reach it",
        )),
        None => Ok(address),
    }
}

fn oddity(address: Ipv4Addr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_broadcast() => Some("the broadcast address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.octets()[0] == 0 => Some("in 0.0.0.0/8, where no host is"),
        _ if address.octets()[0] >= 240 => Some("in the reserved range 240.0.0.0/4"),
        _ => None,
    }
}

fn ipv4(text: &str) -> Result<Ipv4Addr, Complaint> {
    text.parse().map_err(|_| {
        let hint = match text {
            _ if text.parse::<std::net::Ipv6Addr>().is_ok() => "IPv6 is not supported yet",
            _ if text.contains('/') => "give the address without a prefix",
            _ if text.contains(':') => "give the address without a port",
            _ => "four numbers from 0 to 255 with dots between, e.g. 198.18.1.1",
        };
        Complaint::hinted(format!("`{text}` is not an IPv4 address"), hint)
    })
}

/// `10.0.0.3/24`: an address and its prefix length.
pub fn subnet(text: &str) -> Result<(Ipv4Addr, u8), Complaint> {
    let Some((address, bits)) = text.split_once('/') else {
        let address = host(text)?;
        return Err(Complaint::hinted(
            format!("`{text}` has no prefix length"),
            format!("write the subnet's length behind it, e.g. {address}/24"),
        ));
    };
    let address = host(address)?;
    match bits.parse::<u8>() {
        Ok(bits @ 1..=30) => Ok((address, bits)),
        _ => Err(Complaint::hinted(format!("`{bits}` is not a usable prefix length"), "from 1 to 30, e.g. 24")),
    }
}

fn port(text: &str) -> Result<NonZeroU16, Complaint> {
    match text.parse::<u16>().map(NonZeroU16::new) {
        Ok(Some(port)) => Ok(port),
        Ok(None) => Err(Complaint::hinted("port 0 can't be used", "ports are 1 to 65535")),
        Err(_) => Err(Complaint::hinted(format!("`{text}` is not a port"), "ports are 1 to 65535")),
    }
}

/// `198.18.0.1:8080/tcp`, `198.18.0.1:8000-8010/udp`; TCP if it does not say.
pub fn listen(text: &str) -> Result<Listen, Complaint> {
    let (place, protocol) = match text.split_once('/') {
        Some((place, protocol)) => (place, parse_protocol(protocol)?),
        None => (text, Protocol::Tcp),
    };
    let Some((address, ports)) = place.rsplit_once(':') else {
        host(place)?;
        return Err(Complaint::hinted(
            format!("`{text}` has no port"),
            format!("write VIP:port/protocol, e.g. {place}:8080/tcp"),
        ));
    };
    Ok(Listen { address: host(address)?, ports: port_range(ports)?, protocol })
}

fn parse_protocol(text: &str) -> Result<Protocol, Complaint> {
    text.parse().map_err(|_| {
        let hint = match nearest(text, ["tcp", "udp"]) {
            Some(word) => format!("did you mean `{word}`?"),
            None => "tcp or udp".to_owned(),
        };
        Complaint::hinted(format!("unknown protocol `{text}`"), hint)
    })
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, Complaint> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?.get(), port(last)?.get());
    if first > last {
        let hint = format!("write {last}-{first}");
        return Err(Complaint::hinted(format!("the port range {text} runs backwards"), hint));
    }
    Ok(first..=last)
}

/// A listen as it is written in the config, with its protocol.
pub fn show_listen(listen: &Listen) -> String {
    let (first, last) = (listen.ports.start(), listen.ports.end());
    if first == last {
        format!("{}:{first}/{}", listen.address, listen.protocol)
    } else {
        format!("{}:{first}-{last}/{}", listen.address, listen.protocol)
    }
}

/// `10.0.0.11:8000`, or `10.0.0.11` to keep the port.
pub fn backend_address(text: &str) -> Result<BackendAddress, Complaint> {
    let (ip, port_text) = match text.rsplit_once(':') {
        Some((ip, port)) if text.parse::<std::net::Ipv6Addr>().is_err() => (ip, Some(port)),
        _ => (text, None),
    };
    Ok(BackendAddress { ip: host(ip)?, port: port_text.map(port).transpose()? })
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

/// `2h`, `1h30m`, `90s`, `500ms`.
pub fn duration(text: &str) -> Result<Duration, Complaint> {
    let complaint = || {
        Complaint::hinted(format!("`{text}` is not a duration"), "a number and a unit, e.g. \"2h\", \"90s\", \"500ms\"")
    };
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return Err(complaint());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(complaint)?;
        let (number, behind) = rest.split_at(digits);
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
