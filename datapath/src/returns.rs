//! The ways back of one-packet datagrams: which client an answer belongs to, without a flow.
//!
//! Backends see a SNAT address, so their answers don't name the client (IPVS's `ops` needs no memory because its NAT keeps
//! the client's address). Each backend and SNAT address has a lane of slots, one for each port of a range that UDP flows
//! stay out of. Slots are used in turn: no index, no timers, nothing to take out. A slot is used again only after its answer
//! has had time to come, so that no late answer reaches somebody else; while all are young, datagrams are dropped.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use conntrack::{ClientLink, NatBinding, SnatRange};
use hashbrown::HashMap;
use wire::{FiveTuple, Protocol};

use crate::core::SnatPorts;
use crate::service::{BackendId, Snapshot};
use crate::stage::FlowFacts;

/// An answer may take so long before the port is used again.
const UNANSWERED: Duration = Duration::from_secs(5);
/// So long after it was sent, a datagram that was answered may have another answer.
const ANSWERED: Duration = Duration::from_secs(1);
/// Nothing is answered later than this, used again or not.
const LONGEST: Duration = Duration::from_secs(30);
/// Slots that are looked at for one that is free: those that wait for an answer lie among those that have it.
const LOOKS: usize = 16;
/// Fragmented datagrams whose way is remembered at a time.
const FRAGMENTED: usize = 64;

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WayBack {
    /// Client to VIP.
    pub(crate) original: FiveTuple,
    /// The client's next hop.
    pub(crate) client: ClientLink,
    pub(crate) backend: BackendId,
    sent: Option<Duration>,
    answered: bool,
}

const NEVER: WayBack = WayBack {
    original: FiveTuple {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
        src_port: 0,
        dst_port: 0,
        protocol: Protocol::Udp,
    },
    client: ClientLink { mac: wire::MacAddr([0; 6]), interface: 0 },
    backend: BackendId(0),
    sent: None,
    answered: false,
};

impl WayBack {
    fn is_free(&self, now: Duration) -> bool {
        let rest = if self.answered { ANSWERED } else { UNANSWERED };
        self.sent.is_none_or(|sent| now.saturating_sub(sent) >= rest)
    }
}

/// A backend as its answers show it: its address and port, the SNAT address that it saw.
type LaneKey = (SocketAddrV4, Ipv4Addr);

#[derive(Debug)]
struct Lane {
    /// Its first port.
    first: u16,
    slots: Box<[WayBack]>,
    next: usize,
    /// From one slot to the next: ports that flows hold lie side by side, and are not all met one after the other.
    stride: usize,
    used: Duration,
}

/// All of a worker.
pub(crate) struct Returns {
    of_flows: SnatPorts,
    ports: SnatPorts,
    lanes: HashMap<LaneKey, Lane>,
    /// Which SNAT address comes next.
    turn: usize,
    /// Clients' datagrams that came in fragments, and where they went.
    fragmented: Vec<(FiveTuple, FlowFacts)>,
}

impl Returns {
    /// `ports` are the worker's own: the upper half of each range is for one-packet services.
    pub(crate) fn new(ports: &SnatPorts) -> Returns {
        let of_flows = SnatPorts { overlay: halves(&ports.overlay).0, plain: halves(&ports.plain).0 };
        let ports = SnatPorts { overlay: halves(&ports.overlay).1, plain: halves(&ports.plain).1 };
        Returns { of_flows, ports, lanes: HashMap::new(), turn: 0, fragmented: Vec::new() }
    }

    /// Whether nothing was ever sent, or all of it long ago.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The ports that UDP flows use while there are one-packet services.
    pub(crate) fn of_flows(&self) -> &SnatPorts {
        &self.of_flows
    }

    /// The ports of one-packet services.
    pub(crate) fn ports(&self) -> &SnatPorts {
        &self.ports
    }

