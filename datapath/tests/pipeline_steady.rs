//! The short way of packets whose flow goes on, and the long way of all others, are one way: two gateways get the same
//! packets, and one of them new tables (with the same contents) before each, after which a flow's next packet takes the long
//! way. What comes out, what is counted and what the flows look like must be the same.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use etherparse::TcpOptionElement;
use lab::packets::{Segment, Tunnel, answer_of, ethernet, fragments, see, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, OUR_OVERLAY, TASKS, VIP};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use wire::{MacAddr, Protocol};

#[derive(Clone, Debug)]
struct Tcp {
    by_client: bool,
    flags: &'static str,
    seq: i64,
    ack: i64,
    window: u16,
    len: usize,
    ttl: u8,
    timestamp: bool,
}

#[derive(Clone, Debug)]
enum Act {
    Tcp(Tcp),
    Datagram { by_client: bool, len: usize, ttl: u8, in_pieces: bool },
    NewMac(u8),
    Pass(Duration),
}

fn near() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 2 => -3_i64..3, 1 => -70_000_i64..70_000, 1 => any::<i32>().prop_map(i64::from)]
}

fn act() -> impl Strategy<Value = Act> {
    let flags = select(vec!["A", "A", "A", "AP", "AP", "AP", "FA", "R", "RA", "S", "SA", "", "F"]);
    let len = select(vec![0_usize, 1, 2, 536, 1398, 1410, 1460]);
    let ttl = select(vec![64_u8, 64, 64, 64, 2, 1]);
    let tcp = (any::<bool>(), flags, near(), near(), any::<u16>(), len.clone(), ttl.clone(), any::<bool>()).prop_map(
        |(by_client, flags, seq, ack, window, len, ttl, timestamp)| {
            Act::Tcp(Tcp { by_client, flags, seq, ack, window, len, ttl, timestamp })
        },
    );
    let datagram = (any::<bool>(), len, ttl, any::<bool>())
        .prop_map(|(by_client, len, ttl, in_pieces)| Act::Datagram { by_client, len, ttl, in_pieces });
    let pass = select(vec![1_u64, 125, 1_000, 2_500, 29_000, 121_000]);
    prop_oneof![
        8 => tcp,
        4 => datagram,
        1 => any::<u8>().prop_map(Act::NewMac),
        1 => pass.prop_map(|millis| Act::Pass(Duration::from_millis(millis))),
    ]
}

/// A gateway with an open TCP connection and a UDP exchange, and what its ends know.
struct Site {
    gateway: Gateway,
    long: bool,
    mac: MacAddr,
    /// SNAT ports of the connection and of the exchange.
    ports: [u16; 2],
    /// The next sequence number of client and task.
    next: [u32; 2],
    out: Vec<Vec<u8>>,
    program: Option<Rc<RefCell<Program>>>,
}

fn tables() -> datapath::service::Tables {
    let (web, dns) = (lab::service(1, Protocol::Tcp, 8080, &[1]), lab::service(2, Protocol::Udp, 53, &[1]));
    lab::tables(vec![web, dns])
}

