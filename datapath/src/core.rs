//! What one worker owns besides its devices and tables: flows, frames, counters. The stages are its methods, one file each
//! in `stage/`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use conntrack::{ClientLink, Conntrack, FlowId, Hit};
use sys::{Frame, FramePool, LinkType};
use wire::FiveTuple;

use crate::counters::Counters;
use crate::exchange::{Exchange, Message};
use crate::flow_log::{Ending, FlowLog};
use crate::fragments::FragmentTable;
use crate::lending::Lending;
use crate::lifetime::Sweep;
use crate::limiter::Limiter;
use crate::opening::Openings;
use crate::packet::Packet;
use crate::probes::Probes;
use crate::returns::Returns;
use crate::scheduler;
use crate::service::{InterfaceIndex, Snapshot};
use crate::splice::Splices;
use crate::surrogate::{Surrogates, is_surrogate};
use crate::verdict::{DropReason, Purpose, SlotIndex, Verdict};
use crate::worker::Event;

/// What a device of a worker is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A queue of this `[[interface]]`: AF_XDP, or the TUN device.
    Interface(InterfaceIndex),
    /// The UDP socket that stands for the overlay where there is no XDP.
    OverlaySocket,
}

/// What the stages must know of a device.
#[derive(Clone, Copy, Debug)]
pub struct SlotInfo {
    /// Its role.
    pub role: Role,
    /// What its frames begin with.
    pub link: LinkType,
    /// Everything arrives at this one device although there are more workers: new flows are spread by hash.
    pub steers: bool,
    /// It takes joined segments ([`sys::Device::cuts_segments`]).
    pub cuts_segments: bool,
    /// It takes packets ([`sys::Device::is_ready`]); looked at now and then.
    pub ready: bool,
}

/// What all workers together have on an interface.
#[derive(Clone, Debug)]
pub struct InterfaceInfo {
    /// What its frames begin with.
    pub link: LinkType,
    /// [`sys::Device::joins_segments`].
    pub joins: bool,
    /// The workers that have a device on it.
    pub workers: Vec<usize>,
}

/// The SNAT ports that one worker may give out, by kind of path.
#[derive(Clone, Debug)]
pub struct SnatPorts {
    /// From our overlay addresses.
    pub overlay: RangeInclusive<u16>,
    /// From the addresses for plain routing.
    pub plain: RangeInclusive<u16>,
}

impl SnatPorts {
    /// The `index`-th of `workers` equal slices.
    #[must_use]
    pub fn slice(&self, index: usize, workers: usize) -> Self {
        Self { overlay: slice(&self.overlay, index, workers), plain: slice(&self.plain, index, workers) }
    }
}

fn slice(range: &RangeInclusive<u16>, index: usize, workers: usize) -> RangeInclusive<u16> {
    let (first, size) = (usize::from(*range.start()), range.len() / workers.max(1));
    let start = first + index * size;
    start as u16..=(start + size.max(1) - 1) as u16
}

/// Which worker's slice a port is in.
fn owner(range: &RangeInclusive<u16>, port: u16, workers: usize) -> Option<usize> {
    let size = range.len() / workers.max(1);
    let distance = usize::from(port).checked_sub(usize::from(*range.start()))?;
    Some(distance / size.max(1)).filter(|worker| *worker < workers)
}

