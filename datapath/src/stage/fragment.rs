//! Later fragments: they carry no ports, so their first fragment tells where they belong, in whatever order they come.

use std::time::Duration;

use wire::{FiveTuple, FragmentKey};

use super::known::FlowFacts;
use crate::core::Core;
use crate::fragments::{self, Known};
use crate::packet::Packet;
use crate::service::Snapshot;
use crate::verdict::{DropReason, Purpose, Verdict};

impl Core {
    /// Remembers where a first fragment went.
    pub(crate) fn learn_first_fragment(&mut self, packet: &Packet, tuple: FiveTuple, verdict: Verdict, now: Duration) {
        let ip = &packet.headers.ip;
        if !ip.is_fragment() {
            return;
        }
        let known = match verdict {
            Verdict::HandOver { worker, purpose: Purpose::Track } => Known::Worker(worker),
            Verdict::Tx(_) | Verdict::HandOver { .. } | Verdict::Consumed => Known::Flow(tuple),
            Verdict::Reply(_) | Verdict::Drop(_) | Verdict::Hold => return,
        };
        self.fragments.learn(fragments::key(ip), known, now);
    }

    /// A later fragment follows its first one, or waits for it.
    pub(crate) fn later_fragment(&mut self, tables: &Snapshot, packet: &mut Packet, now: Duration) -> Verdict {
        let key = fragments::key(&packet.headers.ip);
        match self.fragments.lookup(&key) {
            Some(Known::Worker(worker)) => Self::purpose_track(worker),
            Some(Known::Flow(tuple)) => self.follow(tables, packet, &tuple, now),
            None => self.wait(key, now),
        }
    }

    fn wait(&mut self, key: FragmentKey, now: Duration) -> Verdict {
        if !self.fragments.has_room() {
            return Verdict::Drop(DropReason::FragmentNoRoom);
        }
        self.fragments.expect(key, now);
        Verdict::Hold
    }

    fn follow(&mut self, tables: &Snapshot, packet: &mut Packet, tuple: &FiveTuple, now: Duration) -> Verdict {
        let Some(hit) = self.conntrack.lookup(tuple) else {
            return self.follow_alone(tables, packet, tuple, now);
        };
        let facts = FlowFacts::of(self.conntrack.flow(hit.id));
        match tables.backend(facts.backend) {
            Some(target) => self.pass(tables, packet, &facts, hit, &target, now),
            None => Verdict::Drop(DropReason::BackendGone),
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
