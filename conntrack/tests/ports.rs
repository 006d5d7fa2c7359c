//! SNAT ports seen from outside: many short connections to one task, exhaustion, and who may be evicted.
#![allow(clippy::duration_suboptimal_units, reason = "timeouts are compared: all in seconds")]

mod common;

use common::*;
use conntrack::{Conntrack, Direction, FlowId, OpenError, SnatRange, State, Timeouts};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::{HashMap, HashSet};
use wire::Protocol;

fn connect(table: &mut Conntrack, number: u32, range: SnatRange, now: Duration) -> Result<FlowId, OpenError> {
    connect_to(table, BACKEND, number, range, now)
}

fn connect_to(
    table: &mut Conntrack,
    backend: SocketAddrV4,
    number: u32,
    range: SnatRange,
    now: Duration,
) -> Result<FlowId, OpenError> {
    let id = open_to(table, client(number, Protocol::Tcp), backend, range, now)?;
    table.segment(id, Direction::Original, &segment(SYN, 100, 0, 0), None, &Idle::default(), now);
    table.segment(id, Direction::Reply, &segment(SYN_ACK, 300, 101, 0), None, &Idle::default(), now);
    table.segment(id, Direction::Original, &segment(ACK, 101, 301, 0), None, &Idle::default(), now);
    assert_eq!(table.flow(id).state(), State::Established);
    Ok(id)
}

fn close_by_fins(table: &mut Conntrack, id: FlowId, now: Duration) {
    table.segment(id, Direction::Original, &segment(FIN_ACK, 101, 301, 0), None, &Idle::default(), now);
    table.segment(id, Direction::Reply, &segment(FIN_ACK, 301, 102, 0), None, &Idle::default(), now);
    table.segment(id, Direction::Original, &segment(ACK, 102, 302, 0), None, &Idle::default(), now);
    assert_eq!(table.flow(id).state(), State::TimeWait);
}

/// 200,000 connections in a minute to one task, from one address, all still in `TIME_WAIT` when their port is taken
/// again: not one fails, and every port rests as long as all others were used.
#[test]
fn far_more_than_64_000_connections_a_minute_to_one_task() {
    let mut table = Conntrack::new(100_000, Timeouts::default(), 1);
    let mut last_use: HashMap<u16, u32> = HashMap::new();
    let ports = all_ports().ports.len() as u32;
    for number in 0..200_000 {
        let now = Duration::from_micros(u64::from(number) * 300);
        let id = connect(&mut table, number, all_ports(), now).unwrap();
        let port = table.flow(id).binding.snat.port();
        if let Some(before) = last_use.insert(port, number) {
            assert_eq!(number - before, ports, "the longest rested port comes first");
        }
        // Late segments of the old flow with this port are still translated until now, by both keys.
        close_by_fins(&mut table, id, now);
    }
    assert_eq!(last_use.len() as u32, ports, "the whole range is used");
    assert_eq!(table.len() as u32, ports, "one closed flow holds each port");
}

#[test]
fn ports_of_open_flows_are_never_given_out() {
    let mut table = Conntrack::new(1000, Timeouts::default(), 1);
    let range = SnatRange { addresses: &[SNAT], ports: 2000..=2099 };
    let open: Vec<FlowId> =
        (0..100).map(|number| connect(&mut table, number, range.clone(), Duration::ZERO).unwrap()).collect();
    let ports: HashSet<u16> = open.iter().map(|&id| table.flow(id).binding.snat.port()).collect();
    assert_eq!(ports.len(), 100);
    assert_eq!(connect(&mut table, 100, range.clone(), Duration::ZERO), Err(OpenError::PortsExhausted));
    assert_eq!(table.len(), 100);
    // Another backend, another port of the same, another protocol: their own ports.
    let other = SocketAddrV4::new(*BACKEND.ip(), 8001);
    assert!(open_to(&mut table, client(100, Protocol::Tcp), other, range.clone(), Duration::ZERO).is_ok());
    assert!(open_to(&mut table, client(100, Protocol::Udp), BACKEND, range.clone(), Duration::ZERO).is_ok());
    // One closes: its port, and only its, goes to the next; it gives way at once.
    close_by_fins(&mut table, open[42], Duration::ZERO);
    let freed = table.flow(open[42]).binding.snat;
    assert_eq!(table.free_ports(BACKEND, Protocol::Tcp, &range), 1);
    let next = connect(&mut table, 101, range.clone(), Duration::ZERO).unwrap();
    assert_eq!(table.flow(next).binding.snat, freed);
    assert_eq!(table.lookup(&client(42, Protocol::Tcp)), None);
    assert_eq!(connect(&mut table, 102, range, Duration::ZERO), Err(OpenError::PortsExhausted));
}