/// Everything of a worker but its devices and its tables.
pub struct Core {
    pub(crate) index: usize,
    pub(crate) conntrack: Conntrack,
    pub(crate) fragments: FragmentTable,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pool: FramePool,
    pub(crate) outputs: Vec<Vec<Frame>>,
    pub(crate) slots: Vec<SlotInfo>,
    pub(crate) interfaces: Vec<InterfaceInfo>,
    pub(crate) exchange: Exchange,
    pub(crate) probes: Arc<Probes>,
    pub(crate) limiter: Limiter,
    pub(crate) schedulers: scheduler::Memory,
    /// Of flows whose ends count in different sequence spaces.
    pub(crate) splices: Splices,
    /// Of flows whose clients were answered by a cookie, and whose backends have not answered.
    pub(crate) openings: Openings,
    /// Ports of all workers; `ports` is our slice of them.
    pub(crate) all_ports: SnatPorts,
    pub(crate) ports: SnatPorts,
    pub(crate) returns: Returns,
    /// When flows may be lent to the XDP program.
    pub(crate) lending: Option<Lending>,
    /// When flows are logged.
    pub(crate) flow_log: Option<FlowLog>,
    pub(crate) next_ip_id: u16,
    /// Of IPv6 clients.
    pub(crate) surrogates: Arc<Surrogates>,
    /// This turn's time: surrogates are as old as that says.
    pub(crate) second: u32,
    /// Wall clock at `now` = 0, in milliseconds.
    pub(crate) epoch_millis: u32,
    /// Flows were opened or closed since the burst was looked up.
    pub(crate) lookups_stale: bool,
    /// A walk that ends flows of removed backends is under way.
    pub(crate) sweep: Option<Sweep>,
    /// For control.
    pub(crate) events: Vec<Event>,
    pub(crate) keys: Vec<FiveTuple>,
    pub(crate) hits: Vec<Option<Hit>>,
}

/// What a [`Core`] is made of.
pub struct CoreParts {
    /// Which worker.
    pub index: usize,
    /// Its flows.
    pub conntrack: Conntrack,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Its packet memory.
    pub pool: FramePool,
    /// Its devices.
    pub slots: Vec<SlotInfo>,
    /// All interfaces.
    pub interfaces: Vec<InterfaceInfo>,
    /// The way to the other workers.
    pub exchange: Exchange,
    /// SNAT ports of all workers, without those of probes.
    pub ports: SnatPorts,
    /// Control's own packets.
    pub probes: Arc<Probes>,
    /// Those of IPv6 clients, of all workers.
    pub surrogates: Arc<Surrogates>,
    /// Wall clock at `now` = 0, in milliseconds, wrapped.
    pub epoch_millis: u32,
}

impl Core {
    /// Puts a worker together.
    #[must_use]
    pub fn new(parts: CoreParts) -> Self {
        let workers = parts.exchange.workers();
        let own_ports = parts.ports.slice(parts.index, workers);
        parts.conntrack.regions().for_each(sys::use_huge_pages);
        Self {
            index: parts.index,
            conntrack: parts.conntrack,
            fragments: FragmentTable::new(),
            counters: parts.counters,
            pool: parts.pool,
            outputs: parts.slots.iter().map(|_| Vec::with_capacity(4 * sys::BURST)).collect(),
            slots: parts.slots,
            interfaces: parts.interfaces,
            exchange: parts.exchange,
            probes: parts.probes,
            limiter: Limiter::new(),
            schedulers: scheduler::Memory::new(parts.index as u64 + 1),
            splices: Splices::new(),
            openings: Openings::new(),
            returns: Returns::new(&own_ports),
            lending: None,
            flow_log: None,
            ports: own_ports,
            all_ports: parts.ports,
            // Workers share source addresses: each has a stretch of its own in front of it.
            next_ip_id: (0x1_0000 / workers.max(1) * parts.index) as u16,
            surrogates: parts.surrogates,
            second: 0,
            epoch_millis: parts.epoch_millis,
            lookups_stale: false,
            sweep: None,
            events: Vec::new(),
            keys: Vec::with_capacity(sys::BURST),
            hits: Vec::with_capacity(sys::BURST),
        }
    }

