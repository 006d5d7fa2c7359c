//! The gauges of every backend against the flow tables, after every step of a random life in tables that are too small.

mod lab;

use std::sync::Arc;
use std::time::Duration;

use conntrack::{Idle, State};
use datapath::service::BackendId;
use lab::packets::{Segment, answer_of, ethernet, see, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, VIP};
use proptest::prelude::*;
use wire::Protocol;

const FLOWS: usize = 6;

/// What may happen to one of a few clients, or to all.
#[derive(Clone, Debug)]
enum Step {
    Syn(u16),
    Establish(u16),
    Close(u16),
    Reset(u16),
    Datagram(u16),
    Wait(Duration),
    /// The backends that stand, one bit each.
    Stand(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0u16..10;
    prop_oneof![
        3 => client.clone().prop_map(Step::Syn),
        3 => client.clone().prop_map(Step::Establish),
        3 => client.clone().prop_map(Step::Close),
        2 => client.clone().prop_map(Step::Reset),
        3 => client.prop_map(Step::Datagram),
        2 => (0u32..23).prop_map(|power| Step::Wait(Duration::from_millis(1 << power))),
        1 => (0u8..64).prop_map(Step::Stand),
    ]
}

fn tables(standing: u8) -> datapath::service::Tables {
    let mut services = vec![lab::service(1, Protocol::Tcp, 8080, &[1, 1]), lab::service(2, Protocol::Udp, 53, &[1, 1])];
    for (n, service) in services.iter_mut().enumerate() {
        let first = service.id.0 * 100;
        service.backends.retain(|backend| standing >> (2 * n as u32 + backend.id.0 - first) & 1 == 1);
        service.direct = standing >> (4 + n) & 1 == 1;
    }
    lab::tables(services)
}

struct Life {
    gateway: Gateway,
}

impl Life {
    fn client(&mut self, port: u16, flags: &'static str, seq: u32, ack: u32) -> Vec<Vec<u8>> {
        let segment = Segment::new((CLIENT, 40_000 + port), (VIP, 8080), flags, seq, ack);
        self.gateway.forward(&segment.sent_by_client())
    }

    /// Opens a connection; the task's side of it if it went through.
    fn establish(&mut self, port: u16) -> Option<(usize, lab::packets::Seen)> {
        let out = self.client(port, "S", 1000, 0);
        let seen = out.first().map(|frame| see(frame))?;
        let task = lab::TASKS.iter().position(|task| *task == seen.dst())?;
        self.gateway.backward(&answer_of(task, &seen, "SA", 5000, 1001).sent_by_task(task));
        self.client(port, "A", 1001, 5001);
        Some((task, seen))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Syn(port) => drop(self.client(port, "S", 1000, 0)),
            Step::Establish(port) => drop(self.establish(port)),
            Step::Close(port) => {
                if let Some((task, seen)) = self.establish(port) {
                    self.client(port, "FA", 1001, 5001);
                    self.gateway.backward(&answer_of(task, &seen, "FA", 5001, 1002).sent_by_task(task));
                    self.client(port, "A", 1002, 5002);
                }
            }
            Step::Reset(port) => drop(self.client(port, "R", 1001, 0)),
            Step::Datagram(port) => {
                let datagram = udp((CLIENT, 50_000 + port), (VIP, 53), b"question");
                let out = self.gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &datagram));
                if let Some(seen) = out.first().map(|frame| see(frame))
                    && let Some(task) = lab::TASKS.iter().position(|task| *task == seen.dst())
                {
                    let (snat, port) = seen.ports();
                    let answer = udp((seen.dst(), port), (seen.src(), snat), b"answer");
                    self.gateway.backward(&lab::packets::Tunnel::from_node(task).wrap(&answer));
                }
            }
            Step::Wait(time) => self.gateway.pass(time),
            Step::Stand(standing) => self.gateway.publish_same(tables(standing)),
        }
        self.gateway.collect_all(0, FRONT);
        self.gateway.collect_all(0, BACK);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn gauges_say_what_is_in_the_tables(steps in prop::collection::vec(step(), 1..80)) {
        let gateway = Gateway::with(tables(15), 1, [sys::LinkType::Ethernet; 2], FLOWS);
        let mut life = Life { gateway };
        for step in &steps {
            life.step(step);
            life.gateway.assert_gauges();
        }
        life.gateway.assert_frames_conserved();
    }
}

/// A closed flow gives way to a new one when the table is full: it leaves the gauges, too.
#[test]
fn a_flow_that_gives_way_is_counted_out() {
    let gateway = Gateway::with(tables(15), 1, [sys::LinkType::Ethernet; 2], 2);
    let mut life = Life { gateway };
    for port in 0..5 {
        life.step(&Step::Close(port));
        life.gateway.assert_gauges();
    }
    assert_eq!(life.gateway.workers[0].core().flows(), 2);
    assert_eq!(life.gateway.totals().flows_opened, 5);
}

/// A closed flow has nobody left to tell when its backend goes: it leaves at once, and nothing counts as reset.
#[test]
fn a_closed_flow_of_a_removed_backend_goes_at_once() {
    let gateway = Gateway::with(tables(15), 1, [sys::LinkType::Ethernet; 2], FLOWS);
    let mut life = Life { gateway };
    life.step(&Step::Close(0));
    assert_eq!(life.gateway.flows()[0].state, "TIME_WAIT");
    life.step(&Step::Stand(0));
    assert_eq!((life.gateway.flows().len(), life.gateway.totals().flows_reset), (0, 0));
    life.gateway.assert_gauges();
}

/// A backend that went down with `on_down = "reset"` comes back under a new id, with the same counters. What was reset counts
/// there until it leaves, however long its service lets it stay.
#[test]
fn what_was_reset_is_counted_out_of_the_backend_that_comes_after() {
    let tables = |id: u32| {
        let mut tables = lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])]);
        let service = &mut tables.services[0];
        service.backends[0].id = BackendId(id);
        service.idle = Idle::by_state(|state| (state == State::Reset).then_some(Duration::from_mins(1)));
        tables
    };
    let (before, mut after) = (tables(100), tables(101));
    let stats = Arc::clone(&before.services[0].backends[0].stats);
    after.services[0].backends[0].stats = Arc::clone(&stats);
    let gateway = Gateway::with(before, 1, [sys::LinkType::Ethernet; 2], FLOWS);
    let mut life = Life { gateway };
    life.step(&Step::Establish(0));
    assert_eq!(stats.flows(), (1, 0));
    life.gateway.publish(after.clone());
    assert_eq!((life.gateway.totals().flows_reset, stats.flows()), (1, (0, 1)));
    life.step(&Step::Wait(Duration::from_secs(40)));
    // Tables change for other reasons.
    life.gateway.publish(after);
    life.step(&Step::Wait(Duration::from_secs(40)));
    assert!(life.gateway.flows().is_empty());
    assert_eq!(stats.flows(), (0, 0));
}
