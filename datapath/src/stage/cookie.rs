//! SYN cookies: SYNs are answered here, without a flow; the flow is opened when the client's answer brings the cookie back, and
//! only then is a backend asked, in the client's name. See `docs/decisions/015-syn-cookies.md`.
//!
//! What is answered or said anew here leaves with a right checksum, so what it is taken from must have come with one.

use std::time::Duration;

use conntrack::{Direction, FlowId, Hit, Resets, State, Track};
use sys::Frame;
use wire::{FiveTuple, Headers, L4, Tcp, TcpFlags, TcpHandshake, TcpOffer, TcpReset};

use super::icmp::as_reply;
use super::known::{FlowFacts, TCP_IP_HEADERS, is_left};
use super::reply::{compose, write_reset};
use super::six;
use crate::core::Core;
use crate::opening::{Late, Opening};
use crate::packet::{Origin, Packet};
use crate::service::{BackendRef, InterfaceIndex, ServiceRef, Snapshot, VirtualService};
use crate::splice::{Scales, Splice};
use crate::verdict::{DropReason, Verdict};
use crate::waits::REPEATS_PER_TURN;

/// Window scale that a client is promised: what Linux takes with its usual buffers. A backend's windows are converted.
const PROMISED_SCALE: u8 = 7;
const SYN_ACK: TcpFlags = TcpFlags(0x12);

impl Core {
    /// Answers a SYN by a cookie, in its own frame, if the service wants that now.
    pub(super) fn bake(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: &FiveTuple,
        service: ServiceRef<'_>,
        now: Duration,
    ) -> Option<Verdict> {
        let (L4::Tcp(tcp), Origin::Link(link)) = (&packet.headers.l4, packet.origin) else { return None };
        let protection = &service.get().protection;
        if !protection.guard.is_baking(protection.syn_cookies, now) {
            return None;
        }
        if !is_intact(packet) {
            return Some(Verdict::Drop(DropReason::BadTransportHeader));
        }
        let options = tcp.options(packet.frame.bytes());
        let TcpOffer { sack_permitted, window_scale, .. } = offer_of(&options);
        let cookie = protection.guard.bake(key, tcp.seq(), offer_of(&options), now);
        let front = tables.link_mtu(InterfaceIndex(link.interface));
        let mss = service.least_mtu.min(six::mtu_towards(key.src, front)).saturating_sub(TCP_IP_HEADERS) as u16;
        let answer = TcpHandshake {
            tuple: key.reversed(),
            flags: SYN_ACK,
            seq: cookie,
            ack: tcp.seq().wrapping_add(1),
            window: 0,
            offer: TcpOffer { mss: Some(mss), sack_permitted, window_scale: window_scale.map(|_| PROMISED_SCALE) },
        };
        if let Some(worker) = protection.guard.worker(self.index) {
            worker.cookies_sent.add(1);
        }
        write_handshake(&mut packet.frame, &answer);
        Some(as_reply(self.send_to_client(tables, &mut packet.frame, link)))
    }

    /// What a client's first segment says that brings a cookie of ours back.
    pub(super) fn read_cookie(
        &self,
        packet: &Packet,
        client: &FiveTuple,
        service: &VirtualService,
        now: Duration,
    ) -> Option<Opening> {
        let L4::Tcp(tcp) = &packet.headers.l4 else { return None };
        let protection = &service.protection;
        let may_be = tcp.flags().ack() && !tcp.flags().syn() && !tcp.flags().rst();
        if !may_be || !protection.guard.expects_cookies(protection.syn_cookies, now) {
            return None;
        }
        let cookie = tcp.ack().wrapping_sub(1);
        // The end of the handshake or the first data; or, as the window is shut, a question about it, one byte before.
        let isns = [tcp.seq().wrapping_sub(1), tcp.seq()];
        let read = |isn| Some((isn, protection.guard.read_cookie(client, isn, cookie, now)?));
        let found = isns.into_iter().find_map(read);
        if let (None, Some(worker)) = (found, protection.guard.worker(self.index)) {
            worker.cookies_rejected.add(1);
        }
        let (isn, offer) = found?;
        Some(Opening { client: *client, isn, cookie, offer, window: tcp.window() })
    }

