//! A service's own idle times, state by state.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::time::Duration;

use common::*;
use conntrack::{Conntrack, Direction, FlowId, OpenError, State, Timeouts, Track};
use wire::Protocol;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A different time for each state: as many seconds as its number, and 200.
fn own() -> Idle {
    Idle::by_state(|state| Some(seconds(200 + state as u64)))
}

#[test]
fn every_state_has_its_own() {
    let mut lab = Lab::new();
    lab.idle = own();
    let steps: [(bool, u8, u32, u32, State); 6] = [
        (true, SYN, 100, 0, State::SynSent),
        (false, SYN_ACK, 300, 101, State::SynReceived),
        (true, ACK, 101, 301, State::Established),
        (true, FIN_ACK, 101, 301, State::FinWait),
        (false, FIN_ACK, 301, 102, State::LastAck),
        (true, ACK, 102, 302, State::TimeWait),
    ];
    for (client, flags, seq, ack, state) in steps {
        lab.wait(1);
        let track = if client { lab.client(flags, seq, ack, 0) } else { lab.backend(flags, seq, ack, 0) };
        assert_eq!((track, lab.state()), (Track::Forward, state));
        assert_eq!(lab.left(), seconds(200 + state as u64), "{state}");
    }
}

#[test]
fn states_without_their_own_have_the_tables() {
    let mut lab = Lab::new();
    lab.idle = Idle::by_state(|state| (state == State::SynSent).then_some(seconds(5)));
    lab.client(SYN, 100, 0, 0);
    assert_eq!(lab.left(), seconds(5));
    lab.backend(SYN_ACK, 300, 101, 0);
    assert_eq!(lab.left(), Timeouts::default().tcp_syn_received);
    lab.idle = Idle::by_state(|_| None);
    assert_eq!(lab.idle, Idle::default(), "no times, no pointer");
}

#[test]
fn a_reset_of_ours_has_its_own() {
    let mut lab = Lab::established();
    lab.table.reset(lab.id, &own(), lab.now);
    assert_eq!((lab.state(), lab.left()), (State::Reset, seconds(200 + State::Reset as u64)));
}

/// Opens a flow and ends it by a RST of the backend; `idle` is its service's.
fn closed(table: &mut Conntrack, number: u32, idle: &Idle, now: Duration) -> FlowId {
    let id = open_to(table, client(number, Protocol::Tcp), BACKEND, all_ports(), now).unwrap();
    table.segment(id, Direction::Original, &segment(SYN, 100, 0, 0), None, idle, now);
    table.segment(id, Direction::Reply, &segment(RST_ACK, 0, 101, 0), None, idle, now);
    assert_eq!(table.flow(id).state(), State::Close);
    id
}

fn expired(table: &mut Conntrack, now: Duration) -> Vec<u16> {
    core::iter::from_fn(|| table.expire(now, 100)).map(|expired| expired.flow.original.src_port - 10_000).collect()
}

#[test]
fn closed_flows_expire_in_their_own_time_whoever_closed_before() {
    let mut table = Conntrack::new(8, Timeouts::default(), 0x5eed);
    let short = Idle::by_state(|state| (state == State::Close).then_some(seconds(2)));
    let long = Idle::by_state(|state| (state == State::Close).then_some(seconds(600)));
    closed(&mut table, 0, &long, seconds(1));
    closed(&mut table, 1, &Idle::default(), seconds(1));
    closed(&mut table, 2, &short, seconds(1));
    assert_eq!(expired(&mut table, Duration::from_millis(2_990)), [0; 0]);
    assert_eq!(expired(&mut table, seconds(3)), [2]);
    assert_eq!(expired(&mut table, seconds(11)), [1]);
    assert_eq!(expired(&mut table, seconds(600)), [0; 0]);
    assert_eq!(expired(&mut table, seconds(601)), [0]);
}

#[test]
fn who_closed_first_gives_way_first_whatever_the_times() {
    let mut table = Conntrack::new(3, Timeouts::default(), 0x5eed);
    let times =
        [600, 20, 100].map(|time| Idle::by_state(move |state| (state == State::Close).then_some(seconds(time))));
    for (number, idle) in (0..).zip(&times) {
        closed(&mut table, number, idle, seconds(1 + u64::from(number)));
    }
    let mut gave_way = Vec::new();
    for number in 10..13 {
        let key = client(number, Protocol::Tcp);
        let opened = opened_to(&mut table, key, BACKEND, all_ports(), seconds(5)).unwrap();
        gave_way.push(opened.evicted.unwrap().original.src_port - 10_000);
    }
    assert_eq!(gave_way, [0, 1, 2]);
    let full = open_to(&mut table, client(20, Protocol::Tcp), BACKEND, all_ports(), seconds(5));
    assert_eq!(full, Err(OpenError::TableFull));
}
