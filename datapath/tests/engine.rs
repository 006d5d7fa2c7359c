//! The engine with real threads over devices in memory: what control sees of the workers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datapath::engine::{Engine, WorkerDevices};
use datapath::service::{InterfaceIndex, ServiceId, Snapshot};
use datapath::worker::Event;
use datapath::{Role, Slot, Unanswered};
use lab::packets::Segment;
use sys::{Device, DeviceState, Frame, FramePool, LinkType, MemoryDevice, TxReport};
use wire::Protocol;

/// A device that has a fault.
struct Faulty(MemoryDevice);

impl Device for Faulty {
    fn link_type(&self) -> LinkType {
        self.0.link_type()
    }

    fn rx(&mut self, _: &mut FramePool, _: &mut Vec<Frame>, _: usize) -> usize {
        panic!("the fault of the test")
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        self.0.tx(pool, out)
    }

    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }

    fn has_work(&self) -> bool {
        true
    }

    fn state(&self) -> DeviceState {
        self.0.state()
    }
}

/// A device that keeps its worker waiting while the lock is held.
struct Held(MemoryDevice, Arc<Mutex<()>>);

impl Device for Held {
    fn link_type(&self) -> LinkType {
        self.0.link_type()
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        drop(self.1.lock().unwrap());
        self.0.rx(pool, burst, limit)
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        self.0.tx(pool, out)
    }

    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.0.fd()
    }

    fn has_work(&self) -> bool {
        self.0.has_work()
    }

    fn state(&self) -> DeviceState {
        self.0.state()
    }
}

fn start(workers: usize) -> (Engine, Vec<MemoryDevice>) {
    start_with(workers, |device| Box::new(device))
}

fn start_with(workers: usize, dress: impl Fn(MemoryDevice) -> Box<dyn Device>) -> (Engine, Vec<MemoryDevice>) {
    let mut ends = Vec::new();
    let mut devices = Vec::new();
    for _ in 0..workers {
        let mut slots = Vec::new();
        for index in 0..2 {
            let (device, end) = sys::memory_pair_of(64, LinkType::Ethernet);
            slots.push(Slot { role: Role::Interface(InterfaceIndex(index)), device: dress(device) });
            ends.push(end);
        }
        devices.push(WorkerDevices { pool: FramePool::heap(128, 2048), devices: slots, lending: None });
    }
    // More than a page of slots for each worker.
    let config = lab::engine_config(workers, 10_000);
    let tables = lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1, 1])]);
    (Engine::start(&config, devices, Snapshot::build(tables).unwrap()).unwrap(), ends)
}

#[test]
fn control_sees_the_flows_of_all_workers() {
    let (engine, mut ends) = start(2);
    for port in 40_000..40_006u16 {
        assert!(ends[usize::from(port % 2) * 2].inject(&Segment::syn(port).sent_by_client()));
    }
    let list = |service, limit| lab::flows_of(&engine, service, limit).unwrap();
    let all = (0..500).map(|_| list(None, 100)).find(|flows| {
        std::thread::sleep(Duration::from_millis(10));
        flows.len() == 6
    });
    let mut clients: Vec<(usize, u16)> = all.unwrap().iter().map(|flow| (flow.worker, flow.client.port())).collect();
    clients.sort_unstable();
    assert_eq!(clients, [(0, 40_000), (0, 40_002), (0, 40_004), (1, 40_001), (1, 40_003), (1, 40_005)]);
    assert_eq!(list(None, 4).len(), 4, "no more than were asked for");
    assert_eq!(list(Some(ServiceId(1)), 100).len(), 6);
    assert_eq!(list(Some(ServiceId(2)), 100).len(), 0);
    assert_eq!(list(None, 0).len(), 0);
    engine.stop();
}

#[test]
fn a_list_of_flows_is_not_cut_short_in_silence() {
    let (gate, devices) = (Arc::new(Mutex::new(())), Cell::new(0));
    let (engine, mut ends) = start_with(2, |device| {
        devices.set(devices.get() + 1);
        // The first two are worker 0's.
        if devices.get() > 2 { Box::new(Held(device, Arc::clone(&gate))) } else { Box::new(device) }
    });
    for port in 40_000..40_006u16 {
        assert!(ends[usize::from(port % 2) * 2].inject(&Segment::syn(port).sent_by_client()));
    }
    let list = |limit| lab::flows_of(&engine, None, limit).map(|flows| flows.len());
    let until = |wanted: &dyn Fn(Result<usize, Unanswered>) -> bool| {
        (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            wanted(list(100))
        })
    };
    assert!(until(&|flows| flows == Ok(6)));
    let held = gate.lock().unwrap();
    // It may just be on its way to answer.
    assert!(until(&|flows| flows == Err(Unanswered::ByWorker { worker: 1, found: 3 })));
    assert_eq!(list(3), Ok(3), "worker 1 has nothing to add");
    drop(held);
    assert!(until(&|flows| flows == Ok(6)));
    engine.stop();
}

/// A worker has room for one question.
#[test]
fn those_who_ask_at_once_are_all_answered() {
    let (engine, mut ends) = start(2);
    for port in 40_000..40_006u16 {
        assert!(ends[usize::from(port % 2) * 2].inject(&Segment::syn(port).sent_by_client()));
    }
    let count = || lab::flows_of(&engine, None, 100).map(|flows| flows.len());
    let all_there = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        count() == Ok(6)
    });
    assert!(all_there);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(count(), Ok(6))));
        }
    });
    engine.stop();
}

#[test]
fn nobody_is_said_to_have_failed_while_all_run() {
    let (mut engine, _ends) = start(2);
    assert_eq!(engine.events(), []);
    engine.stop();
}

#[test]
fn a_worker_that_fails_is_reported_once() {
    let (mut engine, _ends) = start_with(1, |device| Box::new(Faulty(device)));
    let heard = (0..500).map(|_| engine.events()).find(|events| {
        std::thread::sleep(Duration::from_millis(10));
        !events.is_empty()
    });
    let failed = Event::WorkerFailed { worker: 0, reason: "the fault of the test".into() };
    assert_eq!(heard.unwrap(), [failed]);
    assert_eq!(engine.events(), []);
    let flows = lab::flows_of(&engine, None, 1);
    assert_eq!(flows, Err(Unanswered::ByWorker { worker: 0, found: 0 }), "nobody waits for it for ever");
    engine.stop();
}