    /// The worker that the packet came to first, if it went from there through all others.
    pub(super) fn first_asked(&self, packet: &Packet) -> Option<usize> {
        let workers = self.exchange.workers();
        (workers > 1 && !packet.steered).then_some((self.index + 1) % workers)
    }

    /// A flow was opened for a cookie: its backend is being asked.
    pub(super) fn begin_for(&mut self, service: &VirtualService, id: FlowId, opening: Opening, now: Duration) {
        if !self.conntrack.flow(id).is_spliced() {
            self.attach(id, Splice::new(0, opening.isn.wrapping_add(1)));
        }
        if let Some(splice) = self.splices.get_mut(id) {
            splice.cookie = Some(opening.cookie);
        }
        if let Some(worker) = service.protection.guard.worker(self.index) {
            worker.cookies_accepted.add(1);
        }
        self.openings.begin(id, opening, now);
    }

    /// A packet of a flow whose backend is being asked; `None` if it takes the ordinary way.
    pub(super) fn await_backend(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        hit: Hit,
        target: &BackendRef<'_>,
        now: Duration,
    ) -> Option<Verdict> {
        self.splices.get(hit.id)?.cookie?;
        let (L4::Tcp(tcp), State::SynSent) = (&packet.headers.l4, self.conntrack.flow(hit.id).state()) else {
            return None;
        };
        let (tcp, opening) = (*tcp, self.openings.get(hit.id)?);
        let answers = tcp.flags().ack() && tcp.ack() == opening.isn.wrapping_add(1);
        match hit.direction {
            Direction::Original if tcp.flags().rst() => None,
            Direction::Original => Some(Verdict::Drop(DropReason::BeforeBackend)),
            Direction::Reply if !is_intact(packet) => Some(Verdict::Drop(DropReason::BadTransportHeader)),
            Direction::Reply if tcp.flags().rst() => Some(self.refused(tables, packet, facts, hit, target, now)),
            Direction::Reply if tcp.flags().syn() && answers => {
                Some(self.join(tables, packet, facts, &tcp, opening, hit, target, now))
            }
            Direction::Reply if tcp.flags().ack() && !tcp.flags().syn() => {
                Some(self.clear_old(tables, packet, &tcp, facts, target))
            }
            Direction::Reply => Some(Verdict::Drop(DropReason::InvalidSegment)),
        }
    }

    /// The backend has taken the connection: it gets the end of the handshake, and the client gets a window.
    #[expect(clippy::too_many_arguments, reason = "the whole context of one packet")]
    fn join(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        tcp: &Tcp,
        opening: Opening,
        hit: Hit,
        target: &BackendRef<'_>,
        now: Duration,
    ) -> Verdict {
        let Some(spare) = self.pool.take() else { return Verdict::Drop(DropReason::NoFrame) };
        let options = tcp.options(packet.frame.bytes());
        let scales = Scales::new(PROMISED_SCALE, options.window_scale, opening.offer.window_scale);
        self.openings.end(hit.id);
        let Some(splice) = self.splices.get_mut(hit.id) else { return self.give_back(spare, DropReason::NoFlow) };
        splice.join(tcp.ack(), tcp.seq(), options.window_scale, scales);
        let window = tcp.window().saturating_sub(splice.window_taken(tcp.ack(), true));
        let in_client_units = splice.window_for_client(window, true);
        // What the client would have seen of it.
        let offer = TcpOffer { window_scale: opening.offer.window_scale.map(|_| PROMISED_SCALE), ..offer_of(&options) };
        let reply = self.conntrack.flow(hit.id).reply_tuple();
        let seen = TcpHandshake { tuple: reply, flags: SYN_ACK, seq: opening.cookie, ack: tcp.ack(), window, offer };
        if !become_segment(packet, &seen) {
            return self.give_back(spare, DropReason::NoHeadroom);
        }
        if self.track(packet, hit, target, now) != Track::Forward {
            return self.give_back(spare, DropReason::InvalidSegment);
        }
        self.tracked(tables, packet, hit, now);
        self.end_handshake(tables, spare, facts, &opening, hit.id, now);
        let next = opening.cookie.wrapping_add(1);
        let open = TcpHandshake { flags: TcpFlags::ACK, seq: next, window: in_client_units, ..seen };
        if !become_segment(packet, &open) {
            return Verdict::Drop(DropReason::NoHeadroom);
        }
        self.pass(tables, packet, facts, hit, target, now)
    }

