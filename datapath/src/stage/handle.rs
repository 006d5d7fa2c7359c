//! The fork after `track`: known flow, new flow, ICMP, fragment, or none of these.

use std::time::Duration;

use conntrack::Hit;
use wire::{FiveTuple, L4};

use super::schedule::opens;
use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::service::Snapshot;
use crate::verdict::{DropReason, Purpose, Verdict};

impl Core {
    /// Takes a classified packet that is not steady to its end. `hit` is the flow of `key`. Out of line, so that it leaves the
    /// registers to packets that are steady.
    #[inline(never)]
    pub(crate) fn handle(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: Option<FiveTuple>,
        hit: Option<Hit>,
        now: Duration,
    ) {
        let verdict = match (key, &packet.headers.l4) {
            (Some(key), _) => {
                let verdict = self.handle_flow(tables, packet, key, hit, now);
                self.log_closed(tables);
                if packet.headers.ip.is_fragment() {
                    self.learn_first_fragment(packet, key, verdict, now);
                }
                verdict
            }
            (None, L4::Icmp(_)) => self.icmp(tables, packet, now),
            (None, L4::LaterFragment) => self.later_fragment(tables, packet, now),
            (None, _) => Verdict::Drop(DropReason::UnsupportedProtocol),
        };
        self.conclude(packet, verdict);
        self.release_fragments(tables, now);
    }

    fn handle_flow(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: FiveTuple,
        hit: Option<Hit>,
        now: Duration,
    ) -> Verdict {
        if let Some(hit) = hit {
            return self.known_flow(tables, packet, key, hit, now);
        }
        if let Some(verdict) = self.probe_answer(tables, packet, &key) {
            return verdict;
        }
        if let Some(verdict) = self.one_packet_answer(tables, packet, &key, now) {
            return verdict;
        }
        if let Some(verdict) = self.unknown_reply(tables, packet, &key) {
            return verdict;
        }
        self.new_flow(tables, packet, key, now)
    }

    /// A packet to one of our SNAT addresses without a flow here: its port tells the worker that owns the flow.
    fn unknown_reply(&self, tables: &Snapshot, packet: &Packet, key: &FiveTuple) -> Option<Verdict> {
        let is_reply = match packet.origin {
            Origin::Overlay => true,
            Origin::Link(_) => tables.is_source(key.dst) && tables.is_plain_backend(key.src, key.src_port),
        };
        if !is_reply {
            return None;
        }
        let owner = self.port_owner(tables, key.dst, key.dst_port);
        if asks_for_service(tables, packet, key, owner) {
            return None;
        }
        match owner {
            Some(owner) if owner != self.index && !packet.steered => Some(Self::purpose_track(owner)),
            _ => Some(Verdict::Drop(DropReason::NoFlow)),
        }
    }

    /// The next worker that may know the flow of a packet of a client; none when all have been asked.
    ///
    /// A flow's packets stay on one queue, by the card's hash, but for fragments: those are spread by their addresses alone.
    /// Between Linux machines over veth or virtio whole ones may move too: the sender's kernel takes another queue after a
    /// timeout (`sk_rethink_txhash`).
    pub(crate) fn search_further(&self, packet: &Packet) -> Option<Verdict> {
        let (workers, searched) = (self.exchange.workers(), packet.searched + 1);
        if packet.steered || usize::from(searched) >= workers {
            return None;
        }
        Some(Verdict::HandOver { worker: (self.index + 1) % workers, purpose: Purpose::Search(searched) })
    }
}

/// A backend's host may be a client, too, also of a VIP that is our SNAT address: no reply is a plain SYN, or comes to a port that
/// is nobody's for translation.
fn asks_for_service(tables: &Snapshot, packet: &Packet, key: &FiveTuple, owner: Option<usize>) -> bool {
    let is_syn = || matches!(&packet.headers.l4, L4::Tcp(tcp) if opens(tcp.flags()));
    matches!(packet.origin, Origin::Link(_))
        && (owner.is_none() || is_syn())
        && tables.lookup(key.dst, key.dst_port, key.protocol).is_some()
}
