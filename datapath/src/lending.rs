//! Lending: established flows are lent to the XDP program, which sends their packets on without waking anybody
//! (`sys::Shortcuts`, `docs/decisions/024`).
//!
//! A flow is lent for a second, after a packet that `steady` has just sent on, and that is prolonged while it goes on; what its
//! packets have moved meanwhile is entered then. It comes back when the program has refused a packet, and when it is silent. While
//! it is lent only `steady` may move it, with packets that have their place in front of the program's: whoever else wants to calls
//! [`Core::recall`] first.
//!
//! What waits in a device's queue must not be overtaken by what the program sends on. A side of a TCP flow therefore joins only with
//! the segment that follows what has left here ([`Lender::sent`]), that is, of which the device has given the frames back; UDP is lent
//! only when nothing waits.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use conntrack::{Direction, Flow, FlowId, Hit, Idle, Shown, State};
use hashbrown::HashMap;
use sys::{Arrival, Ends, Lender, LentHeaders, LentId, LentSide, LentWay, Loan, SETTLED};
use vxlan::OVERHEAD;
use wire::{ETHERNET_LEN, FiveTuple, Protocol, Rewrite, ethertype};

use crate::adjacency::{PreparedHop, link_header};
use crate::core::Core;
use crate::counters::Counters;
use crate::packet::Origin;
use crate::service::{BackendId, BackendRef, InterfaceIndex, Path, Snapshot, WorkerStats};
use crate::stage::{FlowFacts, JOINED, has_six_end};
use crate::verdict::SlotIndex;

/// How long a flow is lent at a time: its counters are behind by as much.
const SPAN: Duration = Duration::from_secs(1);
/// After how much of that it is looked at: a worker sleeps for less than the rest.
const LOOK_AFTER: Duration = Duration::from_millis(750);
/// How long after it was lent packets may come here that were in a device's queue by then.
const QUEUED: Duration = Duration::from_millis(100);
/// Packets of a flow before it is lent: lending costs as much as a packet, and most flows of few packets are over by then.
const LASTING: u64 = 12;
/// If more bytes than this were sent on between two looks, sequence numbers tell no more which is the later one.
const FAR: u64 = 1 << 30;
/// How long a flow is kept here after a packet that the program did not take: more of the kind may come.
const BARRED: Duration = Duration::from_secs(2);
/// Flows that are barred share so many places; who shares one is barred, too.
const BARS: usize = 1024;
/// Loans that are looked at per turn when it is time.
const LOOKS_PER_TURN: usize = 64;
/// TCP flows that are offered in one turn, and UDP flows until one in which nothing comes.
const OFFERS: usize = 64;
/// Sides of which something is about to leave.
const DEPARTURES: usize = 2 * OFFERS;
/// How long the worker stays awake for that. Network cards need some microseconds.
const AWAKE: Duration = Duration::from_millis(1);
/// A side of which something is on its way for so long after the flow was lent joins all the same: rather may a few segments be overtaken
/// once than a busy flow stay with the worker for good.
const PATIENCE: Duration = Duration::from_millis(50);

/// An interface as the XDP program knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// The kernel's number.
    pub interface: u32,
    /// The program's.
    pub place: u32,
}

/// How many frames a device has taken since the start, and how many of them have left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Departures {
    pub(crate) taken: u64,
    pub(crate) left: u64,
}

/// All that a side of a lent flow has said before `end` leaves: it may join with what follows.
#[derive(Clone, Copy)]
struct Leaving {
    place: LentId,
    side: Direction,
    end: u32,
    /// By which device. None: another worker's, to which it is handed.
    slot: Option<SlotIndex>,
    /// With which of the device's frames. None: still to be told.
    frame: Option<u64>,
    /// From then on it is not waited for.
    enough: Duration,
}

/// A flow that is lent.
#[derive(Clone, Copy)]
struct Lent {
    place: LentId,
    /// By which device each side's packets leave, as in [`Leaving`].
    slots: [Option<SlotIndex>; 2],
    since: Duration,
    until: Duration,
    /// When it is looked at next. An older entry among the looks was an earlier loan's.
    look: Duration,
    /// When a packet of it was last seen here meanwhile.
    heard: Option<Duration>,
    /// Packets and bytes of its sides that are entered already.
    counted: [(u32, u64); 2],
}

