//! The PROXY protocol: the header goes in front of the client's stream in a segment of its own, as often as it takes, or in
//! front of the first datagram of a flow.

use std::time::Duration;

use conntrack::{Direction, FlowId, Hit};
use wire::{FiveTuple, L4, Protocol, ProxyHeader, TcpData};

use super::known::FlowFacts;
use super::reply::compose;
use super::splice::plain_syn;
use crate::core::Core;
use crate::packet::Packet;
use crate::service::Snapshot;
use crate::splice::{Overdue, Progress, Splice};
use crate::verdict::{DropReason, Verdict};
use crate::waits::REPEATS_PER_TURN;

/// A client's data follows its handshake at once, the backend's acknowledgment of the header takes a little: it is not
/// sent again sooner than this for what passes. (Loss is repaired later or by timer.)
const GAP: Duration = Duration::from_millis(2);

/// Makes the first packet of a flow one that a header can go in front of.
pub(crate) fn make_room(packet: &mut Packet) -> Result<(), DropReason> {
    match &packet.headers.l4 {
        L4::Tcp(_) => plain_syn(packet),
        _ if packet.headers.ip.is_fragment() => Err(DropReason::ProxyFragment),
        _ => Ok(()),
    }
}

impl Core {
    /// Who the client is and what it asked for.
    fn header(&self, tables: &Snapshot, original: &FiveTuple) -> ProxyHeader {
        let client = self.real_end(tables, original.src, original.src_port);
        let destination = self.real_end(tables, original.dst, original.dst_port);
        ProxyHeader::new(client, destination, original.protocol)
    }

    /// A flow of a service with the PROXY protocol begins with this packet.
    pub(crate) fn introduce(&mut self, tables: &Snapshot, packet: &mut Packet, hit: Hit) -> Result<(), DropReason> {
        let original = self.conntrack.flow(hit.id).original;
        let header = self.header(tables, &original);
        if let L4::Tcp(tcp) = &packet.headers.l4 {
            let start = tcp.seq().wrapping_add(1);
            self.attach(hit.id, Splice::new(header.bytes().len() as u32, start));
            return Ok(());
        }
        let len = header.bytes().len();
        if !packet.frame.grow_front(len) {
            return Err(DropReason::NoHeadroom);
        }
        let headers = wire::Headers::parse(packet.frame.bytes(), len)?;
        let id = self.take_ip_id();
        if !wire::prepend_to_datagram(packet.frame.bytes_mut(), &headers, header.bytes(), id) {
            packet.frame.trim_front(len);
            return Err(DropReason::TooBig);
        }
        packet.headers = wire::Headers::parse(packet.frame.bytes(), 0)?;
        self.counters.proxy_headers.add(1);
        Ok(())
    }

    /// A segment of the client on its way to the backend: the header goes in front of it as long as the backend does not
    /// have it. A verdict if that is the segment's end.
    pub(crate) fn behind_header(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        id: FlowId,
        now: Duration,
    ) -> Option<Verdict> {
        let splice = *self.splices.get(id)?;
        let L4::Tcp(tcp) = &packet.headers.l4 else { return None };
        let tcp = *tcp;
        if tcp.flags().syn() || matches!(splice.progress(), Progress::Opening | Progress::Acknowledged) {
            self.renumber_for_backend(packet, id);
            return None;
        }
        if splice.is_before_start(tcp.seq()) && !is_keepalive(&tcp, splice.start()) {
            // It would lie over the header.
            return Some(Verdict::Drop(DropReason::ProxyOverlap));
        }
        let unsent = splice.progress() == Progress::Unsent;
        if unsent && tcp.flags().rst() {
            self.renumber_for_backend(packet, id);
            return None;
        }
        if unsent && self.conntrack.flow(id).acknowledged(Direction::Original).is_none() {
            // Not the end of the handshake, so nobody that the backend would listen to.
            return Some(Verdict::Drop(DropReason::InvalidSegment));
        }
        self.renumber_for_backend(packet, id);
        let timestamps = tcp.timestamps(packet.frame.bytes()).map(|found| (found.value, found.echo));
        if let Some(splice) = self.splices.get_mut(id).filter(|_| !tcp.flags().rst()) {
            splice.follow(tcp.window(), timestamps);
        }
        if unsent || now >= splice.sent_at + GAP {
            self.send_header(tables, facts, id, now);
        }
        // The header says all that the end of the handshake says.
        let bare = tcp.flags().0 == wire::TcpFlags::ACK.0 && tcp.payload_len() == 0;
        (unsent && bare).then_some(Verdict::Consumed)
    }

