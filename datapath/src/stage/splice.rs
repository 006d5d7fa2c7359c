//! Renumbering the segments of connections whose ends count differently; see [`crate::splice`].

use std::time::Duration;

use conntrack::{Direction, FlowId, Hit, Resets, State};
use wire::{Headers, L4};

use super::known::FlowFacts;
use super::schedule::opens;
use crate::core::Core;
use crate::packet::Packet;
use crate::service::Snapshot;
use crate::splice::Splice;
use crate::verdict::{DropReason, Verdict};

impl Core {
    /// Puts a splice beside a flow.
    pub(crate) fn attach(&mut self, id: FlowId, splice: Splice) {
        self.splices.insert(id, splice);
        self.conntrack.flow_mut(id).set_spliced();
    }

    /// Before a segment is tracked: a SYN of the client becomes a plain one, a segment of the backend gets the client's
    /// numbers. A verdict if that is its end.
    pub(crate) fn arrive(&mut self, packet: &mut Packet, hit: Hit) -> Option<Verdict> {
        let splice = self.splices.get_mut(hit.id)?;
        match hit.direction {
            Direction::Original => from_client(splice, packet),
            Direction::Reply => from_backend(splice, packet),
        }
    }

    /// The very SYN-ACK that opened the connection, again. The tracker, which does not keep numbers so old, might take it
    /// for one that opens another.
    pub(crate) fn repeats_syn_ack(&self, packet: &Packet, hit: Hit) -> bool {
        let (L4::Tcp(tcp), Direction::Reply) = (&packet.headers.l4, hit.direction) else { return false };
        let is_open = |id| self.conntrack.flow(id).state() != State::SynReceived;
        tcp.flags().syn()
            && is_open(hit.id)
            && self.splices.get(hit.id).is_some_and(|splice| splice.opened_by(tcp.ack(), tcp.seq()))
    }

    /// After a segment was tracked, and believed or at least let pass.
    pub(crate) fn tracked(&mut self, tables: &Snapshot, packet: &Packet, hit: Hit, now: Duration) {
        let (L4::Tcp(tcp), Direction::Reply) = (&packet.headers.l4, hit.direction) else { return };
        let Some(splice) = self.splices.get_mut(hit.id) else { return };
        if tcp.flags().syn() {
            if self.conntrack.flow(hit.id).state() == State::SynReceived {
                let isn = tcp.seq().wrapping_sub(splice.backend_shift);
                splice.answered(tcp.ack(), isn, tcp.options(packet.frame.bytes()).window_scale);
            }
        } else if tcp.flags().ack() {
            splice.hear(splice.arriving);
            self.repeat_if_asked(tables, packet, hit.id, now);
        }
    }

    /// Gives a segment of the client the backend's numbers.
    pub(crate) fn renumber_for_backend(&mut self, packet: &mut Packet, id: FlowId) {
        let L4::Tcp(tcp) = &mut packet.headers.l4 else { return };
        let Some(splice) = self.splices.get(id) else { return };
        if tcp.flags().syn() {
            return;
        }
        let frame = packet.frame.bytes_mut();
        let seq = if tcp.flags().rst() { splice.reset_to_backend(tcp.seq()) } else { splice.for_backend(tcp.seq()) };
        tcp.set_seq(frame, seq);
        let window = splice.window_for_backend(tcp.window());
        if window != tcp.window() {
            tcp.set_window(frame, window);
        }
        let shift = splice.backend_shift.wrapping_neg();
        if shift != 0 {
            tcp.shift_ack(frame, shift);
            tcp.map_sack(frame, |edge| edge.wrapping_add(shift));
        }
    }

    /// Before a segment is sent on: one of the client gets the backend's numbers, and the PROXY header in front of it if
    /// that is due. An answer of ours to one that is too big quotes it as its sender knows it.
    pub(crate) fn depart(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        hit: Hit,
        too_big: bool,
        now: Duration,
    ) -> Option<Verdict> {
        if too_big && packet.headers.ip.dont_fragment() {
            self.restore(packet, hit);
            return None;
        }
        match hit.direction {
            Direction::Original => self.behind_header(tables, packet, facts, hit.id, now),
            Direction::Reply => None,
        }
    }

