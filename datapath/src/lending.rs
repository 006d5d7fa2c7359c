//! Lending: established flows are lent to the XDP program, which sends their packets on without waking anybody
//! (`sys::Shortcuts`, `docs/decisions/024`).
//!
//! A flow is lent for a second at most, after a packet that `steady` has just sent on. It comes back with the first
//! packet that the program does not take, or when its time is over; what its packets have moved meanwhile is entered then. While
//! it is lent nothing here may move it: whoever wants to calls [`Core::recall`] first.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use conntrack::{Direction, Flow, FlowId, Idle, Shown};
use hashbrown::HashMap;
use sys::{Arrival, Ends, Lender, LentHeaders, LentId, LentSide, LentWay, Loan, SETTLED};
use vxlan::OVERHEAD;
use wire::{ETHERNET_LEN, FiveTuple, Rewrite, ethertype};

use crate::adjacency::{PreparedHop, link_header};
use crate::core::Core;
use crate::counters::Counters;
use crate::service::{BackendId, BackendRef, InterfaceIndex, Path, Snapshot, WorkerStats};
use crate::stage::{FlowFacts, JOINED, has_six_end};

/// How long a flow is lent at a time: its counters are behind by as much.
const SPAN: Duration = Duration::from_secs(1);
/// Packets of a flow before it is lent: lending costs as much as a packet, and most flows of few packets are over by then.
const LASTING: u64 = 12;
/// How long a flow is kept here after a packet that the program did not take: more of the kind may come.
const BARRED: Duration = Duration::from_secs(2);
/// And after one that it did not take as the first of its side: others may just have waited here in front of it.
const WAITED: Duration = Duration::from_millis(20);
/// Flows that are barred share so many places; who shares one is barred, too.
const BARS: usize = 1024;
/// Loans that are looked at per turn when their time is over.
const RETURNS_PER_TURN: usize = 64;
/// Flows that are offered in one turn.
const OFFERS: usize = 64;

/// An interface as the XDP program knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// The kernel's number.
    pub interface: u32,
    /// The program's.
    pub place: u32,
}

/// What a worker needs to lend flows.
pub struct Lending {
    lender: Lender,
    /// By [`InterfaceIndex`]; none where nothing can be lent that comes from there or goes there.
    outputs: Vec<Option<Output>>,
    /// And until when.
    lent: HashMap<FlowId, (Duration, LentId)>,
    /// In the order of their ends.
    loans: VecDeque<(Duration, FlowId, LentId)>,
    /// Their packets were sent on in this turn.
    offered: Vec<FlowId>,
    barred: Box<[Duration]>,
    /// This turn's time.
    now: Duration,
}

impl Lending {
    /// Nothing is lent yet.
    #[must_use]
    pub fn new(lender: Lender, outputs: Vec<Option<Output>>) -> Self {
        // Room for all at once: nothing is allocated later, but for loans that come back long before their time.
        let places = lender.places();
        let (lent, loans) = (HashMap::with_capacity(places), VecDeque::with_capacity(2 * places));
        let (offered, barred) = (Vec::with_capacity(OFFERS), vec![Duration::ZERO; BARS].into());
        Self { lender, outputs, lent, loans, offered, barred, now: Duration::ZERO }
    }

    /// The table.
    pub(crate) fn lender(&self) -> &Lender {
        &self.lender
    }

    fn output(&self, interface: InterfaceIndex) -> Option<Output> {
        self.outputs.get(usize::from(interface.0)).copied().flatten()
    }

    fn bar(&mut self, id: FlowId) -> &mut Duration {
        &mut self.barred[id.slot() % BARS]
    }
}

impl Core {
    /// From now on flows are lent.
    pub fn lend_by(&mut self, lending: Lending) {
        self.lending = Some(lending);
    }

