//! Probes: packets of control's own to backends, and what comes back to their ports.

use wire::{FiveTuple, Headers};

use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::probes::{Outgoing, ProbeKind};
use crate::service::Snapshot;
use crate::verdict::{DropReason, Verdict};

/// Probes sent per turn of the worker: bursts wait for them, so few.
const PROBES_PER_TURN: usize = 32;

impl Core {
    /// Whether there are probes for this worker to send.
    #[inline]
    pub(crate) fn has_probes(&self) -> bool {
        self.index == 0 && self.probes.is_waiting()
    }

    /// Sends what control has left. Returns how many packets that was.
    pub(crate) fn send_probes(&mut self, tables: &Snapshot) -> usize {
        if !self.has_probes() {
            return 0;
        }
        let mut sent = 0;
        while sent < PROBES_PER_TURN
            && let Some(outgoing) = self.probes.take()
        {
            sent += 1;
            self.send_probe(tables, &outgoing);
        }
        sent
    }

    fn send_probe(&mut self, tables: &Snapshot, outgoing: &Outgoing) {
        // A check that is under way when its backend goes still says farewell.
        let Some(target) = tables.backend_or_retired(outgoing.backend) else {
            self.counters.dropped(DropReason::BackendGone);
            return;
        };
        let Some(mut frame) = self.pool.take() else {
            self.counters.dropped(DropReason::NoFrame);
            return;
        };
        if !frame.fill(&outgoing.packet) || frame.len() > target.adjacency.mtu {
            return self.drop_frame(frame, DropReason::TooBig);
        }
        let tuple = Headers::parse(frame.bytes(), 0).ok().and_then(|headers| headers.five_tuple());
        let entropy = tuple.map_or(0, |tuple| vxlan::entropy(&tuple));
        let verdict = self.send_to_backend(tables, &mut frame, target.adjacency, entropy);
        if !matches!(verdict, Verdict::Drop(_)) {
            self.counters.probes_sent.add(1);
        }
        self.conclude_frame(frame, verdict);
    }

    /// A packet that belongs to no flow: it may be the answer to a probe. `key` is what a packet from the backend has:
    /// that of the packet itself, or for an ICMP error that of an answer to the packet inside.
    pub(crate) fn probe_answer(&mut self, tables: &Snapshot, packet: &Packet, key: &FiveTuple) -> Option<Verdict> {
        let kind = match packet.origin {
            Origin::Overlay => ProbeKind::Overlay,
            Origin::Link(_) => ProbeKind::Plain,
        };
        // The backends of direct services have no source address in the tables: what is no VIP will do.
        let is_ours = || tables.is_source(key.dst) || !tables.is_vip(key.dst);
        if !self.probes.has_port(kind, key.dst_port) || !is_ours() {
            return None;
        }
        match self.probes.answer(kind, key.dst_port, key.src, packet.frame.bytes()) {
            Ok(()) => {
                self.counters.probes_answered.add(1);
                Some(Verdict::Consumed)
            }
            // A source address for plain routing may be a VIP, with a service at this port.
            Err(DropReason::ProbeUnexpected) if kind == ProbeKind::Plain => None,
            Err(reason) => Some(Verdict::Drop(reason)),
        }
    }
}