impl Site {
    fn new(long: bool, now: Duration) -> Self {
        let mut gateway = Gateway::new(tables());
        gateway.now = now;
        let mut site =
            Self { gateway, long, mac: CLIENT_MAC, ports: [0; 2], next: [1001, 5001], out: vec![], program: None };
        let syn = see(&site.gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
        let mut answer = answer_of(0, &syn, "SA", 5000, 1001);
        answer.options = Segment::syn(1).options;
        assert_eq!(site.gateway.backward(&answer.sent_by_task(0)).len(), 1);
        let ack = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001);
        assert_eq!(site.gateway.forward(&ack.sent_by_client()).len(), 1);
        let asked = ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, 40_000), (VIP, 53), b"?"));
        let query = see(&site.gateway.forward(&asked)[0]);
        site.ports = [syn.ports().0, query.ports().0];
        site
    }

    /// How a packet of this side arrives, and where.
    fn frame(&self, by_client: bool, ip: &[u8]) -> (usize, Vec<u8>) {
        if by_client { (FRONT, ethernet(self.mac, OUR_MACS[0], ip)) } else { (BACK, Tunnel::from_node(0).wrap(ip)) }
    }

    /// Where a segment of this side is from, and where it goes.
    fn ends(&self, by_client: bool) -> [(Ipv4Addr, u16); 2] {
        if by_client { [(CLIENT, 40_000), (VIP, 8080)] } else { [(TASKS[0], 8000), (OUR_OVERLAY, self.ports[0])] }
    }

    fn send(&mut self, by_client: bool, ip: &[u8]) {
        if self.long {
            self.gateway.publish_same(tables());
        }
        let (slot, frame) = self.frame(by_client, ip);
        match self.program.as_ref().and_then(|program| program.borrow_mut().take(&frame)) {
            Some(taken) => self.out.push(if by_client { without_id(taken) } else { taken }),
            None => self.gateway.inject(0, slot, &frame),
        }
        self.gateway.settle();
        self.collect();
    }

    fn collect(&mut self) {
        self.out.extend(self.gateway.collect(0, FRONT));
        // With new tables, ARP goes out to the tasks too: the tunnels' identifications differ, and with them their checksums.
        self.out.extend(self.gateway.collect(0, BACK).into_iter().map(without_id));
    }

    fn tcp(&mut self, act: &Tcp) {
        let (own, other) = if act.by_client { (0, 1) } else { (1, 0) };
        let [src, dst] = self.ends(act.by_client);
        let shifted = |base: u32, by: i64| base.wrapping_add_signed(by as i32);
        let (seq, ack) = (shifted(self.next[own], act.seq), shifted(self.next[other], act.ack));
        let mut segment = Segment::new(src, dst, act.flags, seq, ack).with(&vec![7; act.len]);
        (segment.window, segment.ttl) = (act.window, act.ttl);
        if act.timestamp {
            segment.options = vec![TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(77, 78)];
        }
        if act.seq == 0 {
            self.next[own] = self.next[own].wrapping_add(act.len as u32);
        }
        self.send(act.by_client, &segment.ip());
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Tcp(tcp) => self.tcp(tcp),
            Act::Datagram { by_client, len, ttl, in_pieces } => {
                let ends = [(CLIENT, 40_000), (VIP, 53), (TASKS[0], 8000), (OUR_OVERLAY, self.ports[1])];
                let (src, dst) = if *by_client { (ends[0], ends[1]) } else { (ends[2], ends[3]) };
                let mut ip = udp(src, dst, &vec![9; *len]);
                set_ttl(&mut ip, *ttl);
                let pieces = if *in_pieces { fragments(&ip, 512) } else { vec![ip] };
                for piece in &pieces {
                    self.send(*by_client, piece);
                }
            }
            Act::NewMac(n) => self.mac = MacAddr([2, 0, 0, 0, 0xc, *n]),
            Act::Pass(time) => self.gateway.pass(*time),
        }
        self.collect();
    }

    /// One byte, `seq` bytes behind all that was said.
    fn says(&mut self, by_client: bool, seq: i64) {
        self.act(&Act::Tcp(Tcp { by_client, flags: "A", seq, ack: 0, window: 500, len: 1, ttl: 64, timestamp: true }));
    }

    fn lent(&self) -> usize {
        self.gateway.workers[0].core().lent()
    }
}

/// A tunnel's packet without its identification and the checksum over it.
fn without_id(mut frame: Vec<u8>) -> Vec<u8> {
    frame[18..20].fill(0);
    frame[24..26].fill(0);
    frame
}

fn set_ttl(ip: &mut [u8], ttl: u8) {
    ip[8] = ttl;
    let (header, _) = etherparse::Ipv4Header::from_slice(ip).unwrap();
    let checksum = header.calc_header_checksum();
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
}

const START: Duration = Duration::from_secs(100);

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_short_way_and_the_long_way_are_one(acts in prop::collection::vec(act(), 1..40)) {
        let (mut short, mut long) = (Site::new(false, START), Site::new(true, START));
        for act in &acts {
            short.act(act);
            long.act(act);
            prop_assert_eq!(&short.out, &long.out, "{:?}", act);
            prop_assert_eq!(short.gateway.drops(), long.gateway.drops(), "{:?}", act);
            prop_assert_eq!(short.gateway.flows(), long.gateway.flows(), "{:?}", act);
        }
        short.gateway.assert_gauges();
        short.gateway.assert_frames_conserved();
    }
}

