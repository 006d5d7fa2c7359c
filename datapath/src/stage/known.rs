//! A packet of a known flow: re-check its backend after a table change, move its state, rewrite, forward.

use std::net::Ipv4Addr;
use std::time::Duration;

use conntrack::{ClientLink, Direction, Flow, Hit, Invalid, NatBinding, State, Track};
use wire::{FiveTuple, L4, Protocol, Rewrite};

use super::joined::JOINED;
use super::schedule::opens;
use super::six;
use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::service::{BackendId, BackendRef, InterfaceIndex, Phase, Snapshot, WorkerStats};
use crate::verdict::{DropReason, Verdict};

/// IPv4 and TCP headers without options: MTU less this is the MSS.
pub(super) const TCP_IP_HEADERS: usize = 40;

/// Clients send a SYN again after a second, and then after twice as long each time (RFC 6298, 2 and 5.5); half of that, for clocks of
/// all sorts. Who does it sooner does not wait for an answer.
const SOONEST_REPEAT: Duration = Duration::from_millis(500);

/// What the later stages need of a flow, by value.
#[derive(Clone, Copy)]
pub(crate) struct FlowFacts {
    pub(crate) original: FiveTuple,
    pub(crate) binding: NatBinding,
    pub(crate) client: ClientLink,
    pub(crate) backend: BackendId,
    timestamp_delta: u32,
}

impl FlowFacts {
    pub(crate) fn of(flow: &Flow) -> Self {
        Self {
            original: flow.original,
            binding: flow.binding,
            client: flow.client,
            backend: BackendId(flow.backend_id),
            timestamp_delta: flow.timestamp_delta,
        }
    }

    /// Of a packet that makes no flow.
    pub(crate) fn without_flow(
        original: FiveTuple,
        binding: NatBinding,
        client: ClientLink,
        backend: BackendId,
    ) -> Self {
        Self { original, binding, client, backend, timestamp_delta: 0 }
    }

    /// Nothing is translated, answers go around us.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        self.binding.is_identity(&self.original)
    }

    /// The addresses that a packet of this direction leaves with.
    pub(crate) fn rewrite(&self, direction: Direction) -> Rewrite {
        let NatBinding { backend, snat } = self.binding;
        match direction {
            Direction::Original => {
                Rewrite { src: *snat.ip(), dst: *backend.ip(), src_port: snat.port(), dst_port: backend.port() }
            }
            Direction::Reply => Rewrite {
                src: self.original.dst,
                dst: self.original.src,
                src_port: self.original.dst_port,
                dst_port: self.original.src_port,
            },
        }
    }
}

impl Core {
    pub(crate) fn known_flow(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: FiveTuple,
        hit: Hit,
        now: Duration,
    ) -> Verdict {
        if !self.recheck(tables, hit, now) {
            return self.without_backend(tables, packet, key, hit, now);
        }
        let facts = FlowFacts::of(self.conntrack.flow(hit.id));
        let Some(target) = tables.backend_or_retired(facts.backend) else {
            return Verdict::Drop(DropReason::BackendGone);
        };
        if comes_wrong(packet, &facts, hit.direction, &target) {
            return Verdict::Drop(DropReason::WrongPath);
        }
        if self.is_repeated_syn(packet, hit) {
            if self.had_time_to_answer(packet, hit, &target, now)
                && let Some(stats) = target.backend.stats.worker(self.index)
            {
                stats.unanswered();
            }
            if is_left(&target) {
                self.close_flow(tables, hit.id);
                return self.new_flow(tables, packet, key, now);
            }
        }
        let spliced = self.conntrack.flow(hit.id).is_spliced();
        if spliced && let Some(verdict) = self.await_backend(tables, packet, &facts, hit, &target, now) {
            return verdict;
        }
        if spliced && let Some(verdict) = self.arrive(packet, hit) {
            return verdict;
        }
        let track = if spliced && self.repeats_syn_ack(packet, hit) {
            Track::Forward
        } else {
            self.track(packet, hit, &target, now)
        };
        match track {
            Track::Forward => {
                if spliced {
                    self.tracked(tables, packet, hit, now);
                }
                self.pass(tables, packet, &facts, hit, &target, now)
            }
            Track::Reopen => {
                self.replace_flow(tables, hit.id, now);
                self.new_flow(tables, packet, key, now)
            }
            Track::Refused => self.refuse(tables, packet, hit, now),
            Track::Drop(invalid) => Verdict::Drop(reason(invalid)),
        }
    }

    /// A packet of a flow that was reset, or that has just been closed. Its client may begin anew.
    fn without_backend(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: FiveTuple,
        hit: Hit,
        now: Duration,
    ) -> Verdict {
        let begins = matches!(&packet.headers.l4, L4::Tcp(tcp) if opens(tcp.flags()));
        let is_closed = self.conntrack.get(hit.id).is_none();
        match hit.direction {
            Direction::Original if is_closed => self.new_flow(tables, packet, key, now),
            Direction::Original if begins => {
                self.close_flow(tables, hit.id);
                self.new_flow(tables, packet, key, now)
            }
            Direction::Reply if is_closed => Verdict::Drop(DropReason::BackendGone),
            _ => self.refuse(tables, packet, hit, now),
        }
    }

