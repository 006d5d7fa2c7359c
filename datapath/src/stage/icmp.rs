//! ICMP: echo to a VIP is answered; errors are translated by the packet inside them (RFC 5508 §4), but for redirects and source
//! quenches, which Linux does not let through a NAT either; all else is dropped.

use std::time::Duration;

use conntrack::Direction;
use wire::{FiveTuple, Headers, Icmp, L4, Rewrite};

use super::known::{FlowFacts, comes_wrong};
use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::service::{InterfaceIndex, Snapshot};
use crate::surrogate::is_surrogate;
use crate::verdict::{DropReason, Verdict};

impl Core {
    pub(crate) fn icmp(&mut self, tables: &Snapshot, packet: &mut Packet, now: Duration) -> Verdict {
        let L4::Icmp(icmp) = packet.headers.l4 else {
            return Verdict::Drop(DropReason::IcmpUnhandled);
        };
        if icmp.goes_far() {
            return self.icmp_error(tables, packet, &icmp, now);
        }
        match packet.origin {
            Origin::Link(link) if icmp.is_echo_request() && tables.is_vip(packet.headers.ip.dst()) => {
                if packet.headers.ip.is_fragment() {
                    return Verdict::Drop(DropReason::IcmpUnhandled);
                }
                if !self.limiter.allow(now) {
                    return Verdict::Drop(DropReason::RateLimited);
                }
                wire::echo_reply_in_place(packet.frame.bytes_mut(), &packet.headers.ip, &icmp);
                as_reply(self.send_to_client(tables, &mut packet.frame, link))
            }
            _ => Verdict::Drop(DropReason::IcmpUnhandled),
        }
    }

    fn icmp_error(&mut self, tables: &Snapshot, packet: &mut Packet, icmp: &Icmp, now: Duration) -> Verdict {
        let inner = match icmp.inner(packet.frame.bytes()) {
            Ok(inner) if !inner.later_fragment => inner,
            Ok(_) => return Verdict::Drop(DropReason::IcmpNoFlow),
            Err(error) => return Verdict::Drop(error.into()),
        };
        // Only what came as IPv6 quotes IPv6.
        if is_surrogate(inner.tuple.src) && !is_surrogate(packet.headers.ip.dst()) {
            return Verdict::Drop(DropReason::ReservedAddress);
        }
        // Errors go to who has sent what they are about. Otherwise anybody could tell a flow's ends anything, by way of any VIP.
        if inner.tuple.src != packet.headers.ip.dst() {
            return Verdict::Drop(DropReason::IcmpNoFlow);
        }
        // The packet inside went the other way: it is what we sent.
        let key = inner.tuple.reversed();
        let hit = self.conntrack.lookup(&key);
        let of_flow = hit.map(|hit| (FlowFacts::of(self.conntrack.flow(hit.id)), hit.direction));
        let of_datagram = || self.one_packet_facts(&key, now).map(|facts| (facts, Direction::Reply));
        let Some((facts, direction)) = of_flow.or_else(of_datagram) else {
            if let Some(verdict) = self.probe_answer(tables, packet, &key) {
                return verdict;
            }
            return self.search(tables, packet, &key);
        };
        let Some(target) = tables.backend(facts.backend) else {
            return Verdict::Drop(DropReason::BackendGone);
        };
        if comes_wrong(packet, &facts, direction, &target) {
            return Verdict::Drop(DropReason::WrongPath);
        }
        if packet.headers.ip.ttl() <= 1 {
            return Verdict::Drop(DropReason::TtlExpired);
        }
        if facts.is_direct() {
            wire::decrement_ttl(packet.frame.bytes_mut(), &packet.headers.ip);
            return self.forward(tables, &mut packet.frame, &facts, direction, &target);
        }
        let mtu = match direction {
            Direction::Original => target.adjacency.mtu,
            Direction::Reply => tables.link_mtu(InterfaceIndex(facts.client.interface)),
        };
        let icmp = &fit(packet, icmp, mtu);
        let outer = facts.rewrite(direction);
        let inner = sent_by_receiver(&outer);
        let tuple = FiveTuple {
            src: inner.src,
            dst: inner.dst,
            src_port: inner.src_port,
            dst_port: inner.dst_port,
            protocol: key.protocol,
        };
        let frame = packet.frame.bytes_mut();
        wire::decrement_ttl(frame, &packet.headers.ip);
        wire::translate_icmp_error(frame, &packet.headers.ip, icmp, outer.src, outer.dst, tuple);
        if let Some(hit) = hit
            && self.conntrack.flow(hit.id).is_spliced()
        {
            self.renumber_quote(packet, icmp, hit);
        }
        self.forward(tables, &mut packet.frame, &facts, direction, &target)
    }

    /// The owner of the flow that an error is about: by port if the task's side sent it, else one worker after the other.
    fn search(&self, tables: &Snapshot, packet: &Packet, key: &FiveTuple) -> Verdict {
        if packet.origin == Origin::Overlay || (tables.is_source(key.dst) && !tables.is_vip(key.dst)) {
            return match self.port_owner(tables, key.dst, key.dst_port) {
                Some(owner) if owner != self.index && !packet.steered => Self::purpose_track(owner),
                _ => Verdict::Drop(DropReason::IcmpNoFlow),
            };
        }
        self.search_further(packet).unwrap_or(Verdict::Drop(DropReason::IcmpNoFlow))
    }
}

/// Cuts an error that is too long for its way: no error may answer it, so its sender would never know.
fn fit(packet: &mut Packet, icmp: &Icmp, mtu: usize) -> Icmp {
    if packet.frame.len() <= mtu || packet.headers.ip.is_fragment() {
        return *icmp;
    }
    let len = wire::shorten_icmp_error(packet.frame.bytes_mut(), &packet.headers.ip, icmp);
    packet.frame.truncate(len);
    match Headers::parse(packet.frame.bytes(), 0) {
        Ok(headers) => packet.headers = headers,
        Err(_) => return *icmp,
    }
    if let L4::Icmp(shorter) = packet.headers.l4 { shorter } else { *icmp }
}

/// The packet that the receiver of an error had sent, which the error is about.
fn sent_by_receiver(outer: &Rewrite) -> Rewrite {
    Rewrite { src: outer.dst, dst: outer.src, src_port: outer.dst_port, dst_port: outer.src_port }
}

/// An answer made here.
pub(crate) fn as_reply(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Tx(slot) => Verdict::Reply(slot),
        other => other,
    }
}
