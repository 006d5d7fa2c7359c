//! Whether a packet is whole: its lengths and all its checksums, worked out anew by etherparse, which nothing that is tested uses.

use etherparse::checksum::Sum16BitWords;

use super::view::{TCP, TUNNEL_LEN, UDP, View};

const OUTER_IP: usize = 14;
const OUTER_UDP: usize = 34;

/// Lengths and checksums of the packet, and of the tunnel around it, are right.
#[must_use]
pub fn is_whole(frame: &[u8], view: &View) -> bool {
    let tunnel = || frame.get(OUTER_IP..TUNNEL_LEN).is_some_and(|_| ip(frame, OUTER_IP) && outer_udp(frame));
    (!view.tunnelled || tunnel()) && ip(frame, view.ip) && transport(frame, view)
}

/// The header at `at` sums up to nothing.
fn ip(frame: &[u8], at: usize) -> bool {
    let header = frame.get(at).and_then(|first| frame.get(at..at + usize::from(first & 0xf) * 4));
    header.is_some_and(|header| header.len() >= 20 && Sum16BitWords::new().add_slice(header).ones_complement() == 0)
}

fn transport(frame: &[u8], view: &View) -> bool {
    let Some(segment) = frame.get(view.l4..view.end) else { return false };
    let Some(addresses) = frame.get(view.ip + 12..view.ip + 20) else { return false };
    match view.protocol {
        // Nobody sends without a checksum here, so zero means that somebody has taken it away.
        UDP => word(segment, 4) == segment.len() && word(segment, 6) != 0 && sum(addresses, UDP, segment),
        TCP => sum(addresses, TCP, segment),
        _ => true,
    }
}

/// RFC 7348: the outer checksum is zero, or right.
fn outer_udp(frame: &[u8]) -> bool {
    let end = OUTER_IP + word(frame, OUTER_IP + 2);
    let (Some(segment), addresses) = (frame.get(OUTER_UDP..end), &frame[OUTER_IP + 12..OUTER_UDP]) else {
        return false;
    };
    segment.len() >= 8 && word(segment, 4) == segment.len() && (word(segment, 6) == 0 || sum(addresses, UDP, segment))
}

fn sum(addresses: &[u8], protocol: u8, segment: &[u8]) -> bool {
    let length = (segment.len() as u16).to_be_bytes();
    let pseudo = Sum16BitWords::new().add_slice(addresses).add_2bytes([0, protocol]).add_2bytes(length);
    pseudo.add_slice(segment).ones_complement() == 0
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).map_or(0, |pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn datagram() -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder =
            PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([198, 19, 0, 1], [198, 18, 0, 1], 64).udp(1000, 9000);
        builder.write(&mut bytes, b"an odd payload").unwrap();
        bytes
    }

    fn in_tunnel(inner: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let rest = [&[8, 0, 0, 0, 0, 16, 0, 0][..], inner].concat();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([1, 1, 1, 1], [2, 2, 2, 2], 64).udp(5555, 4789);
        builder.write(&mut bytes, &rest).unwrap();
        bytes
    }

    fn whole(frame: &[u8]) -> bool {
        View::of(frame).is_some_and(|view| is_whole(frame, &view))
    }

    #[test]
    fn every_flipped_bit_of_packet_and_tunnel_is_seen() {
        for good in [datagram(), in_tunnel(&datagram())] {
            assert!(whole(&good));
            // Ethernet headers have no checksum of their own; that of the VXLAN header is the outer UDP's.
            for at in 14..good.len() {
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    assert!(!whole(&bad), "bit {bit} of byte {at} of {}", good.len());
                }
            }
        }
    }

    #[test]
    fn a_missing_checksum_is_a_fault_inside_and_none_outside() {
        let without = |mut frame: Vec<u8>, at: usize| {
            frame[at..at + 2].fill(0);
            frame
        };
        assert!(!whole(&without(datagram(), 40)));
        assert!(whole(&without(in_tunnel(&datagram()), 40)));
    }
}