    /// Flows of this worker that are lent.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.lending.as_ref().map_or(0, |lending| lending.lent.len())
    }

    /// A packet of this flow goes on, and the next ones may be like it. `bar`: but it stays here for so long.
    pub(crate) fn offer(&mut self, id: FlowId, bar: Option<Duration>) {
        let Some(lending) = &mut self.lending else { return };
        if let Some(bar) = bar {
            *lending.bar(id) = lending.now + bar;
        } else if lending.offered.len() < OFFERS {
            lending.offered.push(id);
        }
    }

    /// Whether anything was offered in this turn.
    pub(crate) fn has_offers(&self) -> bool {
        self.lending.as_ref().is_some_and(|lending| !lending.offered.is_empty())
    }

    /// Lends what was offered in this turn, if nothing waits in the devices' queues (`is_idle`): a packet that waits there would be
    /// overtaken by those that come after it.
    pub(crate) fn lend_offered(&mut self, tables: &Snapshot, is_idle: bool, now: Duration) {
        if let (false, Some(lending)) = (is_idle, &mut self.lending) {
            lending.offered.clear();
        }
        while let Some(id) = self.lending.as_mut().and_then(|lending| lending.offered.pop()) {
            self.lend(tables, id, now);
        }
    }

    fn lend(&mut self, tables: &Snapshot, id: FlowId, now: Duration) {
        let Some(lending) = &mut self.lending else { return };
        let Some(flow) = self.conntrack.get(id) else { return };
        let packets = flow.packets(Direction::Original) + flow.packets(Direction::Reply);
        let stands = flow.generation == tables.generation().0 as u32;
        if packets < LASTING || !stands || flow.is_lent() || *lending.bar(id) > now {
            return;
        }
        let Some(target) = tables.backend(BackendId(flow.backend_id)) else { return };
        let Some(ways) = ways(tables, lending, flow, &target) else { return };
        let (protocol, generation, until) = (flow.original.protocol as u8, flow.generation, now + SPAN);
        let stamp_delta = flow.timestamp_delta;
        let Some(sides) = self.conntrack.lend(id, &target.service.idle, until) else { return };
        let loan = Loan { protocol, generation, until, stamp_delta, sides: sides.map(lent_side), ways };
        let Some(place) = lending.lender.lend(&loan, now) else {
            self.conntrack.take_back(id, &sides, None, &target.service.idle);
            return;
        };
        lending.lent.insert(id, (until, place));
        lending.loans.push_back((until, id, place));
    }

    /// Takes a flow back if it is lent. Gives for how long it should not be lent again if nothing special is seen here in the
    /// packet for which the program had given it up: more like that may come.
    #[inline]
    pub(crate) fn recall(&mut self, tables: &Snapshot, id: FlowId) -> Option<Duration> {
        if self.conntrack.flow(id).is_lent() { self.take_back(tables, id) } else { None }
    }

    #[cold]
    fn take_back(&mut self, tables: &Snapshot, id: FlowId) -> Option<Duration> {
        let lending = self.lending.as_mut()?;
        let (until, place) = lending.lent.remove(&id)?;
        let was_refused = lending.now + SETTLED < until && !lending.lender.is_live(place);
        let sides = lending.lender.take_back(place, lending.now);
        let target = tables.backend_or_retired(BackendId(self.conntrack.flow(id).backend_id));
        let any = Idle::default();
        let idle = target.as_ref().map_or(&any, |target| &target.service.idle);
        let heard = sides.iter().filter_map(|side| side.heard).max();
        self.conntrack.take_back(id, &sides.each_ref().map(shown), heard, idle);
        let stats = target.as_ref().and_then(|target| target.backend.stats.worker(self.index));
        count(&sides, self.conntrack.flow_mut(id), stats, &self.counters);
        let is_first = sides.iter().any(|side| side.packets == 0);
        was_refused.then_some(if is_first { WAITED } else { BARRED })
    }

    /// A flow that was lent has left the table: what its packets did is counted.
    pub(crate) fn recall_removed(&mut self, tables: &Snapshot, id: FlowId, flow: &mut Flow) {
        if !flow.is_lent() {
            return;
        }
        let Some(lending) = &mut self.lending else { return };
        let Some((_, place)) = lending.lent.remove(&id) else { return };
        let sides = lending.lender.take_back(place, lending.now);
        count(&sides, flow, self.stats_of(tables, BackendId(flow.backend_id)), &self.counters);
    }

    /// A turn begins. Flows whose time is over come back, some a turn.
    pub(crate) fn recall_due(&mut self, tables: &Snapshot, now: Duration) {
        if let Some(lending) = &mut self.lending {
            lending.now = now;
        }
        for _ in 0..RETURNS_PER_TURN {
            let Some(lending) = &mut self.lending else { return };
            let Some((_, id, place)) = lending.loans.pop_front_if(|(until, ..)| *until + SETTLED <= now) else {
                return;
            };
            // It may have come back and been lent again since.
            if lending.lent.get(&id).is_some_and(|(_, current)| *current == place) {
                self.take_back(tables, id);
            }
        }
    }
}

