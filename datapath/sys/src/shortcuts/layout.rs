//! The tables as `bpf/shortcut.h` has them.

use std::cell::UnsafeCell;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use super::{Arrival, Ends, LentHeaders, LentWay};

/// Flows that can be lent at a time.
pub(super) const SHORTCUTS: usize = 16_384;
pub(super) const BUCKETS: usize = 8_192;
pub(super) const WAYS_OF_A_BUCKET: usize = 8;
/// Longer packets the program cannot sum up.
const LONGEST: u16 = 4096;
/// Ethernet.
pub(super) const LINK_BYTES: usize = 14;
/// Ethernet, IPv4, UDP, VXLAN, Ethernet.
pub(super) const TUNNEL_BYTES: usize = 64;

/// `struct lending`.
#[repr(C)]
pub(super) struct Terms {
    pub(super) key: AtomicU64,
    pub(super) generation: AtomicU32,
    pub(super) vtep: AtomicU32,
    pub(super) tunnel_port: AtomicU32,
}

/// `struct bucket`.
#[repr(C)]
pub(super) struct Bucket {
    pub(super) places: [AtomicU64; WAYS_OF_A_BUCKET],
}

/// `struct seen`.
#[repr(C)]
pub(super) struct Seen {
    pub(super) end: AtomicU32,
    pub(super) ack: AtomicU32,
    pub(super) window: AtomicU16,
    pub(super) scale: AtomicU8,
    pub(super) joined: AtomicU8,
}

/// `struct side`.
#[repr(C)]
pub(super) struct Side {
    pub(super) heard: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) packets: AtomicU32,
    pub(super) seen: Seen,
}

/// `struct queued`.
#[repr(C)]
pub(super) struct Queued {
    pub(super) seen: Seen,
    pub(super) sent: AtomicU32,
}

/// `struct way`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Way {
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) ports: u32,
    pub(super) to_source: u32,
    pub(super) to_destination: u32,
    pub(super) to_ports: u32,
    pub(super) ip_delta: u16,
    pub(super) l4_delta: u16,
    pub(super) mtu: u16,
    pub(super) header_length: u16,
    pub(super) interface: u32,
    pub(super) neighbour: [u8; 6],
    pub(super) any_neighbour: u8,
    pub(super) protocol: u8,
    pub(super) output: u32,
    pub(super) from_vtep: u32,
    pub(super) vni: u32,
    pub(super) inner_mac: [u8; 6],
    pub(super) outer_sum: u16,
    pub(super) header: [[u8; 8]; TUNNEL_BYTES / 8],
}

/// `struct shortcut`.
#[repr(C)]
pub(super) struct Shortcut {
    pub(super) live: AtomicU32,
    pub(super) generation: AtomicU32,
    pub(super) until: AtomicU64,
    pub(super) stamp_delta: AtomicU32,
    pub(super) queued: [Queued; 2],
    pub(super) padding: [u32; 3],
    pub(super) sides: [Side; 2],
    pub(super) ways: UnsafeCell<[Way; 2]>,
}

const _: () = assert!(size_of::<Side>() == 32 && size_of::<Way>() == 128 && size_of::<Shortcut>() == 384);

/// As the program reads it from a packet.
pub(super) fn raw(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

fn raw_ports(ends: &Ends) -> u32 {
    let [source, destination] = [ends.src.port().to_be_bytes(), ends.dst.port().to_be_bytes()];
    u32::from_ne_bytes([source[0], source[1], destination[0], destination[1]])
}

pub(super) fn raw_way(way: &LentWay, protocol: u8) -> Way {
    let mut out = Way {
        source: raw(*way.from.src.ip()),
        destination: raw(*way.from.dst.ip()),
        ports: raw_ports(&way.from),
        to_source: raw(*way.to.src.ip()),
        to_destination: raw(*way.to.dst.ip()),
        to_ports: raw_ports(&way.to),
        mtu: way.mtu.min(LONGEST),
        protocol,
        output: way.output,
        ..Way::default()
    };
    let addresses = [out.source, out.destination, out.to_source, out.to_destination];
    let one_hop = u16::from_ne_bytes([1, 0]);
    out.ip_delta = fold(change(addresses) + u32::from(!one_hop));
    out.l4_delta = fold(change(addresses) + change([out.ports, 0, out.to_ports, 0]));
    match way.arrival {
        Arrival::Neighbour { interface, mac } => (out.interface, out.neighbour) = (interface, mac),
        Arrival::Anywhere => out.any_neighbour = 1,
        Arrival::Tunnel { vtep, vni, mac } => {
            out.from_vtep = raw(vtep);
            out.vni = u32::from_ne_bytes((vni << 8).to_be_bytes());
            out.inner_mac = mac;
        }
    }
    let header = match &way.headers {
        LentHeaders::Link(bytes) => bytes.as_slice(),
        LentHeaders::Tunnel(bytes) => {
            out.outer_sum = outer_sum(bytes);
            bytes.as_slice()
        }
    };
    out.header_length = header.len() as u16;
    for (word, bytes) in out.header.iter_mut().zip(header.chunks(8)) {
        word[..bytes.len()].copy_from_slice(bytes);
    }
    out
}

/// What replacing the first two words by the last two adds to an internet checksum's sum (RFC 1624), in network order.
fn change([old_a, old_b, new_a, new_b]: [u32; 4]) -> u32 {
    let halves = |word: u32| (word & 0xffff) + (word >> 16);
    halves(!old_a) + halves(!old_b) + halves(new_a) + halves(new_b)
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The outer IPv4 header's sum without what is filled in per packet.
fn outer_sum(header: &[u8; TUNNEL_BYTES]) -> u16 {
    let ip = &header[LINK_BYTES..LINK_BYTES + 20];
    let words = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let filled_in = [1, 2, 5];
    let sum = words.enumerate().filter(|(index, _)| !filled_in.contains(index)).map(|(_, word)| word).sum::<u32>();
    fold(sum - u32::from(header[LINK_BYTES + 1]))
}
