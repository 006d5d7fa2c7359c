//! One-packet services: every datagram is scheduled on its own, answers find their client without a flow.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod lab;

use std::collections::BTreeSet;
use std::time::Duration;

use datapath::service::Tables;
use lab::packets::{Seen, Tunnel, ethernet, fragments, icmp_error, reassemble, see, see_ip, udp};
use lab::{
    BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, OUR_OVERLAY, PLAIN_SNAT, SERVER, SERVER_MAC, TASKS, VIP,
};
use sys::LinkType;
use wire::Protocol;

fn dns(weights: &[u16]) -> Tables {
    let mut service = lab::service(1, Protocol::Udp, 53, weights);
    service.one_packet = true;
    lab::tables(vec![service])
}

fn ask(port: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, port), (VIP, 53), payload))
}

fn asked(gateway: &mut Gateway, port: u16) -> Seen {
    let out = gateway.forward(&ask(port, b"question"));
    see(out.first().unwrap_or_else(|| panic!("{:?}", gateway.drops())))
}

/// What task `n` says to a SNAT port.
fn answer(n: usize, port: u16) -> Vec<u8> {
    Tunnel::from_node(n).wrap(&udp((TASKS[n], 8000), (OUR_OVERLAY, port), b"answer"))
}

#[test]
fn every_datagram_goes_to_the_next_backend_and_makes_no_flow() {
    let mut gateway = Gateway::new(dns(&[1, 1]));
    let mut ports = BTreeSet::new();
    for n in 0..10 {
        let seen = asked(&mut gateway, 5000);
        assert_eq!((seen.src(), seen.dst(), seen.ports().1), (OUR_OVERLAY, TASKS[n % 2], 8000));
        assert!(ports.insert((n % 2, seen.ports().0)), "each has a port of its own");
        let back = see(&gateway.backward(&answer(n % 2, seen.ports().0))[0]);
        assert_eq!((back.src(), back.dst(), back.ports()), (VIP, CLIENT, (53, 5000)));
        assert_eq!(&back.payload()[8..], b"answer");
    }
    assert!(gateway.flows().is_empty());
    let totals = gateway.totals();
    assert_eq!((totals.one_packet_sent, totals.flows_opened), (10, 0));
    assert!(gateway.drops().is_empty());
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

#[test]
fn answers_are_only_taken_from_who_was_asked() {
    let mut gateway = Gateway::new(dns(&[1, 1]));
    let port = asked(&mut gateway, 5000).ports().0;
    let other_port = Tunnel::from_node(0).wrap(&udp((TASKS[0], 8001), (OUR_OVERLAY, port), b"x"));
    for hostile in [answer(1, port), answer(0, port ^ 1), other_port] {
        assert_eq!(gateway.backward(&hostile).len(), 0);
    }
    assert_eq!(gateway.drops(), [("no_flow", 3)]);
    // From outside of the tunnel.
    let forged = ethernet(CLIENT_MAC, OUR_MACS[1], &udp((TASKS[0], 8000), (OUR_OVERLAY, port), b"x"));
    gateway.inject(0, BACK, &forged);
    gateway.settle();
    assert!(gateway.collect(0, FRONT).is_empty());
    assert_eq!(gateway.drops(), [("wrong_path", 1), ("no_flow", 3)]);
    assert_eq!(gateway.backward(&answer(0, port)).len(), 1, "who was asked is heard all the same");
    gateway.assert_frames_conserved();
}

#[test]
fn ports_come_round_only_after_a_rest() {
    let mut gateway = Gateway::new(dns(&[1]));
    let first = asked(&mut gateway, 5000).ports().0;
    let mut sent = 1;
    while gateway.drops().is_empty() {
        sent += usize::from(!gateway.forward(&ask(5001, b"question")).is_empty());
        assert!(sent < 60_000);
    }
    assert!(sent > 20_000, "{sent} datagrams wait for their answers at a time");
    assert_eq!(gateway.drops(), [("ports_exhausted", 1)]);
    gateway.pass(Duration::from_millis(4_900));
    assert_eq!(see(&gateway.backward(&answer(0, first))[0]).ports().1, 5000, "late, but not too late");
    gateway.pass(Duration::from_millis(200));
    let again = std::iter::repeat_with(|| asked(&mut gateway, 5002).ports().0);
    assert!(again.take(sent).any(|port| port == first), "the port is used again");
    assert_eq!(see(&gateway.backward(&answer(0, first))[0]).ports().1, 5002);
    gateway.pass(Duration::from_secs(31));
    assert!(gateway.backward(&answer(0, first)).is_empty(), "nobody waits any more");
    gateway.assert_frames_conserved();
}

#[test]
fn flows_to_the_same_task_keep_out_of_the_way() {
    let mut tables = dns(&[1]);
    let mut other = lab::service(2, Protocol::Udp, 54, &[1]);
    other.backends[0].address = TASKS[0];
    tables.services.push(other);
    let mut gateway = Gateway::new(tables);
    let mut ports = BTreeSet::new();
    for n in 0..1_000 {
        assert!(ports.insert(asked(&mut gateway, 5000).ports().0));
        let flow = udp((CLIENT, 6000 + n), (VIP, 54), b"x");
        let seen = see(&gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &flow))[0]);
        assert!(ports.insert(seen.ports().0), "a port that an answer is awaited at");
        if n % 500 == 0 {
            assert_eq!(see(&gateway.backward(&answer(0, seen.ports().0))[0]).ports(), (54, 6000 + n));
        }
    }
}

