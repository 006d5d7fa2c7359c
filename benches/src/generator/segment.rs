//! TCP segments: written by etherparse, read in place.

use std::net::Ipv4Addr;

use etherparse::{PacketBuilder, TcpOptionElement};
use sys::Frame;

use super::network::{CLIENT_MAC, GATEWAY_MACS, VIP};
use super::view::{TCP, TUNNEL_LEN, View};

/// Bytes of payload in a segment that fits the overlay.
pub const MSS: u16 = 1400;
/// What everybody offers.
pub const WINDOW: u16 = 65_000;

/// Control bits that the generator uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are bits of the header, each by itself")]
pub struct Flags {
    /// SYN.
    pub syn: bool,
    /// ACK.
    pub ack: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
}

impl Flags {
    /// SYN alone.
    pub const SYN: Flags = Flags { syn: true, ack: false, fin: false, rst: false };
    /// ACK alone.
    pub const ACK: Flags = Flags { syn: false, ack: true, fin: false, rst: false };
    /// SYN and ACK.
    pub const SYN_ACK: Flags = Flags { syn: true, ..Flags::ACK };
    /// FIN and ACK.
    pub const FIN_ACK: Flags = Flags { fin: true, ..Flags::ACK };
    /// RST and ACK.
    pub const RST_ACK: Flags = Flags { rst: true, ..Flags::ACK };
}

/// A segment without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From.
    pub source: (Ipv4Addr, u16),
    /// To.
    pub target: (Ipv4Addr, u16),
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Receive window.
    pub window: u16,
}

impl Segment {
    /// Reads a segment and its payload.
    #[must_use]
    pub fn read<'a>(frame: &'a [u8], view: &View) -> Option<(Segment, &'a [u8])> {
        let header = frame.get(view.l4..view.end)?;
        if view.protocol != TCP || header.len() < 20 {
            return None;
        }
        let number = |at: usize| header[at..].first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        let (addresses, ports) = (view.addresses(frame)?, view.ports(frame)?);
        let bit = |bit: u8| header[13] & bit != 0;
        let segment = Segment {
            source: (addresses.0, ports.0),
            target: (addresses.1, ports.1),
            seq: number(4)?,
            ack: number(8)?,
            flags: Flags { syn: bit(2), ack: bit(16), fin: bit(1), rst: bit(4) },
            window: u16::from_be_bytes([header[14], header[15]]),
        };
        Some((segment, header.get(usize::from(header[12] >> 4) * 4..)?))
    }

    /// The numbers that it takes: its payload, and one for SYN or FIN.
    #[must_use]
    pub fn span(&self, payload: usize) -> u32 {
        payload as u32 + u32::from(self.flags.syn) + u32::from(self.flags.fin)
    }

    /// Writes it into a frame, inside this envelope.
    #[must_use]
    pub fn write(&self, envelope: &Envelope, payload: &[u8], frame: &mut Frame) -> bool {
        let mut inner = Vec::with_capacity(128 + payload.len());
        let ((source, source_port), (target, target_port)) = (self.source, self.target);
        let mut step = PacketBuilder::ethernet2(envelope.source, envelope.target)
            .ipv4(source.octets(), target.octets(), 64)
            .tcp(source_port, target_port, self.seq, self.window);
        if self.flags.syn {
            let Ok(with) = step.syn().options(&[TcpOptionElement::MaximumSegmentSize(MSS)]) else { return false };
            step = with;
        }
        if self.flags.ack {
            step = step.ack(self.ack);
        }
        if self.flags.fin {
            step = step.fin();
        }
        if self.flags.rst {
            step = step.rst();
        }
        if !payload.is_empty() {
            step = step.psh();
        }
        step.write(&mut inner, payload).is_ok() && envelope.fill(&inner, frame)
    }
}

/// What goes around a packet on its way.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    source: [u8; 6],
    target: [u8; 6],
    tunnel: Option<[u8; TUNNEL_LEN]>,
}

impl Envelope {
    /// From the clients' side to the gateway.
    #[must_use]
    pub fn to_gateway() -> Envelope {
        Envelope { source: CLIENT_MAC.0, target: GATEWAY_MACS[0].0, tunnel: None }
    }

