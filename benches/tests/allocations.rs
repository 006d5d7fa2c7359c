//! A packet allocates nothing. Counted by the allocator of the `allocation-counter` crate.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use benches::cases::{Refused, Size, Way, new_flows, play_data, play_datagrams, play_refused};
use benches::gateway::Gateway;
use benches::network;
use datapath::protection::{Guard, Protection, Rate, SynCookies};
use datapath::service::{Clients, Persistence, VirtualService};
use wire::Protocol;

const FLOWS: usize = 1_000;
const BURST: usize = 64;
const TURNS: u64 = 1_000;

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
    gateway.front.play(new_flows(Protocol::Tcp, 0, FLOWS), BURST);
    gateway.run(20);
    // Fewer than a client's own backend has ports for.
    gateway.front.play(new_flows(Protocol::Tcp, FLOWS, 20_000), BURST);
    gateway.run(1);
    assert_eq!(allocations(&mut gateway, 300), 0);
}

fn remember_clients(service: &mut VirtualService, workers: usize) {
    let clients = Arc::new(Clients::new(1 << 14));
    service.persistence =
        Some(Persistence { time: Duration::from_mins(5), prefix: 32, prefix_six: 64, grouped: false, clients });
    let guard = Arc::new(Guard::new(workers));
    guard.prepare_sources();
    let rate = Rate::new(1_000_000, Duration::from_secs(1), 1_000_000);
    let syn_cookies = SynCookies::Above { half_open: 1_000_000 };
    service.protection =
        Protection { rate: Some(rate), rate_per_source: Some(rate), syn_cookies, guard, ..Protection::default() };
}
