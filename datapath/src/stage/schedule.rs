//! `schedule`: the first packet of a flow picks a backend and a SNAT port.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use conntrack::{Direction, Hit, Open, OpenError, Opened, SnatRange};
use wire::{FiveTuple, L4, Protocol, TcpFlags};

use super::cookie::{become_syn, is_intact};
use super::known::FlowFacts;
use super::proxy::make_room;
use crate::core::{Core, SnatPorts};
use crate::opening::Opening;
use crate::packet::{Origin, Packet};
use crate::scheduler::{self, Request};
use crate::service::{BackendRef, Path, Phase, ServiceRef, Snapshot, VirtualService};
use crate::verdict::{DropReason, Verdict};

impl Core {
    /// A packet to a service that belongs to no flow.
    pub(crate) fn new_flow(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: FiveTuple,
        now: Duration,
    ) -> Verdict {
        let Origin::Link(_) = packet.origin else {
            return Verdict::Drop(DropReason::NoFlow);
        };
        if !tables.is_vip(key.dst) {
            return Verdict::Drop(DropReason::NotOurs);
        }
        if let Some(worker) = self.steer(packet, &key) {
            return Self::purpose_track(worker);
        }
        let begins = !matches!(&packet.headers.l4, L4::Tcp(tcp) if !opens(tcp.flags()));
        let Some(service) = tables.lookup(key.dst, key.dst_port, key.protocol) else {
            let may_have_flow = !begins || key.protocol == Protocol::Udp;
            if may_have_flow
                && tables.was_left(key.dst, key.dst_port, key.protocol)
                && let Some(verdict) = self.search_further(packet)
            {
                return verdict;
            }
            return self.unreachable(tables, packet, &key, DropReason::NoService, now);
        };
        let strays = may_stray(packet, service.get());
        if (!begins || strays)
            && let Some(verdict) = self.search_further(packet)
        {
            return verdict;
        }
        if let Err(reason) = self.let_in(tables, service.get(), &key) {
            return Verdict::Drop(reason);
        }
        if begins && let Some(verdict) = self.bake(tables, packet, &key, service, now) {
            return verdict;
        }
        let opening = if begins { None } else { self.read_cookie(packet, &key, service.get(), now) };
        if !begins && opening.is_none() {
            return self.unreachable(tables, packet, &key, DropReason::NoFlowTcp, now);
        }
        if opening.is_some() && !is_intact(packet) {
            return Verdict::Drop(DropReason::BadTransportHeader);
        }
        if (opening.is_some() || strays)
            && let Some(worker) = self.first_asked(packet)
        {
            return Self::purpose_track(worker);
        }
        if let Err(reason) = self.within_rates(tables, &service, &key, now) {
            return Verdict::Drop(reason);
        }
        self.serve(tables, packet, key, service, opening, now)
    }