#[test]
fn several_addresses_multiply_the_ports() {
    let mut table = Conntrack::new(1000, Timeouts::default(), 1);
    let addresses = [SNAT, Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 5)];
    let range = SnatRange { addresses: &addresses, ports: 7..=16 };
    let mut seen = HashSet::new();
    for number in 0..30 {
        let id = connect(&mut table, number, range.clone(), Duration::ZERO).unwrap();
        assert!(seen.insert(table.flow(id).binding.snat));
    }
    assert_eq!(connect(&mut table, 30, range, Duration::ZERO), Err(OpenError::PortsExhausted));
}

/// A restarted gateway must not begin with the ports that its predecessor has just used.
#[test]
fn a_restart_begins_elsewhere() {
    let first_hundred = |seed| -> HashSet<u16> {
        let mut table = Conntrack::new(1000, Timeouts::default(), seed);
        (0..100)
            .map(|number| connect(&mut table, number, all_ports(), Duration::ZERO).unwrap())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|id| table.flow(id).binding.snat.port())
            .collect()
    };
    assert!(first_hundred(1).is_disjoint(&first_hundred(2)));
}

#[test]
fn a_full_table_refuses_and_breaks_nobody() {
    let mut table = Conntrack::new(64, Timeouts::default(), 1);
    let established: Vec<FlowId> =
        (0..32).map(|number| connect(&mut table, number, all_ports(), Duration::ZERO).unwrap()).collect();
    let flood: u32 = (1000..5000)
        .map(|number| open_to(&mut table, client(number, Protocol::Tcp), BACKEND, all_ports(), Duration::ZERO))
        .map(|answer| u32::from(answer.is_ok()))
        .sum();
    assert_eq!((flood, table.len()), (32, 64));
    for (number, id) in (0..32).zip(&established) {
        assert_eq!(table.lookup(&client(number, Protocol::Tcp)).map(|hit| hit.id), Some(*id));
        assert_eq!(table.flow(*id).state(), State::Established);
    }
    // Half-open flows do not give way either, closed ones do: oldest first.
    close_by_fins(&mut table, established[5], Duration::from_secs(1));
    close_by_fins(&mut table, established[3], Duration::from_secs(2));
    let late = Duration::from_secs(3);
    assert!(connect(&mut table, 9000, all_ports(), late).is_ok());
    assert_eq!(table.lookup(&client(5, Protocol::Tcp)), None);
    assert!(table.lookup(&client(3, Protocol::Tcp)).is_some());
    assert!(connect(&mut table, 9001, all_ports(), late).is_ok());
    assert_eq!(connect(&mut table, 9002, all_ports(), late), Err(OpenError::TableFull));
}

#[test]
fn unused_pools_are_forgotten() {
    let mut table = Conntrack::new(64, Timeouts::default(), 1);
    let range = SnatRange { addresses: &[SNAT], ports: 1..=4 };
    let id = connect(&mut table, 0, range.clone(), Duration::ZERO).unwrap();
    let hour = Duration::from_secs(3600);
    table.forget_unused_ports(hour);
    assert_eq!(table.free_ports(BACKEND, Protocol::Tcp, &range), 3, "a flow is open");
    close_by_fins(&mut table, id, hour);
    table.forget_unused_ports(hour + Duration::from_secs(239));
    let second = connect(&mut table, 1, range.clone(), hour).unwrap();
    assert_ne!(table.flow(second).binding.snat, table.flow(id).binding.snat, "the first port still rests");
    close_by_fins(&mut table, second, hour);
    table.forget_unused_ports(hour + Duration::from_secs(241));
    let third = connect(&mut table, 2, range, hour).unwrap();
    assert_eq!(table.flow(third).binding.snat, table.flow(id).binding.snat, "the walk begins anew");
}

