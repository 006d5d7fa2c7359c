//! Datagrams of one-packet services: each is scheduled on its own, none makes a flow. See [`crate::returns`].

use std::net::SocketAddrV4;
use std::time::Duration;

use conntrack::{Direction, NatBinding};
use wire::FiveTuple;

use super::known::{FlowFacts, translate};
use super::six;
use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::returns::WayBack;
use crate::service::{BackendRef, InterfaceIndex, Snapshot};
use crate::verdict::{DropReason, Verdict};

impl Core {
    /// A client's datagram on its way to the backend that was picked for it.
    pub(crate) fn one_packet(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: FiveTuple,
        target: &BackendRef<'_>,
        now: Duration,
    ) -> Verdict {
        let Origin::Link(client) = packet.origin else { return Verdict::Drop(DropReason::NoFlow) };
        if target.adjacency.hop == crate::adjacency::PreparedHop::Unresolved {
            return Verdict::Drop(DropReason::Unresolved);
        }
        let to = SocketAddrV4::new(target.backend.address, target.backend.target_port(key.dst_port));
        let binding = if target.service.direct {
            NatBinding::to_itself(&key)
        } else {
            let range = Self::snat_range(tables, &target.backend.path, self.returns.ports());
            let (flows, way) = (&self.conntrack, (key, client, target.backend.id));
            let is_taken = |answer: &FiveTuple| flows.lookup(answer).is_some();
            match self.returns.send(way, to, &range, is_taken, now) {
                Some(snat) => NatBinding { backend: to, snat },
                None => return Verdict::Drop(DropReason::PortsExhausted),
            }
        };
        self.counters.one_packet_sent.add(1);
        if let Some(stats) = target.backend.stats.worker(self.index) {
            stats.sent_alone();
        }
        let facts = FlowFacts::without_flow(key, binding, client, target.backend.id);
        if packet.headers.ip.is_fragment() {
            self.returns.fragmented(facts);
        }
        self.pass_alone(tables, packet, &facts, Direction::Original, target, now)
    }

    /// An answer to a datagram of a one-packet service, if it is one.
    pub(crate) fn one_packet_answer(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: &FiveTuple,
        now: Duration,
    ) -> Option<Verdict> {
        if self.returns.is_empty() {
            return None;
        }
        let way = self.returns.answered(key, now)?;
        let facts = facts(&way, key);
        let Some(target) = tables.backend_or_retired(way.backend) else {
            return Some(Verdict::Drop(DropReason::BackendGone));
        };
        if (packet.origin == Origin::Overlay) != target.adjacency.encap.is_some() {
            return Some(Verdict::Drop(DropReason::WrongPath));
        }
        Some(self.pass_alone(tables, packet, &facts, Direction::Reply, &target, now))
    }

    /// What an ICMP error about a datagram of ours is about; `key` is that of the answers.
    pub(crate) fn one_packet_facts(&mut self, key: &FiveTuple, now: Duration) -> Option<FlowFacts> {
        self.returns.find(key, now).map(|way| facts(way, key))
    }

    /// A later fragment of a client's datagram, or of an answer, whose first fragment had this key.
    pub(crate) fn follow_alone(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: &FiveTuple,
        now: Duration,
    ) -> Verdict {
        let sent = self.returns.of_fragment(key);
        let direction = if sent.is_some() { Direction::Original } else { Direction::Reply };
        let Some(facts) = sent.or_else(|| self.one_packet_facts(key, now)) else {
            return Verdict::Drop(DropReason::FragmentOrphan);
        };
        match tables.backend_or_retired(facts.backend) {
            Some(target) => self.pass_alone(tables, packet, &facts, direction, &target, now),
            None => Verdict::Drop(DropReason::BackendGone),
        }
    }

    /// Rewrites and forwards a packet that has no flow.
    fn pass_alone(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        direction: Direction,
        target: &BackendRef<'_>,
        now: Duration,
    ) -> Verdict {
        if packet.headers.ip.ttl() <= 1 {
            return self.time_exceeded(tables, packet, facts, direction, now);
        }
        let mtu = match direction {
            Direction::Original => target.adjacency.mtu,
            Direction::Reply => six::client_mtu(facts, tables.link_mtu(InterfaceIndex(facts.client.interface))),
        };
        let mtu = six::mtu_for(&packet.headers.ip, facts, direction, target.adjacency, mtu);
        let len = packet.frame.len();
        let is_refused = len > mtu && packet.headers.ip.dont_fragment();
        if !is_refused && let Some(stats) = target.backend.stats.worker(self.index) {
            stats.packet(direction, len);
        }
        if len > mtu {
            return self.too_big(tables, packet, facts, direction, target, mtu, now);
        }
        translate(packet, &facts.rewrite(direction));
        self.forward(tables, &mut packet.frame, facts, direction, target)
    }
}

fn facts(way: &WayBack, answer: &FiveTuple) -> FlowFacts {
    let backend = SocketAddrV4::new(answer.src, answer.src_port);
    let snat = SocketAddrV4::new(answer.dst, answer.dst_port);
    FlowFacts::without_flow(way.original, NatBinding { backend, snat }, way.client, way.backend)
}