/// What a worker needs to lend flows.
pub struct Lending {
    lender: Lender,
    /// By [`InterfaceIndex`]; none where nothing can be lent that comes from there or goes there.
    outputs: Vec<Option<Output>>,
    lent: HashMap<FlowId, Lent>,
    /// In the order in which they are looked at, and when.
    looks: VecDeque<(Duration, FlowId)>,
    /// Their packets were sent on in this turn.
    offered: Vec<FlowId>,
    /// UDP flows that wait for a turn in which nothing comes.
    datagrams: Vec<FlowId>,
    leaving: Vec<Leaving>,
    /// Since when the newest of both are waited for.
    awaited: Duration,
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
        let (lent, looks) = (HashMap::with_capacity(places), VecDeque::with_capacity(2 * places));
        let (offered, datagrams) = (Vec::with_capacity(OFFERS), Vec::with_capacity(OFFERS));
        let (leaving, barred) = (Vec::with_capacity(DEPARTURES), vec![Duration::ZERO; BARS].into());
        let (awaited, now) = (Duration::ZERO, Duration::ZERO);
        Self { lender, outputs, lent, looks, offered, datagrams, leaving, awaited, barred, now }
    }

    /// The table.
    pub(crate) fn lender(&self) -> &Lender {
        &self.lender
    }

    fn output(&self, interface: InterfaceIndex) -> Option<Output> {
        self.outputs.get(usize::from(interface.0)).copied().flatten()
    }

    fn take_back(&mut self, place: LentId) -> [LentSide; 2] {
        // The place may be another flow's before they have left.
        self.leaving.retain(|leaving| leaving.place != place);
        self.lender.take_back(place, self.now)
    }

    /// All that the side has said before `end` leaves with this turn. An acknowledgment without data moves nothing.
    fn leaves(&mut self, lent: &Lent, side: Direction, end: u32) {
        let (place, slot) = (lent.place, lent.slots[side.index()]);
        let known = self.leaving.iter().position(|leaving| (leaving.place, leaving.side) == (place, side));
        if known.is_some_and(|known| self.leaving[known].end == end) || self.lender.has_sent(place, side.index(), end) {
            return;
        }
        self.lender.leaves(place, side.index(), end);
        let new = Leaving { place, side, end, slot, frame: None, enough: lent.since + PATIENCE };
        match known {
            Some(known) => self.leaving[known] = new,
            None if self.leaving.len() < DEPARTURES => self.leaving.push(new),
            // It joins later.
            None => {}
        }
    }

    /// A turn ends: sides may join of which all has left.
    fn see_off(&mut self, departures: &[Departures]) {
        let Self { lender, leaving, awaited, now, .. } = self;
        leaving.retain_mut(|leaving| {
            if let Some(device) = leaving.slot.and_then(|slot| departures.get(slot)) {
                let frame = *leaving.frame.get_or_insert_with(|| {
                    *awaited = *now;
                    device.taken
                });
                if device.left < frame && *now < leaving.enough {
                    return true;
                }
            }
            lender.sent(leaving.place, leaving.side.index(), leaving.end);
            false
        });
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
            return;
        }
        let flow = self.conntrack.flow(id);
        if flow.original.protocol == Protocol::Tcp {
            if lending.offered.len() < OFFERS {
                lending.offered.push(id);
            }
        } else if has_lasted(flow) && lending.datagrams.len() < OFFERS && !lending.datagrams.contains(&id) {
            lending.datagrams.push(id);
            lending.awaited = lending.now;
        }
    }

    /// Whether this packet's flow is lent and may remain so: the packet has its place in front of what the program sends on, and moves
    /// nothing that the program would have to know. What the other side has shown to the program is known here then.
    pub(crate) fn leaves_loan_alone(&mut self, hit: Hit, origin: Origin) -> bool {
        let flow = self.conntrack.flow(hit.id);
        let Some(lending) = self.lending.as_ref().filter(|_| flow.is_lent()) else { return false };
        let Some(Lent { place, since, .. }) = lending.lent.get(&hit.id) else { return false };
        let (lender, is_tcp) = (&lending.lender, flow.original.protocol == Protocol::Tcp);
        let is_in_front = is_tcp && !lender.has_joined(*place, hit.direction.index()) || lending.now < *since + QUEUED;
        let is_elsewhere = hit.direction == Direction::Original && origin != Origin::Link(flow.client);
        if !is_in_front || is_elsewhere || !lender.is_live(*place) {
            return false;
        }
        let other = hit.direction.reversed();
        if is_tcp && lender.has_joined(*place, other.index()) {
            self.conntrack.catch_up(hit.id, other, &shown(&lender.shown(*place)[other.index()]));
        }
        true
    }

    /// Such a packet is about to leave.
    pub(crate) fn show(&mut self, hit: Hit) {
        let (direction, flow) = (hit.direction, self.conntrack.flow(hit.id));
        let Some(lending) = &mut self.lending else { return };
        let Some(lent) = lending.lent.get_mut(&hit.id) else { return };
        lent.heard = Some(lending.now);
        if flow.original.protocol != Protocol::Tcp {
            return;
        }
        let lent = *lent;
        let shown = flow.shown(direction);
        lending.lender.show(lent.place, direction.index(), &lent_side(shown));
        lending.leaves(&lent, direction, shown.end);
    }

    /// Whether this turn leaves anything to do for [`Core::lend_offered`].
    pub(crate) fn has_to_lend(&self) -> bool {
        self.lending.as_ref().is_some_and(|lending| {
            !(lending.offered.is_empty() && lending.datagrams.is_empty() && lending.leaving.is_empty())
        })
    }

    /// Whether something is about to leave after which a side could join or a UDP flow be lent, but for so long only.
    pub(crate) fn awaits_departures(&self) -> bool {
        self.lending.as_ref().is_some_and(|lending| {
            let awaits = !(lending.leaving.is_empty() && lending.datagrams.is_empty());
            awaits && lending.now < lending.awaited + AWAKE
        })
    }

    /// Lends what was offered; UDP only if nothing came in this turn and nothing waits in the devices' queues at all (`is_idle`).
    /// Sides may join whose segments have left.
    pub(crate) fn lend_offered(&mut self, tables: &Snapshot, departures: &[Departures], is_idle: bool, now: Duration) {
        while let Some(id) = self.lending.as_mut().and_then(|lending| lending.offered.pop()) {
            self.lend(tables, id, now);
        }
        let is_idle = is_idle && departures.iter().all(|device| device.left == device.taken);
        while let Some(id) = self.lending.as_mut().filter(|_| is_idle).and_then(|lending| lending.datagrams.pop()) {
            self.lend(tables, id, now);
        }
        if let Some(lending) = &mut self.lending {
            lending.see_off(departures);
        }
    }

    fn may_lend(&mut self, tables: &Snapshot, id: FlowId, now: Duration) -> bool {
        let Some(lending) = &mut self.lending else { return false };
        let Some(flow) = self.conntrack.get(id) else { return false };
        let stands = flow.generation == tables.generation().0 as u32;
        let may_be_lent = has_lasted(flow) && stands && !flow.is_lent() && *lending.bar(id) <= now;
        may_be_lent && lending.lender.has_room(now) && lending.lender.serves(flow.generation)
    }

    fn lend(&mut self, tables: &Snapshot, id: FlowId, now: Duration) {
        if !self.may_lend(tables, id, now) {
            return;
        }
        let (Some(lending), flow) = (&self.lending, self.conntrack.flow(id)) else { return };
        let Some(target) = tables.backend(BackendId(flow.backend_id)) else { return };
        let Some((ways, interfaces)) = ways(tables, lending, flow, &target) else { return };
        let slots = interfaces.map(|interface| self.slot_on(interface));
        let (protocol, generation, until) = (flow.original.protocol, flow.generation, now + SPAN);
        let stamp_delta = flow.timestamp_delta;
        let Some(lending) = &mut self.lending else { return };
        let Some(sides) = self.conntrack.lend(id, &target.service.idle, until) else { return };
        let loan = Loan { protocol: protocol as u8, generation, until, stamp_delta, sides: sides.map(lent_side), ways };
        let Some(place) = lending.lender.lend(&loan, now) else {
            // The index is full where it belongs. Not with each of its packets again: a place that was tried rests.
            *lending.bar(id) = now + BARRED;
            self.conntrack.take_back(id, &sides, None, &target.service.idle);
            return;
        };
        let look = now + LOOK_AFTER;
        let lent = Lent { place, slots, since: now, until, look, heard: None, counted: Default::default() };
        lending.lent.insert(id, lent);
        lending.looks.push_back((look, id));
        if protocol == Protocol::Tcp {
            for side in Direction::BOTH {
                lending.leaves(&lent, side, sides[side.index()].end);
            }
        }
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
        let lent = lending.lent.remove(&id)?;
        // By new tables the program gives every loan up, and there is nothing about the packet.
        let was_refused = lending.now + SETTLED < lent.until
            && !lending.lender.is_live(lent.place)
            && lending.lender.serves(self.conntrack.flow(id).generation);
        let sides = lending.take_back(lent.place);
        self.enter(tables, id, &lent, &sides, None);
        was_refused.then_some(BARRED)
    }

    /// What the sides of a flow have shown since they were last looked at. The flow remains lent until then; with `None` it is back.
    fn enter(&mut self, tables: &Snapshot, id: FlowId, lent: &Lent, sides: &[LentSide; 2], until: Option<Duration>) {
        let target = tables.backend_or_retired(BackendId(self.conntrack.flow(id).backend_id));
        let any = Idle::default();
        let idle = target.as_ref().map_or(&any, |target| &target.service.idle);
        let heard = sides.iter().filter_map(|side| side.heard).chain(lent.heard).max();
        let news = since(sides, &lent.counted);
        let far = far(&news);
        let shown = Direction::BOTH.map(|side| Shown { is_far: far[side.index()], ..shown(&sides[side.index()]) });
        match until {
            Some(until) => self.conntrack.prolong(id, &shown, heard, idle, until),
            None => self.conntrack.take_back(id, &shown, heard, idle),
        }
        let stats = target.as_ref().and_then(|target| target.backend.stats.worker(self.index));
        count(&news, self.conntrack.flow_mut(id), stats, &self.counters);
    }

    /// A flow that was lent has left the table: what its packets did is counted.
    pub(crate) fn recall_removed(&mut self, tables: &Snapshot, id: FlowId, flow: &mut Flow) {
        if !flow.is_lent() {
            return;
        }
        let Some(lending) = &mut self.lending else { return };
        let Some(lent) = lending.lent.remove(&id) else { return };
        let sides = lending.take_back(lent.place);
        count(&since(&sides, &lent.counted), flow, self.stats_of(tables, BackendId(flow.backend_id)), &self.counters);
    }

    /// A turn begins. Loans whose time is nearly over are prolonged or come back, some a turn. True: there are more.
    pub(crate) fn look_after_loans(&mut self, tables: &Snapshot, now: Duration) -> bool {
        let Some(lending) = &mut self.lending else { return false };
        lending.now = now;
        for _ in 0..LOOKS_PER_TURN {
            let Some(lending) = &mut self.lending else { return false };
            let Some((at, id)) = lending.looks.pop_front_if(|(at, _)| *at <= now) else { return false };
            // It may have come back and been lent again since.
            if lending.lent.get(&id).is_some_and(|lent| lent.look == at) && !self.prolong(tables, id, now) {
                self.take_back(tables, id);
            }
        }
        true
    }

    /// False: the flow was silent, is not the program's any more, or one of its next packets means something to the worker.
    fn prolong(&mut self, tables: &Snapshot, id: FlowId, now: Duration) -> bool {
        let Some(lending) = &mut self.lending else { return false };
        let Some(lent) = lending.lent.get(&id).copied() else { return false };
        let sides = lending.lender.shown(lent.place);
        let counted = sides.each_ref().map(|side| (side.packets, side.bytes));
        let flow = self.conntrack.flow(id);
        let is_new = flow.state() == State::UdpNew;
        let stands = now < lent.until && !is_new && flow.generation == tables.generation().0 as u32;
        if !stands || counted == lent.counted || !lending.lender.is_live(lent.place) {
            return false;
        }
        let (until, look) = (now + SPAN, now + LOOK_AFTER);
        lending.lender.prolong(lent.place, until);
        lending.lent.insert(id, Lent { until, look, counted, ..lent });
        lending.looks.push_back((look, id));
        self.enter(tables, id, &lent, &sides, Some(until));
        true
    }
}