/// The XDP program, and the table of what it has borrowed.
struct Program {
    filter: sys::XdpFilter,
    table: Arc<sys::Shortcuts>,
    output: datapath::Output,
    /// Frames that it has sent on.
    taken: usize,
}

impl Program {
    /// None, loudly, without root.
    fn load() -> Option<Rc<RefCell<Program>>> {
        let Ok(mut filter) = sys::XdpFilter::load() else {
            eprintln!("SKIPPED: running the XDP program needs root");
            return None;
        };
        let (interface, place) = filter.output("lo").unwrap();
        let table = Arc::new(filter.shortcuts(7).unwrap());
        let output = datapath::Output { interface, place };
        Some(Rc::new(RefCell::new(Program { filter, table, output, taken: 0 })))
    }

    /// The frame as it leaves, if the program sends it on.
    fn take(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (verdict, after) = self.filter.try_frame(frame).unwrap();
        self.taken += usize::from(verdict == 4);
        (verdict == 4).then_some(after)
    }
}

/// A gateway whose flows have gone on for long enough to be lent, if there is a program to lend them to. Time stands still.
fn settled(program: Option<&Rc<RefCell<Program>>>, now: Duration) -> Site {
    let mut site = Site::new(false, now);
    if let Some(program) = program {
        let (table, output) = (Arc::clone(&program.borrow().table), program.borrow().output);
        site.gateway.lend(&table, output);
        site.program = Some(Rc::clone(program));
    }
    for by_client in [true, false].repeat(8) {
        site.says(by_client, 0);
        site.act(&Act::Datagram { by_client, len: 3, ttl: 64, in_pieces: false });
    }
    site
}

/// All flows, but for when they end: that is told in ticks, and the program's clock is another.
fn flows(site: &mut Site) -> Vec<datapath::FlowRecord> {
    let flows = site.gateway.flows();
    flows.into_iter().map(|flow| datapath::FlowRecord { expires_in: Duration::ZERO, ..flow }).collect()
}

/// As above, with the XDP program in the place of the long way: it sees each frame first, and what it does not send on comes to the
/// worker.
#[test]
fn lent_flows_go_the_same_way() {
    let Some(program) = Program::load() else { return };
    let standing = act().prop_filter("time stands still", |act| !matches!(act, Act::Pass(_)));
    let judge = |acts: Vec<Act>| {
        let now = sys::clock::now();
        let (mut short, mut lent) = (settled(None, now), settled(Some(&program), now));
        prop_assert!(lent.lent() > 0);
        for act in &acts {
            short.act(act);
            lent.act(act);
            prop_assert_eq!(&short.out, &lent.out, "{:?}", act);
            prop_assert_eq!(short.gateway.drops(), lent.gateway.drops(), "{:?}", act);
        }
        // All that was lent comes back.
        for site in [&mut short, &mut lent] {
            site.gateway.pass(Duration::from_secs(2));
        }
        prop_assert_eq!(lent.lent(), 0);
        prop_assert_eq!(flows(&mut short), flows(&mut lent));
        lent.gateway.assert_gauges();
        lent.gateway.assert_frames_conserved();
        Ok(())
    };
    let config = ProptestConfig { cases: 200, ..ProptestConfig::with_source_file(file!()) };
    TestRunner::new(config).run(&prop::collection::vec(standing, 1..40), judge).unwrap();
    assert!(program.borrow().taken > 2_000, "the program has sent on {} frames only", program.borrow().taken);
}

/// A gateway with one flow that has just been lent, and nothing else.
fn just_lent(program: &Rc<RefCell<Program>>) -> Site {
    let mut site = settled(Some(program), sys::clock::now());
    site.act(&Act::Pass(Duration::from_secs(2)));
    assert_eq!(site.lent(), 0, "their time is over");
    site.says(true, 0);
    assert_eq!(site.lent(), 1);
    site
}

/// After how many milliseconds a flow that is not lent is lent again.
fn lent_again_after(site: &mut Site) -> u64 {
    for millis in 0.. {
        site.says(true, 0);
        if site.lent() == 1 {
            return millis;
        }
        site.act(&Act::Pass(Duration::from_millis(1)));
    }
    unreachable!()
}

