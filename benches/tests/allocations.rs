//! A packet allocates nothing. Counted by the allocator of the `allocation-counter` crate.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use benches::cases::{Refused, Size, Way, new_flows, play_data, play_datagrams, play_refused};
use benches::gateway::Gateway;
use benches::network;
use benches::packets::{Segment, from_client};
use benches::traffic::Traffic;
use datapath::protection::{Guard, Protection, Rate, SynCookies};
use datapath::service::{Clients, Persistence, VirtualService};
use wire::Protocol;

const FLOWS: usize = 1_000;
const BURST: usize = 64;
const TURNS: u64 = 1_000;
const REMEMBERED: usize = 1 << 14;

fn allocations(gateway: &mut Gateway, turns: u64) -> u64 {
    let mut packets = 0;
    let counted = measure(|| packets = gateway.run(turns));
    assert!(packets >= turns, "the gateway heard something");
    counted.count_total
}

#[test]
fn packets_of_known_flows_allocate_nothing() {
    let mut gateway = Gateway::new(FLOWS).unwrap();
    let connections = gateway.establish(FLOWS);
    for way in Way::ALL {
        for size in Size::ALL {
            for burst in [1, 32, BURST] {
                play_data(&gateway, &connections, way, size, burst);
                gateway.run(1);
                assert_eq!(allocations(&mut gateway, TURNS), 0, "{} {} bursts of {burst}", way.name(), size.name());
            }
        }
    }
    assert!(gateway.counters().drops.iter().all(|(_, n)| *n == 0), "nothing was dropped");
}

#[test]
fn datagrams_of_known_exchanges_allocate_nothing() {
    let mut gateway = Gateway::new(FLOWS).unwrap();
    let exchanges = gateway.establish_udp(FLOWS);
    assert_eq!(exchanges.len(), FLOWS);
    for way in Way::ALL {
        play_datagrams(&gateway, &exchanges, way, BURST);
        gateway.run(1);
        assert_eq!(allocations(&mut gateway, TURNS), 0, "{}", way.name());
    }
    assert!(gateway.counters().drops.iter().all(|(_, n)| *n == 0), "nothing was dropped");
}

#[test]
fn refused_packets_allocate_nothing() {
    let mut gateway = Gateway::new(FLOWS).unwrap();
    gateway.establish(FLOWS);
    for case in Refused::ALL {
        play_refused(&gateway, case, BURST);
        gateway.run(1);
        assert_eq!(allocations(&mut gateway, TURNS), 0, "{}", case.name());
    }
}

#[test]
fn new_flows_allocate_nothing_once_each_backend_has_its_ports() {
    let opened = BURST * TURNS as usize;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut gateway = Gateway::new(FLOWS + 2 * opened).unwrap();
        // The first flow of each backend makes its pool of ports.
        gateway.front.play(new_flows(protocol, 0, FLOWS), BURST);
        gateway.run(20);
        gateway.front.play(new_flows(protocol, FLOWS, opened), BURST);
        gateway.run(1);
        assert_eq!(allocations(&mut gateway, TURNS - 1), 0, "{protocol}");
        assert_eq!(gateway.flows(), FLOWS + opened);
    }
}

#[test]
fn new_flows_of_services_that_remember_clients_allocate_nothing() {
    let opened = BURST * TURNS as usize;
    let mut services = network::services();
    for service in &mut services {
        remember_clients(service, 1);
    }
    let mut gateway = Gateway::with(FLOWS + 2 * opened, network::tables(1, services)).unwrap();
    gateway.front.play(of_many_clients(0, FLOWS), BURST);
    gateway.run(20);
    gateway.front.play(of_many_clients(FLOWS, opened), BURST);
    gateway.run(1);
    assert_eq!(allocations(&mut gateway, TURNS - 1), 0);
    assert_eq!(gateway.flows(), FLOWS + opened);
    assert!(gateway.counters().drops.iter().all(|(_, n)| *n == 0), "nothing was dropped");
}

/// First packets of new flows, from ever other addresses: as many as are remembered, and half as many again.
fn of_many_clients(first: usize, count: usize) -> Traffic {
    let mut traffic = Traffic::new(vec![from_client(Segment::Syn)]).once();
    for n in first..first + count {
        let (from, _) = network::client(0);
        traffic.push(
            0,
            Ipv4Addr::from(from.to_bits() + (n % (REMEMBERED * 3 / 2)) as u32),
            10_000 + (n / REMEMBERED) as u16,
        );
    }
    traffic
}

fn remember_clients(service: &mut VirtualService, workers: usize) {
    let clients = Arc::new(Clients::new(REMEMBERED));
    service.persistence =
        Some(Persistence { time: Duration::from_mins(5), prefix: 32, prefix_six: 64, grouped: false, clients });
    let guard = Arc::new(Guard::new(workers));
    guard.prepare_sources();
    let rate = Rate::new(1_000_000, Duration::from_secs(1), 1_000_000);
    let syn_cookies = SynCookies::Above { half_open: 1_000_000 };
    service.protection =
        Protection { rate: Some(rate), rate_per_source: Some(rate), syn_cookies, guard, ..Protection::default() };
}
