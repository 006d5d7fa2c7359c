//! Addresses of hosts, of either family, and what stands behind them: ports and prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use super::report::Complaint;

/// An address of one host, IPv4 or IPv6. IPv6 may stand in brackets.
pub fn host(text: &str) -> Result<IpAddr, Complaint> {
    host_of(text, "IP")
}

/// `family` is what is wanted: "IP" or "IPv4".
fn host_of(text: &str, family: &str) -> Result<IpAddr, Complaint> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match inner {
        Some(inner) => inner.parse().map(IpAddr::V6).map_err(|_| not_an_address(inner, "IPv6"))?,
        None => text.parse().map_err(|_| not_an_address(text, family))?,
    };
    check(address)?;
    Ok(address)
}

/// An IPv4 address of one host: what belongs to tunnels and overlays.
pub fn ipv4_host(text: &str) -> Result<Ipv4Addr, Complaint> {
    match host_of(text, "IPv4") {
        Ok(IpAddr::V4(address)) => Ok(address),
        Ok(IpAddr::V6(address)) => Err(Complaint::hinted(
            format!("`{address}` is not an IPv4 address"),
            "tunnels and overlays are IPv4: nodes of a swarm have an IPv4 address, too. IPv6 is for VIPs, backends \
             without `vtep`, and `snat` of [gateway]",
        )),
        Err(complaint) => Err(complaint),
    }
}

fn check(address: IpAddr) -> Result<(), Complaint> {
    let kind = match address {
        IpAddr::V4(address) => oddity(address),
        IpAddr::V6(address) => oddity_of_six(address),
    };
    let Some(kind) = kind else { return Ok(()) };
    let hint = match address {
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => format!("write {four}"),
            None => OF_ONE_HOST.to_owned(),
        },
        IpAddr::V4(_) => OF_ONE_HOST.to_owned(),
    };
    Err(Complaint::hinted(format!("`{address}` is {kind}"), hint))
}

const OF_ONE_HOST: &str = "give the address of one host, as others on the network reach it";

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

fn oddity_of_six(address: Ipv6Addr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_unicast_link_local() => Some("a link-local address, which means nothing beyond one link"),
        _ if address.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6's form"),
        _ => None,
    }
}

fn not_an_address(text: &str, family: &str) -> Complaint {
    let is_numbers = text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let hint = match text {
        _ if text.contains('/') => "give the address without a prefix",
        _ if text.contains('%') => "give the address without a zone: link-local addresses can't be used",
        _ if text.starts_with('[') => "an IPv6 address in brackets, e.g. [2001:db8::1]",
        _ if text.matches(':').count() > 1 => "up to eight groups of hexadecimal digits, e.g. 2001:db8::1",
        _ if text.contains(':') => "give the address without a port",
        _ if family == "IPv6" => "brackets are for IPv6, e.g. [2001:db8::1]",
        _ if family == "IP" && !is_numbers => "e.g. 198.18.1.1 or 2001:db8::1",
        _ => "four numbers from 0 to 255 with dots between, e.g. 198.18.1.1",
    };
    let family = match text {
        _ if text.matches(':').count() > 1 || text.starts_with('[') => "IPv6",
        _ if family == "IP" && is_numbers => "IPv4",
        _ => family,
    };
    Complaint::hinted(format!("`{text}` is not an {family} address"), hint)
}