    /// Runs a burst of classified packets through the remaining stages.
    pub(crate) fn process(&mut self, tables: &Snapshot, packets: &mut Vec<Packet>, now: Duration) {
        self.look_up(packets);
        let (keys, hits) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.hits));
        let mut found = keys.iter().zip(&hits);
        let lends = self.lending.is_some();
        // Packets stay where they are: they are larger than all that is done with most of them.
        for packet in packets.iter_mut() {
            let known = packet.headers.has_ports().then(|| found.next()).flatten();
            let hit = known.and_then(|(key, hit)| self.confirm(key, *hit));
            let sent = match hit {
                Some(hit) if lends => self.steady_or_back(tables, packet, hit, now),
                Some(hit) => self.steady(tables, packet, hit, now),
                None => None,
            };
            match sent {
                Some(verdict) => self.conclude(packet, verdict),
                None => self.handle(tables, packet, known.map(|(key, _)| *key), hit, now),
            }
        }
        packets.clear();
        (self.keys, self.hits) = (keys, hits);
    }

    /// As [`Core::steady`]; a flow that is lent comes back first, unless the packet has its place in front of those that the
    /// XDP program sends on. Out of line: most gateways' bursts go without.
    #[inline(never)]
    fn steady_or_back(&mut self, tables: &Snapshot, packet: &mut Packet, hit: Hit, now: Duration) -> Option<Verdict> {
        if self.leaves_loan_alone(hit, packet.origin) {
            let verdict = self.steady(tables, packet, hit, now);
            match verdict {
                Some(_) => self.show(hit),
                None => _ = self.recall(tables, hit.id),
            }
            return verdict;
        }
        let bar = self.recall(tables, hit.id);
        let verdict = self.steady(tables, packet, hit, now)?;
        self.offer(hit.id, bar);
        Some(verdict)
    }

    /// Looks all flows of the burst up together, so that memory latency is paid once.
    fn look_up(&mut self, packets: &[Packet]) {
        self.keys.clear();
        self.keys.extend(packets.iter().filter_map(|packet| packet.headers.five_tuple()));
        self.hits.clear();
        self.hits.resize(self.keys.len(), None);
        self.conntrack.lookup_burst(&self.keys, &mut self.hits);
        self.lookups_stale = false;
    }

    /// Ends a packet's way: counts it and takes its frame.
    #[inline]
    pub(crate) fn conclude(&mut self, packet: &mut Packet, verdict: Verdict) {
        let frame = packet.frame.take();
        match verdict {
            // Nearly all packets; with one call less than below.
            Verdict::Tx(slot) => self.output(slot, frame),
            Verdict::Hold => self.fragments.hold(Packet { frame, ..*packet }),
            Verdict::HandOver { worker, purpose } => {
                self.hand_over(worker, Message { frame, home: self.index, purpose, origin: packet.origin });
            }
            _ => self.conclude_frame(frame, verdict),
        }
    }

    /// As [`Core::conclude`], for frames that never became a packet or are one no longer.
    pub(crate) fn conclude_frame(&mut self, frame: Frame, verdict: Verdict) {
        match verdict {
            Verdict::Tx(slot) => self.output(slot, frame),
            Verdict::Reply(slot) => {
                self.counters.replies.add(1);
                self.output(slot, frame);
            }
            Verdict::HandOver { worker, purpose } => {
                let origin = crate::packet::Origin::Link(ClientLink::default());
                self.hand_over(worker, Message { frame, home: self.index, purpose, origin });
            }
            Verdict::Drop(reason) => self.drop_frame(frame, reason),
            Verdict::Hold | Verdict::Consumed => self.pool.put(frame),
        }
    }

    pub(crate) fn drop_frame(&mut self, frame: Frame, reason: DropReason) {
        self.counters.dropped(reason);
        self.pool.put(frame);
    }

    #[inline]
    fn output(&mut self, slot: SlotIndex, frame: Frame) {
        match self.outputs.get_mut(slot) {
            Some(output) => output.push(frame),
            None => self.drop_frame(frame, DropReason::NoDevice),
        }
    }

    fn hand_over(&mut self, worker: usize, message: Message) {
        match self.exchange.send(worker, message) {
            Ok(()) => self.counters.handed_over.add(1),
            Err(message) => self.drop_frame(message.frame, DropReason::HandOverFull),
        }
    }

    /// Announces that we are about to sleep; false if something waits already.
    pub(crate) fn may_sleep(&self) -> bool {
        if !self.exchange.may_sleep() {
            return false;
        }
        // Looked at after the announcement, as the inbox is: who leaves a probe now sees it.
        let quiet = !self.has_probes();
        if !quiet {
            self.exchange.awake();
        }
        quiet
    }

    /// Frames that are free, held for a first fragment, and all there are.
    #[must_use]
    pub fn frames(&self) -> (usize, usize, usize) {
        (self.pool.free(), self.fragments.held(), self.pool.total())
    }

    /// Flows in the table.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.conntrack.len()
    }

    /// Flows that fit into the table.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.conntrack.capacity()
    }

    /// The first device that we have on an interface and that takes packets.
    pub(crate) fn slot_on(&self, interface: InterfaceIndex) -> Option<SlotIndex> {
        self.slots.iter().position(|slot| slot.ready && slot.role == Role::Interface(interface))
    }

    /// The worker whose slice of SNAT ports this one is in.
    pub(crate) fn port_owner(&self, tables: &Snapshot, address: std::net::Ipv4Addr, port: u16) -> Option<usize> {
        let overlay = tables.overlays().iter().any(|overlay| overlay.addresses.contains(&address));
        let range = if overlay { &self.all_ports.overlay } else { &self.all_ports.plain };
        owner(range, port, self.exchange.workers())
    }

    /// Whether a looked-up flow is still the one that was found.
    pub(crate) fn confirm(&self, key: &FiveTuple, hit: Option<Hit>) -> Option<Hit> {
        if self.lookups_stale { self.conntrack.lookup(key) } else { hit }
    }

    pub(crate) fn close_flow(&mut self, tables: &Snapshot, id: FlowId) {
        self.recall(tables, id);
        if let Some(flow) = self.conntrack.get(id) {
            self.log_end(tables, id, flow, Ending::Replaced);
        }
        let flow = self.conntrack.close(id);
        self.lookups_stale = true;
        self.count_closed(tables, &flow);
    }

    pub(crate) fn purpose_track(worker: usize) -> Verdict {
        Verdict::HandOver { worker, purpose: Purpose::Track }
    }

    /// An address as others know it: that of tables, or of a client.
    #[must_use]
    pub fn real_address(&self, tables: &Snapshot, address: Ipv4Addr) -> IpAddr {
        if !is_surrogate(address) {
            return IpAddr::V4(address);
        }
        self.surrogates.address(address).map_or_else(|| tables.real_address(address), IpAddr::V6)
    }

    /// As [`Core::real_address`], with a port.
    #[must_use]
    pub fn real_end(&self, tables: &Snapshot, address: Ipv4Addr, port: u16) -> SocketAddr {
        SocketAddr::new(self.real_address(tables, address), port)
    }

    pub(crate) fn take_ip_id(&mut self) -> u16 {
        self.next_ip_id = self.next_ip_id.wrapping_add(1);
        self.next_ip_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_slices_are_disjoint_and_know_their_owner() {
        let all = SnatPorts { overlay: 1024..=65_535, plain: 1024..=32_767 };
        for workers in 1..=7 {
            let mut last = 1023;
            for index in 0..workers {
                let mine = all.slice(index, workers).overlay;
                assert_eq!(*mine.start(), last + 1);
                last = *mine.end();
                for port in [*mine.start(), *mine.end()] {
                    assert_eq!(owner(&all.overlay, port, workers), Some(index));
                }
            }
            assert!(last >= 65_535 - 7);
            for rest in last..65_535 {
                assert_eq!(owner(&all.overlay, rest + 1, workers), None, "what does not divide evenly is nobody's");
            }
            assert_eq!(owner(&all.overlay, 80, workers), None);
        }
    }
}