/// A worker that comes late: what the program leaves to it waits in a queue.
struct Late {
    site: Site,
    waiting: VecDeque<(usize, Vec<u8>)>,
    /// The sequence numbers that client and task began with, and the next ones that wait at the other end.
    first: [u32; 2],
    awaited: [u32; 2],
    /// What the tasks' link has taken and not sent yet: so many at most.
    on_the_way: VecDeque<Vec<u8>>,
    held: usize,
}

impl Late {
    fn says(&mut self, by_client: bool, len: usize) {
        let own = usize::from(!by_client);
        let seq = self.site.next[own];
        self.site.next[own] += len as u32;
        self.sends(by_client, seq, len);
    }

    /// Something that has arrived long ago.
    fn repeats(&mut self, by_client: bool, len: usize) {
        let own = usize::from(!by_client);
        let len = (self.awaited[own] - self.first[own]).min(len as u32);
        if len > 0 {
            self.sends(by_client, self.awaited[own] - len, len as usize);
        }
    }

    fn sends(&mut self, by_client: bool, seq: u32, len: usize) {
        let (own, other) = if by_client { (0, 1) } else { (1, 0) };
        let [src, dst] = self.site.ends(by_client);
        let segment = Segment::new(src, dst, "A", seq, self.awaited[other]).with(&vec![7; len]);
        let (slot, frame) = self.site.frame(by_client, &segment.ip());
        let taken = self.site.program.as_ref().and_then(|program| program.borrow_mut().take(&frame));
        match taken {
            Some(taken) => self.arrives(own, &taken),
            None => self.waiting.push_back((slot, frame)),
        }
    }

    /// The worker gets to so many of them.
    fn work(&mut self, count: usize) {
        for (slot, frame) in self.waiting.drain(..count.min(self.waiting.len())) {
            self.site.gateway.inject(0, slot, &frame);
        }
        self.site.gateway.held.store(self.held, Relaxed);
        self.site.gateway.settle();
        for frame in self.site.gateway.collect(0, FRONT) {
            self.arrives(1, &frame);
        }
        self.on_the_way.extend(self.site.gateway.collect(0, BACK));
        let left = self.on_the_way.len().saturating_sub(self.held);
        for frame in self.on_the_way.drain(..left).collect::<Vec<_>>() {
            self.arrives(0, &frame);
        }
    }

    /// Of this side, at the other: nothing before it may still be on its way.
    fn arrives(&mut self, by: usize, frame: &[u8]) {
        let ip = if by == 0 { &frame[64..] } else { &frame[14..] };
        let (len, seq) =
            (u32::from(u16::from_be_bytes([ip[2], ip[3]])) - 40, u32::from_be_bytes([ip[24], ip[25], ip[26], ip[27]]));
        assert!(seq <= self.awaited[by], "out of order, by {by}: {seq} after {}", self.awaited[by]);
        self.awaited[by] = self.awaited[by].max(seq + len);
    }
}

/// Both sides speak at once, the worker's queue is hardly ever empty, and what leaves for the tasks takes its time.
#[test]
fn nothing_is_overtaken() {
    let Some(program) = Program::load() else { return };
    let judge = |acts: Vec<(u8, usize)>| {
        let mut site = settled(Some(&program), sys::clock::now());
        // It comes back with its next packet.
        site.gateway.publish_same(tables());
        let (first, awaited) = (site.next, site.next);
        let (waiting, on_the_way) = (VecDeque::new(), VecDeque::new());
        let mut late = Late { site, waiting, first, awaited, on_the_way, held: 0 };
        for (who, much) in acts {
            match who {
                0..4 => late.says(who % 2 == 0, if much % 5 == 0 { 0 } else { much }),
                4 => late.repeats(much % 2 == 0, much),
                5 => late.held = much % 8,
                _ => late.work(much % 8),
            }
        }
        late.held = 0;
        late.work(usize::MAX);
        prop_assert_eq!(late.awaited, late.site.next, "something was lost");
        // All that was lent comes back.
        late.site.gateway.pass(Duration::from_secs(2));
        prop_assert_eq!(late.site.lent(), 0);
        Ok(())
    };
    let config = ProptestConfig { cases: 300, ..ProptestConfig::with_source_file(file!()) };
    let acts = prop::collection::vec((0..8_u8, 1..1000_usize), 50..200);
    TestRunner::new(config).run(&acts, judge).unwrap();
    assert!(program.borrow().taken > 2_000, "the program has sent on {} frames only", program.borrow().taken);
}

