//! Later fragments: they carry no ports, so their first fragment tells where they belong, in whatever order they come.

use std::time::Duration;

use conntrack::{Hit, Idle, Track};
use wire::{FiveTuple, FragmentKey, Tcp, TcpOptions};

use super::known::FlowFacts;
use crate::core::Core;
use crate::fragments::{self, Known};
use crate::packet::Packet;
use crate::service::{BackendRef, Phase, Snapshot};
use crate::verdict::{DropReason, Purpose, Verdict};

impl Core {
    /// Tracks the first fragment of a segment, and keeps its header as the tracker has seen it: splices renumber what a backend
    /// sends before, and what a client sends after that.
    #[cold]
    pub(super) fn track_first_fragment(
        &mut self,
        hit: Hit,
        tcp: &Tcp,
        options: Option<&TcpOptions>,
        idle: &Idle,
        now: Duration,
    ) -> Track {
        self.fragments.tracked = Some(*tcp);
        self.conntrack.first_fragment(hit.id, hit.direction, tcp, options, idle, now)
    }

    /// Remembers where a first fragment went.
    #[cold]
    pub(crate) fn learn_first_fragment(&mut self, packet: &Packet, tuple: FiveTuple, verdict: Verdict, now: Duration) {
        let tracked = self.fragments.tracked.take();
        let known = match verdict {
            Verdict::HandOver { worker, purpose: Purpose::Track | Purpose::Search(_) } => Known::Worker(worker),
            Verdict::Tx(_) | Verdict::HandOver { purpose: Purpose::Transmit(_), .. } | Verdict::Consumed => {
                Known::Flow(tuple, tracked)
            }
            Verdict::Reply(_) | Verdict::Drop(_) | Verdict::Hold => return,
        };
        self.fragments.learn(fragments::key(&packet.headers.ip), known, now);
    }

    /// A later fragment follows its first one, or waits for it.
    pub(crate) fn later_fragment(&mut self, tables: &Snapshot, packet: &mut Packet, now: Duration) -> Verdict {
        let key = fragments::key(&packet.headers.ip);
        match self.fragments.lookup(&key) {
            Some(Known::Worker(worker)) => self.go_after(packet, worker),
            Some(Known::Flow(tuple, first)) => self.follow(tables, packet, &tuple, first.as_ref(), now),
            None => self.wait(key, now),
        }
    }

    /// A later fragment takes the way of its first one, from worker to worker: at most through all of them and back to where it
    /// came. What they know may be of different datagrams with one identification, and lead in a circle.
    fn go_after(&self, packet: &Packet, worker: usize) -> Verdict {
        if usize::from(packet.searched) >= self.exchange.workers() {
            return Verdict::Drop(DropReason::FragmentOrphan);
        }
        Verdict::HandOver { worker, purpose: Purpose::Search(packet.searched + 1) }
    }

    fn wait(&mut self, key: FragmentKey, now: Duration) -> Verdict {
        if !self.fragments.has_room() {
            return Verdict::Drop(DropReason::FragmentNoRoom);
        }
        self.fragments.expect(key, now);
        Verdict::Hold
    }

    fn follow(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        tuple: &FiveTuple,
        first: Option<&Tcp>,
        now: Duration,
    ) -> Verdict {
        let Some(hit) = self.conntrack.lookup(tuple) else {
            return self.follow_alone(tables, packet, tuple, now);
        };
        let facts = FlowFacts::of(self.conntrack.flow(hit.id));
        let Some(target) = tables.backend(facts.backend) else {
            return Verdict::Drop(DropReason::BackendGone);
        };
        if let Some(first) = first
            && !packet.headers.ip.more_fragments()
        {
            self.recall(tables, hit.id);
            self.complete(packet, hit, first, &target, now);
        }
        let verdict = self.pass(tables, packet, &facts, hit, &target, now);
        self.log_closed(tables);
        verdict
    }

    /// With its last fragment a segment is known to its end, which is what the other side acknowledges.
    fn complete(&mut self, last: &Packet, hit: Hit, first: &Tcp, target: &BackendRef<'_>, now: Duration) {
        let ip = &last.headers.ip;
        let whole = first.completed(ip.fragment_offset_bytes() + ip.payload_len());
        let before = self.conntrack.flow(hit.id).state();
        self.conntrack.complete(hit.id, hit.direction, &whole, &target.service.idle, now);
        let after = self.conntrack.flow(hit.id).state();
        self.log_move(hit.id, before, after);
        self.count_half_open(target.service, Some(before), Some(after));
        if let Some(stats) = target.backend.stats.worker(self.index) {
            stats.moved(Phase::of(before), Phase::of(after));
        }
    }

    /// Fragments whose first one has come by now go on.
    pub(crate) fn release_fragments(&mut self, tables: &Snapshot, now: Duration) {
        while let Some(mut packet) = self.fragments.take_ready() {
            let verdict = self.later_fragment(tables, &mut packet, now);
            self.conclude(&mut packet, verdict);
        }
    }

    /// Drops fragments that waited too long.
    pub(crate) fn expire_fragments(&mut self, now: Duration) {
        while let Some(orphans) = self.fragments.expire(now) {
            for packet in orphans {
                self.drop_frame(packet.frame, DropReason::FragmentOrphan);
            }
        }
    }
}