    /// A SNAT address and port for a datagram; `None` while all are waiting for answers. `is_taken` says of the key of the
    /// answers whether a flow has it.
    pub(crate) fn send(
        &mut self,
        way: (FiveTuple, ClientLink, BackendId),
        backend: SocketAddrV4,
        range: &SnatRange<'_>,
        is_taken: impl Fn(&FiveTuple) -> bool,
        now: Duration,
    ) -> Option<SocketAddrV4> {
        let address = *range.addresses.get(self.turn % range.addresses.len().max(1))?;
        self.turn = self.turn.wrapping_add(1);
        let (first, len) = (*range.ports.start(), range.ports.len());
        let fresh = || Lane { first, slots: vec![NEVER; len].into(), next: 0, stride: stride(len), used: now };
        let lane = self.lanes.entry((backend, address)).or_insert_with(fresh);
        for _ in 0..LOOKS.min(len) {
            let at = lane.next;
            lane.next = (at + lane.stride) % len;
            let snat = SocketAddrV4::new(address, first + at as u16);
            if lane.slots[at].is_free(now) && !is_taken(&answer(backend, snat)) {
                let (original, client, backend) = way;
                lane.slots[at] = WayBack { original, client, backend, sent: Some(now), answered: false };
                lane.used = now;
                return Some(snat);
            }
        }
        None
    }

    /// Whom an answer with this key is for.
    pub(crate) fn find(&mut self, key: &FiveTuple, now: Duration) -> Option<&mut WayBack> {
        if key.protocol != Protocol::Udp {
            return None;
        }
        let lane = self.lanes.get_mut(&(SocketAddrV4::new(key.src, key.src_port), key.dst))?;
        let way = lane.slots.get_mut(usize::from(key.dst_port.checked_sub(lane.first)?))?;
        way.sent.is_some_and(|sent| now.saturating_sub(sent) <= LONGEST).then_some(way)
    }

    /// As [`Returns::find`], for an answer that is passed on.
    pub(crate) fn answered(&mut self, key: &FiveTuple, now: Duration) -> Option<WayBack> {
        let way = self.find(key, now)?;
        way.answered = true;
        Some(*way)
    }

    /// The first fragment of a datagram went out: the others go the same way.
    pub(crate) fn fragmented(&mut self, facts: FlowFacts) {
        if self.fragmented.len() == FRAGMENTED {
            self.fragmented.remove(0);
        }
        self.fragmented.push((facts.original, facts));
    }

    /// Where the last fragmented datagram with this key went.
    pub(crate) fn of_fragment(&self, original: &FiveTuple) -> Option<FlowFacts> {
        self.fragmented.iter().rev().find(|(known, _)| known == original).map(|(_, facts)| *facts)
    }

    /// Gives the memory of backends back that no datagram can come from any more.
    pub(crate) fn tidy(&mut self, tables: &Snapshot, now: Duration) {
        let stands = |(backend, _): &LaneKey| tables.takes_one_packet(*backend.ip(), backend.port());
        self.lanes.retain(|key, lane| now.saturating_sub(lane.used) <= LONGEST || stands(key));
        if self.lanes.is_empty() {
            self.fragmented = Vec::new();
        }
    }
}

/// About the golden section of `len`, without a common divisor: the steps visit every slot, far from the last ones.
fn stride(len: usize) -> usize {
    let shares = |a: usize, b: usize| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a > 1
    };
    (len * 618 / 1000..len).find(|step| *step > 0 && !shares(*step, len)).unwrap_or(1)
}

fn halves(range: &RangeInclusive<u16>) -> (RangeInclusive<u16>, RangeInclusive<u16>) {
    let middle = *range.start() + (range.len() / 2) as u16;
    (*range.start()..=middle.saturating_sub(1), middle..=*range.end())
}