#[test]
fn a_flow_that_was_there_before_keeps_its_port() {
    let mut tables = dns(&[1]);
    tables.services[0].one_packet = false;
    let mut gateway = Gateway::with(tables.clone(), 1, [LinkType::Ethernet; 2], 32_768);
    let mut flows = BTreeSet::new();
    for n in 0..20_000 {
        flows.insert(asked(&mut gateway, 10_000 + n).ports().0);
    }
    tables.services[0].one_packet = true;
    gateway.publish_same(tables);
    // Those that stand go on as flows; who asks anew is not in their way.
    for n in 0..5_000 {
        let port = asked(&mut gateway, 40_000 + n).ports().0;
        assert!(!flows.contains(&port), "port {port} is a flow's");
    }
    assert_eq!(gateway.totals().one_packet_sent, 5_000);
}

#[test]
fn fragments_go_together_both_ways() {
    let mut gateway = Gateway::new(dns(&[1, 1]));
    asked(&mut gateway, 4999);
    let pieces = fragments(&udp((CLIENT, 5000), (VIP, 53), &[9; 2500]), 1000);
    let mut seen = Vec::new();
    for n in [1, 0, 2] {
        seen.extend(gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &pieces[n])).iter().map(|frame| see(frame)));
    }
    assert!(seen.iter().all(|piece| piece.dst() == TASKS[1]), "all to one task");
    let joined = see_ip(&reassemble(seen.iter().map(|piece| piece.bytes.clone()).collect()));
    assert_eq!((joined.src(), &joined.payload()[8..]), (OUR_OVERLAY, &[9; 2500][..]));

    let back = udp((TASKS[1], 8000), (OUR_OVERLAY, joined.ports().0), &[7; 2500]);
    let mut heard = Vec::new();
    for n in [2, 0, 1] {
        let piece = Tunnel::from_node(1).wrap(&fragments(&back, 1000)[n]);
        heard.extend(gateway.backward(&piece).iter().map(|frame| see(frame).bytes));
    }
    let joined = see_ip(&reassemble(heard));
    assert_eq!((joined.src(), joined.dst(), joined.ports()), (VIP, CLIENT, (53, 5000)));
    assert!(gateway.drops().is_empty());
    gateway.assert_frames_conserved();
}

#[test]
fn a_task_that_refuses_is_heard() {
    let mut gateway = Gateway::new(dns(&[1]));
    let sent = asked(&mut gateway, 5000);
    let error = icmp_error(TASKS[0], OUR_OVERLAY, 3, 3, 0, &sent.bytes);
    let seen = see(&gateway.backward(&Tunnel::from_node(0).wrap(&error))[0]);
    assert_eq!((seen.src(), seen.dst(), &seen.payload()[..2]), (VIP, CLIENT, &[3, 3][..]));
    let inside = &seen.payload()[8..];
    assert_eq!((&inside[12..16], &inside[16..20]), (&CLIENT.octets()[..], &VIP.octets()[..]));
    assert_eq!(inside[20..24], [5000_u16.to_be_bytes(), 53_u16.to_be_bytes()].concat());
}

