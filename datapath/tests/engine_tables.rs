//! The engine with real threads: tables that change, devices that not every worker has, counting, the end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use datapath::engine::{Engine, EngineConfig, EngineError, WorkerDevices};
use datapath::service::{Generation, InterfaceIndex, Snapshot, Tables};
use datapath::worker::Event;
use datapath::{Role, Slot};
use lab::packets::{Seen, Segment, Tunnel, answer_of, arp, see};
use lab::{BACK, FRONT, OUR_OVERLAY, TASKS, VTEPS, our_overlay_mac};
use sys::{FramePool, LinkType, MemoryDevice};
use wire::{MacAddr, Protocol};

const ETHERNET: [(Role, LinkType); 2] = [
    (Role::Interface(InterfaceIndex(0)), LinkType::Ethernet),
    (Role::Interface(InterfaceIndex(1)), LinkType::Ethernet),
];

fn web(port: u16, weights: &[u16]) -> Tables {
    lab::tables(vec![lab::service(1, Protocol::Tcp, port, weights)])
}

fn config(workers: usize) -> EngineConfig {
    lab::engine_config(workers, 1000)
}

/// An engine whose workers have these devices, and the far ends of them.
fn start(tables: Tables, workers: &[&[(Role, LinkType)]]) -> (Engine, Vec<Vec<MemoryDevice>>) {
    let (mut all, mut ends) = (Vec::new(), Vec::new());
    for roles in workers {
        let pairs = roles.iter().map(|(role, link)| (role, sys::memory_pair_of(64, *link)));
        let (devices, far) =
            pairs.map(|(role, (device, end))| (Slot { role: *role, device: Box::new(device) as _ }, end)).unzip();
        all.push(WorkerDevices { pool: FramePool::heap(256, 2048), devices, lending: None });
        ends.push(far);
    }
    let engine = Engine::start(&config(workers.len()), all, Snapshot::build(tables).unwrap()).unwrap();
    (engine, ends)
}

fn publish(engine: &mut Engine, generation: u64, tables: Tables) {
    engine.publish(Snapshot::build(Tables { generation: Generation(generation), ..tables }).unwrap());
}

/// Waits until it is there.
fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let seen = (0..1000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        look()
    });
    seen.unwrap()
}

/// The next packet that comes out there, ARP left out.
fn next(end: &mut MemoryDevice) -> Seen {
    let is_ip = |frame: &Vec<u8>| frame.get(62..64) != Some(&[0x08, 0x06]);
    see(&wait(|| end.collect().filter(is_ip)))
}

#[test]
fn new_tables_serve_and_the_old_are_freed() {
    let first = web(8080, &[1]);
    let turn = Arc::clone(&first.services[0].turn);
    let (mut engine, mut ends) = start(first, &[&ETHERNET, &ETHERNET]);
    publish(&mut engine, 2, web(9090, &[1]));
    wait(|| (engine.applied() == [Generation(2); 2]).then_some(()));
    engine.reclaim();
    assert_eq!(Arc::strong_count(&turn), 1, "nobody holds the first tables");
    let mut syn = Segment::syn(40_000);
    syn.dst.1 = 9090;
    assert!(ends[1][FRONT].inject(&syn.sent_by_client()));
    assert_eq!(next(&mut ends[1][BACK]).dst(), TASKS[0]);
    engine.stop();
}

#[test]
fn nothing_is_left_after_stop() {
    let tables = web(8080, &[1]);
    let turn = Arc::clone(&tables.services[0].turn);
    let (engine, _ends) = start(tables, &[&ETHERNET, &ETHERNET]);
    assert!(Arc::strong_count(&turn) > 1);
    engine.stop();
    assert_eq!(Arc::strong_count(&turn), 1);
}

