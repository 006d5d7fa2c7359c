//! Packets to play: a few templates, and twelve bytes for each packet that say what differs.
//!
//! The list is read in order, so that the bench itself adds no cache miss per packet, whatever order the flows come in.

use std::net::Ipv4Addr;

use sys::{Frame, FramePool};
use wire::Delta;

/// A frame with holes: address, port, and the checksums that cover them.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    ip_at: usize,
    address_at: usize,
    port_at: usize,
    l4_sum_at: usize,
}

/// Which address and port of the (inner) packet vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hole {
    /// The source: packets of clients.
    Source,
    /// The destination: packets of tasks.
    Destination,
}

impl Template {
    /// A frame whose (inner) IPv4 header without options is at `ip_at`, with right checksums for the address 0.0.0.0 and
    /// the port 0 in the hole.
    #[must_use]
    pub fn new(bytes: Vec<u8>, ip_at: usize, hole: Hole) -> Self {
        let l4_at = ip_at + 20;
        let tcp = bytes.get(ip_at + 9) == Some(&6);
        let (address, port) = if hole == Hole::Source { (12, 0) } else { (16, 2) };
        let sum = if tcp { 16 } else { 6 };
        Self { bytes, ip_at, address_at: ip_at + address, port_at: l4_at + port, l4_sum_at: l4_at + sum }
    }

    fn word(&self, at: usize) -> u16 {
        match self.bytes.get(at..at + 2) {
            Some(&[high, low]) => u16::from_be_bytes([high, low]),
            _ => 0,
        }
    }
}

/// One packet: a template and what fills its hole.
#[derive(Clone, Copy, Debug)]
struct Fill {
    template: u16,
    port: u16,
    ip_sum: u16,
    l4_sum: u16,
    address: Ipv4Addr,
}

/// A list of packets that is played over and over.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    templates: Vec<Template>,
    packets: Vec<Fill>,
    next: usize,
    /// Ends after the last packet.
    once: bool,
}

impl Traffic {
    /// No packets yet.
    #[must_use]
    pub fn new(templates: Vec<Template>) -> Self {
        Self { templates, ..Self::default() }
    }

    /// Plays the list one time only.
    #[must_use]
    pub fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Adds a packet: the template's number, and what fills the hole.
    pub fn push(&mut self, template: usize, address: Ipv4Addr, port: u16) {
        let Some(whole) = self.templates.get(template) else { return };
        let on_address = Delta::new().replace32(0, address.to_bits());
        let fill = Fill {
            template: template as u16,
            port,
            ip_sum: on_address.apply(whole.word(whole.ip_at + 10)),
            l4_sum: on_address.replace16(0, port).apply(whole.word(whole.l4_sum_at)),
            address,
        };
        self.packets.push(fill);
    }

    /// Packets in the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The packets as bytes, from the first to the last.
    #[must_use]
    pub fn frames(mut self) -> Vec<Vec<u8>> {
        let mut pool = FramePool::heap(1, 2048);
        let Some(mut frame) = pool.take() else { return Vec::new() };
        let mut frames = Vec::with_capacity(self.len());
        while frames.len() < self.len() && self.write_next(&mut frame) {
            frames.push(frame.bytes().to_vec());
        }
        frames
    }

    /// Writes the next packet; false when there is none.
    pub(crate) fn write_next(&mut self, frame: &mut Frame) -> bool {
        let Some(fill) = self.packets.get(self.next) else { return false };
        self.next += 1;
        if self.next == self.packets.len() && !self.once {
            self.next = 0;
        }
        let Some(whole) = self.templates.get(usize::from(fill.template)) else { return false };
        if !frame.fill(&whole.bytes) {
            return false;
        }
        let bytes = frame.bytes_mut();
        bytes[whole.address_at..whole.address_at + 4].copy_from_slice(&fill.address.octets());
        bytes[whole.port_at..whole.port_at + 2].copy_from_slice(&fill.port.to_be_bytes());
        bytes[whole.ip_at + 10..whole.ip_at + 12].copy_from_slice(&fill.ip_sum.to_be_bytes());
        bytes[whole.l4_sum_at..whole.l4_sum_at + 2].copy_from_slice(&fill.l4_sum.to_be_bytes());
        true
    }
}

/// The numbers below `count` in an order without pattern, the same every time (Fisher-Yates).
#[must_use]
pub fn shuffled(count: usize) -> Vec<u32> {
    let mut state = 1_u64;
    let mut numbers: Vec<u32> = (0..count as u32).collect();
    for at in (1..numbers.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        numbers.swap(at, (state >> 33) as usize % (at + 1));
    }
    numbers
}