#[test]
fn answers_that_another_worker_hears_are_handed_over() {
    let mut gateway = Gateway::with(dns(&[1]), 2, [LinkType::Ethernet; 2], 1024);
    gateway.inject(1, FRONT, &ask(5000, b"question"));
    gateway.settle();
    let port = see(&gateway.collect(1, BACK)[0]).ports().0;
    gateway.inject(0, BACK, &answer(0, port));
    gateway.settle();
    assert_eq!(see(&gateway.collect(1, FRONT)[0]).ports(), (53, 5000));
    assert_eq!((gateway.totals().handed_over, gateway.drops().len()), (1, 0));
    gateway.assert_frames_conserved();
}

#[test]
fn plain_backends_are_asked_from_their_own_range() {
    let mut tables = dns(&[]);
    tables.services[0].backends = vec![lab::plain_backend(100)];
    let mut gateway = Gateway::new(tables);
    let seen = asked(&mut gateway, 5000);
    assert_eq!((seen.src(), seen.dst(), seen.ports().1), (PLAIN_SNAT, SERVER, 80));
    assert!((1024..=32_767).contains(&seen.ports().0));
    let back = ethernet(SERVER_MAC, OUR_MACS[1], &udp((SERVER, 80), (PLAIN_SNAT, seen.ports().0), b"answer"));
    assert_eq!(see(&gateway.backward(&back)[0]).ports(), (53, 5000));
}

#[test]
fn direct_datagrams_stay_as_they_are() {
    let mut tables = dns(&[]);
    let mut backend = lab::plain_backend(100);
    backend.port = None;
    tables.services[0].backends = vec![backend];
    tables.services[0].direct = true;
    let mut gateway = Gateway::new(tables);
    for _ in 0..3 {
        let seen = asked(&mut gateway, 5000);
        assert_eq!((seen.src(), seen.dst(), seen.ports()), (CLIENT, VIP, (5000, 53)));
    }
    let pieces = fragments(&udp((CLIENT, 5000), (VIP, 53), &[9; 2500]), 1000);
    let sent: usize = pieces.iter().map(|piece| gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], piece)).len()).sum();
    assert_eq!((sent, gateway.flows().len(), gateway.drops().len()), (pieces.len(), 0, 0));
}

#[test]
fn what_goes_takes_its_ways_back_with_it() {
    let mut gateway = Gateway::new(dns(&[1, 1]));
    let ports = [asked(&mut gateway, 5000).ports().0, asked(&mut gateway, 5001).ports().0];
    let mut fewer = dns(&[1, 1]);
    fewer.services[0].backends.remove(0);
    fewer.overlays[0].peers = vec![lab::VTEPS[0]];
    gateway.publish_same(fewer);
    assert_eq!(see(&gateway.backward(&answer(0, ports[0]))[0]).ports().1, 5000, "an answer under way comes home");
    gateway.pass(Duration::from_secs(16));
    gateway.publish_same(lab::tables(vec![]));
    assert!(gateway.backward(&answer(1, ports[1])).len() <= 1);
    gateway.pass(Duration::from_secs(31));
    gateway.publish_same(lab::tables(vec![]));
    assert!(gateway.backward(&answer(1, ports[1])).is_empty());
    gateway.assert_frames_conserved();
}

#[test]
fn tcp_of_the_same_service_has_flows() {
    let mut tables = dns(&[1]);
    tables.services[0].listens.push(datapath::service::Listen {
        address: VIP,
        ports: 53..=53,
        protocol: Protocol::Tcp,
    });
    let mut gateway = Gateway::new(tables);
    let syn = lab::packets::Segment::new((CLIENT, 5000), (VIP, 53), "S", 100, 0).sent_by_client();
    assert_eq!((gateway.forward(&syn).len(), gateway.flows().len()), (1, 1));
}