    /// The client's own ACK came long ago: it is sent again, in a frame of its own.
    fn end_handshake(
        &mut self,
        tables: &Snapshot,
        spare: Frame,
        facts: &FlowFacts,
        opening: &Opening,
        id: FlowId,
        now: Duration,
    ) {
        let ack = TcpHandshake {
            tuple: opening.client,
            flags: TcpFlags::ACK,
            seq: opening.isn.wrapping_add(1),
            ack: opening.cookie.wrapping_add(1),
            window: opening.window,
            offer: TcpOffer::default(),
        };
        let Some(mut packet) = self.made_here(spare, &ack, facts) else { return };
        let hit = Hit { id, direction: Direction::Original };
        let verdict = self.known_flow(tables, &mut packet, opening.client, hit, now);
        self.conclude(&mut packet, verdict);
    }

    /// A segment in the client's name.
    fn made_here(&mut self, mut frame: Frame, segment: &TcpHandshake, facts: &FlowFacts) -> Option<Packet> {
        write_handshake(&mut frame, segment);
        match Headers::parse(frame.bytes(), 0) {
            Ok(headers) => {
                let origin = Origin::Link(facts.client);
                Some(Packet { frame, headers, origin, searched: 0, steered: true })
            }
            Err(error) => {
                self.drop_frame(frame, error.into());
                None
            }
        }
    }

    fn give_back(&mut self, frame: Frame, reason: DropReason) -> Verdict {
        self.pool.put(frame);
        Verdict::Drop(reason)
    }

    /// The backend refuses. The client takes its connection for open: it gets a RST that it must believe.
    fn refused(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        hit: Hit,
        target: &BackendRef<'_>,
        now: Duration,
    ) -> Verdict {
        let track = self.track(packet, hit, target, now);
        let ended = track == Track::Forward && self.conntrack.flow(hit.id).state() == State::Close;
        let Some(reset) = self.reset_to_client(hit.id).filter(|_| ended) else {
            return Verdict::Drop(DropReason::ResetOutOfWindow);
        };
        self.openings.end(hit.id);
        write_reset(&mut packet.frame, &reset);
        as_reply(self.send_to_client(tables, &mut packet.frame, facts.client))
    }

    /// The backend still holds an older connection of this SNAT port: a RST with the number that it names clears it away
    /// (RFC 9293, figure 9), and the SYN, sent again, will find it free.
    fn clear_old(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        tcp: &Tcp,
        facts: &FlowFacts,
        target: &BackendRef<'_>,
    ) -> Verdict {
        let tuple = facts.binding.reply_tuple(facts.original.protocol).reversed();
        write_reset(&mut packet.frame, &TcpReset { tuple, seq: tcp.ack(), ack: None });
        let entropy = vxlan::entropy(&facts.original);
        as_reply(self.send_to_backend(tables, &mut packet.frame, target.adjacency, entropy))
    }

    /// Sends SYNs again that no backend has answered in time; a connection that none takes is reset.
    pub(crate) fn repeat_syns(&mut self, tables: &Snapshot, now: Duration) {
        for _ in 0..REPEATS_PER_TURN {
            let (conntrack, splices) = (&self.conntrack, &self.splices);
            let waits = |id, opening: &Opening| {
                let flow = conntrack.get(id).filter(|flow| flow.is_spliced() && flow.original == opening.client);
                let cookie = splices.get(id).and_then(|splice| splice.cookie);
                flow.is_some_and(|flow| flow.state() == State::SynSent) && cookie == Some(opening.cookie)
            };
            match self.openings.late(now, waits) {
                None => break,
                Some(Late::Again(id, opening)) => self.repeat_syn(tables, id, &opening, now),
                Some(Late::Over(id)) => {
                    self.end_flow(tables, id, now);
                    self.openings.end(id);
                }
            }
        }
    }

