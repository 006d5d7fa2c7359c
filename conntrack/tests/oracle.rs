//! The table against a model made of plain maps and queues: random openings, packets, closings, and time passing.
#![expect(clippy::unwrap_used, reason = "where table and model differ, the test shall fail")]

mod common;

use std::collections::VecDeque;

use common::*;
use conntrack::{Conntrack, Direction, FlowId, Hit, OpenError, Opened, SnatRange, State, Timeouts, Track};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::RangeInclusive;
use core::time::Duration;
use hashbrown::HashMap;
use proptest::prelude::*;
use wire::{FiveTuple, Protocol};

const CAPACITY: usize = 9;
const ADDRESSES: [Ipv4Addr; 2] = [SNAT, Ipv4Addr::new(10, 0, 0, 4)];
const PORTS: RangeInclusive<u16> = 65_533..=65_535;

fn timeouts() -> Timeouts {
    let seconds = Duration::from_secs;
    Timeouts {
        tcp_syn_sent: seconds(3),
        tcp_established: seconds(400),
        tcp_time_wait: seconds(9),
        tcp_close: seconds(2),
        tcp_reset: seconds(4),
        udp: seconds(2),
        udp_stream: seconds(6),
        ..Timeouts::default()
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Open {
        client: u32,
        backend: u8,
        udp: bool,
    },
    /// To established; of UDP a question and an answer.
    Establish(u32),
    Fins(u32),
    Rst(u32),
    Reset(u32),
    Close(u32),
    Wait {
        eighths: u32,
    },
    Expire,
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = 0..14u32;
    prop_oneof![
        6 => (client.clone(), 0..2u8, prop::bool::weighted(0.3))
            .prop_map(|(client, backend, udp)| Operation::Open { client, backend, udp }),
        3 => client.clone().prop_map(Operation::Establish),
        3 => client.clone().prop_map(Operation::Fins),
        1 => client.clone().prop_map(Operation::Rst),
        1 => client.clone().prop_map(Operation::Reset),
        1 => client.prop_map(Operation::Close),
        2 => prop_oneof![4 => 0..30u32, 1 => 0..5000u32].prop_map(|eighths| Operation::Wait { eighths }),
        2 => Just(Operation::Expire),
    ]
}

#[derive(Clone, Debug)]
struct ModelFlow {
    id: FlowId,
    backend: SocketAddrV4,
    snat: SocketAddrV4,
    state: State,
    deadline: Duration,
    began: Duration,
    /// When it was closed, and as the how-manieth.
    closed: (Duration, usize),
}

#[derive(Default)]
struct ModelPool {
    begin: Option<u16>,
    walked: u16,
    rested: VecDeque<u16>,
}

#[derive(Default)]
struct Model {
    flows: HashMap<FiveTuple, ModelFlow>,
    replies: HashMap<FiveTuple, FiveTuple>,
    pools: HashMap<(SocketAddrV4, Protocol, Ipv4Addr), ModelPool>,
    turns: HashMap<(SocketAddrV4, Protocol), usize>,
    now: Duration,
    closings: usize,
}

fn reply_key(flow: &ModelFlow, protocol: Protocol) -> FiveTuple {
    FiveTuple {
        src: *flow.backend.ip(),
        dst: *flow.snat.ip(),
        src_port: flow.backend.port(),
        dst_port: flow.snat.port(),
        protocol,
    }
}

impl ModelPool {
    fn free(&self) -> usize {
        PORTS.len() - usize::from(self.walked) + self.rested.len()
    }
}

impl Model {
    /// Which address is next, and which port of it, as far as the model can know: where the first walk over a range
    /// begins is the table's secret.
    fn next_port(&mut self, backend: SocketAddrV4, protocol: Protocol) -> Option<(Ipv4Addr, Option<u16>)> {
        let turn = self.turns.entry((backend, protocol)).or_default();
        for _ in ADDRESSES {
            let address = ADDRESSES[*turn % 2];
            *turn += 1;
            let pool = self.pools.entry((backend, protocol, address)).or_default();
            if usize::from(pool.walked) < PORTS.len() {
                let place = |begin: u16| PORTS.start() + (begin - PORTS.start() + pool.walked) % 3;
                let port = pool.begin.map(place);
                pool.walked += 1;
                return Some((address, port));
            }
            if let Some(port) = pool.rested.pop_front() {
                return Some((address, Some(port)));
            }
        }
        None
    }

    fn rest(&mut self, backend: SocketAddrV4, protocol: Protocol, snat: SocketAddrV4) {
        self.pools.entry((backend, protocol, *snat.ip())).or_default().rested.push_back(snat.port());
    }

    fn remove(&mut self, key: &FiveTuple) -> Option<ModelFlow> {
        let flow = self.flows.remove(key)?;
        self.replies.remove(&reply_key(&flow, key.protocol));
        if !flow.state.is_closed() {
            self.rest(flow.backend, key.protocol, flow.snat);
        }
        Some(flow)
    }

    fn oldest_closed(&self) -> Option<FiveTuple> {
        let closed = self.flows.iter().filter(|(_, flow)| flow.state.is_closed());
        // Of those that closed in the same moment, who has the shorter time comes first.
        let queue = |flow: &ModelFlow| timeouts().of(flow.state);
        closed.min_by_key(|(_, flow)| (flow.closed.0, queue(flow), flow.closed.1)).map(|(key, _)| *key)
    }

    fn close(&mut self, key: &FiveTuple, state: State) {
        self.closings += 1;
        let (now, count) = (self.now, self.closings);
        let Some(flow) = self.flows.get_mut(key) else { return };
        if flow.state == state {
            return;
        }
        let (was, backend, snat) = (flow.state, flow.backend, flow.snat);
        flow.state = state;
        flow.deadline = now + timeouts().of(state);
        flow.closed = (now, count);
        if !was.is_closed() {
            self.rest(backend, key.protocol, snat);
        }
    }
}

struct Pair {
    table: Conntrack,
    model: Model,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        Pair { table: Conntrack::new(CAPACITY, timeouts(), seed), model: Model::default() }
    }

    fn key(&self, client_number: u32) -> Option<FiveTuple> {
        let keys = [Protocol::Tcp, Protocol::Udp].map(|protocol| client(client_number, protocol));
        keys.into_iter().find(|key| self.model.flows.contains_key(key))
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Open { client: number, backend, udp } => {
                let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
                let backend = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 11 + backend), 8000);
                self.open(client(number, protocol), backend);
            }
            Operation::Establish(number) => self.packets(number, &Self::establish),
            Operation::Fins(number) => self.packets(number, &Self::fins),
            Operation::Rst(number) => self.packets(number, &Self::rst),
            Operation::Reset(number) => self.packets(number, &Self::reset),
            Operation::Close(number) => self.close(number),
            Operation::Wait { eighths } => self.model.now += Duration::from_millis(125) * eighths,
            Operation::Expire => self.expire(),
        }
    }

    fn open(&mut self, key: FiveTuple, backend: SocketAddrV4) {
        let snat = SnatRange { addresses: &ADDRESSES, ports: PORTS };
        let answer = opened_to(&mut self.table, key, backend, snat, self.model.now);
        let refused = answer.as_ref().err().copied();
        let full = self.model.flows.len() == CAPACITY;
        if self.model.flows.contains_key(&key) {
            assert_eq!(refused, Some(OpenError::Duplicate));
        } else if full && self.model.oldest_closed().is_none() {
            assert_eq!(refused, Some(OpenError::TableFull));
        } else if let Some((address, port)) = self.model.next_port(backend, key.protocol) {
            let Opened { id, evicted } = answer.unwrap();
            let got = self.table.flow(id).binding.snat;
            assert_eq!(*got.ip(), address);
            assert_eq!(got.port(), port.unwrap_or(got.port()), "oldest first");
            let gave_way = self.opened(key, id, backend, got);
            assert_eq!(evicted.map(|flow| flow.original), gave_way, "who gave way is handed out");
        } else {
            assert_eq!(refused, Some(OpenError::PortsExhausted));
        }
    }

    /// The new flow in the model; says who had to give way.
    fn opened(&mut self, key: FiveTuple, id: FlowId, backend: SocketAddrV4, snat: SocketAddrV4) -> Option<FiveTuple> {
        let mut gave_way = None;
        let model = &mut self.model;
        let pool = model.pools.entry((backend, key.protocol, *snat.ip())).or_default();
        pool.begin.get_or_insert(snat.port());
        let state = if key.protocol == Protocol::Tcp { State::SynSent } else { State::UdpNew };
        let deadline = model.now + timeouts().of(state);
        let flow = ModelFlow { id, backend, snat, state, deadline, began: model.now, closed: Default::default() };
        let reply = reply_key(&flow, key.protocol);
        if let Some(holder) = model.replies.get(&reply).copied() {
            assert!(model.flows[&holder].state.is_closed(), "a port of an open flow was given out");
            model.remove(&holder);
            gave_way = Some(holder);
        }
        if model.flows.len() == CAPACITY {
            let oldest = model.oldest_closed().unwrap();
            model.remove(&oldest);
            gave_way = Some(oldest);
        }
        model.replies.insert(reply, key);
        model.flows.insert(key, flow);
        gave_way
    }

    fn packets(&mut self, number: u32, what: &dyn Fn(&mut Pair, FiveTuple, FlowId)) {
        let Some(key) = self.key(number) else { return };
        let id = self.model.flows[&key].id;
        what(self, key, id);
    }

    fn send(&mut self, id: FlowId, from: Direction, flags: u8, seq: u32, ack: u32) -> Track {
        let tcp = segment(flags, seq, ack, 0);
        self.table.segment(id, from, &tcp, None, &Idle::default(), self.model.now)
    }

    fn establish(&mut self, key: FiveTuple, id: FlowId) {
        let now = self.model.now;
        if key.protocol == Protocol::Udp {
            self.table.datagram(id, Direction::Original, &Idle::default(), now);
            self.table.datagram(id, Direction::Reply, &Idle::default(), now);
        } else {
            self.send(id, Direction::Original, SYN, 100, 0);
            self.send(id, Direction::Reply, SYN_ACK, 300, 101);
            self.send(id, Direction::Original, ACK, 101, 301);
        }
        let Some(flow) = self.model.flows.get_mut(&key) else { return };
        if flow.state.is_closed() {
            return;
        }
        flow.state = match key.protocol {
            Protocol::Tcp => State::Established,
            Protocol::Udp if now > flow.began + Duration::from_secs(2) => State::UdpStream,
            Protocol::Udp => State::UdpNew,
        };
        flow.deadline = now + timeouts().of(flow.state);
    }

    fn fins(&mut self, key: FiveTuple, id: FlowId) {
        if self.model.flows[&key].state == State::Established {
            self.send(id, Direction::Original, FIN_ACK, 101, 301);
            self.send(id, Direction::Reply, FIN_ACK, 301, 102);
            self.send(id, Direction::Original, ACK, 102, 302);
            self.model.close(&key, State::TimeWait);
        }
    }

    fn rst(&mut self, key: FiveTuple, id: FlowId) {
        let seq = match self.model.flows[&key].state {
            State::Established => 101,
            State::TimeWait => 102,
            _ => return,
        };
        assert_eq!(self.send(id, Direction::Original, RST, seq, 0), Track::Forward);
        self.model.close(&key, State::Close);
    }

    fn reset(&mut self, key: FiveTuple, id: FlowId) {
        let resets = self.table.reset(id, &Idle::default(), self.model.now);
        let state = self.model.flows[&key].state;
        assert_eq!(resets.to_client.is_some(), state == State::Established);
        if key.protocol == Protocol::Tcp && !state.is_closed() {
            self.model.close(&key, State::Reset);
        }
    }

    fn close(&mut self, number: u32) {
        let Some(key) = self.key(number) else { return };
        if let Some(flow) = self.model.remove(&key) {
            let removed = self.table.close(flow.id);
            assert_eq!((removed.original, removed.state()), (key, flow.state));
        }
    }

    fn expire(&mut self) {
        let now = self.model.now;
        while let Some(expired) = self.table.expire(now, usize::MAX) {
            let flow = self.model.remove(&expired.flow.original).unwrap();
            assert!(flow.deadline <= now, "expired early");
            assert_eq!(expired.flow.state(), flow.state);
            assert_eq!(expired.resets.to_client.is_some(), flow.state == State::Established);
        }
        assert!(self.model.flows.values().all(|flow| flow.deadline > now), "missed");
    }

    fn agree(&mut self) {
        assert_eq!(self.table.len(), self.model.flows.len());
        let mut keys: Vec<FiveTuple> = Vec::new();
        let mut expected = Vec::new();
        for number in 0..14 {
            for key in [Protocol::Tcp, Protocol::Udp].map(|protocol| client(number, protocol)) {
                let flow = self.model.flows.get(&key);
                expected.push(flow.map(|flow| Hit { id: flow.id, direction: Direction::Original }));
                keys.push(key);
                let Some(flow) = flow else { continue };
                keys.push(reply_key(flow, key.protocol));
                expected.push(Some(Hit { id: flow.id, direction: Direction::Reply }));
                let have = self.table.flow(flow.id);
                assert_eq!((have.original, have.state(), have.deadline()), (key, flow.state, flow.deadline));
            }
        }
        let one_by_one: Vec<Option<Hit>> = keys.iter().map(|key| self.table.lookup(key)).collect();
        let mut together = vec![None; keys.len()];
        self.table.lookup_burst(&keys, &mut together);
        assert_eq!(one_by_one, expected);
        assert_eq!(together, expected);
        assert_eq!(self.table.scan(0, CAPACITY).count(), self.model.flows.len());
        let slices = (0..=CAPACITY).step_by(3).flat_map(|cursor| self.table.scan(cursor, 3));
        assert!(slices.map(|(id, _)| id).eq(self.table.scan(0, CAPACITY).map(|(id, _)| id)), "in slices or in one go");
        assert!(self.table.scan(0, CAPACITY).all(|(id, flow)| self.model.flows[&flow.original].id == id));
        let range = SnatRange { addresses: &ADDRESSES, ports: PORTS };
        for (&(backend, protocol, _), _) in &self.model.pools {
            let free = |address| self.model.pools.get(&(backend, protocol, address)).map_or(3, ModelPool::free);
            let expected: usize = ADDRESSES.into_iter().map(free).sum();
            assert_eq!(self.table.free_ports(backend, protocol, &range), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn table_and_model_agree(seed: u64, operations in prop::collection::vec(operation(), 1..120)) {
        let mut pair = Pair::new(seed);
        for operation in &operations {
            pair.apply(operation);
            pair.agree();
        }
        // Nothing leaks: in the end all is gone and every port is back.
        pair.model.now += Duration::from_secs(10_000);
        pair.expire();
        pair.agree();
        prop_assert!(pair.table.is_empty());
        prop_assert!(pair.model.pools.values().all(|pool| pool.free() == PORTS.len()));
    }
}
