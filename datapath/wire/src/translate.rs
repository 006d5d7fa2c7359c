//! IPv6 ⇄ IPv4 (RFC 7915), in place: the payload stays where it is, the headers in front of it are written anew.
//!
//! Both functions take the addresses of the result from the caller, and return where in the frame it lies. TTL and hop
//! limit are copied, for the pipeline between them takes its one off. TOS and traffic class are copied, the flow label
//! is 0. IPv4 options and IPv6 extension headers are left behind; a source route that has not ended is refused.
//!
//! What RFC 7915 leaves to the translator:
//! * IPv6 packets that become longer than [`DONT_FRAGMENT_ABOVE`] get DF, so that their sender is told of a narrow way;
//!   shorter ones may be cut, since no IPv6 sender is told of an MTU below 1280.
//! * Fragments stay fragments, with the lower 16 bits of their identification. Fragmented ICMP is refused: its checksum
//!   covers a length that no fragment knows.
//! * A UDP datagram over IPv4 without checksum gets one, which takes the whole datagram; over IPv6 there must be one.
//! * An unfinished checksum (see [`finish_partial_checksum`](crate::finish_partial_checksum)) stays an unfinished one.
//! * ICMP extensions (RFC 4884) are cut off, and errors end at 1280 bytes (RFC 4443 2.4).

mod checksum;
mod error;
mod header;
mod icmp;
mod quote;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

pub use error::Untranslatable;

use crate::ipv4::{MIN_HEADER_LEN, protocol};
use crate::ipv6::{self, FRAGMENT_HEADER_LEN, HEADER_LEN, MIN_MTU};
use crate::{Headers, Ipv6, L4, Malformed, Tcp, Udp};

/// How much longer the IPv6 form of a packet is that is no fragment and has no IPv4 options.
pub const GROWTH: usize = HEADER_LEN - MIN_HEADER_LEN;
/// As [`GROWTH`] for a fragment.
pub const FRAGMENT_GROWTH: usize = GROWTH + FRAGMENT_HEADER_LEN;
/// How many bytes [`four_to_six`] needs in front of any packet: an ICMP error that quotes a fragment grows twice.
pub const ROOM: usize = GROWTH + FRAGMENT_GROWTH;
/// IPv6 packets that are longer than this as IPv4 packets get DF.
pub const DONT_FRAGMENT_ABOVE: usize = MIN_MTU - GROWTH;
/// The longest IPv4 fragment that crosses every IPv6 link.
pub const FRAGMENT_MTU: usize = MIN_MTU - FRAGMENT_GROWTH;

/// Source and destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
}

/// Turns the IPv6 packet `ip` of `frame` into an IPv4 packet and returns where that lies: it ends where it ended, and
/// begins 20 bytes or more later. Its header has no options.
///
/// `id` is the identification of the IPv4 packet unless it is a fragment. `quoted` gives the address for one inside of
/// an ICMP error; it is asked for nothing else.
///
/// # Errors
/// [`Untranslatable`]; the frame may be half changed then.
#[inline]
pub fn six_to_four(
    frame: &mut [u8],
    ip: &Ipv6,
    to: Pair<Ipv4Addr>,
    id: u16,
    quoted: impl Fn(Ipv6Addr) -> Option<Ipv4Addr>,
) -> Result<Range<usize>, Untranslatable> {
    let (start, whole) = (ip.payload(), !ip.is_fragment());
    let l4 = match ip.protocol {
        ipv6::protocol::ICMP => return icmp::six_to_four(frame, ip, to, id, quoted),
        protocol::TCP | protocol::UDP if ip.is_later_fragment() => L4::LaterFragment,
        protocol::TCP => L4::Tcp(Tcp::parse(frame, start, ip.payload_len(), whole)?),
        protocol::UDP => L4::Udp(Udp::parse(frame, start, ip.payload_len(), whole)?),
        other => return Err(Untranslatable::Protocol(other)),
    };
    checksum::six_to_four(frame, ip, &l4, to)?;
    let begin = header::write_four(frame, ip, to, id, start, ip.payload_len())?;
    Ok(begin..ip.end())
}

/// Turns the IPv4 packet at `offset` of `frame` into an IPv6 packet and returns where that lies. There must be [`ROOM`]
/// in front of it, of which most packets need [`GROWTH`] bytes. Bytes after the packet are allowed.
///
/// `quoted` gives the address for one inside of an ICMP error; it is asked for nothing else.
///
/// # Errors
/// [`Untranslatable`]; the frame may be half changed then.
#[inline]
pub fn four_to_six(
    frame: &mut [u8],
    offset: usize,
    to: Pair<Ipv6Addr>,
    quoted: impl Fn(Ipv4Addr) -> Option<Ipv6Addr>,
) -> Result<Range<usize>, Untranslatable> {
    let headers = Headers::parse(frame, offset)?;
    let ip = &headers.ip;
    if ip.header_len() > MIN_HEADER_LEN && header::is_source_routed(frame, ip) {
        return Err(Malformed::SourceRoute.into());
    }
    let number = match &headers.l4 {
        L4::Icmp(message) if !ip.is_fragment() => return icmp::four_to_six(frame, &headers, message, to, quoted),
        L4::Icmp(_) => return Err(Untranslatable::IcmpFragment),
        L4::LaterFragment if ip.protocol() == protocol::ICMP => return Err(Untranslatable::IcmpFragment),
        L4::Tcp(_) | L4::Udp(_) | L4::LaterFragment => ip.protocol(),
        L4::Other(other) => return Err(Untranslatable::Protocol(*other)),
    };
    if !matches!(number, protocol::TCP | protocol::UDP) {
        return Err(Untranslatable::Protocol(number));
    }
    checksum::four_to_six(frame, &headers, to)?;
    let begin = header::write_six(frame, ip, to, number, ip.payload(), ip.payload_len())?;
    Ok(begin..ip.end())
}