    /// Sends the header in the client's name.
    fn send_header(&mut self, tables: &Snapshot, facts: &FlowFacts, id: FlowId, now: Duration) {
        let Some(splice) = self.splices.get(id) else { return };
        let Some(target) = tables.backend_or_retired(facts.backend) else { return };
        let Some(ack) = self.conntrack.flow(id).acknowledged(Direction::Original) else { return };
        let tuple = facts.binding.reply_tuple(Protocol::Tcp).reversed();
        let header = self.header(tables, &facts.original);
        if header.bytes().len() != splice.inserted() {
            // The numbers of the connection leave room for the header that it has begun with, and for no other.
            return;
        }
        let data = TcpData {
            tuple,
            seq: splice.start(),
            ack: ack.wrapping_sub(splice.backend_shift),
            window: splice.window,
            timestamps: splice.timestamps,
            payload: header.bytes(),
        };
        let first = splice.progress() == Progress::Unsent;
        let Some(mut frame) = self.pool.take() else {
            self.counters.dropped(DropReason::NoFrame);
            return;
        };
        compose(&mut frame, |room| wire::write_tcp_data(room, &data));
        let verdict = self.send_to_backend(tables, &mut frame, target.adjacency, vxlan::entropy(&facts.original));
        self.conclude_frame(frame, verdict);
        if first { &self.counters.proxy_headers } else { &self.counters.proxy_headers_repeated }.add(1);
        self.splices.sent(id, now);
    }

    /// Sends headers again that no backend has acknowledged in time; a connection whose backend never does is reset.
    pub(crate) fn repeat_headers(&mut self, tables: &Snapshot, now: Duration) {
        for _ in 0..REPEATS_PER_TURN {
            let conntrack = &self.conntrack;
            let lives = |id| conntrack.get(id).is_some_and(|flow| flow.is_spliced() && !flow.state().is_closed());
            match self.splices.overdue(now, lives) {
                None => break,
                Some(Overdue::Repeat(id)) => {
                    let facts = FlowFacts::of(self.conntrack.flow(id));
                    self.send_header(tables, &facts, id, now);
                }
                Some(Overdue::Over(id)) => {
                    self.counters.dropped(DropReason::ProxyUnacknowledged);
                    self.end_flow(tables, id, now);
                }
            }
        }
    }

    /// The backend acknowledges the byte before the header, again: the header is lost, and what came behind it is not.
    pub(crate) fn repeat_if_asked(&mut self, tables: &Snapshot, packet: &Packet, id: FlowId, now: Duration) {
        let (L4::Tcp(tcp), Some(splice)) = (&packet.headers.l4, self.splices.get(id)) else { return };
        let asks = splice.progress() == Progress::Sent
            && splice.arriving == splice.start()
            && tcp.payload_len() == 0
            && !tcp.flags().syn()
            && now >= splice.sent_at + GAP;
        if asks {
            let facts = FlowFacts::of(self.conntrack.flow(id));
            self.send_header(tables, &facts, id, now);
        }
    }
}

/// Nothing, or one byte of garbage, in front of the first byte: asks whether the other side lives (RFC 1122, 4.2.3.6).
fn is_keepalive(tcp: &wire::Tcp, start: u32) -> bool {
    tcp.payload_len() <= 1 && !tcp.flags().fin() && tcp.seq() == start.wrapping_sub(1)
}
