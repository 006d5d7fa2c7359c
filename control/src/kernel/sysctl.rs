//! The kernel settings that the gateway reads, and two that it changes for TUN.

use std::io;
use std::ops::RangeInclusive;

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const LOCAL_PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Whether this machine forwards IPv4.
pub fn ip_forward() -> io::Result<bool> {
    Ok(std::fs::read_to_string(IP_FORWARD)?.trim() != "0")
}

/// Makes this machine forward IPv4, until it is switched off or the machine restarts.
pub fn switch_on_ip_forward() -> io::Result<()> {
    std::fs::write(IP_FORWARD, "1\n")
}

const IPV6_CONF: &str = "/proc/sys/net/ipv6/conf";

/// Makes this machine forward IPv6, until it is switched off or the machine restarts; false: it did already. A host that
/// becomes a router stops listening to other routers, and forgets its default route: interfaces that listened go on to.
pub fn forward_six() -> io::Result<bool> {
    let all = format!("{IPV6_CONF}/all/forwarding");
    if std::fs::read_to_string(&all)?.trim() != "0" {
        return Ok(false);
    }
    for entry in std::fs::read_dir(IPV6_CONF)? {
        let accept = entry?.path().join("accept_ra");
        // 1: while this is no router; 2: always. An interface may be gone by now.
        if std::fs::read_to_string(&accept).is_ok_and(|now| now.trim() == "1") {
            std::fs::write(&accept, "2\n")?;
        }
    }
    std::fs::write(all, "1\n")?;
    Ok(true)
}

/// Lets packets with source addresses of this machine in from a link, as the gateway sends them to plain backends.
pub fn accept_local(link: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/accept_local");
    // In a container /proc/sys may not be writable; whoever set the container up may have set this, too.
    if std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    std::fs::write(path, "1\n")
}

/// The ports that the kernel gives to its own connections.
pub fn local_port_range() -> io::Result<RangeInclusive<u16>> {
    let text = std::fs::read_to_string(LOCAL_PORT_RANGE)?;
    port_range(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_range_is_two_numbers() {
        assert_eq!(port_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(port_range("32768"), None);
        assert_eq!(port_range("a b"), None);
    }
}
