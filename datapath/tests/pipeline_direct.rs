//! Direct server return: what a client sends reaches a task as it is, but for the TTL; answers go around us.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use std::time::Duration;

use conntrack::Idle;
use datapath::service::{Path, Tables};
use lab::packets::{Seen, Segment, Tunnel, ethernet, fragments, icmp_error, reassemble, see, udp};
use lab::{
    BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, NODE_MACS, OUR_MACS, PLAIN_SNAT, SERVER, SERVER_MAC, TASKS, VIP, VTEPS,
    our_overlay_mac,
};
use sys::LinkType;
use wire::{MacAddr, Protocol};

const CLIENT_PORT: u16 = 40_000;
const PORT: u16 = 8080;

/// A service whose tasks answer around us: the target port is the one that clients ask for.
fn direct(protocol: Protocol, weights: &[u16]) -> Tables {
    let mut service = lab::service(1, protocol, PORT, weights);
    service.direct = true;
    for backend in &mut service.backends {
        backend.port = None;
    }
    lab::tables(vec![service])
}

fn one(frames: &[Vec<u8>]) -> Seen {
    assert_eq!(frames.len(), 1, "exactly one packet");
    see(&frames[0])
}

fn send(gateway: &mut Gateway, flags: &'static str, seq: u32, ack: u32) -> Vec<Vec<u8>> {
    gateway.forward(&Segment::new((CLIENT, CLIENT_PORT), (VIP, PORT), flags, seq, ack).sent_by_client())
}

/// The client's side of a handshake; gives the task.
fn connect(gateway: &mut Gateway) -> usize {
    let syn = one(&gateway.forward(&Segment::syn(CLIENT_PORT).sent_by_client()));
    let ack = one(&send(gateway, "A", 1001, 5001));
    assert_eq!(ack.outer.as_ref().unwrap().inner_dst, syn.outer.as_ref().unwrap().inner_dst);
    let mac = syn.outer.unwrap().inner_dst;
    TASKS.iter().position(|task| MacAddr::docker(*task) == mac).unwrap()
}

fn answers(gateway: &mut Gateway, frame: &[u8]) -> Vec<Seen> {
    gateway.inject(0, FRONT, frame);
    gateway.settle();
    gateway.collect(0, FRONT).iter().map(|frame| see(frame)).collect()
}

/// The packet with another TTL, as a router makes it.
fn one_hop_on(mut ip: Vec<u8>) -> Vec<u8> {
    ip[8] -= 1;
    ip[10..12].fill(0);
    let sum = etherparse::Ipv4Header::from_slice(&ip).unwrap().0.calc_header_checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip
}

#[test]
fn the_task_gets_what_the_client_sent() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1, 1]));
    for (port, n) in [(40_000, 0), (40_001, 1), (40_002, 0)] {
        let sent = Segment { tos: 0x28, ..Segment::syn(port) };
        let syn = one(&gateway.forward(&sent.sent_by_client()));
        assert_eq!(syn.bytes, one_hop_on(sent.ip()), "MSS and timestamps too: the answer takes another way");
        let outer = syn.outer.unwrap();
        assert_eq!(syn.ethernet, Some((OUR_MACS[1], NODE_MACS[n])));
        assert_eq!(outer.ip.destination, VTEPS[n].octets());
        assert_eq!((outer.inner_src, outer.inner_dst), (our_overlay_mac(), MacAddr::docker(TASKS[n])));
    }
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
    gateway.assert_frames_conserved();
}