#[test]
fn everything_is_counted() {
    let (mut engine, mut ends) = start(web(8080, &[1]), &[&ETHERNET, &ETHERNET]);
    for port in 40_000..40_006u16 {
        assert!(ends[usize::from(port % 3 == 0)][FRONT].inject(&Segment::syn(port).sent_by_client()));
    }
    wait(|| (engine.flow_count() == 6).then_some(()));
    let received: Vec<u64> = engine.counters().iter().map(|worker| worker.rx_packets).collect();
    assert_eq!(received, [4, 2]);
    assert!(engine.capacity() >= 2000);
    let devices = wait(|| Some(engine.devices()).filter(|devices| devices.len() == 4));
    assert_eq!(devices.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert_eq!(engine.devices().len(), 4, "also between two reports");
    engine.stop();
}

#[test]
fn every_cpu_needs_devices() {
    let snapshot = || Snapshot::build(web(8080, &[1])).unwrap();
    let none = Engine::start(&config(0), Vec::new(), snapshot());
    assert!(matches!(none, Err(EngineError::WorkerCount { cpus: 0, devices: 0 })));
    let fewer = Engine::start(&config(2), Vec::new(), snapshot());
    assert!(matches!(fewer, Err(EngineError::WorkerCount { cpus: 2, devices: 0 })));
}

/// Worker 1 has no device towards the nodes: worker 0 sends for it, and hands it what comes back.
#[test]
fn a_worker_without_a_device_sends_through_one_that_has_it() {
    let (mut engine, mut ends) = start(web(8080, &[1]), &[&ETHERNET, &ETHERNET[..1]]);
    assert!(ends[1][FRONT].inject(&Segment::syn(40_000).sent_by_client()));
    let syn = next(&mut ends[0][BACK]);
    assert!(ends[0][BACK].inject(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    assert_eq!(next(&mut ends[1][FRONT]).ports(), (8080, 40_000));
    // What a worker makes itself takes the same way.
    publish(&mut engine, 2, web(8080, &[]));
    let reset = next(&mut ends[0][BACK]);
    assert!(reset.tcp().rst);
    assert_eq!((reset.dst(), reset.ports()), (TASKS[0], syn.ports()));
    engine.stop();
}

#[test]
fn flows_of_one_tun_device_are_spread_over_the_workers() {
    let tun = [(Role::Interface(InterfaceIndex(0)), LinkType::Ip), (Role::OverlaySocket, LinkType::Ip)];
    let tables = lab::kernel_tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])]);
    let (engine, mut ends) = start(tables, &[&tun, &tun]);
    for port in 40_000..40_020 {
        assert!(ends[0][FRONT].inject(&Segment::syn(port).ip()));
    }
    let flows = wait(|| lab::flows_of(&engine, None, 100).ok().filter(|flows| flows.len() == 20));
    assert_eq!(flows.iter().map(|flow| flow.worker).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
    engine.stop();
}

#[test]
fn timestamps_that_tasks_see_follow_the_wall_clock() {
    let (engine, mut ends) = start(web(8080, &[1]), &[&ETHERNET]);
    assert!(ends[0][FRONT].inject(&Segment::syn(40_000).sent_by_client()));
    let (value, _) = next(&mut ends[0][BACK]).timestamps().unwrap();
    let wall = sys::clock::wall().duration_since(UNIX_EPOCH).unwrap().as_millis() as u32;
    assert!(wall.wrapping_sub(value) < 600_000, "{wall} and {value}: ten minutes are plenty");
    engine.stop();
}

#[test]
fn what_a_worker_heard_reaches_control() {
    let (mut engine, mut ends) = start(web(8080, &[1]), &[&ETHERNET]);
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    let reply = arp(2, mac, TASKS[0], our_overlay_mac(), OUR_OVERLAY);
    assert!(ends[0][BACK].inject(&Tunnel { inner_type: 0x0806, ..Tunnel::from_node(0) }.wrap(&reply)));
    let events = wait(|| Some(engine.events()).filter(|events| !events.is_empty()));
    assert_eq!(events, [Event::OverlayNeighbour { vtep: VTEPS[0], address: TASKS[0], mac }]);
    assert_eq!(engine.events(), [], "once");
    engine.stop();
}
