//! What is lent: a flow as the program must know it, and what it tells of it afterwards.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::layout::{LINK_BYTES, TUNNEL_BYTES};

/// The two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who it says it is from.
    pub src: SocketAddrV4,
    /// Where it goes.
    pub dst: SocketAddrV4,
}

/// How the packets of a direction must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// On this interface (by the kernel's number), from this neighbour.
    Neighbour {
        /// The interface.
        interface: u32,
        /// The source of their Ethernet headers.
        mac: [u8; 6],
    },
    /// On any interface, not through a tunnel.
    Anywhere,
    /// Through a tunnel.
    Tunnel {
        /// Its other end.
        vtep: Ipv4Addr,
        /// Which overlay, below 2^24.
        vni: u32,
        /// Our address inside.
        mac: [u8; 6],
    },
}

/// What packets of a direction leave with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LentHeaders {
    /// An Ethernet header.
    Link([u8; LINK_BYTES]),
    /// All of a tunnel: TOS, lengths, identification and checksum of the outer IPv4 and UDP headers are filled in per packet.
    Tunnel([u8; TUNNEL_BYTES]),
}

/// One direction of a lent flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentWay {
    /// Its packets as they arrive.
    pub from: Ends,
    /// And as they leave.
    pub to: Ends,
    /// How they arrive.
    pub arrival: Arrival,
    /// The longest IP packet that fits, in bytes. Those of more than 4096 are the worker's in any case.
    pub mtu: u16,
    /// What stands in front of the IP packet when it leaves.
    pub headers: LentHeaders,
    /// Through which interface, by [`XdpFilter::output`](crate::XdpFilter::output).
    pub output: u32,
}

/// What the packets of one side have shown. Of UDP only the counters and `heard`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LentSide {
    /// The sequence number after its last byte.
    pub end: u32,
    /// The highest sequence number that it has acknowledged.
    pub ack: u32,
    /// The largest window that it has offered, in units of `1 << scale`.
    pub window: u16,
    /// Its scale, 0 to 14.
    pub scale: u8,
    /// Packets since it was lent.
    pub packets: u32,
    /// Their bytes, of the IP layer.
    pub bytes: u64,
    /// When the last one came, by [`clock::now`](crate::clock::now); to a few milliseconds.
    pub heard: Option<Duration>,
}

/// A flow, to be lent.
#[derive(Clone, Debug)]
pub struct Loan {
    /// 6 or 17.
    pub protocol: u8,
    /// The tables by which it was made: with others ([`Shortcuts::set_terms`](super::Shortcuts::set_terms)) it is over.
    pub generation: u32,
    /// When it is over unless it is prolonged, by [`clock::now`](crate::clock::now).
    pub until: Duration,
    /// What is added to the client's TCP timestamps, and taken from what echoes them.
    pub stamp_delta: u32,
    /// What client and backend have shown.
    pub sides: [LentSide; 2],
    /// From the client, from the backend.
    pub ways: [LentWay; 2],
}
