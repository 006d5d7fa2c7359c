//! Answers made here: RST and ICMP errors, to whoever sent the packet, within the rate limit.

use std::net::Ipv4Addr;
use std::time::Duration;

use conntrack::{Direction, Hit};
use sys::Frame;
use wire::{IcmpError, L4, TcpReset};

use super::icmp::as_reply;
use super::known::{FlowFacts, our_address};
use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::service::Snapshot;
use crate::verdict::{DropReason, Verdict};

impl Core {
    /// Answers a client's segment with a RST, in its own frame.
    pub(crate) fn answer_reset(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        reset: Option<TcpReset>,
        now: Duration,
    ) -> Verdict {
        let (Some(reset), Origin::Link(link)) = (reset, packet.origin) else {
            return Verdict::Drop(DropReason::NoFlowTcp);
        };
        if !self.limiter.allow(now) {
            return Verdict::Drop(DropReason::RateLimited);
        }
        write_reset(&mut packet.frame, &reset);
        as_reply(self.send_to_client(tables, &mut packet.frame, link))
    }

    /// Answers a client's packet with an ICMP error.
    pub(crate) fn answer_icmp(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        error: IcmpError,
        from: Ipv4Addr,
        now: Duration,
    ) -> Verdict {
        let Origin::Link(link) = packet.origin else {
            return Verdict::Drop(DropReason::NoFlow);
        };
        if let Some(reason) = self.write_icmp(packet, error, from, now) {
            return Verdict::Drop(reason);
        }
        as_reply(self.send_to_client(tables, &mut packet.frame, link))
    }

    /// Answers a packet of a known flow, which goes no further for this reason, with an ICMP error towards its sender.
    #[expect(clippy::too_many_arguments, reason = "the whole context of one packet")]
    pub(crate) fn answer_flow(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        direction: Direction,
        error: IcmpError,
        reason: DropReason,
        now: Duration,
    ) -> Verdict {
        if !wire::deserves_icmp_error(&packet.headers) {
            return Verdict::Drop(reason);
        }
        if let Some(unanswered) = self.write_icmp(packet, error, our_address(facts, direction), now) {
            return Verdict::Drop(unanswered);
        }
        let answer = self.back_to_sender(tables, &mut packet.frame, facts, direction);
        self.count_answered(answer, reason)
    }

    pub(crate) fn time_exceeded(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        direction: Direction,
        now: Duration,
    ) -> Verdict {
        self.answer_flow(tables, packet, facts, direction, IcmpError::TimeExceeded, DropReason::TtlExpired, now)
    }

    /// A segment of a flow that was reset: its sender gets a RST that its stack must believe (sequence = its own ack).
    pub(crate) fn refuse(&mut self, tables: &Snapshot, packet: &mut Packet, hit: Hit, now: Duration) -> Verdict {
        let facts = FlowFacts::of(self.conntrack.flow(hit.id));
        let reset = match (&packet.headers.l4, packet.headers.five_tuple()) {
            (L4::Tcp(tcp), Some(tuple)) => wire::reset_for(tcp, tuple),
            _ => None,
        };
        let Some(reset) = reset else { return Verdict::Drop(DropReason::FlowReset) };
        if !self.limiter.allow(now) {
            return Verdict::Drop(DropReason::RateLimited);
        }
        write_reset(&mut packet.frame, &reset);
        let answer = self.back_to_sender(tables, &mut packet.frame, &facts, hit.direction);
        self.count_answered(answer, DropReason::FlowReset)
    }

    /// Counts why a packet was answered instead of sent on. If the answer is dropped in its place, that counts alone.
    pub(super) fn count_answered(&self, answer: Verdict, reason: DropReason) -> Verdict {
        if !matches!(answer, Verdict::Drop(_)) {
            self.counters.dropped(reason);
        }
        answer
    }

    /// Sends an answer of ours back to the side that `direction`'s packets come from.
    pub(crate) fn back_to_sender(
        &mut self,
        tables: &Snapshot,
        frame: &mut Frame,
        facts: &FlowFacts,
        direction: Direction,
    ) -> Verdict {
        match (direction, tables.backend_or_retired(facts.backend)) {
            (Direction::Original, _) => as_reply(self.send_to_client(tables, frame, facts.client)),
            (Direction::Reply, Some(target)) => {
                as_reply(self.send_to_backend(tables, frame, target.adjacency, vxlan::entropy(&facts.original)))
            }
            (Direction::Reply, None) => Verdict::Drop(DropReason::BackendGone),
        }
    }

    /// Replaces the packet by an ICMP error about it; the reason if there may be none.
    fn write_icmp(
        &mut self,
        packet: &mut Packet,
        error: IcmpError,
        from: Ipv4Addr,
        now: Duration,
    ) -> Option<DropReason> {
        if !wire::deserves_icmp_error(&packet.headers) {
            return Some(DropReason::IcmpUnhandled);
        }
        if !self.limiter.allow(now) {
            return Some(DropReason::RateLimited);
        }
        let Some(mut frame) = self.pool.take() else { return Some(DropReason::NoFrame) };
        let (to, about) = (packet.headers.ip.src(), packet.frame.bytes());
        compose(&mut frame, |room| wire::write_icmp_error(room, error, from, to, about));
        self.pool.put(std::mem::replace(&mut packet.frame, frame));
        None
    }

    /// Sends a RST of our own in a frame of its own.
    pub(crate) fn send_reset(
        &mut self,
        tables: &Snapshot,
        reset: &TcpReset,
        facts: &FlowFacts,
        to_sender_of: Direction,
    ) {
        let Some(mut frame) = self.pool.take() else {
            self.counters.dropped(DropReason::NoFrame);
            return;
        };
        write_reset(&mut frame, reset);
        let verdict = self.back_to_sender(tables, &mut frame, facts, to_sender_of);
        self.conclude_frame(frame, verdict);
    }
}

pub(super) fn write_reset(frame: &mut Frame, reset: &TcpReset) {
    compose(frame, |room| wire::write_tcp_reset(room, reset));
}

/// Fills a frame with a packet made here; `write` gets all the room there is, and says how much it took.
pub(super) fn compose(frame: &mut Frame, write: impl FnOnce(&mut [u8]) -> usize) {
    frame.reset();
    let room = frame.tailroom();
    frame.grow_back(room);
    let len = write(frame.bytes_mut());
    frame.truncate(len);
}