#[test]
fn a_connection_stays_with_its_task_and_is_seen_through() {
    let tables = direct(Protocol::Tcp, &[1, 1]);
    let mut gateway = Gateway::new(tables.clone());
    let task = connect(&mut gateway);
    for n in 0..5 {
        let data = Segment::new((CLIENT, CLIENT_PORT), (VIP, PORT), "PA", 1001 + 100 * n, 5001).with(&[7; 100]);
        let seen = one(&gateway.forward(&data.sent_by_client()));
        assert_eq!(seen.outer.as_ref().unwrap().inner_dst, MacAddr::docker(TASKS[task]));
        assert_eq!(seen.bytes, one_hop_on(data.ip()));
    }
    let flows = gateway.flows();
    assert_eq!((flows.len(), flows[0].state, flows[0].packets), (1, "ESTABLISHED", [7, 0]));
    let totals = tables.services[0].backends[task].stats.totals();
    assert_eq!((totals.active, totals.answered, totals.unanswered), (1, 1, 0));
    one(&send(&mut gateway, "FA", 1501, 5001));
    assert_eq!(gateway.flows()[0].state, "FIN_WAIT");
    gateway.assert_gauges();
    gateway.pass(Duration::from_secs(121));
    assert!(gateway.flows().is_empty());
    assert!(gateway.collect(0, FRONT).is_empty() && gateway.collect(0, BACK).is_empty(), "it ended by itself");
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

#[test]
fn a_task_that_does_not_answer_is_counted() {
    let tables = direct(Protocol::Tcp, &[1]);
    let mut gateway = Gateway::new(tables.clone());
    for wait in [0, 1, 2] {
        gateway.pass(Duration::from_secs(wait));
        one(&gateway.forward(&Segment::syn(CLIENT_PORT).sent_by_client()));
    }
    let totals = tables.services[0].backends[0].stats.totals();
    assert_eq!((totals.answered, totals.unanswered), (0, 1), "it may be the client that does not hear");
}

/// RFC 5961: at the receiver a RST counts if it carries the next byte that it expects.
#[test]
fn both_ends_are_told_when_the_task_is_gone() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1, 1]));
    let task = connect(&mut gateway);
    let mut rest = direct(Protocol::Tcp, &[1, 1]);
    rest.services[0].backends.remove(task);
    gateway.publish(rest);
    gateway.settle();
    let (front, back) = (one(&gateway.collect(0, FRONT)), one(&gateway.collect(0, BACK)));
    assert_eq!((front.src(), front.dst(), front.ports()), (VIP, CLIENT, (PORT, CLIENT_PORT)));
    assert_eq!((front.tcp().rst, front.tcp().sequence_number), (true, 5001));
    assert_eq!(front.ethernet, Some((OUR_MACS[0], CLIENT_MAC)));
    assert_eq!((back.src(), back.dst(), back.ports()), (CLIENT, VIP, (CLIENT_PORT, PORT)));
    assert_eq!((back.tcp().rst, back.tcp().sequence_number), (true, 1001));
    assert_eq!(back.outer.unwrap().inner_dst, MacAddr::docker(TASKS[task]));
    gateway.assert_frames_conserved();
}

/// The SYN-ACK does not pass here, so the client may send more than the overlay takes.
#[test]
fn too_large_is_told_to_the_client() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1]));
    connect(&mut gateway);
    let data = Segment::new((CLIENT, CLIENT_PORT), (VIP, PORT), "A", 1001, 5001).with(&[7; 1460]);
    let told = answers(&mut gateway, &data.sent_by_client());
    assert_eq!((told.len(), told[0].src(), told[0].dst()), (1, VIP, CLIENT));
    assert_eq!(told[0].payload()[..2], [3, 4], "RFC 792: fragmentation needed");
    assert_eq!(told[0].payload()[6..8], 1450_u16.to_be_bytes(), "RFC 1191: the MTU of the next hop");
    assert_eq!(told[0].payload()[8..36], data.ip()[..28], "about this packet");
    assert_eq!(gateway.drops(), [("too_big", 1)]);
}

/// A router between task and client says that the task's answers are too large: it says so to the VIP.
#[test]
fn errors_about_answers_reach_the_task_as_they_are() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1, 1]));
    let task = connect(&mut gateway);
    let answer = Segment::new((VIP, PORT), (CLIENT, CLIENT_PORT), "A", 5001, 1001).with(&[1; 1400]).ip();
    let router = "192.0.2.1".parse().unwrap();
    let error = icmp_error(router, VIP, 3, 4, 1280, &answer);
    let seen = one(&gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &error)));
    assert_eq!(seen.bytes, one_hop_on(error));
    assert_eq!(seen.outer.unwrap().inner_dst, MacAddr::docker(TASKS[task]));
}