/// The key of what the backend sends back.
fn answer(backend: SocketAddrV4, snat: SocketAddrV4) -> FiveTuple {
    NatBinding { backend, snat }.reply_tuple(Protocol::Udp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 11), 53);
    const SNAT: [Ipv4Addr; 1] = [Ipv4Addr::new(10, 0, 0, 3)];

    fn client(port: u16) -> FiveTuple {
        let (src, dst) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(198, 18, 0, 1));
        FiveTuple { src, dst, src_port: port, dst_port: 53, protocol: Protocol::Udp }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(100_000 + millis)
    }

    /// With so many ports from 5000 on.
    fn returns(ports: u16) -> Returns {
        let all = 5_000 - ports..=5_000 + ports - 1;
        Returns::new(&SnatPorts { overlay: all.clone(), plain: all })
    }

    fn range(ports: RangeInclusive<u16>, addresses: &[Ipv4Addr]) -> SnatRange<'_> {
        SnatRange { addresses, ports }
    }

    fn send(returns: &mut Returns, port: u16, now: Duration) -> Option<u16> {
        let way = (client(port), ClientLink::default(), BackendId(1));
        let range = range(returns.ports().overlay.clone(), &SNAT);
        returns.send(way, BACKEND, &range, |_| false, now).map(|snat| snat.port())
    }

    fn key(port: u16) -> FiveTuple {
        answer(BACKEND, SocketAddrV4::new(SNAT[0], port))
    }

    fn asker(returns: &mut Returns, port: u16, now: Duration) -> Option<u16> {
        returns.answered(&key(port), now).map(|way| way.original.src_port)
    }

    #[test]
    fn ports_come_round_and_only_when_their_answers_had_time() {
        let mut returns = returns(4);
        for (n, port) in [(0, 0), (1, 3), (2, 2), (3, 1)] {
            assert_eq!(send(&mut returns, 100 + n, at(0)), Some(5_000 + port));
        }
        assert_eq!(send(&mut returns, 200, at(4_999)), None, "all wait for an answer");
        assert_eq!(asker(&mut returns, 5_002, at(500)), Some(102));
        assert_eq!(send(&mut returns, 201, at(999)), None);
        assert_eq!(send(&mut returns, 202, at(1_000)), Some(5_002), "answered, and a second old");
        assert_eq!(asker(&mut returns, 5_002, at(1_001)), Some(202));
        assert_eq!(asker(&mut returns, 5_000, at(4_999)), Some(100), "a late answer is still the right client's");
        assert_eq!(send(&mut returns, 203, at(5_000)), Some(5_001));
    }

    #[test]
    fn a_way_back_is_small() {
        assert_eq!(size_of::<WayBack>(), 48);
    }

    #[test]
    fn steps_visit_every_slot() {
        for len in 1..300 {
            let step = stride(len);
            let visited: std::collections::BTreeSet<usize> = (0..len).map(|n| n * step % len).collect();
            assert_eq!(visited.len(), len, "{len} slots, {step} a step");
        }
    }

    #[test]
    fn nothing_is_answered_for_ever() {
        let mut returns = returns(1);
        send(&mut returns, 100, at(0));
        assert_eq!(asker(&mut returns, 5_000, at(30_000)), Some(100));
        assert_eq!(asker(&mut returns, 5_000, at(30_001)), None);
        assert_eq!(asker(&mut returns, 5_001, at(0)), None, "a port of somebody else");
    }

    #[test]
    fn answers_must_come_from_where_the_datagram_went() {
        let mut returns = returns(4);
        send(&mut returns, 100, at(0));
        for wrong in [
            FiveTuple { src: Ipv4Addr::new(10, 0, 0, 12), ..key(5_000) },
            FiveTuple { src_port: 54, ..key(5_000) },
            FiveTuple { dst: Ipv4Addr::new(10, 0, 0, 4), ..key(5_000) },
            FiveTuple { protocol: Protocol::Tcp, ..key(5_000) },
            key(5_001),
        ] {
            assert!(returns.find(&wrong, at(0)).is_none(), "{wrong:?}");
        }
        assert!(returns.find(&key(5_000), at(0)).is_some());
    }

    /// Those of a backend that is asked on this port, or on whichever the client asks for, stay.
    #[test]
    fn what_nobody_asks_any_more_goes() {
        use crate::service::testing::{service, tables};
        let stays = |one_packet, port| {
            let mut service = service(&[1]);
            service.one_packet = one_packet;
            service.backends[0].port = std::num::NonZeroU16::new(port);
            let tables = Snapshot::build(tables(vec![service])).unwrap();
            let mut returns = returns(4);
            send(&mut returns, 100, at(0));
            returns.tidy(&tables, at(30_000));
            assert!(!returns.is_empty(), "answers may come");
            returns.tidy(&tables, at(30_001));
            !returns.is_empty()
        };
        assert_eq!(
            [(true, 53), (true, 0), (true, 54), (false, 53)].map(|(one, port)| stays(one, port)),
            [true, true, false, false]
        );
    }

    #[test]
    fn ports_of_flows_are_left_alone() {
        let mut returns = returns(4);
        let way = (client(1), ClientLink::default(), BackendId(1));
        let snat = returns.send(way, BACKEND, &range(5_000..=5_003, &SNAT), |key| key.dst_port < 5_002, at(0));
        assert_eq!(snat.map(|snat| snat.port()), Some(5_003));
        assert!(
            returns.send(way, BACKEND, &range(5_000..=5_003, &[]), |_| false, at(0)).is_none(),
            "no address, no way"
        );
    }
}
