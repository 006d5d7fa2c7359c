//! UDP over IPv4 as tunnels send it: the two headers in one look.

use std::net::Ipv4Addr;

use crate::bytes::{get_address, get16};
use crate::ipv4::{self, FRAGMENT_OFFSET, MORE_FRAGMENTS, protocol};
use crate::udp::{self, HEADER_LEN};
use crate::{Headers, L4, checksum};

/// Length of an IPv4 header without options.
const IP_LEN: usize = ipv4::MIN_HEADER_LEN;
/// Version 4, five words of header.
const PLAIN: u8 = 0x45;

/// A whole UDP datagram at the start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Destination port.
    pub dst_port: u16,
    /// DSCP and ECN of the IPv4 header.
    pub tos: u8,
    /// Where in the frame the payload begins.
    pub payload: usize,
    /// Where in the frame the datagram ends.
    pub end: usize,
}

impl Datagram {
    /// The datagram that a frame begins with, if it is not a fragment, has no IPv4 options, and is well-formed. `None` is
    /// no verdict: [`Headers::parse`] knows more. What is found here it finds as well.
    #[must_use]
    #[inline]
    pub fn at_front(frame: &[u8]) -> Option<Self> {
        let headers: &[u8; IP_LEN + HEADER_LEN] = frame.first_chunk()?;
        let fragment = get16(headers, ipv4::field::FRAGMENT) & (FRAGMENT_OFFSET | MORE_FRAGMENTS);
        if headers[0] != PLAIN || headers[ipv4::field::PROTOCOL] != protocol::UDP || fragment != 0 {
            return None;
        }
        let total_len = usize::from(get16(headers, ipv4::field::TOTAL_LEN));
        let len = usize::from(get16(headers, IP_LEN + udp::field::LEN));
        let ip_header: &[u8; IP_LEN] = headers.first_chunk()?;
        let fits = len >= HEADER_LEN && IP_LEN + len <= total_len && total_len <= frame.len();
        if !fits || checksum::fold(checksum::sum_of(ip_header)) != 0xffff {
            return None;
        }
        Some(Self {
            src: get_address(headers, ipv4::field::SRC),
            dst: get_address(headers, ipv4::field::DST),
            dst_port: get16(headers, IP_LEN + udp::field::DST_PORT),
            tos: headers[1],
            payload: IP_LEN + HEADER_LEN,
            end: IP_LEN + len,
        })
    }

    /// The datagram of parsed headers, if it is one, and whole.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        let (ip, L4::Udp(udp)) = (&headers.ip, &headers.l4) else { return None };
        (!ip.is_fragment()).then_some(Self {
            src: ip.src(),
            dst: ip.dst(),
            dst_port: udp.dst_port,
            tos: ip.tos(),
            payload: udp.payload(),
            end: udp.offset() + udp.len(),
        })
    }
}
