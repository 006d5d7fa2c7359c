//! Joined segments: TCP packets that never crossed a wire as they are, since the sender's kernel left cutting them to a card
//! that is not there, or ours joined what had come (veth and virtio, TUN devices, what the overlay socket receives).

use conntrack::{ClientLink, Direction};
use sys::{Frame, LinkType, Segmentation};
use wire::{Headers, L4, TcpFlags};

use super::known::{FlowFacts, translate};
use super::six::is_for_six;
use crate::core::{Core, Role};
use crate::packet::{Origin, Packet};
use crate::service::{BackendRef, InterfaceIndex, Snapshot};
use crate::verdict::{DropReason, Verdict};

/// A joined segment longer than this, which is more than any link's MTU, has a checksum that nobody keeps: right or left
/// unfinished when it came, changed by edits since, and made anew when it is sent. All shorter packets have a finished one.
pub(crate) const JOINED: usize = 9216;

impl Core {
    /// Whether a packet that is longer than its way is a joined segment. Over TUN these have no DF, which the device clears;
    /// a single one without DF may be cut like them. Where `AF_XDP` gives joined ones, two may make one that is no longer than the link's MTU, and
    /// a single one is cut like them, too: telling its sender of the MTU would not help one whose segments fit.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_joined(&self, headers: &Headers, origin: Origin) -> bool {
        let L4::Tcp(tcp) = &headers.l4 else { return false };
        let is_from_kernel = match origin {
            Origin::Overlay => true,
            Origin::Link(client) => {
                let info = self.interfaces.get(usize::from(client.interface));
                let cleared = || !headers.ip.dont_fragment();
                info.is_some_and(|info| info.joins || info.link == LinkType::Ip && cleared())
            }
        };
        is_from_kernel && !tcp.flags().syn() && !headers.ip.is_fragment()
    }

    /// Takes in a packet longer than [`JOINED`]: a joined segment without a walk over its payload, if its checksum is
    /// unfinished.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_long(&mut self, mut frame: Frame, headers: &Headers, origin: Origin, burst: &mut Vec<Packet>) {
        if !self.is_joined(headers, origin) {
            if wire::finish_partial_checksum(frame.bytes_mut(), headers) {
                self.counters.checksums_finished.add(1);
            }
        } else if !wire::is_checksum_unfinished(frame.bytes(), headers) && !wire::l4_checksum_ok(frame.bytes(), headers)
        {
            return self.drop_frame(frame, DropReason::BadTransportHeader);
        }
        burst.push(Packet { frame, headers: *headers, origin, searched: 0, steered: false });
    }

    /// Rewrites and forwards a joined segment, in pieces that fit, or whole to where it is cut later. Every piece gets a
    /// checksum of its own, so the whole one's must have been right.
    #[cold]
    #[inline(never)]
    pub(crate) fn segment(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        facts: &FlowFacts,
        direction: Direction,
        target: &BackendRef<'_>,
        mtu: usize,
    ) -> Verdict {
        let bytes = packet.frame.bytes();
        if bytes.len() <= JOINED && !wire::l4_checksum_ok(bytes, &packet.headers) {
            return Verdict::Drop(DropReason::BadTransportHeader);
        }
        translate(packet, &facts.rewrite(direction));
        // The checksums of the pieces cover the new addresses.
        let headers = match Headers::parse(packet.frame.bytes(), 0) {
            Ok(headers) => headers,
            Err(error) => return Verdict::Drop(error.into()),
        };
        if direction == Direction::Reply
            && self.is_cut_behind(facts.client)
            && !is_for_six(packet.frame.bytes())
            && let Some(data_len) = wire::leave_uncut(packet.frame.bytes_mut(), &headers, mtu)
        {
            return self.send_uncut(tables, &mut packet.frame, &headers, facts.client, data_len);
        }
        let bytes = packet.frame.bytes();
        let write = |piece, buf: &mut [u8]| wire::segment(bytes, &headers, mtu, piece, buf);
        self.in_pieces(tables, facts, direction, target, mtu, write)
    }

    /// Whether the device towards a client cuts what is too long.
    fn is_cut_behind(&self, client: ClientLink) -> bool {
        let role = Role::Interface(InterfaceIndex(client.interface));
        self.slots.iter().any(|slot| slot.cuts_segments && slot.role == role)
    }

    fn send_uncut(
        &mut self,
        tables: &Snapshot,
        frame: &mut Frame,
        headers: &Headers,
        client: ClientLink,
        data_len: usize,
    ) -> Verdict {
        let L4::Tcp(tcp) = &headers.l4 else { return Verdict::Drop(DropReason::BadTransportHeader) };
        let order = Segmentation {
            tcp_offset: tcp.offset() as u16,
            data_offset: (tcp.offset() + tcp.header_len()) as u16,
            data_len: data_len as u16,
            cwr: tcp.flags().contains(TcpFlags::CWR),
        };
        if order.put_before(frame) {
            self.hand_to_client(tables, frame, client)
        } else {
            Verdict::Drop(DropReason::NoHeadroom)
        }
    }
}
