//! The edge towards IPv6: packets become IPv4 ones between surrogates when they come, and IPv6 ones when they go
//! (`docs/decisions/016`). In between nothing knows the difference, but for the lengths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use conntrack::{ClientLink, Direction};
use sys::Frame;
use wire::ipv6::{FRAGMENT_HEADER_LEN, protocol::ICMP};
use wire::translate::{DONT_FRAGMENT_ABOVE, FRAGMENT_MTU, GROWTH, ROOM, four_to_six, six_to_four};
use wire::{ETHERNET_LEN, Ipv4, Ipv6, Pair, Protocol, ethertype};

use super::known::FlowFacts;
use crate::adjacency::Adjacency;
use crate::core::Core;
use crate::service::{ServiceRef, Snapshot};
use crate::surrogate::{SOMEBODY, is_client, is_surrogate};
use crate::verdict::{DropReason, Verdict};

/// Where the destination stands in an IPv6 header.
const DESTINATION: usize = 24;
/// Where the port of the destination stands in a TCP or UDP header.
const DESTINATION_PORT: usize = 2;
/// `ICMPv6` types below this are errors (RFC 4443 2.1).
const FIRST_QUESTION: u8 = 128;

impl Core {
    /// The frame begins with an IPv6 packet: makes it the IPv4 packet that the stages see.
    #[cold]
    pub(crate) fn arrive_six(&mut self, tables: &Snapshot, frame: &mut Frame) -> Result<(), DropReason> {
        let dst = destination(frame.bytes()).and_then(|address| tables.surrogate(address));
        // What is not for us need not be well formed: hosts on the link say all kinds of things to all of it.
        let dst = dst.ok_or(DropReason::NotOurs)?;
        let ip = Ipv6::parse(frame.bytes(), 0)?;
        let from_backends = tables.is_source(dst);
        let backend = |address| if from_backends { tables.surrogate(address) } else { None };
        let src = match backend(ip.src) {
            Some(backend) => backend,
            None if is_error(frame.bytes(), &ip) => SOMEBODY,
            None => self.hear_client(tables, frame.bytes(), &ip, dst)?,
        };
        let quoted = |address: Ipv6Addr| {
            let ours = (address == ip.dst).then_some(dst);
            ours.or_else(|| backend(address)).or_else(|| self.surrogates.find(address))
        };
        let id = self.next_ip_id.wrapping_add(1);
        let lies = six_to_four(frame.bytes_mut(), &ip, Pair { src, dst }, id, quoted)?;
        self.next_ip_id = id;
        frame.truncate(lies.end);
        frame.trim_front(lies.start);
        Ok(())
    }

    /// The surrogate of a client. Who has none has no flow either, so the lists of the service are asked first: who is kept out
    /// shall not use up the room of others.
    fn hear_client(&self, tables: &Snapshot, packet: &[u8], ip: &Ipv6, dst: Ipv4Addr) -> Result<Ipv4Addr, DropReason> {
        if let Some(known) = self.surrogates.hear_again(ip.src, self.second) {
            return Ok(known);
        }
        if let Some(service) = asked_service(tables, packet, ip, dst) {
            self.let_source_in(service.get(), ip.src.into())?;
        }
        self.surrogates.hear(ip.src, self.second).ok_or(DropReason::ClientsFull)
    }

    /// The frame begins with an IPv4 packet to a surrogate: makes it the IPv6 packet that it stands for.
    #[cold]
    pub(crate) fn leave_six(&self, tables: &Snapshot, frame: &mut Frame) -> Result<(), DropReason> {
        let real = |address| match self.real_address(tables, address) {
            IpAddr::V6(real) => Some(real),
            IpAddr::V4(_) => None,
        };
        let (src, dst) = ends(frame.bytes()).ok_or(DropReason::Truncated)?;
        let to = real(src).zip(real(dst)).map(|(src, dst)| Pair { src, dst }).ok_or(DropReason::ClientForgotten)?;
        if !frame.grow_front(ROOM) {
            return Err(DropReason::NoHeadroom);
        }
        let lies = four_to_six(frame.bytes_mut(), ROOM, to, real)?;
        frame.truncate(lies.end);
        frame.trim_front(lies.start);
        Ok(())
    }

    /// As [`Core::send_to_client`], of a packet to a surrogate.
    #[cold]
    pub(crate) fn send_to_six_client(&mut self, tables: &Snapshot, frame: &mut Frame, client: ClientLink) -> Verdict {
        if let Err(reason) = self.leave_six(tables, frame) {
            return Verdict::Drop(reason);
        }
        let packet_len = frame.len();
        let verdict = self.hand_to_client(tables, frame, client);
        if frame.len() > packet_len
            && let Some(protocol) = frame.bytes_mut().get_mut(ETHERNET_LEN - 2..ETHERNET_LEN)
        {
            protocol.copy_from_slice(&ethertype::IPV6.to_be_bytes());
        }
        verdict
    }

