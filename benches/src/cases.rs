//! The cases that every figure is given for, by name.

use sys::BURST;
use wire::Protocol;

use crate::gateway::{Connection, Gateway};
use crate::network::{self, BACKENDS, OVERLAY};
use crate::packets::{self, Segment};
use crate::traffic::{Template, Traffic, shuffled};

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Client to task: parse, lookup, NAT, VXLAN encapsulation.
    ToTask,
    /// Task to client: decapsulation, lookup, NAT.
    ToClient,
    /// Both at once, a burst of each a turn.
    Both,
}

impl Way {
    /// All ways.
    pub const ALL: [Way; 3] = [Way::ToTask, Way::ToClient, Way::Both];

    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Way::ToTask => "to_task",
            Way::ToClient => "to_client",
            Way::Both => "both",
        }
    }
}

/// How long the packets are: frames of the clients' side, without FCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 64 bytes.
    Small,
    /// Seven of 64 bytes, four of 594, one of 1464.
    Imix,
    /// 1464 bytes: an IP packet of 1450, the most that fits into the overlay.
    Large,
}

impl Size {
    /// All sizes.
    pub const ALL: [Size; 3] = [Size::Small, Size::Imix, Size::Large];

    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Size::Small => "64B",
            Size::Imix => "imix",
            Size::Large => "1450B",
        }
    }

    const fn frame_lens(self) -> &'static [usize] {
        match self {
            Size::Small => &[64],
            Size::Imix => &[64, 594, 64, 64, 594, 64, 1464, 64, 594, 64, 64, 594],
            Size::Large => &[1464],
        }
    }
}

/// Makes the gateway hear data of all connections in random order, `burst` packets a turn on each side that speaks.
pub fn play_data(gateway: &Gateway, connections: &[Connection], way: Way, size: Size, burst: usize) {
    gateway.silence();
    let order = shuffled(connections.len());
    if way != Way::ToClient {
        gateway.front.play(to_task(connections, &order, size), burst);
    }
    if way != Way::ToTask {
        gateway.back.play(to_client(connections, &order, size), burst);
    }
}

fn to_task(connections: &[Connection], order: &[u32], size: Size) -> Traffic {
    let lens = size.frame_lens();
    let mut traffic = Traffic::new(lens.iter().map(|len| packets::from_client(Segment::Data(*len))).collect());
    for (at, connection) in in_order(connections, order, lens.len()) {
        let (address, port) = network::client(connection.client as usize);
        traffic.push(at % lens.len(), address, port);
    }
    traffic
}

fn to_client(connections: &[Connection], order: &[u32], size: Size) -> Traffic {
    let lens = size.frame_lens();
    let of_task = |n| lens.iter().map(move |len| packets::from_task(n, Segment::Data(*len)));
    let mut traffic = Traffic::new((0..BACKENDS).flat_map(of_task).collect::<Vec<Template>>());
    for (at, connection) in in_order(connections, order, lens.len()) {
        let template = usize::from(connection.backend) * lens.len() + at % lens.len();
        traffic.push(template, OVERLAY, connection.snat_port);
    }
    traffic
}

/// As [`play_data`], with 64-byte datagrams of exchanges that have gone both ways.
pub fn play_datagrams(gateway: &Gateway, exchanges: &[Connection], way: Way, burst: usize) {
    gateway.silence();
    let order = shuffled(exchanges.len());
    let mut there = Traffic::new(vec![packets::datagram(64)]);
    let mut back = Traffic::new((0..BACKENDS).map(packets::datagram_of_task).collect());
    for (_, exchange) in in_order(exchanges, &order, 1) {
        let (address, port) = network::client(exchange.client as usize);
        there.push(0, address, port);
        back.push(usize::from(exchange.backend), OVERLAY, exchange.snat_port);
    }
    if way != Way::ToClient {
        gateway.front.play(there, burst);
    }
    if way != Way::ToTask {
        gateway.back.play(back, burst);
    }
}

/// All connections in this order, again and again until a burst and every length have their turn.
fn in_order<'a>(
    connections: &'a [Connection],
    order: &'a [u32],
    lens: usize,
) -> impl Iterator<Item = (usize, &'a Connection)> {
    let count = order.len().max(BURST * lens);
    order.iter().cycle().filter_map(|n| connections.get(*n as usize)).take(count).enumerate()
}

/// The first packets of `count` new flows, of clients from number `first` on.
#[must_use]
pub fn new_flows(protocol: Protocol, first: usize, count: usize) -> Traffic {
    let template = match protocol {
        Protocol::Tcp => packets::from_client(Segment::Syn),
        Protocol::Udp => packets::datagram(64),
    };
    let mut traffic = Traffic::new(vec![template]).once();
    for n in first..first + count {
        let (address, port) = network::client(n);
        traffic.push(0, address, port);
    }
    traffic
}

/// Packets that the gateway refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not to a VIP.
    NotOurs,
    /// An IPv4 header that is none.
    Malformed,
    /// Data to a service, of a connection that nobody has opened: a RST goes back, as often as the limit allows.
    NoFlow,
    /// From a task, to a SNAT port that nobody holds.
    NoFlowFromTask,
    /// A tunnel packet from a stranger.
    UnknownVtep,
}

impl Refused {
    /// All of them.
    pub const ALL: [Refused; 5] =
        [Refused::NotOurs, Refused::Malformed, Refused::NoFlow, Refused::NoFlowFromTask, Refused::UnknownVtep];

    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Refused::NotOurs => "not_ours",
            Refused::Malformed => "malformed",
            Refused::NoFlow => "no_flow",
            Refused::NoFlowFromTask => "no_flow_from_task",
            Refused::UnknownVtep => "unknown_vtep",
        }
    }
}

/// Makes the gateway hear packets that it refuses, from ever other clients.
pub fn play_refused(gateway: &Gateway, case: Refused, burst: usize) {
    gateway.silence();
    let (remote, template, overlay) = match case {
        Refused::NotOurs => (&gateway.front, packets::to_somebody_else(), false),
        Refused::Malformed => (&gateway.front, packets::malformed(), false),
        Refused::NoFlow => (&gateway.front, packets::from_client(Segment::Data(64)), false),
        Refused::NoFlowFromTask => (&gateway.back, packets::from_task(0, Segment::Data(64)), true),
        Refused::UnknownVtep => (&gateway.back, packets::from_stranger(Segment::Data(64)), true),
    };
    let mut traffic = Traffic::new(vec![template]);
    for n in 0..16 * 1024 {
        // Clients that nothing was ever established for.
        let (address, port) = network::client(40_000_000 + n);
        traffic.push(0, if overlay { OVERLAY } else { address }, port);
    }
    remote.play(traffic, burst);
}