    /// After a table change, the next packet of a flow looks whether its backend still stands. False: it does not; a flow
    /// that nobody takes for a connection is closed then, any other is reset and both ends have been told.
    fn recheck(&mut self, tables: &Snapshot, hit: Hit, now: Duration) -> bool {
        let generation = tables.generation().0 as u32;
        let flow = self.conntrack.flow_mut(hit.id);
        if flow.generation == generation {
            return flow.state() != State::Reset;
        }
        if tables.backend(BackendId(flow.backend_id)).is_some() {
            flow.generation = generation;
            return flow.state() != State::Reset;
        }
        self.end_flow(tables, hit.id, now);
        false
    }

    /// A client sends its SYN again: the backend has not answered the first.
    fn is_repeated_syn(&self, packet: &Packet, hit: Hit) -> bool {
        let L4::Tcp(tcp) = &packet.headers.l4 else { return false };
        hit.direction == Direction::Original
            && tcp.flags().syn()
            && !tcp.flags().ack()
            && self.conntrack.flow(hit.id).state() == State::SynSent
    }

    /// Whether the repeated SYN says that the backend is silent: an honest client has waited for longer before each repetition, and
    /// what has a wrong checksum nobody answers. Of a direct flow we do not hear the answer: it may be the client who is silent, so
    /// each counts once.
    fn had_time_to_answer(&self, packet: &Packet, hit: Hit, target: &BackendRef<'_>, now: Duration) -> bool {
        let flow = self.conntrack.flow(hit.id);
        let sent = flow.packets(Direction::Original).min(8) as u32;
        if flow.is_direct() && sent > 1 {
            return false;
        }
        let waited = now.saturating_sub(self.conntrack.last_heard(hit.id, &target.service.idle));
        let (frame, headers) = (packet.frame.bytes(), &packet.headers);
        waited >= SOONEST_REPEAT * ((1 << sent) - 1)
            && (wire::l4_checksum_ok(frame, headers) || wire::is_checksum_unfinished(frame, headers))
    }

    pub(super) fn track(&mut self, packet: &Packet, hit: Hit, target: &BackendRef<'_>, now: Duration) -> Track {
        let idle = &target.service.idle;
        let before = self.conntrack.flow(hit.id).state();
        let track = if let L4::Tcp(tcp) = &packet.headers.l4 {
            let options = tcp.flags().syn().then(|| tcp.options(packet.frame.bytes()));
            if packet.headers.ip.is_fragment() {
                self.track_first_fragment(hit, tcp, options.as_ref(), idle, now)
            } else {
                self.conntrack.segment(hit.id, hit.direction, tcp, options.as_ref(), idle, now)
            }
        } else {
            self.conntrack.datagram(hit.id, hit.direction, idle, now);
            Track::Forward
        };
        let after = self.conntrack.flow(hit.id).state();
        self.log_move(hit.id, before, after);
        self.count_half_open(target.service, Some(before), Some(after));
        if let Some(stats) = target.backend.stats.worker(self.index) {
            stats.moved(Phase::of(before), Phase::of(after));
            match (hit.direction, before, after) {
                // The client's side only of a direct flow: it acknowledges what we have not seen.
                (Direction::Reply, State::SynSent, State::SynReceived)
                | (Direction::Original, State::SynSent, State::Established | State::FinWait) => stats.answered(),
                (Direction::Reply, State::SynSent, State::Close) => stats.refused(),
                _ => {}
            }
        }
        track
    }

    /// Where the client was heard, if that is elsewhere than before. What passes without being believed may be a stranger's, who
    /// must not lead the flow's answers away.
    fn moved_to(&self, packet: &Packet, hit: Hit) -> Option<ClientLink> {
        let (Direction::Original, Origin::Link(link)) = (hit.direction, packet.origin) else { return None };
        let flow = self.conntrack.flow(hit.id);
        if link == flow.client {
            return None;
        }
        let fits = match &packet.headers.l4 {
            L4::Tcp(tcp) => self.conntrack.is_of_client(hit.id, tcp),
            _ => flow.original.protocol != Protocol::Tcp,
        };
        fits.then_some(link)
    }