#[test]
fn a_side_joins_where_the_worker_has_got_to() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let taken = |by| program.borrow().taken - by;
    let before = taken(0);
    // What lies between may wait for the worker.
    site.says(true, 50);
    assert_eq!((site.lent(), taken(before)), (1, 0));
    site.says(true, 51);
    assert_eq!((site.lent(), taken(before)), (1, 1));
}

/// What was in the queue when the flow was lent has its place in front of the program's packets. What comes later has not.
#[test]
fn only_packets_from_the_queue_leave_a_loan_alone() {
    let Some(program) = Program::load() else { return };
    for (pause, remains) in [(0, true), (99, true), (100, false)] {
        let mut site = just_lent(&program);
        site.says(true, 0);
        site.act(&Act::Pass(Duration::from_millis(pause)));
        let before = site.gateway.counters[0].shortcut_packets.get();
        let borrowed = site.program.take();
        site.says(true, 0);
        // What the program has sent on is counted when the flow comes back. It may have been lent again.
        assert_eq!(site.gateway.counters[0].shortcut_packets.get() == before, remains, "after {pause} ms");
        site.program = borrowed;
        site.act(&Act::Pass(Duration::from_secs(2)));
    }
    // However late, of a side that has not joined.
    let mut site = just_lent(&program);
    site.act(&Act::Pass(Duration::from_millis(500)));
    site.says(true, 50);
    assert_eq!(site.lent(), 1);
}

/// The program knows what the worker has sent on before the other side can answer.
#[test]
fn answers_to_what_the_worker_sends_are_believed() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let before = program.borrow().taken;
    site.says(true, 50);
    let answer = Tcp { by_client: false, flags: "A", seq: 0, ack: 51, window: 500, len: 1, ttl: 64, timestamp: true };
    site.act(&Act::Tcp(answer));
    assert_eq!((site.lent(), program.borrow().taken - before), (1, 1));
}

/// And the worker what the program has sent on, when it judges what answers to that.
#[test]
fn answers_to_what_the_program_sends_are_believed() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let (before, counted) = (program.borrow().taken, site.gateway.counters[0].shortcut_packets.get());
    site.says(false, 0);
    site.says(true, 50);
    assert_eq!(program.borrow().taken - before, 1, "the task's");
    assert_eq!(site.gateway.counters[0].shortcut_packets.get(), counted, "it has come back");
}

/// Whoever sends its packets on.
#[test]
fn a_lent_flow_expires_as_from_its_last_packet() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let pass = |site: &mut Site, millis| site.act(&Act::Pass(Duration::from_millis(millis)));
    site.says(false, 0);
    pass(&mut site, 700);
    site.says(true, 50);
    (0..10).for_each(|_| pass(&mut site, 100));
    assert_eq!(site.lent(), 0);
    let flow = site.gateway.flows().into_iter().find(|flow| flow.protocol == Protocol::Tcp).unwrap();
    let silent = Duration::from_hours(2).saturating_sub(flow.expires_in);
    assert!(silent <= Duration::from_secs(1), "after {silent:?}");
}

/// A client that moves to another router while its side has not joined.
#[test]
fn answers_go_where_the_client_is() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    for (byte, seq) in [(7, 50), (8, 51), (8, 90), (9, 52)] {
        site.act(&Act::NewMac(byte));
        site.says(true, seq);
        site.says(false, 0);
        assert_eq!(site.out.last().unwrap()[..6], [2, 0, 0, 0, 0xc, byte]);
    }
}