    /// Gives a segment of the backend its own sequence number back.
    pub(crate) fn restore(&self, packet: &mut Packet, hit: Hit) {
        let (L4::Tcp(tcp), Direction::Reply) = (&mut packet.headers.l4, hit.direction) else { return };
        if !self.conntrack.flow(hit.id).is_spliced() {
            return;
        }
        let Some(splice) = self.splices.get(hit.id) else { return };
        tcp.shift_seq(packet.frame.bytes_mut(), splice.backend_shift.wrapping_neg());
    }

    /// The sequence number of a segment that an ICMP error quotes, as the receiver of the error knows it.
    pub(crate) fn renumber_quote(&self, packet: &mut Packet, icmp: &wire::Icmp, hit: Hit) {
        let Some(splice) = self.splices.get(hit.id).copied() else { return };
        wire::map_quoted_seq(packet.frame.bytes_mut(), icmp, |seq| match hit.direction {
            // The client had sent it, as the backend saw it.
            Direction::Reply => splice.for_client(seq),
            Direction::Original => seq.wrapping_sub(splice.backend_shift),
        });
    }

    /// RSTs of ours have the client's numbers: the one to the backend gets the backend's.
    pub(crate) fn renumber_resets(&self, id: FlowId, resets: &mut Resets) {
        self.reset_of_cookie(id, resets);
        if let (Some(splice), Some(reset)) = (self.splices.get(id), &mut resets.to_backend) {
            reset.seq = splice.reset_to_backend(reset.seq);
            reset.ack = reset.ack.map(|ack| ack.wrapping_sub(splice.backend_shift));
        }
    }
}

fn from_client(splice: &mut Splice, packet: &mut Packet) -> Option<Verdict> {
    let L4::Tcp(tcp) = &packet.headers.l4 else { return None };
    if !opens(tcp.flags()) {
        return None;
    }
    splice.syn(tcp.seq().wrapping_add(1));
    plain_syn(packet).err().map(Verdict::Drop)
}

/// Takes Fast Open out of a SYN: nothing of the client's may come before what is inserted.
pub(crate) fn plain_syn(packet: &mut Packet) -> Result<(), DropReason> {
    let len = wire::without_fast_open(packet.frame.bytes_mut(), &packet.headers);
    packet.frame.truncate(len.ok_or(DropReason::BadTransportHeader)?);
    packet.headers = Headers::parse(packet.frame.bytes(), 0)?;
    Ok(())
}

fn from_backend(splice: &mut Splice, packet: &mut Packet) -> Option<Verdict> {
    let L4::Tcp(tcp) = &mut packet.headers.l4 else { return None };
    let (frame, flags, ack) = (packet.frame.bytes_mut(), tcp.flags(), tcp.ack());
    if flags.syn() && !flags.ack() {
        // SYNs that cross: no server does that, and it would leave nobody to say where the stream begins.
        return Some(Verdict::Drop(DropReason::InvalidSegment));
    }
    if flags.syn() && splice.goes_beyond(ack) {
        return Some(Verdict::Drop(DropReason::ProxySynAck));
    }
    if splice.backend_shift != 0 {
        tcp.shift_seq(frame, splice.backend_shift);
    }
    if !flags.ack() {
        return None;
    }
    let taken = splice.window_taken(ack, flags.syn());
    if taken > 0 {
        tcp.set_window(frame, tcp.window().saturating_sub(taken));
    }
    if !flags.syn() {
        let window = splice.window_for_client(tcp.window(), false);
        if window != tcp.window() {
            tcp.set_window(frame, window);
        }
        splice.arriving = ack;
        let map = |number| splice.for_client(number);
        tcp.set_ack(frame, map(ack));
        if tcp.header_len() > wire::tcp::MIN_HEADER_LEN {
            tcp.map_sack(frame, map);
        }
    }
    None
}