    /// Rewrites and forwards a packet that its flow accepts.
    pub(crate) fn pass(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        hit: Hit,
        target: &BackendRef<'_>,
        now: Duration,
    ) -> Verdict {
        if packet.headers.ip.ttl() <= 1 {
            self.restore(packet, hit);
            return self.time_exceeded(tables, packet, facts, hit.direction, now);
        }
        let len = packet.frame.len();
        let spliced = self.conntrack.flow(hit.id).is_spliced();
        if let Some(link) = self.moved_to(packet, hit) {
            self.conntrack.flow_mut(hit.id).client = link;
        }
        let has_six_end = six::has_six_end(facts.original.src, target.adjacency);
        let mut client_mtu = tables.link_mtu(InterfaceIndex(facts.client.interface));
        if has_six_end {
            client_mtu = six::client_mtu(facts, client_mtu);
        }
        if !facts.is_direct() {
            edit_tcp(packet, facts, hit.direction, target.adjacency.mtu.min(client_mtu));
        }
        let mut mtu = if hit.direction == Direction::Original { target.adjacency.mtu } else { client_mtu };
        let limit = if packet.origin == Origin::Overlay { target.adjacency.mtu } else { mtu };
        let is_joined = len > limit.min(JOINED) && self.is_joined(&packet.headers, packet.origin);
        if is_joined {
            mtu = six::segment_mtu(facts, hit.direction, target.adjacency, mtu.min(target.adjacency.mtu));
        } else if has_six_end {
            mtu = six::mtu_for(&packet.headers.ip, facts, hit.direction, target.adjacency, mtu);
        }
        let is_too_big = len > mtu && !is_joined;
        let end = if spliced { self.depart(tables, packet, facts, hit, is_too_big, now) } else { None };
        let is_refused = is_too_big && packet.headers.ip.dont_fragment() || matches!(end, Some(Verdict::Drop(_)));
        if !is_refused {
            let stats = target.backend.stats.worker(self.index);
            count(self.conntrack.flow_mut(hit.id), packet, hit.direction, stats);
        }
        if let Some(verdict) = end {
            return verdict;
        }
        if is_joined {
            return self.segment(tables, packet, facts, hit.direction, target, mtu);
        }
        if is_too_big {
            return self.too_big(tables, packet, facts, hit.direction, target, mtu, now);
        }
        translate(packet, &facts.rewrite(hit.direction));
        self.forward(tables, &mut packet.frame, facts, hit.direction, target)
    }
}

/// Whether a packet of this direction does not come from where it should: what comes through the overlay is a task's, and of a direct
/// flow nothing comes back.
pub(super) fn comes_wrong(packet: &Packet, facts: &FlowFacts, direction: Direction, target: &BackendRef<'_>) -> bool {
    let through_overlay = packet.origin == Origin::Overlay;
    match direction {
        Direction::Original => through_overlay,
        Direction::Reply => through_overlay != target.adjacency.encap.is_some() || facts.is_direct(),
    }
}

/// Counts a packet that is sent on.
#[inline]
pub(super) fn count(flow: &mut Flow, packet: &Packet, direction: Direction, stats: Option<&WorkerStats>) {
    let len = packet.frame.len();
    flow.count(direction, len as u32);
    if let Some(stats) = stats {
        stats.packet(direction, len);
    }
}

/// Whether the backend takes no new flows, and another one of its service does.
pub(super) fn is_left(target: &BackendRef<'_>) -> bool {
    target.backend.weight == 0
        && target.service.backends.iter().any(|other| other.id != target.backend.id && other.weight > 0)
}

/// Addresses, ports and TTL in place.
#[inline]
pub(crate) fn translate(packet: &mut Packet, to: &Rewrite) {
    wire::route(packet.frame.bytes_mut(), &packet.headers, to);
}

/// What only TCP needs: the MSS that fits both ways, and timestamps that come from one clock.
#[inline]
pub(super) fn edit_tcp(packet: &mut Packet, facts: &FlowFacts, direction: Direction, mtu: usize) {
    let L4::Tcp(tcp) = &packet.headers.l4 else { return };
    let frame = packet.frame.bytes_mut();
    if tcp.flags().syn() {
        tcp.clamp_mss(frame, mtu.saturating_sub(TCP_IP_HEADERS) as u16);
    }
    match (facts.timestamp_delta, direction) {
        (0, _) => {}
        (delta, Direction::Original) => tcp.shift_timestamps(frame, delta, 0),
        (delta, Direction::Reply) => tcp.shift_timestamps(frame, 0, delta.wrapping_neg()),
    }
}

fn reason(invalid: Invalid) -> DropReason {
    match invalid {
        Invalid::ResetOutOfWindow => DropReason::ResetOutOfWindow,
        Invalid::FinOutOfWindow => DropReason::FinOutOfWindow,
        Invalid::BadFlags => DropReason::BadTcpFlags,
        Invalid::AfterReset => DropReason::FlowReset,
        Invalid::UnexpectedSyn | Invalid::UnexpectedSynAck | Invalid::BeforeHandshake | Invalid::UnknownFlow => {
            DropReason::InvalidSegment
        }
    }
}

/// The address that our own answers to a side come from.
pub(crate) fn our_address(facts: &FlowFacts, to: Direction) -> Ipv4Addr {
    match to {
        Direction::Original => facts.original.dst,
        Direction::Reply => *facts.binding.snat.ip(),
    }
}
