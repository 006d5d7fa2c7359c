//! Clients that stay with their backends, through the whole pipeline.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use datapath::service::{Clients, Listen, Persistence, Tables, VirtualService};
use lab::packets::{Segment, ethernet, see, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, TASKS, VIP};
use sys::LinkType;
use wire::Protocol;

const TIME: Duration = Duration::from_mins(1);

fn persistence(clients: &Arc<Clients>, grouped: bool) -> Persistence {
    Persistence { time: TIME, prefix: 32, prefix_six: 128, grouped, clients: Arc::clone(clients) }
}

fn web(clients: &Arc<Clients>, weights: &[u16]) -> VirtualService {
    VirtualService { persistence: Some(persistence(clients, false)), ..lab::service(1, Protocol::Tcp, 8080, weights) }
}

fn two_workers(tables: Tables) -> Gateway {
    Gateway::with(tables, 2, [LinkType::Ethernet; 2], 1024)
}

/// The task that gets the SYN of this client's port, sent to this worker and VIP port.
fn task_of(gateway: &mut Gateway, worker: usize, client: Ipv4Addr, from: u16, to: u16) -> usize {
    let syn = Segment { src: (client, from), dst: (VIP, to), ..Segment::syn(from) };
    gateway.inject(worker, FRONT, &syn.sent_by_client());
    arrived(gateway, worker)
}

fn arrived(gateway: &mut Gateway, worker: usize) -> usize {
    gateway.settle();
    let seen = gateway.collect(worker, BACK);
    assert_eq!(seen.len(), 1, "exactly one packet");
    TASKS.iter().position(|task| *task == see(&seen[0]).dst()).unwrap()
}

#[test]
fn all_workers_make_the_same_choice() {
    let clients = Arc::new(Clients::new(1024));
    let mut gateway = two_workers(lab::tables(vec![web(&clients, &[1, 1])]));
    let other = Ipv4Addr::new(198, 19, 0, 3);
    let first = task_of(&mut gateway, 0, CLIENT, 40_000, 8080);
    for port in 40_001..40_010 {
        let worker = usize::from(port % 2);
        assert_eq!(task_of(&mut gateway, worker, CLIENT, port, 8080), first);
        assert_ne!(task_of(&mut gateway, worker, other, port, 8080), first, "the next in turn, and it stays too");
    }
    gateway.assert_frames_conserved();
}

#[test]
fn it_survives_new_tables_and_ends_with_its_time() {
    let clients = Arc::new(Clients::new(1024));
    let tables = lab::tables(vec![web(&clients, &[1, 1])]);
    let mut gateway = two_workers(tables.clone());
    let first = task_of(&mut gateway, 0, CLIENT, 40_000, 8080);
    for port in 40_001..40_004 {
        gateway.publish_same(tables.clone());
        assert_eq!(task_of(&mut gateway, 1, CLIENT, port, 8080), first);
        gateway.pass(Duration::from_secs(59));
    }
    gateway.pass(Duration::from_secs(1));
    assert_ne!(task_of(&mut gateway, 0, CLIENT, 40_010, 8080), first);
}

#[test]
fn a_drained_and_a_removed_backend_let_go() {
    let clients = Arc::new(Clients::new(1024));
    let mut gateway = two_workers(lab::tables(vec![web(&clients, &[1, 1])]));
    assert_eq!(task_of(&mut gateway, 0, CLIENT, 40_000, 8080), 0);
    gateway.publish_same(lab::tables(vec![web(&clients, &[0, 1])]));
    assert_eq!(task_of(&mut gateway, 1, CLIENT, 40_001, 8080), 1);
    gateway.publish_same(lab::tables(vec![web(&clients, &[1, 1])]));
    for port in 40_002..40_006 {
        assert_eq!(task_of(&mut gateway, usize::from(port % 2), CLIENT, port, 8080), 1, "it stays there");
    }
    let mut fewer = web(&clients, &[1, 1]);
    fewer.backends.remove(1);
    gateway.publish_same(lab::tables(vec![fewer]));
    gateway.settle();
    for end in 0..2 {
        gateway.collect(end, BACK);
        gateway.collect(end, FRONT);
    }
    assert_eq!(task_of(&mut gateway, 0, CLIENT, 40_010, 8080), 0);
}

#[test]
fn all_ports_of_a_service_and_services_of_a_group_go_together() {
    let clients = Arc::new(Clients::new(1024));
    let mut http = VirtualService { persistence: Some(persistence(&clients, true)), ..web(&clients, &[1, 1]) };
    http.listens.push(Listen { ports: 8081..=8090, ..http.listens[0].clone() });
    let mut https = lab::service(2, Protocol::Tcp, 8443, &[1, 1]);
    https.persistence = Some(persistence(&clients, true));
    for backend in &mut https.backends {
        backend.port = std::num::NonZeroU16::new(8444);
    }
    // In another order, so that positions say nothing.
    https.backends.reverse();
    let mut gateway = two_workers(lab::tables(vec![http, https]));
    assert_eq!(task_of(&mut gateway, 0, Ipv4Addr::new(198, 19, 0, 3), 40_000, 8080), 0);
    assert_eq!(task_of(&mut gateway, 0, CLIENT, 40_000, 8080), 1);
    for (n, port) in [8085, 8443, 8080, 8443].into_iter().enumerate() {
        assert_eq!(task_of(&mut gateway, n % 2, CLIENT, 40_001 + n as u16, port), 1, "port {port}");
    }
    assert_eq!(task_of(&mut gateway, 1, Ipv4Addr::new(198, 19, 0, 3), 40_009, 8443), 0);
}

#[test]
fn datagrams_stay_too() {
    let clients = Arc::new(Clients::new(1024));
    let dns = VirtualService {
        persistence: Some(persistence(&clients, false)),
        ..lab::service(1, Protocol::Udp, 53, &[1, 1])
    };
    let mut gateway = two_workers(lab::tables(vec![dns]));
    for port in 5_000..5_010 {
        let worker = usize::from(port % 2);
        let datagram = udp((CLIENT, port), (VIP, 53), b"question");
        gateway.inject(worker, FRONT, &ethernet(CLIENT_MAC, OUR_MACS[0], &datagram));
        assert_eq!(arrived(&mut gateway, worker), 0);
    }
}
