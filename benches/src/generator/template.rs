//! Datagrams: built once by etherparse, then a few fields patched per packet.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use sys::Frame;

use super::flows::Endpoint;
use super::network::{CLIENT_MAC, GATEWAY_MACS, VIP};
use super::sizes::FCS;
use super::stamp::{STAMP_LEN, Stamp};

/// Bytes before the payload.
pub const HEADERS: usize = 14 + 20 + 8;
const IP_CHECKSUM: usize = 14 + 10;
const SOURCE: usize = 14 + 12;
const PORTS: usize = 14 + 20;
const UDP_CHECKSUM: usize = 14 + 20 + 6;

/// A datagram to the VIP of one length, without client, ports and stamp.
pub struct Template {
    bytes: Vec<u8>,
    /// Sums over the headers as they are in `bytes`.
    ip_sum: u32,
    udp_sum: u32,
}

impl Template {
    /// For frames of `frame_bytes`, the check sequence counted.
    ///
    /// # Errors
    /// The length is none of Ethernet's.
    pub fn new(frame_bytes: u16) -> Result<Template, String> {
        let room = usize::from(frame_bytes).checked_sub(HEADERS + usize::from(FCS)).filter(|room| *room >= STAMP_LEN);
        let payload = vec![0; room.ok_or("a frame of fewer than 64 bytes")?];
        let mut bytes = Vec::with_capacity(usize::from(frame_bytes));
        PacketBuilder::ethernet2(CLIENT_MAC.0, GATEWAY_MACS[0].0)
            .ipv4(Ipv4Addr::UNSPECIFIED.octets(), VIP.octets(), 64)
            .udp(0, 0)
            .write(&mut bytes, &payload)
            .map_err(|error| error.to_string())?;
        let sum = |at: usize| u32::from(!u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let (ip_sum, udp_sum) = (sum(IP_CHECKSUM), sum(UDP_CHECKSUM));
        Ok(Template { bytes, ip_sum, udp_sum })
    }

    /// Bytes of the frame as drivers see it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes `frame` a datagram of this flow with this stamp. False when it is too small.
    #[must_use]
    pub fn write(&self, frame: &mut Frame, flow: &Endpoint, stamp: &Stamp) -> bool {
        if !frame.fill(&self.bytes) {
            return false;
        }
        let (client, stamp) = (flow.client.octets(), stamp.to_bytes());
        let mut ports = [0; 4];
        ports[..2].copy_from_slice(&flow.client_port.to_be_bytes());
        ports[2..].copy_from_slice(&flow.port.to_be_bytes());
        let bytes = frame.bytes_mut();
        bytes[SOURCE..SOURCE + 4].copy_from_slice(&client);
        bytes[PORTS..PORTS + 4].copy_from_slice(&ports);
        bytes[HEADERS..HEADERS + STAMP_LEN].copy_from_slice(&stamp);
        // All of these were zero in the template: its sums only grow by them.
        let client = sum(&client);
        let ip = checksum(self.ip_sum + client);
        let udp = match checksum(self.udp_sum + client + sum(&ports) + sum(&stamp)) {
            // RFC 768: zero means none.
            0 => 0xffff,
            other => other,
        };
        bytes[IP_CHECKSUM..IP_CHECKSUM + 2].copy_from_slice(&ip.to_be_bytes());
        bytes[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&udp.to_be_bytes());
        true
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum()
}

fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};
    use sys::FramePool;

    /// etherparse reads back what was patched, and its checksums are ours.
    #[test]
    fn patched_datagrams_are_valid() {
        let mut pool = FramePool::heap(1, 2048);
        for (n, size) in [(1_u64, 64_u16), (2, 65), (3, 594), (4, 1518)] {
            let flow = Endpoint { client: Ipv4Addr::new(198, 19, 0, n as u8), client_port: 1000, port: 65_535 };
            let stamp = Stamp { run: 0xfffe, stream: n as u8, number: (n << 40) + 77, nanos: u64::MAX - n };
            let mut frame = pool.take().unwrap();
            assert!(Template::new(size).unwrap().write(&mut frame, &flow, &stamp));
            assert_eq!(frame.len(), usize::from(size - FCS));
            let packet = SlicedPacket::from_ethernet(frame.bytes()).unwrap();
            let ip = packet.net.as_ref().and_then(|net| net.ipv4_ref()).unwrap().header().to_header();
            assert_eq!((ip.source, ip.destination), (flow.client.octets(), VIP.octets()));
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("no UDP") };
            assert_eq!((udp.source_port(), udp.destination_port()), (1000, 65_535));
            assert_eq!(udp.checksum(), udp.to_header().calc_checksum_ipv4(&ip, udp.payload()).unwrap());
            assert_eq!(Stamp::read(udp.payload()), Some(stamp));
            drop(packet);
            pool.put(frame);
        }
        assert!(Template::new(63).is_err());
    }
}
