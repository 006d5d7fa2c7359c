//! What most packets are: of a flow that goes on, with nothing in them that could move its state. They take this short way;
//! whatever is special about a packet or its flow sends it the long way, through `known`, with nothing changed yet. Both ways
//! do the same with the same packet: `tests/pipeline_steady.rs` holds them to it.

use std::time::Duration;

use conntrack::{Direction, Flow, Hit};
use wire::L4;

use super::joined::JOINED;
use super::known::{FlowFacts, count, edit_tcp, translate};
use super::six::has_six_end;
use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::service::{BackendId, BackendRef, InterfaceIndex, Snapshot};
use crate::verdict::Verdict;

impl Core {
    /// Sends a packet on that only its flow's counters and deadline notice. `None`: it goes the long way.
    #[inline]
    pub(crate) fn steady(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        hit: Hit,
        now: Duration,
    ) -> Option<Verdict> {
        let flow = self.conntrack.flow(hit.id);
        if flow.generation != tables.generation().0 as u32 || flow.is_spliced() {
            return None;
        }
        let target = tables.backend(BackendId(flow.backend_id))?;
        if !is_plain(tables, packet, flow, hit.direction, &target) {
            return None;
        }
        let tcp = if let L4::Tcp(tcp) = &packet.headers.l4 { Some(tcp) } else { None };
        let flow = self.conntrack.goes_on(hit.id, hit.direction, tcp, &target.service.idle, now)?;
        count(flow, packet, hit.direction, target.backend.stats.worker(self.index));
        // It fits, so this is where its client is now.
        if let (Direction::Original, Origin::Link(link)) = (hit.direction, packet.origin) {
            flow.client = link;
        }
        let facts = FlowFacts::of(flow);
        edit_tcp(packet, &facts, hit.direction, target.adjacency.mtu);
        translate(packet, &facts.rewrite(hit.direction));
        Some(self.forward(tables, &mut packet.frame, &facts, hit.direction, &target))
    }
}

/// Nothing about this packet's way asks for more than a translation: it does not end here, fits, is all IPv4, and no
/// fragments follow it.
#[inline]
fn is_plain(tables: &Snapshot, packet: &Packet, flow: &Flow, direction: Direction, target: &BackendRef<'_>) -> bool {
    let through_overlay = packet.origin == Origin::Overlay;
    let right_way = match direction {
        Direction::Original => !through_overlay,
        Direction::Reply => through_overlay == target.adjacency.encap.is_some() && !flow.is_direct(),
    };
    let mut mtu = target.adjacency.mtu;
    if direction == Direction::Reply {
        let client_mtu = tables.link_mtu(InterfaceIndex(flow.client.interface));
        mtu = if through_overlay { mtu.min(client_mtu) } else { client_mtu };
    }
    right_way
        && packet.headers.ip.ttl() > 1
        && !packet.headers.ip.is_fragment()
        && packet.frame.len() <= mtu.min(JOINED)
        && !has_six_end(flow.original.src, target.adjacency)
}
