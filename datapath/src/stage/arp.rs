//! ARP inside the overlay: questions about our addresses are answered, answers of tasks are heard, and tasks are taught
//! who we are.
//!
//! A node of which the kernel does not know us swallows ARP in both directions, so a task can neither ask nor answer. A
//! unicast request makes it remember us, and a unicast reply on top makes it believe that for long enough; both are sent
//! again before the memory fades.

use std::net::Ipv4Addr;
use std::time::Duration;

use sys::Frame;
use wire::{Arp, MacAddr, ethertype};

use super::icmp::as_reply;
use super::reply::compose;
use crate::core::Core;
use crate::service::{BackendRef, Overlay, Path, Snapshot};
use crate::verdict::{DropReason, Verdict};
use crate::worker::Event;

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const ARP_LEN: usize = 28;

impl Core {
    /// The frame begins with an ARP packet that came out of the tunnel from `vtep`.
    pub(crate) fn arp(&mut self, tables: &Snapshot, overlay: &Overlay, frame: &mut Frame, vtep: Ipv4Addr) -> Verdict {
        let arp = match Arp::parse(frame.bytes()) {
            Ok(arp) => arp,
            Err(error) => return Verdict::Drop(error.into()),
        };
        let Some(sender) = tables.task(overlay.vni, arp.sender, vtep) else {
            return Verdict::Drop(DropReason::ArpIgnored);
        };
        if !overlay.addresses.contains(&arp.target) || arp.sender_mac.is_multicast() {
            return Verdict::Drop(DropReason::ArpIgnored);
        }
        self.hear(&sender, arp.sender, arp.sender_mac, vtep);
        if arp.operation != REQUEST {
            self.counters.arp_heard.add(1);
            return Verdict::Consumed;
        }
        let answer = Arp {
            operation: REPLY,
            sender_mac: overlay.mac,
            sender: arp.target,
            target_mac: arp.sender_mac,
            target: arp.sender,
        };
        write_arp(frame, &answer);
        as_reply(self.tunnelled(frame, sender.adjacency, 0, ethertype::ARP))
    }

    /// Control keeps the overlay's neighbours: tells it of a MAC that the tables do not have.
    fn hear(&mut self, sender: &BackendRef<'_>, address: Ipv4Addr, heard: MacAddr, vtep: Ipv4Addr) {
        if let Path::Overlay { mac, .. } = sender.backend.path
            && mac != heard
        {
            self.events.push(Event::OverlayNeighbour { vtep, address, mac: heard });
        }
    }

    /// Asks and teaches one task. `ask_everybody`: the question also goes to all of its node's tasks, for one whose MAC
    /// is not what we think.
    pub(crate) fn teach(&mut self, tables: &Snapshot, target: &BackendRef<'_>, ask_everybody: bool) {
        let Path::Overlay { vni, mac, .. } = &target.backend.path else { return };
        let Some(overlay) = tables.overlay(*vni) else { return };
        for ours in &overlay.addresses {
            let request = Arp {
                operation: REQUEST,
                sender_mac: overlay.mac,
                sender: *ours,
                target_mac: MacAddr::default(),
                target: target.backend.address,
            };
            let reply = Arp { operation: REPLY, target_mac: *mac, ..request };
            self.send_arp(target, &request, None);
            self.send_arp(target, &reply, None);
            if ask_everybody {
                self.send_arp(target, &request, Some(MacAddr::BROADCAST));
            }
        }
    }

    fn send_arp(&mut self, target: &BackendRef<'_>, arp: &Arp, destination: Option<MacAddr>) {
        let Some(mut frame) = self.pool.take() else {
            self.counters.dropped(DropReason::NoFrame);
            return;
        };
        write_arp(&mut frame, arp);
        let verdict = self.tunnelled(&mut frame, target.adjacency, 0, ethertype::ARP);
        if let (Some(mac), Verdict::Tx(_) | Verdict::HandOver { .. }) = (destination, verdict) {
            // The inner Ethernet header is the last thing in front of the ARP packet.
            let inner = frame.len() - ARP_LEN - wire::ETHERNET_LEN;
            frame.bytes_mut()[inner..inner + 6].copy_from_slice(&mac.0);
        }
        if !matches!(verdict, Verdict::Drop(_)) {
            self.counters.arp_taught.add(1);
        }
        self.conclude_frame(frame, verdict);
    }
}

/// Tasks are taught again before their memory fades (REACHABLE lasts 15 s at least).
pub(crate) const TEACH_EVERY: Duration = Duration::from_secs(10);

fn write_arp(frame: &mut Frame, arp: &Arp) {
    compose(frame, |room| arp.write(room));
}
