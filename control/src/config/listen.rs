//! Where a service listens: `198.18.0.1:8080/tcp`, `[2001:db8::1]:8000-8010/udp`.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use wire::Protocol;

use super::address::{bracketed, host, host_before_port, port, split};
use super::report::{Complaint, nearest};

/// One address, one port or a range of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The VIP.
    pub address: IpAddr,
    /// First to last port, both included.
    pub ports: RangeInclusive<u16>,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl fmt::Display for Listen {
    /// As it is written in the config, with its protocol.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, first, last) = (bracketed(self.address), self.ports.start(), self.ports.end());
        if first == last {
            write!(f, "{address}:{first}/{}", self.protocol)
        } else {
            write!(f, "{address}:{first}-{last}/{}", self.protocol)
        }
    }
}

/// Reads one; TCP if it does not say.
pub fn listen(text: &str) -> Result<Listen, Complaint> {
    let (place, protocol) = match text.split_once('/') {
        Some((place, protocol)) => (place, parse_protocol(protocol)?),
        None => (text, Protocol::Tcp),
    };
    let (address, Some(ports)) = split(place) else {
        let address = host(place)?;
        let hint = if address.is_ipv6() && !place.starts_with('[') {
            "IPv6 stands in brackets before the port, e.g. [2001:db8::1]:8080/tcp".to_owned()
        } else {
            format!("write VIP:port/protocol, e.g. {}:8080/tcp", bracketed(address))
        };
        return Err(Complaint::hinted(format!("`{text}` has no port"), hint));
    };
    Ok(Listen { address: host_before_port(address)?, ports: port_range(ports)?, protocol })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_family_is_written_as_it_is_read() {
        for text in ["198.18.0.1:80/tcp", "198.18.0.1:80-90/udp", "[2001:db8::1]:80/tcp", "[2001:db8::1]:80-90/udp"] {
            assert_eq!(listen(text).unwrap().to_string(), text);
        }
        assert_eq!(listen("[2001:db8:0:0::1]:80").unwrap().to_string(), "[2001:db8::1]:80/tcp");
    }

    #[test]
    fn brackets_belong_before_a_port() {
        let wrong = |text| listen(text).unwrap_err();
        assert!(wrong("2001:db8::1/tcp").hint.unwrap().starts_with("IPv6 stands in brackets"));
        assert_eq!(wrong("[2001:db8::1]/tcp").message, "`[2001:db8::1]/tcp` has no port");
        assert_eq!(wrong("2001:db8::1:80-90").hint.unwrap(), "write [2001:db8::1] before the port");
        // The last group could be a port: nobody can know.
        assert_eq!(wrong("2001:db8::1:8080/tcp").message, "`2001:db8::1:8080/tcp` has no port");
        assert_eq!(wrong("[2001:db8::1]8080").message, "`[2001:db8::1]8080` is not an IPv6 address");
    }
}
