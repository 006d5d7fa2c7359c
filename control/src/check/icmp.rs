//! What an ICMP error about a probe means for it.

use std::net::SocketAddrV4;

use wire::{Headers, L4, Protocol};

use super::stack::Ends;

const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;

/// The reason, if the packet is the backend's own word that what was sent to it goes nowhere. The word of others does not
/// count: in an overlay, anybody could say it.
pub fn refusal(packet: &[u8], ends: Ends, protocol: Protocol) -> Option<String> {
    let headers = Headers::parse(packet, 0).ok()?;
    let L4::Icmp(icmp) = headers.l4 else { return None };
    if headers.ip.src() != *ends.remote.ip() || icmp.kind != UNREACHABLE || icmp.code == FRAGMENTATION_NEEDED {
        return None;
    }
    let inner = icmp.inner(packet).ok().filter(|inner| !inner.later_fragment)?.tuple;
    let quoted = (SocketAddrV4::new(inner.src, inner.src_port), SocketAddrV4::new(inner.dst, inner.dst_port));
    if quoted != (ends.local, ends.remote) || inner.protocol != protocol {
        return None;
    }
    Some(match icmp.code {
        0 => "ICMP network unreachable".to_owned(),
        1 => "ICMP host unreachable".to_owned(),
        2 => "ICMP protocol unreachable".to_owned(),
        3 => "ICMP port unreachable".to_owned(),
        9 | 10 | 13 => "ICMP administratively prohibited".to_owned(),
        code => format!("ICMP unreachable, code {code}"),
    })
}
