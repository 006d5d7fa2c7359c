//! `classify`: from the bytes of a frame to an IP packet with parsed headers, or to the end of its way.

use conntrack::ClientLink;
use sys::{Frame, LinkType};
use wire::{ETHERNET_LEN, Headers, L4, Malformed, ethertype};

use crate::core::{Core, Role};
use crate::packet::{Origin, Packet};
use crate::service::Snapshot;
use crate::surrogate::is_surrogate;
use crate::verdict::{DropReason, SlotIndex, Verdict};

/// A frame that has reached its end already.
pub(crate) type Done = (Frame, Verdict);

/// Where the IP packet of a frame begins, and who sent it on the link.
struct Link {
    offset: usize,
    origin: Origin,
    six: bool,
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
        let link = match self.link(slot, frame.bytes()) {
            Ok(link) => link,
            Err(reason) => return Err((frame, Verdict::Drop(reason))),
        };
        frame.trim_front(link.offset);
        if link.six
            && let Err(reason) = self.arrive_six(tables, &mut frame)
        {
            return Err((frame, Verdict::Drop(reason)));
        }
        let headers = match Headers::parse(frame.bytes(), 0) {
            Ok(headers) => headers,
            Err(error) => return Err((frame, Verdict::Drop(error.into()))),
        };
        if !link.six && (is_surrogate(headers.ip.src) || is_surrogate(headers.ip.dst)) {
            return Err((frame, Verdict::Drop(DropReason::ReservedAddress)));
        }
        match (tables.tunnel(), &headers.l4) {
            (Some(tunnel), L4::Udp(udp)) if (headers.ip.dst, udp.dst_port) == tunnel => {
                if headers.ip.is_fragment() {
                    return Err((frame, Verdict::Drop(DropReason::OuterFragment)));
                }
                self.decapsulate(tables, frame, &headers.ip, udp, burst)
            }
            _ => {
                self.packet(frame, &headers, link.origin, burst);
                Ok(())
            }
        }
    }

    #[inline]
    fn link(&self, slot: SlotIndex, bytes: &[u8]) -> Result<Link, DropReason> {
        let info = self.slots.get(slot).ok_or(DropReason::NotOurs)?;
        let interface = match info.role {
            Role::Interface(index) => index.0,
            Role::OverlaySocket => u16::MAX,
        };
        match info.link {
            LinkType::Ip => {
                let origin = Origin::Link(ClientLink { interface, ..ClientLink::default() });
                let six = bytes.first().is_some_and(|first| first >> 4 == 6);
                Ok(Link { offset: 0, origin, six })
            }
            LinkType::Ethernet => {
                let ethernet = wire::ethernet(bytes)?;
                let six = ethernet.ethertype == ethertype::IPV6;
                if ethernet.ethertype != ethertype::IPV4 && !six {
                    return Err(Malformed::NotIpv4(ethernet.ethertype).into());
                }
                let origin = Origin::Link(ClientLink { mac: ethernet.src, interface });
                Ok(Link { offset: ETHERNET_LEN, origin, six })
            }
        }
    }

    /// Cuts the padding off and finishes a checksum that the sender's kernel left to a card which is not there.
    #[expect(clippy::inline_always, reason = "out of line, the headers are copied once more: 80 instructions a packet")]
    #[inline(always)]
    pub(crate) fn packet(&mut self, mut frame: Frame, headers: &Headers, origin: Origin, burst: &mut Vec<Packet>) {
        frame.truncate(headers.ip.end());
        if wire::finish_partial_checksum(frame.bytes_mut(), headers) {
            self.counters.checksums_finished.add(1);
        }
        burst.push(Packet { frame, headers: *headers, origin, searched: 0, steered: false });
    }
}