    /// As [`Core::send_to_backend`], for a backend with an IPv6 address.
    #[cold]
    pub(crate) fn send_to_six_backend(
        &mut self,
        tables: &Snapshot,
        frame: &mut Frame,
        adjacency: &Adjacency,
    ) -> Verdict {
        match self.leave_six(tables, frame) {
            Ok(()) => self.tunnelled(frame, adjacency, 0, ethertype::IPV6),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// A flow begins: its client keeps its surrogate until the flow has left the table. False: it has lost it already.
    #[inline]
    pub(crate) fn hold_client(&self, client: Ipv4Addr) -> bool {
        !is_client(client) || self.surrogates.hold(client)
    }

    /// The flow has left the table, or was not opened after all.
    #[inline]
    pub(crate) fn release_client(&self, client: Ipv4Addr) {
        if is_client(client) {
            self.surrogates.release(client);
        }
    }
}

/// Whether lengths have to be looked at: one of the flow's ends has an IPv6 address.
#[inline]
pub(crate) fn has_six_end(client: Ipv4Addr, adjacency: &Adjacency) -> bool {
    is_surrogate(client) || adjacency.six
}

/// The longest IPv4 packet that goes to this flow's client.
#[cold]
pub(crate) fn client_mtu(facts: &FlowFacts, link_mtu: usize) -> usize {
    mtu_towards(facts.original.src, link_mtu)
}

/// The largest IPv4 packet that reaches a client with this address over a link.
pub(crate) fn mtu_towards(client: std::net::Ipv4Addr, link_mtu: usize) -> usize {
    if is_surrogate(client) { link_mtu.saturating_sub(GROWTH) } else { link_mtu }
}

/// The longest packet like this one that goes out in this direction, where `mtu` is for whole packets that may not be cut; a
/// fragment gets one header more. What may be cut must cross any IPv6 link as it leaves us, since nobody cuts it after that
/// (RFC 7915 4).
#[cold]
pub(crate) fn mtu_for(ip: &Ipv4, facts: &FlowFacts, direction: Direction, adjacency: &Adjacency, mtu: usize) -> usize {
    if !leaves_as_six(facts, direction, adjacency) {
        return mtu;
    }
    match (ip.dont_fragment(), ip.is_fragment()) {
        (true, false) => mtu,
        (true, true) => mtu.saturating_sub(FRAGMENT_HEADER_LEN),
        (false, false) => mtu.min(DONT_FRAGMENT_ABOVE),
        (false, true) => mtu.min(FRAGMENT_MTU),
    }
}

/// The longest piece that a packet may be cut into.
pub(crate) fn piece_mtu(facts: &FlowFacts, direction: Direction, adjacency: &Adjacency, mtu: usize) -> usize {
    if leaves_as_six(facts, direction, adjacency) { mtu.min(FRAGMENT_MTU) } else { mtu }
}

/// The longest piece that a joined TCP segment is cut into. How long the sender's own ones are is not known here, and
/// no IPv6 router cuts what is too long for it: what is made here must cross any link.
pub(crate) fn segment_mtu(facts: &FlowFacts, direction: Direction, adjacency: &Adjacency, mtu: usize) -> usize {
    if leaves_as_six(facts, direction, adjacency) { mtu.min(DONT_FRAGMENT_ABOVE) } else { mtu }
}

pub(crate) fn leaves_as_six(facts: &FlowFacts, direction: Direction, adjacency: &Adjacency) -> bool {
    match direction {
        Direction::Original => adjacency.six,
        Direction::Reply => is_surrogate(facts.original.src),
    }
}

/// Whether an IPv4 packet goes to a surrogate.
#[inline]
pub(crate) fn is_for_six(packet: &[u8]) -> bool {
    packet.get(16).is_some_and(|first| *first >= 0xf0)
}

/// Whether an IPv4 packet comes from or goes to a surrogate.
#[inline]
pub(crate) fn is_of_six(packet: &[u8]) -> bool {
    matches!(packet.get(12..17), Some([src, _, _, _, dst]) if *src.max(dst) >= 0xf0)
}

/// Whether an IPv4 packet comes from a surrogate.
#[inline]
pub(crate) fn is_from_six(packet: &[u8]) -> bool {
    packet.get(12).is_some_and(|first| *first >= 0xf0)
}

/// The service that a packet to a surrogate is for, where it says its ports.
fn asked_service<'a>(tables: &'a Snapshot, packet: &[u8], ip: &Ipv6, dst: Ipv4Addr) -> Option<ServiceRef<'a>> {
    let protocol = Protocol::try_from(ip.protocol).ok().filter(|_| !ip.is_later_fragment())?;
    let port: &[u8; 2] = packet.get(ip.payload() + DESTINATION_PORT..)?.first_chunk()?;
    tables.lookup(dst, u16::from_be_bytes(*port), protocol)
}

fn destination(packet: &[u8]) -> Option<Ipv6Addr> {
    let octets: &[u8; 16] = packet.get(DESTINATION..)?.first_chunk()?;
    Some(Ipv6Addr::from(*octets))
}

/// Source and destination of an IPv4 packet.
fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let at = |offset: usize| packet.get(offset..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
    at(12).zip(at(16))
}

fn is_error(packet: &[u8], ip: &Ipv6) -> bool {
    ip.protocol == ICMP && packet.get(ip.payload()).is_some_and(|kind| *kind < FIRST_QUESTION)
}
