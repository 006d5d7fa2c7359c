//! `forward`: what the next hop needs is pushed in front of the packet; what does not fit the way is split or refused.

use conntrack::{ClientLink, Direction};
use sys::{Frame, LinkType};
use vxlan::OVERHEAD;
use wire::{ETHERNET_LEN, IcmpError, ethertype};

use super::known::{FlowFacts, translate};
use super::six::{is_for_six, leaves_as_six, piece_mtu};
use crate::adjacency::{Adjacency, PreparedHop, link_header};
use crate::core::{Core, Role};
use crate::packet::Packet;
use crate::service::{BackendRef, InterfaceIndex, Snapshot};
use crate::verdict::{DropReason, Purpose, SlotIndex, Verdict};

use std::time::Duration;

impl Core {
    /// Sends a rewritten IP packet on in its direction.
    #[inline]
    pub(crate) fn forward(
        &mut self,
        tables: &Snapshot,
        frame: &mut Frame,
        facts: &FlowFacts,
        direction: Direction,
        target: &BackendRef<'_>,
    ) -> Verdict {
        match direction {
            Direction::Original => {
                self.send_to_backend(tables, frame, target.adjacency, vxlan::entropy(&facts.original))
            }
            Direction::Reply => self.send_to_client(tables, frame, facts.client),
        }
    }

    /// Towards a task: through the tunnel if there is one.
    pub(crate) fn send_to_backend(
        &mut self,
        tables: &Snapshot,
        frame: &mut Frame,
        adjacency: &Adjacency,
        entropy: u16,
    ) -> Verdict {
        if adjacency.six {
            return self.send_to_six_backend(tables, frame, adjacency);
        }
        self.tunnelled(frame, adjacency, entropy, ethertype::IPV4)
    }

    /// As [`Core::send_to_backend`], for any inner protocol.
    pub(crate) fn tunnelled(
        &mut self,
        frame: &mut Frame,
        adjacency: &Adjacency,
        entropy: u16,
        inner_type: u16,
    ) -> Verdict {
        if let Some(encap) = &adjacency.encap {
            let inner_len = frame.len();
            let inner_tos = if inner_type == ethertype::IPV4 { frame.bytes().get(1).copied().unwrap_or(0) } else { 0 };
            if !frame.grow_front(OVERHEAD) {
                return Verdict::Drop(DropReason::NoHeadroom);
            }
            let id = self.take_ip_id();
            encap.write(frame.bytes_mut(), inner_len, inner_tos, entropy, id, inner_type);
        }
        match adjacency.hop {
            PreparedHop::Ethernet { interface, header } => self.through(frame, interface, &header),
            PreparedHop::Kernel => self.hand_to_kernel(adjacency.encap.is_some()),
            PreparedHop::Unresolved => Verdict::Drop(DropReason::Unresolved),
        }
    }

    /// Towards a client: back to the neighbour that its packets come from.
    pub(crate) fn send_to_client(&mut self, tables: &Snapshot, frame: &mut Frame, client: ClientLink) -> Verdict {
        if is_for_six(frame.bytes()) {
            return self.send_to_six_client(tables, frame, client);
        }
        self.hand_to_client(tables, frame, client)
    }

    /// Puts the link's header of an IPv4 packet in front.
    #[inline]
    pub(crate) fn hand_to_client(&mut self, tables: &Snapshot, frame: &mut Frame, client: ClientLink) -> Verdict {
        let interface = InterfaceIndex(client.interface);
        let Some(info) = self.interfaces.get(usize::from(client.interface)) else {
            return Verdict::Drop(DropReason::NoDevice);
        };
        if info.link == LinkType::Ip {
            return self.hand_to_kernel(false);
        }
        let header = link_header(tables.interfaces(), interface, client.mac, ethertype::IPV4);
        self.through(frame, interface, &header)
    }

    fn through(&mut self, frame: &mut Frame, interface: InterfaceIndex, header: &[u8; ETHERNET_LEN]) -> Verdict {
        if !frame.grow_front(ETHERNET_LEN) {
            return Verdict::Drop(DropReason::NoHeadroom);
        }
        frame.bytes_mut()[..ETHERNET_LEN].copy_from_slice(header);
        self.egress(interface)
    }

    /// A device of ours on this interface, or else a worker that has one.
    pub(crate) fn egress(&self, interface: InterfaceIndex) -> Verdict {
        if let Some(slot) = self.slot_on(interface) {
            return Verdict::Tx(slot);
        }
        match self.interfaces.get(usize::from(interface.0)).and_then(|info| info.workers.first()) {
            Some(worker) => Verdict::HandOver { worker: *worker, purpose: Purpose::Transmit(interface) },
            None => Verdict::Drop(DropReason::NoDevice),
        }
    }

    /// The device that stands for the kernel: the overlay socket for tunnel packets, the TUN device for others.
    fn hand_to_kernel(&self, tunnel: bool) -> Verdict {
        let fits = |role: Role| (role == Role::OverlaySocket) == tunnel;
        let slot: Option<SlotIndex> = self.slots.iter().position(|slot| slot.link == LinkType::Ip && fits(slot.role));
        slot.map_or(Verdict::Drop(DropReason::NoDevice), Verdict::Tx)
    }

    /// A packet bigger than its way: the sender is told (RFC 1191), or the packet is split (RFC 791).
    #[expect(clippy::too_many_arguments, reason = "the whole context of one packet")]
    pub(crate) fn too_big(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        direction: Direction,
        target: &BackendRef<'_>,
        mtu: usize,
        now: Duration,
    ) -> Verdict {
        if packet.headers.ip.dont_fragment() {
            let error = IcmpError::FragmentationNeeded { mtu: mtu as u16 };
            return self.answer_flow(tables, packet, facts, direction, error, DropReason::TooBig, now);
        }
        if leaves_as_six(facts, direction, target.adjacency) {
            wire::give_udp_checksum(packet.frame.bytes_mut(), &packet.headers);
        }
        translate(packet, &facts.rewrite(direction));
        let bytes = packet.frame.bytes();
        let mtu = piece_mtu(facts, direction, target.adjacency, mtu);
        let write = |piece, buf: &mut [u8]| wire::split(bytes, mtu, piece, buf);
        self.in_pieces(tables, facts, direction, target, mtu, write)
    }

    /// Forwards the pieces of a packet that `write` makes, each in a frame of its own.
    pub(crate) fn in_pieces(
        &mut self,
        tables: &Snapshot,
        facts: &FlowFacts,
        direction: Direction,
        target: &BackendRef<'_>,
        mtu: usize,
        write: impl Fn(usize, &mut [u8]) -> Option<usize>,
    ) -> Verdict {
        for piece in 0.. {
            let Some(mut frame) = self.pool.take() else {
                return Verdict::Drop(DropReason::NoFrame);
            };
            frame.reset();
            let room = frame.tailroom();
            frame.grow_back(room.min(mtu));
            let Some(len) = write(piece, frame.bytes_mut()) else {
                self.pool.put(frame);
                if piece == 0 {
                    return Verdict::Drop(DropReason::TooBig);
                }
                break;
            };
            frame.truncate(len);
            let verdict = self.forward(tables, &mut frame, facts, direction, target);
            self.conclude_frame(frame, verdict);
        }
        Verdict::Consumed
    }
}