    /// Opens a flow for a packet that may: to whom, from which port. With an opening, the packet has brought a cookie back.
    pub(super) fn serve(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: FiveTuple,
        service: ServiceRef<'_>,
        opening: Option<Opening>,
        now: Duration,
    ) -> Verdict {
        let (client, vip) = (self.real_address(tables, key.src), self.real_address(tables, key.dst));
        let request = Request { service: service.get(), table: service.table, key: &key, client, vip, now };
        let position = match scheduler::pick(&request, &mut self.schedulers) {
            Ok(position) => position,
            Err(reason) => return self.unreachable(tables, packet, &key, reason, now),
        };
        let Some(target) = service.backends.get(position).and_then(|backend| tables.backend(backend.id)) else {
            return self.unreachable(tables, packet, &key, DropReason::NoBackend, now);
        };
        if service.one_packet && key.protocol == Protocol::Udp {
            return self.one_packet(tables, packet, key, &target, now);
        }
        if let Some(opening) = &opening
            && !become_syn(packet, opening)
        {
            return Verdict::Drop(DropReason::NoHeadroom);
        }
        if service.proxy_protocol
            && let Err(reason) = make_room(packet)
        {
            return Verdict::Drop(reason);
        }
        match self.open(tables, packet, key, service.get(), &target, now) {
            Ok(hit) => {
                if service.proxy_protocol
                    && let Err(reason) = self.introduce(tables, packet, hit)
                {
                    self.close_flow(tables, hit.id);
                    return Verdict::Drop(reason);
                }
                if let Some(opening) = opening {
                    self.begin_for(service.get(), hit.id, opening, now);
                }
                let facts = FlowFacts::of(self.conntrack.flow(hit.id));
                self.pass(tables, packet, &facts, hit, &target, now)
            }
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// Where one device hears everything, new flows are spread over the workers by hash.
    fn steer(&self, packet: &Packet, key: &FiveTuple) -> Option<usize> {
        let Origin::Link(link) = packet.origin else { return None };
        let slot = self.slots.get(self.slot_on(crate::service::InterfaceIndex(link.interface))?)?;
        if packet.steered || !slot.steers {
            return None;
        }
        let worker = usize::from(vxlan::entropy(key)) % self.exchange.workers();
        (worker != self.index).then_some(worker)
    }

    fn open(
        &mut self,
        tables: &Snapshot,
        packet: &Packet,
        key: FiveTuple,
        service: &VirtualService,
        target: &BackendRef<'_>,
        now: Duration,
    ) -> Result<Hit, DropReason> {
        if target.adjacency.hop == crate::adjacency::PreparedHop::Unresolved {
            return Err(DropReason::Unresolved);
        }
        let Origin::Link(client) = packet.origin else { return Err(DropReason::NoFlow) };
        let open = Open {
            original: key,
            backend: SocketAddrV4::new(target.backend.address, target.backend.target_port(key.dst_port)),
            snat: (!service.direct)
                .then(|| Self::snat_range(tables, &target.backend.path, self.flow_ports(tables, key.protocol))),
            service: service.id.0,
            backend_id: target.backend.id.0,
            generation: tables.generation().0 as u32,
            client,
        };
        if !self.hold_client(key.src) {
            return Err(DropReason::ClientForgotten);
        }
        let opened = self.conntrack.open(&open, now);
        let Opened { id, evicted } = opened.map_err(|error| {
            self.release_client(key.src);
            refused(error)
        })?;
        self.lookups_stale = true;
        self.counters.flows_opened.add(1);
        if let Some(flow) = evicted {
            self.count_closed(tables, &flow);
        }
        self.begin(packet, id, service, now);
        self.log_opened(tables, id);
        if let Some(stats) = target.backend.stats.worker(self.index) {
            stats.opened(Phase::of(self.conntrack.flow(id).state()));
        }
        self.count_half_open(service, None, Some(self.conntrack.flow(id).state()));
        Ok(Hit { id, direction: Direction::Original })
    }

    /// The ports that flows may use: UDP leaves some to one-packet services.
    fn flow_ports(&self, tables: &Snapshot, protocol: Protocol) -> &SnatPorts {
        if protocol == Protocol::Udp && tables.has_one_packet() { self.returns.of_flows() } else { &self.ports }
    }

    /// The source addresses and ports that this worker may use towards a backend.
    pub(crate) fn snat_range<'a>(tables: &'a Snapshot, path: &'a Path, ports: &SnatPorts) -> SnatRange<'a> {
        match path {
            Path::Overlay { vni, .. } => {
                let addresses: &[Ipv4Addr] = tables.overlay(*vni).map_or(&[], |overlay| &overlay.addresses);
                SnatRange { addresses, ports: ports.overlay.clone() }
            }
            Path::Plain { snat, .. } => SnatRange { addresses: snat, ports: ports.plain.clone() },
        }
    }

    /// Tracks the packet that opened the flow, and sets the flow's clock.
    fn begin(&mut self, packet: &Packet, id: conntrack::FlowId, service: &VirtualService, now: Duration) {
        let L4::Tcp(tcp) = &packet.headers.l4 else {
            return self.conntrack.datagram(id, Direction::Original, &service.idle, now);
        };
        let options = tcp.options(packet.frame.bytes());
        let _ = self.conntrack.segment(id, Direction::Original, tcp, Some(&options), &service.idle, now);
        let rewrites = service.rewrite_timestamps && !service.direct;
        if let (true, Some(timestamps)) = (rewrites, options.timestamps) {
            let delta = self.clock_millis(now).wrapping_sub(timestamps.value);
            self.conntrack.flow_mut(id).timestamp_delta = delta;
        }
    }

    /// The one clock that tasks see in TCP timestamps: milliseconds as Linux's, and of the wall, so that a restarted
    /// gateway does not look older than its own past connections.
    fn clock_millis(&self, now: Duration) -> u32 {
        self.epoch_millis.wrapping_add(now.as_millis() as u32)
    }

    /// There is nobody to serve this: says so at once, so that the client need not wait for a timeout.
    fn unreachable(
        &mut self,
        tables: &Snapshot,
        packet: &mut Packet,
        key: &FiveTuple,
        reason: DropReason,
        now: Duration,
    ) -> Verdict {
        let verdict = match (&packet.headers.l4, key.protocol) {
            (L4::Tcp(tcp), _) => {
                let reset = wire::reset_for(tcp, *key);
                self.answer_reset(tables, packet, reset, now)
            }
            (_, Protocol::Udp) => self.answer_icmp(tables, packet, wire::IcmpError::PortUnreachable, key.dst, now),
            _ => Verdict::Drop(reason),
        };
        self.count_answered(verdict, reason)
    }
}

fn refused(error: OpenError) -> DropReason {
    match error {
        OpenError::TableFull => DropReason::TableFull,
        OpenError::PortsExhausted => DropReason::PortsExhausted,
        OpenError::Duplicate => DropReason::InvalidSegment,
    }
}

/// Whether a datagram may come to another worker than its flow's others, which may have opened the flow: cards spread fragments
/// by their addresses alone. (Of TCP whatever is no SYN is looked for, and a SYN comes again as it came.)
fn may_stray(packet: &Packet, service: &VirtualService) -> bool {
    matches!(packet.headers.l4, L4::Udp(_)) && packet.headers.ip.is_fragment() && !service.one_packet
}

/// Only a plain SYN opens a flow.
pub(crate) fn opens(flags: TcpFlags) -> bool {
    flags.syn() && !flags.ack() && !flags.rst() && !flags.fin()
}