/// A direct task has an address of its own on the link that they would speak of.
#[test]
fn redirects_and_source_quenches_end_here() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1]));
    connect(&mut gateway);
    let answer = Segment::new((VIP, PORT), (CLIENT, CLIENT_PORT), "A", 5001, 1001).ip();
    for (kind, code) in [(4, 0), (5, 0), (5, 1)] {
        let error = icmp_error("192.0.2.1".parse().unwrap(), VIP, kind, code, 0xc000_0202, &answer);
        assert!(gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &error)).is_empty());
    }
    assert_eq!(gateway.drops(), [("icmp_unhandled", 3)]);
    gateway.assert_frames_conserved();
}

/// It would come back to the VIP, again and again.
#[test]
fn errors_about_what_the_client_has_sent_do_not_go_round() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1]));
    connect(&mut gateway);
    let sent = Segment::new((CLIENT, CLIENT_PORT), (VIP, PORT), "A", 1001, 5001).ip();
    for to in [VIP, CLIENT] {
        let error = icmp_error("192.0.2.1".parse().unwrap(), to, 3, 4, 1280, &sent);
        assert!(answers(&mut gateway, &ethernet(CLIENT_MAC, OUR_MACS[0], &error)).is_empty());
        assert!(gateway.collect(0, BACK).is_empty());
    }
    assert_eq!(gateway.drops().iter().map(|(_, count)| count).sum::<u64>(), 2, "{:?}", gateway.drops());
    gateway.assert_frames_conserved();
}

#[test]
fn an_answer_that_comes_this_way_after_all_is_dropped() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1]));
    connect(&mut gateway);
    let answer = Segment::new((VIP, PORT), (CLIENT, CLIENT_PORT), "SA", 5000, 1001);
    assert!(gateway.backward(&Tunnel::from_node(0).wrap(&answer.ip())).is_empty());
    assert!(gateway.backward(&ethernet(NODE_MACS[0], OUR_MACS[1], &answer.ip())).is_empty());
    assert_eq!(gateway.drops(), [("wrong_inner_address", 1), ("wrong_path", 1)]);
    gateway.assert_frames_conserved();
}

#[test]
fn datagrams_and_their_fragments() {
    let mut gateway = Gateway::new(direct(Protocol::Udp, &[1, 1]));
    let datagram = udp((CLIENT, CLIENT_PORT), (VIP, PORT), &[3; 3000]);
    let mut pieces = fragments(&datagram, 1400);
    pieces.reverse();
    for piece in &pieces {
        gateway.inject(0, FRONT, &ethernet(CLIENT_MAC, OUR_MACS[0], piece));
    }
    gateway.settle();
    let seen: Vec<_> = gateway.collect(0, BACK).iter().map(|frame| see(frame)).collect();
    assert!(seen.iter().all(|piece| piece.outer.as_ref().unwrap().inner_dst == MacAddr::docker(TASKS[0])));
    let whole =
        see(&ethernet(CLIENT_MAC, OUR_MACS[0], &reassemble(seen.into_iter().map(|piece| piece.bytes).collect())));
    assert_eq!((whole.src(), whole.dst(), whole.ports()), (CLIENT, VIP, (CLIENT_PORT, PORT)));
    assert_eq!(whole.payload()[8..], [3; 3000]);
    gateway.pass(Duration::from_secs(29));
    assert_eq!(gateway.flows().len(), 1);
    gateway.pass(Duration::from_secs(2));
    assert!(gateway.flows().is_empty());
}

