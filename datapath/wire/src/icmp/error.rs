//! ICMP errors made here.

use std::net::Ipv4Addr;

use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::{Icmpv4Header, Icmpv4Type, IpDscp, IpEcn, IpNumber, Ipv4Header};

use super::{CHECKSUM, HEADER_LEN, Icmp};
use crate::bytes::{get16, set16, window, window_mut};
use crate::ipv4::{self, DEFAULT_TTL, MIN_HEADER_LEN};
use crate::{Delta, Headers, Ipv4, L4};

/// The longest ICMP error (RFC 1812 4.3.2.3): every host takes 576 bytes.
const MAX_ERROR_LEN: usize = 576;
/// How much of the original that leaves.
const MAX_QUOTE_LEN: usize = MAX_ERROR_LEN - MIN_HEADER_LEN - HEADER_LEN;
/// Where a message says how much of it is a quote, if something follows that (RFC 4884).
const QUOTE_LEN: usize = 5;
/// Precedence "internetwork control" for errors (RFC 1812 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// What an error keeps of the original's TOS, as Linux has it: all but the precedence and the last bit.
const TYPE_OF_SERVICE: u8 = 0x1e;

/// The errors that the gateway sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The TTL ran out on the way.
    TimeExceeded,
    /// Too long for what comes next, and DF is set.
    FragmentationNeeded {
        /// Length of the longest packet that fits.
        mtu: u16,
    },
    /// Nobody listens on that port.
    PortUnreachable,
    /// No way to that host.
    HostUnreachable,
    /// Forbidden by the administrator.
    AdminProhibited,
}

impl IcmpError {
    fn message(self) -> Icmpv4Type {
        let unreachable = match self {
            Self::TimeExceeded => return Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
            Self::FragmentationNeeded { mtu } => DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu },
            Self::PortUnreachable => DestUnreachableHeader::Port,
            Self::HostUnreachable => DestUnreachableHeader::Host,
            Self::AdminProhibited => DestUnreachableHeader::FilterProhibited,
        };
        Icmpv4Type::DestinationUnreachable(unreachable)
    }
}

/// Whether an ICMP error may be sent about the packet (RFC 1812 4.3.2.7): not about an ICMP error, not about a later
/// fragment, not about what came from or went to no single host.
#[must_use]
pub fn deserves_icmp_error(headers: &Headers) -> bool {
    let (src, dst) = (headers.ip.src(), headers.ip.dst());
    // 240.0.0.0/4 never comes from a wire: the data path lets it stand for IPv6 addresses, each of one host.
    let no_host = |address: Ipv4Addr| address.is_multicast() || address.is_broadcast();
    let quotable = match &headers.l4 {
        L4::Icmp(icmp) => !icmp.is_error(),
        L4::LaterFragment => false,
        _ => true,
    };
    quotable && !no_host(src) && !no_host(dst) && src.octets()[0] != 0 && !src.is_loopback()
}

/// Writes an ICMP error as an IPv4 packet at the start of `buf` and returns its length, 0 if `buf` is too short.
///
/// `original` begins with its IPv4 header; the error quotes it up to a length of 576 bytes in all. Whether one may be
/// sent at all is for [`deserves_icmp_error`].
pub fn write_icmp_error(buf: &mut [u8], error: IcmpError, src: Ipv4Addr, dst: Ipv4Addr, original: &[u8]) -> usize {
    let Some(start) = window::<4>(original, 0) else { return 0 };
    let packet_len = usize::from(get16(start, ipv4::field::TOTAL_LEN)).min(original.len());
    let quote = &original[..packet_len.min(MAX_QUOTE_LEN)];
    let total_len = MIN_HEADER_LEN + HEADER_LEN + quote.len();
    let Some(packet) = buf.get_mut(..total_len) else { return 0 };

    let (src, dst) = (src.octets(), dst.octets());
    let payload_len = (HEADER_LEN + quote.len()) as u16;
    let Ok(mut ip) = Ipv4Header::new(payload_len, DEFAULT_TTL, IpNumber::ICMP, src, dst) else { return 0 };
    let tos = start[1] & TYPE_OF_SERVICE | INTERNETWORK_CONTROL;
    let (Ok(dscp), Ok(ecn)) = (IpDscp::try_new(tos >> 2), IpEcn::try_new(tos & 0x03)) else { return 0 };
    (ip.dscp, ip.ecn) = (dscp, ecn);
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    let icmp = Icmpv4Header::with_checksum(error.message(), quote).to_bytes();
    packet[..MIN_HEADER_LEN].copy_from_slice(&ip.to_bytes());
    packet[MIN_HEADER_LEN..MIN_HEADER_LEN + HEADER_LEN].copy_from_slice(&icmp);
    packet[MIN_HEADER_LEN + HEADER_LEN..].copy_from_slice(quote);
    total_len
}

/// Cuts an ICMP error that is longer than that down to 576 bytes (RFC 1812 4.3.2.3) and returns the packet's new length. Lengths
/// change, and checksums by delta: what came wrong stays wrong. What may follow the quote (RFC 4884) is gone.
///
/// The packet is no fragment.
pub fn shorten_icmp_error(frame: &mut [u8], ip: &Ipv4, icmp: &Icmp) -> usize {
    let end = (ip.offset() + MAX_ERROR_LEN).min(icmp.end());
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes.get(1).copied().unwrap_or(0)]);
    let gone = frame.get(end..icmp.end()).unwrap_or_default();
    if gone.is_empty() {
        return frame.len();
    }
    let delta = gone.chunks(2).fold(Delta::new(), |delta, bytes| delta.replace16(word(bytes), 0));
    if let Some(message) = window_mut::<HEADER_LEN>(frame, icmp.offset()) {
        let old = get16(message, QUOTE_LEN - 1);
        message[QUOTE_LEN] = 0;
        let checksum = delta.replace16(old, get16(message, QUOTE_LEN - 1)).apply(get16(message, CHECKSUM));
        set16(message, CHECKSUM, checksum);
    }
    if let Some(header) = window_mut::<MIN_HEADER_LEN>(frame, ip.offset()) {
        let (old, new) = (get16(header, ipv4::field::TOTAL_LEN), (end - ip.offset()) as u16);
        let checksum = Delta::new().replace16(old, new).apply(get16(header, ipv4::field::CHECKSUM));
        set16(header, ipv4::field::TOTAL_LEN, new);
        set16(header, ipv4::field::CHECKSUM, checksum);
    }
    end
}