fn has_lasted(flow: &Flow) -> bool {
    flow.packets(Direction::Original) + flow.packets(Direction::Reply) >= LASTING
}

/// Of which sides the program has moved so much that later numbers look like earlier ones.
fn far(news: &[(u32, u64); 2]) -> [bool; 2] {
    let are_far = news.iter().any(|(_, bytes)| *bytes >= FAR);
    news.map(|(packets, _)| are_far && packets > 0)
}

/// What the program has sent on of either side, in packets and bytes, and is not entered yet. When a flow moves from one queue to
/// another, two processors may count it for a moment, and one's older number stands in the end: then there is nothing.
fn since(sides: &[LentSide; 2], counted: &[(u32, u64); 2]) -> [(u32, u64); 2] {
    Direction::BOTH.map(|side| {
        let (side, counted) = (&sides[side.index()], counted[side.index()]);
        let packets = side.packets.wrapping_sub(counted.0).cast_signed().max(0).cast_unsigned();
        (packets, side.bytes.saturating_sub(counted.1))
    })
}

/// Counts that.
fn count(news: &[(u32, u64); 2], flow: &mut Flow, stats: Option<&WorkerStats>, counters: &Counters) {
    for direction in Direction::BOTH {
        let (packets, bytes) = news[direction.index()];
        flow.count_many(direction, packets, bytes);
        if let Some(stats) = stats {
            stats.packets(direction, packets, bytes);
        }
        counters.shortcut_packets.add(packets.into());
        counters.shortcut_bytes.add(bytes);
    }
}