/// Enters what the program has sent on.
fn count(sides: &[LentSide; 2], flow: &mut Flow, stats: Option<&WorkerStats>, counters: &Counters) {
    for (direction, side) in Direction::BOTH.into_iter().zip(sides) {
        flow.count_many(direction, side.packets, side.bytes);
        if let Some(stats) = stats {
            stats.packets(direction, side.packets, side.bytes);
        }
        counters.shortcut_packets.add(side.packets.into());
        counters.shortcut_bytes.add(side.bytes);
    }
}

/// What the program must know of both directions. `None`: something about them is beyond it.
fn ways(tables: &Snapshot, lending: &Lending, flow: &Flow, target: &BackendRef<'_>) -> Option<[LentWay; 2]> {
    let PreparedHop::Ethernet { interface, header } = target.adjacency.hop else { return None };
    if has_six_end(flow.original.src, target.adjacency) {
        return None;
    }
    let client = InterfaceIndex(flow.client.interface);
    let (to_client, to_backend) = (lending.output(client)?, lending.output(interface)?);
    let client_mtu = tables.link_mtu(client);
    let reply_mtu = target.adjacency.encap.as_ref().map_or(client_mtu, |_| client_mtu.min(target.adjacency.mtu));
    let facts = FlowFacts::of(flow);
    let original = LentWay {
        from: ends_of(&flow.original),
        to: ends(&facts.rewrite(Direction::Original)),
        arrival: Arrival::Neighbour { interface: to_client.interface, mac: flow.client.mac.0 },
        mtu: target.adjacency.mtu.min(JOINED) as u16,
        headers: headers(flow, target, header),
        output: to_backend.place,
    };
    let reply = LentWay {
        from: ends_of(&flow.reply_tuple()),
        to: ends(&facts.rewrite(Direction::Reply)),
        arrival: arrival_of_replies(tables, &target.backend.path)?,
        mtu: reply_mtu.min(JOINED) as u16,
        headers: LentHeaders::Link(link_header(tables.interfaces(), client, flow.client.mac, ethertype::IPV4)),
        output: to_client.place,
    };
    Some([original, reply])
}

fn headers(flow: &Flow, target: &BackendRef<'_>, link: [u8; ETHERNET_LEN]) -> LentHeaders {
    let Some(encap) = &target.adjacency.encap else { return LentHeaders::Link(link) };
    let mut bytes = [0; ETHERNET_LEN + OVERHEAD];
    bytes[..ETHERNET_LEN].copy_from_slice(&link);
    encap.write(&mut bytes[ETHERNET_LEN..], 0, 0, vxlan::entropy(&flow.original), 0, ethertype::IPV4);
    LentHeaders::Tunnel(bytes)
}

fn arrival_of_replies(tables: &Snapshot, path: &Path) -> Option<Arrival> {
    match path {
        Path::Overlay { vni, vtep, .. } => {
            let overlay = tables.overlay(*vni)?;
            Some(Arrival::Tunnel { vtep: *vtep, vni: vni.get(), mac: overlay.mac.0 })
        }
        Path::Plain { .. } => Some(Arrival::Anywhere),
    }
}

fn ends_of(tuple: &FiveTuple) -> Ends {
    Ends { src: SocketAddrV4::new(tuple.src, tuple.src_port), dst: SocketAddrV4::new(tuple.dst, tuple.dst_port) }
}

fn ends(to: &Rewrite) -> Ends {
    Ends { src: SocketAddrV4::new(to.src, to.src_port), dst: SocketAddrV4::new(to.dst, to.dst_port) }
}

fn lent_side(shown: Shown) -> LentSide {
    let Shown { end, ack, window, scale } = shown;
    LentSide { end, ack, window, scale, ..LentSide::default() }
}

fn shown(side: &LentSide) -> Shown {
    Shown { end: side.end, ack: side.ack, window: side.window, scale: side.scale }
}
