//! Decapsulation (RFC 7348 §4, §5; ECN by RFC 6040): only from configured VTEPs, our VNIs, our inner MAC and address there.

use sys::Frame;
use wire::{Datagram, ETHERNET_LEN, Headers, ethertype};

use super::classify::Done;
use super::six::is_from_six;
use crate::core::Core;
use crate::packet::{Origin, Packet};
use crate::service::{Overlay, Snapshot};
use crate::verdict::{DropReason, Verdict};

impl Core {
    /// The frame begins with the outer IPv4 header; what goes on begins with the inner one.
    pub(crate) fn decapsulate(
        &mut self,
        tables: &Snapshot,
        mut frame: Frame,
        outer: &Datagram,
        burst: &mut Vec<Packet>,
    ) -> Result<(), Done> {
        let (overlay, inner) = match accept(tables, frame.bytes(), outer) {
            Ok(accepted) => accepted,
            Err(reason) => return Err((frame, Verdict::Drop(reason))),
        };
        frame.truncate(outer.end);
        frame.trim_front(inner.offset);
        if inner.is_arp {
            let verdict = self.arp(tables, overlay, &mut frame, outer.src);
            return Err((frame, verdict));
        }
        let mut headers = match Headers::parse(frame.bytes(), 0) {
            Ok(headers) => headers,
            Err(error) => return Err((frame, Verdict::Drop(error.into()))),
        };
        if !overlay.addresses.contains(&headers.ip.dst) {
            return Err((frame, Verdict::Drop(DropReason::WrongInnerAddress)));
        }
        let Some(tos) = vxlan::decap_ecn(outer.tos, headers.ip.tos) else {
            return Err((frame, Verdict::Drop(DropReason::EcnMismatch)));
        };
        if tos != headers.ip.tos {
            wire::set_tos(frame.bytes_mut(), &headers.ip, tos);
            headers.ip.tos = tos;
        }
        self.packet(frame, &headers, Origin::Overlay, burst);
        Ok(())
    }
}

/// What is inside a tunnel packet that we accept.
struct Inner {
    /// Where the inner IPv4 header or ARP packet begins.
    offset: usize,
    is_arp: bool,
}

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
