//! The packet that an ICMP error quotes: reading it and translating it.

use std::net::Ipv4Addr;

use super::{CHECKSUM, HEADER_LEN, Icmp};
use crate::bytes::{get_address, get16, set_address, set16, window, window_mut};
use crate::ipv4::{self, MIN_HEADER_LEN, protocol};
use crate::{Delta, FiveTuple, Ipv4, Malformed, Protocol, tcp, udp};

/// How much of an L4 header every error quotes (RFC 792).
const QUOTED_L4: usize = 8;

/// The facts of the packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpInner {
    /// Where in the frame the quoted IPv4 header begins.
    pub offset: usize,
    /// Length of that header.
    pub header_len: usize,
    /// The quoted packet's flow, in its own direction: `src` is who sent what could not be delivered.
    pub tuple: FiveTuple,
    /// The quoted packet is a later fragment: the ports of `tuple` are 0 and mean nothing.
    pub later_fragment: bool,
}

impl Icmp {
    /// The packet inside an error. Eight bytes of its L4 header are enough (RFC 792); its total length and its
    /// checksums are not looked at, since a quote may be cut.
    ///
    /// # Errors
    /// [`Malformed`] when no IPv4 header with the ports of a TCP or UDP flow is quoted.
    pub fn inner(&self, frame: &[u8]) -> Result<IcmpInner, Malformed> {
        let message = frame.get(..self.end()).ok_or(Malformed::Truncated)?;
        let ip = Ipv4::parse_quoted(message, self.offset() + HEADER_LEN)?;
        let protocol = Protocol::try_from(ip.protocol()).map_err(|_| Malformed::BadIcmp)?;
        let later_fragment = ip.is_later_fragment();
        let (src_port, dst_port) = if later_fragment {
            (0, 0)
        } else {
            let l4: &[u8; QUOTED_L4] = window(message, ip.payload()).ok_or(Malformed::BadIcmp)?;
            (get16(l4, udp::field::SRC_PORT), get16(l4, udp::field::DST_PORT))
        };
        let tuple = FiveTuple { src: ip.src(), dst: ip.dst(), src_port, dst_port, protocol };
        Ok(IcmpInner { offset: ip.offset(), header_len: ip.header_len(), tuple, later_fragment })
    }
}

/// Translates an ICMP error: addresses outside, addresses and ports inside, and by delta every checksum that covers
/// them: of both IPv4 headers, of the quoted TCP or UDP header where it is quoted, of the ICMP message.
///
/// `inner` is what the quoted packet is to look like. Its protocol is not changed; TTLs are not touched.
pub fn translate_icmp_error(
    frame: &mut [u8],
    ip: &Ipv4,
    icmp: &Icmp,
    outer_src: Ipv4Addr,
    outer_dst: Ipv4Addr,
    inner: FiveTuple,
) {
    let Some(message) = frame.get_mut(..icmp.end()) else { return };
    let Ok(quoted) = Ipv4::parse_quoted(message, icmp.offset() + HEADER_LEN) else { return };
    let Some((addresses, mut icmp_delta)) = readdress(message, quoted.offset(), inner.src, inner.dst) else { return };
    if !quoted.is_later_fragment() {
        icmp_delta = translate_l4(message, &quoted, addresses, icmp_delta, inner);
    }
    if let Some(field) = window_mut::<2>(message, icmp.offset() + CHECKSUM) {
        let checksum = icmp_delta.apply(get16(field, 0));
        set16(field, 0, checksum);
    }
    readdress(message, ip.offset(), outer_src, outer_dst);
}

/// Sets the addresses of an IPv4 header. Returns the change of the addresses, for a pseudo header, and the change of
/// the whole header with its checksum, for whatever sums over it.
fn readdress(frame: &mut [u8], offset: usize, src: Ipv4Addr, dst: Ipv4Addr) -> Option<(Delta, Delta)> {
    let header: &mut [u8; MIN_HEADER_LEN] = window_mut(frame, offset)?;
    let addresses = Delta::new()
        .replace32(get_address(header, ipv4::field::SRC).to_bits(), src.to_bits())
        .replace32(get_address(header, ipv4::field::DST).to_bits(), dst.to_bits());
    set_address(header, ipv4::field::SRC, src);
    set_address(header, ipv4::field::DST, dst);
    let old = get16(header, ipv4::field::CHECKSUM);
    let checksum = addresses.apply(old);
    set16(header, ipv4::field::CHECKSUM, checksum);
    Some((addresses, addresses.replace16(old, checksum)))
}

/// Sets ports and checksum of the quoted L4 header. Returns `icmp_delta` with these changes.
fn translate_l4(message: &mut [u8], quoted: &Ipv4, addresses: Delta, icmp_delta: Delta, inner: FiveTuple) -> Delta {
    let checksum_at = match quoted.protocol() {
        protocol::TCP => tcp::field::CHECKSUM,
        protocol::UDP => udp::field::CHECKSUM,
        _ => return icmp_delta,
    };
    let Some(ports) = window_mut::<4>(message, quoted.payload()) else { return icmp_delta };
    let (old_src, old_dst) = (get16(ports, 0), get16(ports, 2));
    set16(ports, 0, inner.src_port);
    set16(ports, 2, inner.dst_port);
    let replace_ports = |delta: Delta| delta.replace16(old_src, inner.src_port).replace16(old_dst, inner.dst_port);
    let icmp_delta = replace_ports(icmp_delta);

    let Some(field) = window_mut::<2>(message, quoted.payload() + checksum_at) else { return icmp_delta };
    let old = get16(field, 0);
    let is_udp = quoted.protocol() == protocol::UDP;
    if is_udp && old == 0 {
        return icmp_delta;
    }
    let new = replace_ports(addresses).apply(old);
    let new = if is_udp { udp::never_zero(new) } else { new };
    set16(field, 0, new);
    icmp_delta.replace16(old, new)
}
