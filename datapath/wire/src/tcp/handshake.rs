//! Segments of a three-way handshake that is made here, in the name of one end.

use etherparse::{IpNumber, Ipv4Header, TcpHeader};

use super::options::{MSS, NOP, SACK_PERMITTED, WINDOW_SCALE};
use super::{MIN_HEADER_LEN, TcpFlags};
use crate::ipv4::DEFAULT_TTL;
use crate::{FiveTuple, ipv4};

/// MSS, SACK-permitted and window scale, each filled up to four bytes.
const MAX_OPTIONS: usize = 12;

/// A SYN, a SYN-ACK or an ACK to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHandshake {
    /// `src` is who it claims to come from.
    pub tuple: FiveTuple,
    /// Which step.
    pub flags: TcpFlags,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; 0 in a SYN.
    pub ack: u32,
    /// Receive window, as it stands in the header.
    pub window: u16,
    /// What goes with a SYN or SYN-ACK.
    pub offer: TcpOffer,
}

/// What one end offers the other with its SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOffer {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Whether SACK blocks are welcome.
    pub sack_permitted: bool,
    /// Shift of the windows that will be announced.
    pub window_scale: Option<u8>,
}

/// Writes the segment as an IPv4 packet at the start of `buf` and returns its length, 0 if `buf` is too short.
///
/// As [`write_tcp_reset`](super::write_tcp_reset): identification 0 with DF, TTL 64.
pub fn write_tcp_handshake(buf: &mut [u8], segment: &TcpHandshake) -> usize {
    let TcpHandshake { tuple, flags, seq, ack, window, offer } = *segment;
    let mut tcp = TcpHeader::new(tuple.src_port, tuple.dst_port, seq, window);
    (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (flags.syn(), flags.ack(), ack);
    let mut options = [0; MAX_OPTIONS];
    let options_len = if flags.syn() { offer.write(&mut options) } else { 0 };
    if tcp.set_options_raw(&options[..options_len]).is_err() {
        return 0;
    }
    let (src, dst) = (tuple.src.octets(), tuple.dst.octets());
    let Ok(mut ip) = Ipv4Header::new(tcp.header_len_u16(), DEFAULT_TTL, IpNumber::TCP, src, dst) else { return 0 };
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    let Ok(checksum) = tcp.calc_checksum_ipv4(&ip, &[]) else { return 0 };
    tcp.checksum = checksum;
    let len = ipv4::MIN_HEADER_LEN + tcp.header_len();
    let Some(packet) = buf.get_mut(..len) else { return 0 };
    packet[..ipv4::MIN_HEADER_LEN].copy_from_slice(&ip.to_bytes());
    packet[ipv4::MIN_HEADER_LEN..].copy_from_slice(&tcp.to_bytes());
    len
}

impl TcpHandshake {
    /// The longest that [`write_tcp_handshake`] writes.
    pub const MAX_LEN: usize = ipv4::MIN_HEADER_LEN + MIN_HEADER_LEN + MAX_OPTIONS;
}

impl TcpOffer {
    /// In whole words; how many bytes.
    fn write(self, to: &mut [u8; MAX_OPTIONS]) -> usize {
        let mss = self.mss.map(|mss| {
            let [high, low] = mss.to_be_bytes();
            [MSS, 4, high, low]
        });
        let sack = self.sack_permitted.then_some([NOP, NOP, SACK_PERMITTED, 2]);
        let scale = self.window_scale.map(|shift| [NOP, WINDOW_SCALE, 3, shift]);
        let words = [mss, sack, scale].into_iter().flatten();
        words.zip(to.chunks_exact_mut(4)).map(|(word, place)| place.copy_from_slice(&word)).count() * 4
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{Headers, L4, Protocol};

    const TUPLE: FiveTuple = FiveTuple {
        src: Ipv4Addr::new(198, 18, 0, 1),
        dst: Ipv4Addr::new(198, 19, 0, 2),
        src_port: 8080,
        dst_port: 40_000,
        protocol: Protocol::Tcp,
    };

    fn syn_ack() -> TcpHandshake {
        let offer = TcpOffer { mss: Some(1410), sack_permitted: true, window_scale: Some(7) };
        let flags = TcpFlags::SYN | TcpFlags::ACK;
        TcpHandshake { tuple: TUPLE, flags, seq: 0x0102_0304, ack: 0x0a0b_0c0d, window: 0, offer }
    }

    /// By hand from RFC 791, RFC 9293, RFC 2018 and RFC 7323.
    #[test]
    fn a_syn_ack_byte_by_byte() {
        let mut buf = [0xff; TcpHandshake::MAX_LEN];
        assert_eq!(write_tcp_handshake(&mut buf, &syn_ack()), 52);
        #[rustfmt::skip]
        let expected = [
            0x45, 0, 0, 52, 0, 0, 0x40, 0, 64, 6, 0xb0, 0x9c, 198, 18, 0, 1, 198, 19, 0, 2,
            0x1f, 0x90, 0x9c, 0x40, 1, 2, 3, 4, 0x0a, 0x0b, 0x0c, 0x0d, 0x80, 0x12, 0, 0, 0, 0, 0, 0,
            2, 4, 0x05, 0x82, 1, 1, 4, 2, 1, 3, 3, 7,
        ];
        let without_checksum = |bytes: &[u8; 52]| {
            let mut bytes = *bytes;
            bytes[10..12].fill(0);
            bytes[36..38].fill(0);
            bytes
        };
        assert_eq!(without_checksum(&buf), without_checksum(&expected));
        let headers = Headers::parse(&buf, 0).unwrap();
        assert!(crate::l4_checksum_ok(&buf, &headers));
    }

    #[test]
    fn offers_come_back_as_they_went() {
        let offers = [None, Some(536)].into_iter().flat_map(|mss| {
            [false, true].into_iter().flat_map(move |sack_permitted| {
                [None, Some(0), Some(14)].map(|window_scale| TcpOffer { mss, sack_permitted, window_scale })
            })
        });
        for offer in offers {
            for flags in [TcpFlags::SYN, TcpFlags::SYN | TcpFlags::ACK, TcpFlags::ACK] {
                let segment = TcpHandshake { flags, offer, ..syn_ack() };
                let mut buf = [0; TcpHandshake::MAX_LEN];
                let len = write_tcp_handshake(&mut buf, &segment);
                let headers = Headers::parse(&buf[..len], 0).unwrap();
                assert!(crate::l4_checksum_ok(&buf[..len], &headers));
                let L4::Tcp(tcp) = headers.l4 else { panic!("{headers:?}") };
                let read = tcp.options(&buf[..len]);
                let expected = if flags.syn() { offer } else { TcpOffer::default() };
                let TcpOffer { mss, sack_permitted, window_scale } = expected;
                assert_eq!((read.mss, read.sack_permitted, read.window_scale), (mss, sack_permitted, window_scale));
                assert_eq!((tcp.seq(), tcp.ack(), tcp.window(), tcp.flags()), (segment.seq, segment.ack, 0, flags));
            }
        }
    }

    #[test]
    fn no_room_no_segment() {
        assert_eq!(write_tcp_handshake(&mut [0; 51], &syn_ack()), 0);
    }
}