#[test]
fn nothing_is_lent_before_what_is_held_up() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let taken = |by| program.borrow().taken - by;
    let before = taken(0);
    let held = |site: &mut Site, frames| {
        site.gateway.held.store(frames, Relaxed);
        site.gateway.settle();
    };
    held(&mut site, 1);
    site.says(true, 50);
    site.says(true, 51);
    assert_eq!((site.lent(), taken(before)), (1, 0), "the first one has not left");
    assert!(site.gateway.workers[0].has_more(), "nothing wakes the worker when it has");
    site.act(&Act::Pass(Duration::from_millis(1)));
    assert!(!site.gateway.workers[0].has_more(), "it does not wait for ever");
    held(&mut site, 0);
    site.says(true, 52);
    assert_eq!((site.lent(), taken(before)), (1, 1));
    // The same where the loan begins.
    site.act(&Act::Pass(Duration::from_secs(2)));
    held(&mut site, 1);
    site.says(true, 53);
    site.says(true, 54);
    assert_eq!((site.lent(), taken(before)), (1, 1));
    // The other side has nothing on its way.
    site.says(false, 0);
    assert_eq!(taken(before), 2);
    held(&mut site, 0);
    site.says(true, 55);
    assert_eq!(taken(before), 3);
}

/// It begins where it might have joined before.
#[test]
fn what_is_on_its_way_is_not_joined_with_when_it_is_said_again() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let before = program.borrow().taken;
    site.gateway.held.store(1, Relaxed);
    // The program had left it to the worker.
    let aside = site.program.take();
    site.says(true, 0);
    site.program = aside;
    site.says(true, -1);
    assert_eq!((site.lent(), program.borrow().taken), (1, before));
}

/// A side that always has something on its way.
#[test]
fn a_busy_side_joins_at_last() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let before = program.borrow().taken;
    site.gateway.held.store(1, Relaxed);
    for millis in 1..=50 {
        site.says(true, 49 + millis);
        assert_eq!(program.borrow().taken, before, "after {millis} ms");
        site.act(&Act::Pass(Duration::from_millis(1)));
    }
    site.says(true, 100);
    assert_eq!(program.borrow().taken, before + 1);
}

/// Others may be held up behind it.
#[test]
fn a_side_joins_when_its_own_has_left() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let before = program.borrow().taken;
    site.gateway.held.store(2, Relaxed);
    let sends_another = |site: &mut Site| {
        site.act(&Act::Datagram { by_client: true, len: 3, ttl: 64, in_pieces: false });
    };
    for seq in 50..53 {
        site.says(true, seq);
        sends_another(&mut site);
        assert_eq!(program.borrow().taken, before, "the last two have not left");
    }
    // Saying something again adds nothing to that.
    site.says(true, 50);
    site.says(true, 53);
    assert_eq!(program.borrow().taken, before + 1, "the last two are others");
}

/// Datagrams have no numbers by which they could join.
#[test]
fn datagrams_are_lent_when_nothing_waits() {
    let Some(program) = Program::load() else { return };
    let mut site = settled(Some(&program), sys::clock::now());
    site.act(&Act::Pass(Duration::from_secs(2)));
    let now = site.gateway.now;
    let [src, dst] = site.ends(true);
    let segment = Segment::new(src, dst, "A", site.next[0], site.next[1]).ip();
    let datagram = udp((CLIENT, 40_000), (VIP, 53), b"?");
    let (slot, frame) = site.frame(true, &segment);
    site.gateway.inject(0, slot, &frame);
    let (slot, frame) = site.frame(true, &datagram);
    (0..sys::BURST).for_each(|_| site.gateway.inject(0, slot, &frame));
    let turn = |site: &mut Site| (site.gateway.workers[0].turn(now), site.lent());
    assert_eq!(turn(&mut site), (sys::BURST, 1), "one datagram waits");
    assert_eq!(turn(&mut site), (1, 1), "more may have come behind it");
    site.gateway.held.store(1, Relaxed);
    assert_eq!(turn(&mut site), (0, 1), "one has not left");
    assert!(site.gateway.workers[0].has_more());
    site.gateway.held.store(0, Relaxed);
    assert_eq!(turn(&mut site), (0, 2));
    assert!(!site.gateway.workers[0].has_more());
}