    /// Back to where a frame came from, the same way.
    #[must_use]
    pub fn back(frame: &[u8], view: &View) -> Option<Envelope> {
        let mac = |at: usize| frame.get(at..)?.first_chunk::<6>().copied();
        let (target, source) = (mac(view.link + 6)?, mac(view.link)?);
        let mut tunnel = None;
        if view.tunnelled {
            let mut outer = *frame.first_chunk::<TUNNEL_LEN>()?;
            turn(&mut outer, 0);
            tunnel = Some(outer);
        }
        Some(Envelope { source, target, tunnel })
    }

    fn fill(&self, inner: &[u8], frame: &mut Frame) -> bool {
        let Some(mut outer) = self.tunnel else { return frame.fill(inner) };
        let len = (TUNNEL_LEN - 14 + inner.len()) as u16;
        outer[16..18].copy_from_slice(&len.to_be_bytes());
        outer[38..40].copy_from_slice(&(len - 20).to_be_bytes());
        outer[24..26].fill(0);
        let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&outer[14..34]).ones_complement();
        outer[24..26].copy_from_slice(&sum.to_ne_bytes());
        if !frame.fill(inner) || !frame.grow_front(TUNNEL_LEN) {
            return false;
        }
        frame.bytes_mut()[..TUNNEL_LEN].copy_from_slice(&outer);
        true
    }
}

/// Swaps sender and receiver of the Ethernet and IPv4 headers at `link`. Checksums stay valid.
fn turn(frame: &mut [u8], link: usize) {
    let mut swap = |a: usize, b: usize, len: usize| (0..len).for_each(|n| frame.swap(a + n, b + n));
    swap(link, link + 6, 6);
    swap(link + 26, link + 30, 4);
}

/// Turns a datagram around where it lies: whoever sent it gets it back.
pub fn turn_around(frame: &mut Frame, view: &View) {
    let bytes = frame.bytes_mut();
    turn(bytes, view.link);
    (0..2).for_each(|n| bytes.swap(view.l4 + n, view.l4 + 2 + n));
    if view.tunnelled {
        // The outer ports stay: a tunnel's target port is always the same.
        turn(bytes, 0);
    }
}

/// A segment of a client to the VIP.
#[must_use]
pub fn of_client(client: (Ipv4Addr, u16), port: u16, seq: u32, ack: u32, flags: Flags) -> Segment {
    Segment { source: client, target: (VIP, port), seq, ack, flags, window: WINDOW }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::FramePool;

    #[test]
    fn segments_are_read_as_written_and_answered_inside_a_tunnel() {
        let mut pool = FramePool::heap(2, 2048);
        let (mut frame, mut answer) = (pool.take().unwrap(), pool.take().unwrap());
        let segment = of_client((Ipv4Addr::new(198, 19, 0, 9), 1234), 80, 77, 99, Flags::FIN_ACK);
        assert!(segment.write(&Envelope::to_gateway(), b"payload", &mut frame));
        let view = View::of(frame.bytes()).unwrap();
        assert_eq!(Segment::read(frame.bytes(), &view), Some((segment, &b"payload"[..])));
        assert_eq!(segment.span(7), 8);

        // Put it into a tunnel by hand: outer headers with another length, which the answer must correct.
        let mut outer = Vec::new();
        let rest = [&[8, 0, 0, 0, 0, 16, 0, 0][..], frame.bytes()].concat();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([1, 1, 1, 1], [2, 2, 2, 2], 64)
            .udp(5555, 4789)
            .write(&mut outer, &rest)
            .unwrap();
        assert!(frame.fill(&outer));
        let view = View::of(frame.bytes()).unwrap();
        assert!(view.tunnelled && Segment::read(frame.bytes(), &view).unwrap().0 == segment);
        let back = Envelope::back(frame.bytes(), &view).unwrap();
        let reply = Segment {
            source: segment.target,
            target: segment.source,
            seq: 1,
            ack: 2,
            flags: Flags::SYN_ACK,
            window: WINDOW,
        };
        assert!(reply.write(&back, &[], &mut answer));
        let whole = etherparse::SlicedPacket::from_ethernet(answer.bytes()).unwrap();
        let ip = whole.net.as_ref().and_then(|net| net.ipv4_ref()).unwrap().header().to_header();
        assert_eq!((ip.source, ip.destination), ([2, 2, 2, 2], [1, 1, 1, 1]));
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        drop(whole);
        let view = View::of(answer.bytes()).unwrap();
        assert_eq!(Segment::read(answer.bytes(), &view).unwrap().0, reply);
        pool.put_all([frame, answer]);
    }
}