/// As IPVS' "gatewaying": a server on the same link that has the VIP on its loopback.
#[test]
fn a_plain_backend_gets_the_packet_too() {
    let mut tables = direct(Protocol::Tcp, &[]);
    let mut backend = lab::plain_backend(7);
    backend.port = None;
    if let Path::Plain { snat, .. } = &mut backend.path {
        snat.clear();
    }
    tables.services[0].backends = vec![backend];
    let mut gateway = Gateway::new(tables);
    let syn = one(&gateway.forward(&Segment::syn(CLIENT_PORT).sent_by_client()));
    assert_eq!((syn.ethernet, syn.outer.is_none()), (Some((OUR_MACS[1], SERVER_MAC)), true));
    assert_eq!(syn.bytes, one_hop_on(Segment::syn(CLIENT_PORT).ip()));
}

/// A service that changes its way keeps the connections that it has.
#[test]
fn flows_keep_their_way_when_the_service_changes_it() {
    let mut gateway = Gateway::new(direct(Protocol::Tcp, &[1]));
    connect(&mut gateway);
    let mut translated = direct(Protocol::Tcp, &[1]);
    translated.services[0].direct = false;
    gateway.publish(translated);
    let old = one(&send(&mut gateway, "A", 1001, 5001));
    assert_eq!((old.src(), old.dst()), (CLIENT, VIP));
    let new = one(&gateway.forward(&Segment::syn(40_001).sent_by_client()));
    assert_eq!(new.dst(), TASKS[0]);
}

/// Of a time in which the service was not direct; the answer comes to another worker.
#[test]
fn a_plain_backend_still_answers_translated_flows() {
    let plain = |direct| {
        let mut tables = lab::tables(vec![lab::service(1, Protocol::Tcp, PORT, &[])]);
        tables.services[0].backends = vec![lab::plain_backend(7)];
        tables.services[0].direct = direct;
        tables
    };
    let mut gateway = Gateway::with(plain(false), 2, [LinkType::Ethernet; 2], 1024);
    let syn = one(&gateway.forward(&Segment::syn(CLIENT_PORT).sent_by_client()));
    assert_eq!(syn.src(), PLAIN_SNAT);
    let mut direct = plain(true);
    direct.left_sources = vec![PLAIN_SNAT];
    let Path::Plain { snat, .. } = &mut direct.services[0].backends[0].path else { panic!() };
    snat.clear();
    gateway.publish(direct);
    let answer = Segment::new((SERVER, 80), (PLAIN_SNAT, syn.ports().0), "SA", 5000, 1001);
    gateway.inject(1, BACK, &ethernet(SERVER_MAC, OUR_MACS[1], &answer.ip()));
    gateway.settle();
    let answer = one(&gateway.collect(0, FRONT));
    assert_eq!((answer.src(), answer.dst(), gateway.drops()), (VIP, CLIENT, vec![]));
}

#[test]
fn a_service_has_its_own_idle_time() {
    let mut tables = direct(Protocol::Udp, &[1]);
    tables.services[0].idle = Idle::new(Duration::from_secs(5));
    let mut gateway = Gateway::new(tables);
    let ask = ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, CLIENT_PORT), (VIP, PORT), b"?"));
    one(&gateway.forward(&ask));
    gateway.pass(Duration::from_secs(4));
    assert_eq!(gateway.flows().len(), 1);
    gateway.pass(Duration::from_secs(2));
    assert!(gateway.flows().is_empty());
}

#[test]
fn two_workers_find_its_flow() {
    let links = [sys::LinkType::Ethernet; 2];
    let mut gateway = Gateway::with(direct(Protocol::Tcp, &[1, 1]), 2, links, 64);
    let syn = one(&gateway.forward(&Segment::syn(CLIENT_PORT).sent_by_client()));
    let ack = Segment::new((CLIENT, CLIENT_PORT), (VIP, PORT), "A", 1001, 5001);
    gateway.inject(1, FRONT, &ack.sent_by_client());
    gateway.settle();
    let seen = one(&gateway.collect(0, BACK));
    assert_eq!(seen.outer.unwrap().inner_dst, syn.outer.unwrap().inner_dst);
}