/// What the program must know of both directions, and by which interfaces they leave. `None`: something about them is beyond it.
fn ways(
    tables: &Snapshot,
    lending: &Lending,
    flow: &Flow,
    target: &BackendRef<'_>,
) -> Option<([LentWay; 2], [InterfaceIndex; 2])> {
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
    Some(([original, reply], [interface, client]))
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
    let Shown { end, ack, window, scale, .. } = shown;
    LentSide { end, ack, window, scale, ..LentSide::default() }
}

fn shown(side: &LentSide) -> Shown {
    Shown { end: side.end, ack: side.ack, window: side.window, scale: side.scale, is_far: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_wrap_around_but_never_run_backwards() {
        let since = |counted, (packets, bytes)| {
            since(&[LentSide::default(), LentSide { packets, bytes, ..LentSide::default() }], &[(0, 0), counted])[1]
        };
        assert_eq!(since((5, 500), (7, 700)), (2, 200));
        assert_eq!(since((u32::MAX, 1 << 39), (1, 1 << 40)), (2, 1 << 39));
        assert_eq!(since((7, 700), (5, 500)), (0, 0));
    }

    #[test]
    fn sides_are_far_when_either_has_sent_that_much_and_they_have_moved() {
        assert_eq!(far(&[(9, FAR), (9, 400)]), [true, true]);
        assert_eq!(far(&[(9, 400), (9, FAR)]), [true, true]);
        assert_eq!(far(&[(0, 0), (9, FAR)]), [false, true], "it has not joined");
        assert_eq!(far(&[(9, FAR - 1), (9, FAR - 1)]), [false, false]);
    }
}
