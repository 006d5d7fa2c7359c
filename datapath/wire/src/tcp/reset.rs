//! RST segments made here.

use etherparse::{IpNumber, Ipv4Header, TcpHeader};

use super::Tcp;
use crate::ipv4::DEFAULT_TTL;
use crate::{FiveTuple, ipv4};

/// Length of an IPv4 packet with a bare TCP header.
const RESET_LEN: usize = ipv4::MIN_HEADER_LEN + super::MIN_HEADER_LEN;

/// A RST to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpReset {
    /// `src` is who it claims to come from.
    pub tuple: FiveTuple,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, if the ACK flag is to be set.
    pub ack: Option<u32>,
}

/// The RST that answers a segment for which there is no connection (RFC 9293 3.10.7.1); none answers a RST.
///
/// `tuple` is that of the segment; the answer goes the other way.
#[must_use]
pub fn reset_for(tcp: &Tcp, tuple: FiveTuple) -> Option<TcpReset> {
    if tcp.flags().rst() {
        return None;
    }
    let tuple = tuple.reversed();
    if tcp.flags().ack() {
        return Some(TcpReset { tuple, seq: tcp.ack(), ack: None });
    }
    Some(TcpReset { tuple, seq: 0, ack: Some(tcp.seq().wrapping_add(tcp.sequence_len())) })
}

/// Writes the RST as an IPv4 packet at the start of `buf` and returns its length, 0 if `buf` is too short.
///
/// As Linux: window 0, identification 0 with DF, TTL 64.
pub fn write_tcp_reset(buf: &mut [u8], reset: &TcpReset) -> usize {
    let Some(packet) = buf.first_chunk_mut::<RESET_LEN>() else { return 0 };
    let TcpReset { tuple, seq, ack } = *reset;
    let mut tcp = TcpHeader::new(tuple.src_port, tuple.dst_port, seq, 0);
    tcp.rst = true;
    tcp.ack = ack.is_some();
    tcp.acknowledgment_number = ack.unwrap_or(0);
    let (src, dst) = (tuple.src.octets(), tuple.dst.octets());
    let payload_len = super::MIN_HEADER_LEN as u16;
    let Ok(mut ip) = Ipv4Header::new(payload_len, DEFAULT_TTL, IpNumber::TCP, src, dst) else { return 0 };
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    let Ok(checksum) = tcp.calc_checksum_ipv4(&ip, &[]) else { return 0 };
    tcp.checksum = checksum;
    packet[..ipv4::MIN_HEADER_LEN].copy_from_slice(&ip.to_bytes());
    packet[ipv4::MIN_HEADER_LEN..].copy_from_slice(&tcp.to_bytes());
    RESET_LEN
}