/// With whatever timeouts: the backend has its own, of 60 seconds in Linux.
#[test]
fn pools_rest_longer_than_backends_remember() {
    let timeouts = Timeouts { tcp_time_wait: Duration::from_secs(1), ..Timeouts::default() };
    let mut table = Conntrack::new(64, timeouts, 1);
    let first = connect(&mut table, 0, all_ports(), Duration::ZERO).unwrap();
    close_by_fins(&mut table, first, Duration::ZERO);
    table.forget_unused_ports(Duration::from_secs(239));
    let second = connect(&mut table, 1, all_ports(), Duration::from_secs(239)).unwrap();
    assert_ne!(table.flow(second).binding.snat, table.flow(first).binding.snat);
}

/// Ports that the walk of a new range meets are still of the flows that have them.
#[test]
fn a_pool_of_another_range_is_forgotten_too() {
    let mut table = Conntrack::new(64, Timeouts::default(), 1);
    let range = |ports| SnatRange { addresses: &[SNAT], ports };
    let mut open: Vec<FlowId> =
        (0..4).map(|number| connect(&mut table, number, range(1..=4), Duration::ZERO).unwrap()).collect();
    open.extend((4..8).map(|number| connect(&mut table, number, range(1..=8), Duration::ZERO).unwrap()));
    let first = table.flow(open[4]).binding.snat;
    for id in open {
        close_by_fins(&mut table, id, Duration::ZERO);
    }
    table.forget_unused_ports(Duration::from_secs(3600));
    let anew = connect(&mut table, 8, range(1..=8), Duration::from_secs(3600)).unwrap();
    assert_eq!(table.flow(anew).binding.snat, first);
}

/// One backend a call, round after round.
#[test]
fn pools_are_looked_at_one_by_one() {
    let mut table = Conntrack::new(64, Timeouts::default(), 1);
    // One connection to each of eight backends, and the SNAT addresses that they got.
    let open = |table: &mut Conntrack, round: u32, now| -> Vec<(FlowId, SocketAddrV4)> {
        let open = |port: u16| {
            let backend = SocketAddrV4::new(*BACKEND.ip(), port);
            let id = connect_to(table, backend, 8 * round + u32::from(port), all_ports(), now).unwrap();
            (id, table.flow(id).binding.snat)
        };
        (1..=8).map(open).collect()
    };
    let first = open(&mut table, 0, Duration::ZERO);
    first[2..].iter().for_each(|(id, _)| close_by_fins(&mut table, *id, Duration::ZERO));
    let hour = Duration::from_secs(3600);
    // Two that stay, and three that go; three more are left.
    (0..5).for_each(|_| table.forget_unused_ports(hour));
    let begin_anew = |flows: &[(FlowId, SocketAddrV4)]| -> Vec<bool> {
        flows.iter().zip(&first).map(|(flow, first)| flow.1 == first.1).collect()
    };
    let second = begin_anew(&open(&mut table, 1, hour));
    assert_eq!(second[..2], [false; 2], "they were in use");
    assert_eq!(second.iter().filter(|anew| **anew).count(), 3);
    // Those that were forgotten are known again, and now all are in use.
    (0..20).for_each(|_| table.forget_unused_ports(2 * hour));
    assert_eq!(begin_anew(&open(&mut table, 2, 2 * hour)), [false; 8]);
}

/// The share of ports changes while flows are open: no port is given out twice.
#[test]
fn another_range_for_the_same_address() {
    let mut table = Conntrack::new(64, Timeouts::default(), 1);
    let range = |ports| SnatRange { addresses: &[SNAT], ports };
    let mut used = HashSet::new();
    for number in 0..4 {
        let id = connect(&mut table, number, range(1..=4), Duration::ZERO).unwrap();
        used.insert(table.flow(id).binding.snat.port());
    }
    for number in 4..8 {
        let id = connect(&mut table, number, range(3..=8), Duration::ZERO).unwrap();
        assert!(used.insert(table.flow(id).binding.snat.port()));
    }
    assert_eq!(used.len(), 8);
    assert_eq!(connect(&mut table, 8, range(3..=8), Duration::ZERO), Err(OpenError::PortsExhausted));
}
