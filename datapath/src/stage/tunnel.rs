//! Decapsulation (RFC 7348 §4, §5; ECN by RFC 6040): only from configured VTEPs, our VNIs, our inner MAC and address there.

use sys::Frame;
use wire::{Datagram, ETHERNET_LEN, Headers, ethertype};

use super::six::is_from_six;
use crate::core::Core;
use crate::service::{Overlay, Snapshot};
use crate::verdict::{DropReason, Verdict};

impl Core {
    /// The frame begins with the outer IPv4 header, and afterwards with the inner one: of a packet in this overlay.
    #[inline]
    pub(crate) fn decapsulate<'a>(
        &mut self,
        tables: &'a Snapshot,
        frame: &mut Frame,
        outer: &Datagram,
    ) -> Result<&'a Overlay, Verdict> {
        let (overlay, inner) = accept(tables, frame.bytes(), outer).map_err(Verdict::Drop)?;
        frame.truncate(outer.end);
        frame.trim_front(inner.offset);
        if inner.is_arp {
            return Err(self.arp(tables, overlay, frame, outer.src));
        }
        Ok(overlay)
    }
}

/// The rest of decapsulation, when the inner headers are known: only to our addresses there, and ECN goes over.
#[inline]
pub(crate) fn enter(
    overlay: &Overlay,
    outer_tos: u8,
    frame: &mut Frame,
    headers: &mut Headers,
) -> Result<(), DropReason> {
    if !overlay.addresses.contains(&headers.ip.dst()) {
        return Err(DropReason::WrongInnerAddress);
    }
    let tos = vxlan::decap_ecn(outer_tos, headers.ip.tos()).ok_or(DropReason::EcnMismatch)?;
    if tos != headers.ip.tos() {
        wire::set_tos(frame.bytes_mut(), &mut headers.ip, tos);
    }
    Ok(())
}

/// What is inside a tunnel packet that we accept.
struct Inner {
    /// Where the inner IPv4 header or ARP packet begins.
    offset: usize,
    is_arp: bool,
}

#[expect(clippy::inline_always, reason = "what it finds would go through memory: 32 instructions a packet")]
#[inline(always)]
fn accept<'a>(tables: &'a Snapshot, bytes: &[u8], outer: &Datagram) -> Result<(&'a Overlay, Inner), DropReason> {
    if !tables.is_vtep(outer.src) {
        return Err(DropReason::UnknownVtep);
    }
    let end = outer.end;
    let vxlan = vxlan::parse(bytes, outer.payload, end)?;
    let overlay = tables.overlay(vxlan.vni).ok_or(DropReason::WrongVni)?;
    let frame = bytes.get(vxlan.inner..end).ok_or(DropReason::Truncated)?;
    let ethernet = wire::ethernet(frame)?;
    let is_arp = ethernet.ethertype == ethertype::ARP;
    if ethernet.dst != overlay.mac && !(is_arp && ethernet.dst.is_multicast()) {
        return Err(DropReason::WrongInnerMac);
    }
    if !is_arp && ethernet.ethertype != ethertype::IPV4 {
        return Err(DropReason::NotIpv4);
    }
    if !is_arp && is_from_six(frame.get(ETHERNET_LEN..).unwrap_or_default()) {
        return Err(DropReason::ReservedAddress);
    }
    Ok((overlay, Inner { offset: vxlan.inner + ETHERNET_LEN, is_arp }))
}