    fn repeat_syn(&mut self, tables: &Snapshot, id: FlowId, opening: &Opening, now: Duration) {
        let facts = FlowFacts::of(self.conntrack.flow(id));
        let Some(target) = tables.backend_or_retired(facts.backend) else { return };
        let Some(frame) = self.pool.take() else { return };
        let Some(mut packet) = self.made_here(frame, &opening.syn(), &facts) else { return };
        if let Some(stats) = target.backend.stats.worker(self.index) {
            stats.unanswered();
        }
        let original = &opening.client;
        if is_left(&target)
            && let Some(service) = tables.lookup(original.dst, original.dst_port, original.protocol)
        {
            return self.ask_another(tables, packet, id, opening, service, now);
        }
        let hit = Hit { id, direction: Direction::Original };
        let verdict = self.pass(tables, &mut packet, &facts, hit, &target, now);
        self.conclude(&mut packet, verdict);
    }

    /// The backend takes no new flows by now: another one is asked, as for a client that sends its SYN again. If there is none after
    /// all, the client hears it, which takes its connection for open.
    fn ask_another(
        &mut self,
        tables: &Snapshot,
        mut packet: Packet,
        id: FlowId,
        opening: &Opening,
        service: ServiceRef<'_>,
        now: Duration,
    ) {
        let (facts, reset) = (FlowFacts::of(self.conntrack.flow(id)), self.reset_to_client(id));
        self.openings.end(id);
        // Between the one flow and the other nobody else keeps an IPv6 client's surrogate.
        let is_held = self.hold_client(opening.client.src);
        self.close_flow(tables, id);
        let verdict = self.serve(tables, &mut packet, opening.client, service, Some(*opening), now);
        self.conclude(&mut packet, verdict);
        if is_held {
            self.release_client(opening.client.src);
        }
        if let (None, Some(reset)) = (self.conntrack.lookup(&opening.client), reset) {
            self.send_reset(tables, &reset, &facts, Direction::Original);
        }
    }

    /// Whether the flow's client takes its connection for open, whatever the backend will say.
    pub(crate) fn was_opened_by_cookie(&self, id: FlowId) -> bool {
        self.conntrack.flow(id).is_spliced() && self.splices.get(id).is_some_and(|splice| splice.cookie.is_some())
    }

    /// The client of a flow whose backend is being asked expects what follows the cookie.
    pub(super) fn reset_of_cookie(&self, id: FlowId, resets: &mut Resets) {
        if let Some(reset) = self.reset_to_client(id) {
            resets.to_client = Some(reset);
        }
    }

    fn reset_to_client(&self, id: FlowId) -> Option<TcpReset> {
        let cookie = self.splices.get(id)?.cookie?;
        let Opening { client, isn, .. } = self.openings.get(id)?;
        Some(TcpReset { tuple: client.reversed(), seq: cookie.wrapping_add(1), ack: Some(isn.wrapping_add(1)) })
    }
}

impl Opening {
    /// The SYN that the client sent, as far as it is remembered.
    fn syn(&self) -> TcpHandshake {
        // A SYN's window is not scaled.
        let window = u32::from(self.window) << self.offer.window_scale.unwrap_or(0).min(14);
        TcpHandshake {
            tuple: self.client,
            flags: TcpFlags::SYN,
            seq: self.isn,
            ack: 0,
            window: window.min(u16::MAX.into()) as u16,
            offer: self.offer,
        }
    }
}

/// Nobody else looks at this packet's checksum.
pub(super) fn is_intact(packet: &Packet) -> bool {
    wire::l4_checksum_ok(packet.frame.bytes(), &packet.headers)
}

fn offer_of(options: &wire::TcpOptions) -> TcpOffer {
    let wire::TcpOptions { mss, sack_permitted, window_scale, .. } = *options;
    TcpOffer { mss, sack_permitted, window_scale }
}

/// Turns the segment that brought a cookie into the SYN that the cookie stands for.
pub(super) fn become_syn(packet: &mut Packet, opening: &Opening) -> bool {
    become_segment(packet, &opening.syn())
}

fn become_segment(packet: &mut Packet, segment: &TcpHandshake) -> bool {
    write_handshake(&mut packet.frame, segment);
    let headers = Headers::parse(packet.frame.bytes(), 0);
    headers.map(|headers| packet.headers = headers).is_ok()
}

fn write_handshake(frame: &mut Frame, segment: &TcpHandshake) {
    compose(frame, |room| wire::write_tcp_handshake(room, segment));
}
