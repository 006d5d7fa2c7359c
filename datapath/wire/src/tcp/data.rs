//! Data segments made here.

use etherparse::{IpNumber, Ipv4Header, TcpHeader};

use crate::ipv4::DEFAULT_TTL;
use crate::{FiveTuple, ipv4};

/// Two NOPs and the timestamps, as almost everybody writes them.
const TIMESTAMPS_LEN: usize = 12;

/// A data segment to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpData<'a> {
    /// `src` is who it claims to come from.
    pub tuple: FiveTuple,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Receive window, as it stands in the header.
    pub window: u16,
    /// `TSval` and `TSecr`, on a connection that has timestamps.
    pub timestamps: Option<(u32, u32)>,
    /// The data.
    pub payload: &'a [u8],
}

/// Writes the segment, with PSH and ACK set, as an IPv4 packet at the start of `buf` and returns its length, 0 if `buf` is
/// too short.
///
/// As [`write_tcp_reset`](super::write_tcp_reset): identification 0 with DF, TTL 64.
pub fn write_tcp_data(buf: &mut [u8], data: &TcpData<'_>) -> usize {
    let TcpData { tuple, seq, ack, window, timestamps, payload } = *data;
    let mut tcp = TcpHeader::new(tuple.src_port, tuple.dst_port, seq, window);
    (tcp.psh, tcp.ack, tcp.acknowledgment_number) = (true, true, ack);
    if let Some((value, echo)) = timestamps {
        let mut option = [1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0];
        option[4..8].copy_from_slice(&value.to_be_bytes());
        option[8..TIMESTAMPS_LEN].copy_from_slice(&echo.to_be_bytes());
        if tcp.set_options_raw(&option).is_err() {
            return 0;
        }
    }
    let (src, dst) = (tuple.src.octets(), tuple.dst.octets());
    let l4_len = tcp.header_len() + payload.len();
    let Ok(mut ip) = Ipv4Header::new(l4_len as u16, DEFAULT_TTL, IpNumber::TCP, src, dst) else { return 0 };
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    let Ok(checksum) = tcp.calc_checksum_ipv4(&ip, payload) else { return 0 };
    tcp.checksum = checksum;
    let (headers_len, total) = (ipv4::MIN_HEADER_LEN + tcp.header_len(), ipv4::MIN_HEADER_LEN + l4_len);
    let Some(packet) = buf.get_mut(..total) else { return 0 };
    packet[..ipv4::MIN_HEADER_LEN].copy_from_slice(&ip.to_bytes());
    packet[ipv4::MIN_HEADER_LEN..headers_len].copy_from_slice(&tcp.to_bytes());
    packet[headers_len..].copy_from_slice(payload);
    total
}
