//! Ranges of addresses and ports: `198.19.0.0/16`, `10.0.0.1-10.0.0.9`, `1024-65535`, or one alone.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Addresses, first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Addresses {
    first: u32,
    last: u32,
}

impl Addresses {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// The `index`-th, wrapping around.
    #[must_use]
    pub fn nth(&self, index: u64) -> Ipv4Addr {
        Ipv4Addr::from(self.first + (index % self.count()) as u32)
    }

    /// Where an address stands in the range.
    #[must_use]
    pub fn position(&self, address: Ipv4Addr) -> Option<u64> {
        let bits = u32::from(address);
        (self.first..=self.last).contains(&bits).then(|| u64::from(bits - self.first))
    }
}

impl TryFrom<String> for Addresses {
    type Error = String;

    fn try_from(text: String) -> Result<Addresses, String> {
        let wrong = || format!("`{text}` is no range of addresses: say 198.19.0.0/16, 10.0.0.1-10.0.0.9 or 10.0.0.1");
        let address = |part: &str| part.trim().parse::<Ipv4Addr>().map(u32::from).map_err(|_| wrong());
        if let Some((network, length)) = text.split_once('/') {
            let length: u32 = length.trim().parse().ok().filter(|n| *n <= 32).ok_or_else(wrong)?;
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            let network = address(network)? & !hosts;
            // The network's own address and its broadcast address are nobody's.
            let spare = u32::from(length < 31);
            return Ok(Addresses { first: network + spare, last: network + hosts - spare });
        }
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let range = Addresses { first: address(first)?, last: address(last)? };
        if range.first <= range.last { Ok(range) } else { Err(wrong()) }
    }
}

impl From<Addresses> for String {
    fn from(range: Addresses) -> String {
        format!("{}-{}", Ipv4Addr::from(range.first), Ipv4Addr::from(range.last))
    }
}

/// Ports, first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    /// First.
    pub first: u16,
    /// Last.
    pub last: u16,
}

impl Ports {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// The `index`-th, wrapping around.
    #[must_use]
    pub fn nth(&self, index: u64) -> u16 {
        self.first + (index % self.count()) as u16
    }

    /// Where a port stands in the range.
    #[must_use]
    pub fn position(&self, port: u16) -> Option<u64> {
        (self.first..=self.last).contains(&port).then(|| u64::from(port - self.first))
    }

    /// Whether the two have a port in common.
    #[must_use]
    pub fn overlaps(&self, other: &Ports) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Ports, String> {
        let wrong = || format!("`{text}` is no range of ports: say 1024-65535 or 8080");
        let port = |part: &str| part.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let range = Ports { first: port(first)?, last: port(last)? };
        if range.first <= range.last { Ok(range) } else { Err(wrong()) }
    }
}

impl From<Ports> for String {
    fn from(range: Ports) -> String {
        format!("{}-{}", range.first, range.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let range = |text: &str| Addresses::try_from(text.to_owned());
        let net = range("198.19.0.0/16").unwrap();
        assert_eq!((net.nth(0), net.count()), (Ipv4Addr::new(198, 19, 0, 1), 65_534));
        assert_eq!(net.nth(65_534), net.nth(0));
        assert_eq!(net.position(Ipv4Addr::new(198, 19, 1, 0)), Some(255));
        assert_eq!(net.position(Ipv4Addr::new(198, 20, 0, 1)), None);
        assert_eq!(range("10.0.0.1").unwrap().count(), 1);
        assert_eq!(range("10.0.0.1/32").unwrap().count(), 1);
        assert_eq!(range("10.0.0.1-10.0.0.9").unwrap().count(), 9);
        assert_eq!(range("0.0.0.0/0").unwrap().count(), (1 << 32) - 2);
        for wrong in ["", "10.0.0.9-10.0.0.1", "10.0.0.0/33", "ten"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports() {
        let range = |text: &str| Ports::try_from(text.to_owned());
        let many = range("1024-65535").unwrap();
        assert_eq!((many.nth(0), many.nth(64_511), many.nth(64_512), many.count()), (1024, 65_535, 1024, 64_512));
        assert_eq!((many.position(1025), many.position(1)), (Some(1), None));
        assert!(many.overlaps(&range("1").unwrap()) != many.overlaps(&range("5000").unwrap()));
        for wrong in ["", "0", "9-1", "70000", "http"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