/// What stands before the port, and the port: `198.18.0.1:80`, `[2001:db8::1]:80`, `198.18.0.1`, `2001:db8::1`.
pub fn split(text: &str) -> (&str, Option<&str>) {
    // The colons in brackets are the address's own.
    if let Some(end) = text.find(']').filter(|_| text.starts_with('[')) {
        let (place, behind) = text.split_at(end + 1);
        return behind.strip_prefix(':').map_or((text, None), |port| (place, Some(port)));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    text.rsplit_once(':').map_or((text, None), |(place, port)| (place, Some(port)))
}

/// An address before a port: IPv6 stands in brackets there.
pub fn host_before_port(place: &str) -> Result<IpAddr, Complaint> {
    let address = host(place)?;
    if address.is_ipv6() && !place.starts_with('[') {
        let hint = format!("write [{address}] before the port");
        return Err(Complaint::hinted(format!("`{place}` has no brackets"), hint));
    }
    Ok(address)
}

/// As it is written before a port.
pub fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A port that can be used.
pub fn port(text: &str) -> Result<NonZeroU16, Complaint> {
    // Numbers may begin with a +, but a port that does is one of HAProxy's, counted from the client's.
    let number = text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    match number.map(NonZeroU16::new) {
        Some(Some(port)) => Ok(port),
        Some(None) => Err(Complaint::hinted("port 0 can't be used", "ports are 1 to 65535")),
        None => Err(Complaint::hinted(format!("`{text}` is not a port"), "ports are 1 to 65535")),
    }
}

/// `10.0.0.3/24`: an address and its prefix length.
pub fn subnet(text: &str) -> Result<(Ipv4Addr, u8), Complaint> {
    let Some((address, bits)) = text.split_once('/') else {
        let address = ipv4_host(text)?;
        return Err(Complaint::hinted(
            format!("`{text}` has no prefix length"),
            format!("write the subnet's length behind it, e.g. {address}/24"),
        ));
    };
    let address = ipv4_host(address)?;
    match bits.parse::<u8>() {
        Ok(bits @ 1..=30) => Ok((address, bits)),
        _ => Err(Complaint::hinted(format!("`{bits}` is not a usable prefix length"), "from 1 to 30, e.g. 24")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_split() {
        let cases = [
            ("198.18.0.1:80", ("198.18.0.1", Some("80"))),
            ("198.18.0.1", ("198.18.0.1", None)),
            ("[2001:db8::1]:80", ("[2001:db8::1]", Some("80"))),
            ("[2001:db8::1]", ("[2001:db8::1]", None)),
            ("2001:db8::1", ("2001:db8::1", None)),
            ("2001:db8::1:80-90", ("2001:db8::1", Some("80-90"))),
            (":80", ("", Some("80"))),
            ("", ("", None)),
        ];
        for (text, wanted) in cases {
            assert_eq!(split(text), wanted, "{text}");
        }
    }

    #[test]
    fn hosts_of_either_family() {
        for text in ["198.18.0.1", "2001:db8::1", "[2001:db8::1]", "fd00::1", "::ffff"] {
            assert!(host(text).is_ok(), "{text}");
        }
        for text in ["::", "::1", "ff02::1", "fe80::1", "fe80::1%eth0", "[198.18.0.1]", "[2001:db8::1", "2001:db8::/64"]
        {
            assert!(host(text).is_err(), "{text}");
        }
        let mapped = host("::ffff:198.18.0.1").unwrap_err();
        assert_eq!(mapped.message, "`::ffff:198.18.0.1` is an IPv4 address in IPv6's form");
        assert_eq!(mapped.hint.unwrap(), "write 198.18.0.1");
    }

    #[test]
    fn ports_are_digits() {
        assert_eq!(port("80").unwrap().get(), 80);
        for text in ["+80", "-80", "", "+", "0", "65536", " 80"] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tunnels_are_ipv4() {
        assert_eq!(ipv4_host("198.18.1.1"), Ok(Ipv4Addr::new(198, 18, 1, 1)));
        assert_eq!(ipv4_host("foo").unwrap_err().message, "`foo` is not an IPv4 address");
        assert_eq!(host("foo").unwrap_err().message, "`foo` is not an IP address");
        let complaint = ipv4_host("2001:db8::1").unwrap_err();
        assert_eq!(complaint.message, "`2001:db8::1` is not an IPv4 address");
        assert!(complaint.hint.unwrap().contains("tunnels"));
    }
}