/// For longer than a loan is for, by the program's clock too, and with the worker asleep for most of the time.
#[test]
fn a_flow_that_goes_on_is_lent_for_as_long() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let (before, mut then) = (program.borrow().taken, sys::clock::now());
    for _ in 0..40 {
        thread::sleep(Duration::from_millis(80));
        let now = sys::clock::now();
        site.act(&Act::Pass(now.saturating_sub(then)));
        then = now;
        site.says(true, 0);
        site.says(false, 0);
    }
    assert_eq!((site.lent(), program.borrow().taken - before), (1, 80));
    (0..8).for_each(|_| site.act(&Act::Pass(Duration::from_millis(240))));
    assert_eq!(site.lent(), 0, "it is silent");
    let flow = flows(&mut site).into_iter().find(|flow| flow.protocol == Protocol::Tcp).unwrap();
    assert_eq!(flow.packets, [1 + 1 + 8 + 1 + 40, 1 + 8 + 40]);
}

/// Only a worker sees that a UDP flow has become a stream.
#[test]
fn datagrams_become_a_stream() {
    let Some(program) = Program::load() else { return };
    let mut site = settled(Some(&program), sys::clock::now());
    for _ in 0..20 {
        for by_client in [true, false] {
            site.act(&Act::Datagram { by_client, len: 3, ttl: 64, in_pieces: false });
        }
        site.act(&Act::Pass(Duration::from_millis(240)));
    }
    let flow = flows(&mut site).into_iter().find(|flow| flow.protocol == Protocol::Udp).unwrap();
    assert_eq!(flow.state, "UDP_STREAM");
}

/// New tables are the worker's to judge a flow by.
#[test]
fn new_tables_end_loans() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    site.gateway.publish_same(tables());
    let before = program.borrow().taken;
    site.says(true, 0);
    assert_eq!((site.lent(), program.borrow().taken), (0, before));
}

/// Nothing is odd about a flow that the program has given up for them.
#[test]
fn new_tables_bar_nobody() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    site.gateway.announce();
    site.says(true, 0);
    assert_eq!(site.lent(), 0, "not by tables that are over");
    site.gateway.publish_same(tables());
    // The first packet is judged by the new tables.
    assert!(lent_again_after(&mut site) <= 1);
}

#[test]
fn nothing_is_lent_to_a_program_that_may_take_nothing() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    program.borrow().table.allow(false);
    site.act(&Act::Pass(Duration::from_secs(2)));
    site.says(true, 0);
    assert_eq!(site.lent(), 0);
    program.borrow().table.allow(true);
    assert_eq!(lent_again_after(&mut site), 0);
}

/// A flow that comes back and is lent again has had a place before that it may get once more.
#[test]
fn a_loan_has_its_own_time() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    for pause in [100, 220] {
        // Its side joins; what comes to the worker after that ends the loan, and begins the next.
        site.says(true, 0);
        site.act(&Act::Pass(Duration::from_millis(pause)));
        let before = site.gateway.counters[0].shortcut_packets.get();
        let aside = site.program.take();
        site.says(true, 0);
        site.program = aside;
        assert_eq!((site.lent(), site.gateway.counters[0].shortcut_packets.get()), (1, before + 1));
    }
    site.act(&Act::Pass(Duration::from_millis(430)));
    assert_eq!(site.lent(), 1, "it is lent for 320 ms less than the first");
    site.act(&Act::Pass(Duration::from_millis(320)));
    assert_eq!(site.lent(), 0, "it is silent");
}

#[test]
fn a_flow_of_odd_packets_is_lent_again_later() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let taken = program.borrow().taken;
    site.says(true, 0);
    site.says(false, 0);
    assert_eq!(program.borrow().taken, taken + 2);
    // The worker does not mind.
    site.act(&Act::NewMac(7));
    site.says(true, 0);
    assert_eq!((site.lent(), lent_again_after(&mut site)), (0, 2000));
}

/// What a last fragment tells of its segment is told to the worker.
#[test]
fn the_last_fragment_of_a_segment_ends_a_loan() {
    let Some(program) = Program::load() else { return };
    let mut site = just_lent(&program);
    let [src, dst] = site.ends(true);
    let fin = Segment::new(src, dst, "FPA", site.next[0], site.next[1]).with(&[7; 100]);
    let pieces = fragments(&fin.ip(), 64);
    site.send(true, &pieces[0]);
    lent_again_after(&mut site);
    site.send(true, &pieces[1]);
    let states: Vec<_> = flows(&mut site).iter().map(|flow| flow.state).collect();
    assert!(site.lent() == 0 && states.contains(&"FIN_WAIT"), "{states:?}");
}
