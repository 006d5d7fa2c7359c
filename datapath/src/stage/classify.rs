//! `classify`: from the bytes of a frame to an IP packet with parsed headers, or to the end of its way.

use conntrack::ClientLink;
use sys::{Frame, LinkType};
use wire::{Datagram, ETHERNET_LEN, Headers, L4, Malformed, ethertype};

use super::joined::JOINED;
use super::six::is_of_six;
use super::tunnel;
use crate::core::{Core, Role};
use crate::packet::{Origin, Packet};
use crate::service::Snapshot;
use crate::verdict::{DropReason, SlotIndex, Verdict};

/// A frame that has reached its end already.
pub(crate) type Done = (Frame, Verdict);

/// Where the IP packet of a frame begins, and who sent it on the link.
struct Link {
    offset: usize,
    origin: Origin,
}

impl Core {
    /// One forward pass over the headers of a received frame. A packet that goes on is put straight to the others of its
    /// burst: it is too large to be handed up from call to call.
    #[inline]
    pub(crate) fn classify(
        &mut self,
        tables: &Snapshot,
        slot: SlotIndex,
        mut frame: Frame,
        burst: &mut Vec<Packet>,
    ) -> Result<(), Done> {
        let link = match self.link(slot, frame.bytes(), ethertype::IPV4) {
            Ok(link) => link,
            Err(reason) => return self.classify_six(tables, slot, frame, reason, burst),
        };
        frame.trim_front(link.offset);
        let outer =
            Datagram::at_front(frame.bytes()).filter(|outer| tables.tunnel() == Some((outer.dst, outer.dst_port)));
        let overlay = match outer.as_ref().map(|outer| self.decapsulate(tables, &mut frame, outer)) {
            None => None,
            Some(Ok(overlay)) => Some(overlay),
            Some(Err(verdict)) => return Err((frame, verdict)),
        };
        let mut headers = match Headers::parse(frame.bytes(), 0) {
            Ok(headers) => headers,
            Err(error) => return Err((frame, Verdict::Drop(error.into()))),
        };
        let mut origin = link.origin;
        if let (Some(outer), Some(overlay)) = (&outer, overlay) {
            if let Err(reason) = tunnel::enter(overlay, outer.tos, &mut frame, &mut headers) {
                return Err((frame, Verdict::Drop(reason)));
            }
            origin = Origin::Overlay;
        } else if for_tunnel(tables, &headers) {
            return self.classify_odd_outer(tables, frame, &headers, burst);
        }
        self.packet(frame, &headers, origin, burst);
        Ok(())
    }

    /// A packet for our end of the tunnels that could not be taken at first sight: with IPv4 options, or in fragments.
    #[cold]
    fn classify_odd_outer(
        &mut self,
        tables: &Snapshot,
        mut frame: Frame,
        outer: &Headers,
        burst: &mut Vec<Packet>,
    ) -> Result<(), Done> {
        let Some(outer) = Datagram::of(outer) else {
            return Err((frame, Verdict::Drop(DropReason::OuterFragment)));
        };
        let overlay = match self.decapsulate(tables, &mut frame, &outer) {
            Ok(overlay) => overlay,
            Err(verdict) => return Err((frame, verdict)),
        };
        let entered = Headers::parse(frame.bytes(), 0).map_err(DropReason::from).and_then(|mut headers| {
            tunnel::enter(overlay, outer.tos, &mut frame, &mut headers)?;
            Ok(headers)
        });
        match entered {
            Ok(headers) => {
                self.packet(frame, &headers, Origin::Overlay, burst);
                Ok(())
            }
            Err(reason) => Err((frame, Verdict::Drop(reason))),
        }
    }

    /// A frame that is not IPv4, for this reason: an IPv6 packet, or the end of its way.
    #[cold]
    fn classify_six(
        &mut self,
        tables: &Snapshot,
        slot: SlotIndex,
        mut frame: Frame,
        reason: DropReason,
        burst: &mut Vec<Packet>,
    ) -> Result<(), Done> {
        let Ok(link) = self.link(slot, frame.bytes(), ethertype::IPV6) else {
            return Err((frame, Verdict::Drop(reason)));
        };
        frame.trim_front(link.offset);
        let arrived = self.arrive_six(tables, &mut frame);
        match arrived.and_then(|()| Ok(Headers::parse(frame.bytes(), 0)?)) {
            Ok(headers) => {
                self.packet(frame, &headers, link.origin, burst);
                Ok(())
            }
            Err(reason) => Err((frame, Verdict::Drop(reason))),
        }
    }

    /// Where the packet of this ethertype begins. One of IPv4 must not claim to come from or go to a surrogate.
    #[inline]
    fn link(&self, slot: SlotIndex, bytes: &[u8], wanted: u16) -> Result<Link, DropReason> {
        let info = self.slots.get(slot).ok_or(DropReason::NotOurs)?;
        let interface = match info.role {
            Role::Interface(index) => index.0,
            Role::OverlaySocket => u16::MAX,
        };
        match info.link {
            LinkType::Ip => {
                let is_six = bytes.first().is_some_and(|first| first >> 4 == 6);
                if is_six != (wanted == ethertype::IPV6) {
                    return Err(DropReason::NotIpv4);
                }
                refuse_surrogates(bytes, wanted)?;
                Ok(Link { offset: 0, origin: Origin::Link(ClientLink { interface, ..ClientLink::default() }) })
            }
            LinkType::Ethernet => {
                let ethernet = wire::ethernet(bytes)?;
                if ethernet.ethertype != wanted {
                    return Err(Malformed::NotIpv4(ethernet.ethertype).into());
                }
                let origin = Origin::Link(ClientLink { mac: ethernet.src, interface });
                refuse_surrogates(bytes.get(ETHERNET_LEN..).unwrap_or_default(), wanted)?;
                Ok(Link { offset: ETHERNET_LEN, origin })
            }
        }
    }

    /// Cuts the padding off and finishes a checksum that the sender's kernel left to a card which is not there.
    #[expect(clippy::inline_always, reason = "out of line, the headers are copied once more: 80 instructions a packet")]
    #[inline(always)]
    pub(crate) fn packet(&mut self, mut frame: Frame, headers: &Headers, origin: Origin, burst: &mut Vec<Packet>) {
        frame.truncate(headers.ip.end());
        if frame.len() > JOINED {
            return self.take_long(frame, headers, origin, burst);
        }
        if wire::finish_partial_checksum(frame.bytes_mut(), headers) {
            self.counters.checksums_finished.add(1);
        }
        burst.push(Packet { frame, headers: *headers, origin, searched: 0, steered: false });
    }
}

/// Whether this is for our end of the tunnels.
#[inline]
fn for_tunnel(tables: &Snapshot, headers: &Headers) -> bool {
    matches!((tables.tunnel(), &headers.l4), (Some(tunnel), L4::Udp(udp)) if (headers.ip.dst(), udp.dst_port) == tunnel)
}

#[inline]
fn refuse_surrogates(packet: &[u8], ethertype: u16) -> Result<(), DropReason> {
    if ethertype == ethertype::IPV4 && is_of_six(packet) { Err(DropReason::ReservedAddress) } else { Ok(()) }
}
