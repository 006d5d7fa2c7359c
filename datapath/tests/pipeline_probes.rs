//! Probes through the whole pipeline, in memory: packets of control's own go as traffic goes, answers come back from
//! whichever worker hears them, and nobody else's packets do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;

use std::net::Ipv4Addr;

use datapath::ProbeKind;
use datapath::service::BackendId;
use lab::packets::{Seen, Segment, Tunnel, ethernet, fragments, see, udp};
use lab::{
    BACK, FRONT, Gateway, NODE_MACS, OUR_MACS, OUR_OVERLAY, OUR_VTEP, PLAIN_SNAT, SERVER, SERVER_MAC, TASKS, VIP, VTEPS,
};
use sys::LinkType;
use wire::Protocol;

const PORT: u16 = 65_000;
const PLAIN_PORT: u16 = 32_000;

fn web() -> datapath::service::Tables {
    let mut web = lab::service(1, Protocol::Tcp, 8080, &[1, 0]);
    web.backends.push(lab::plain_backend(300));
    lab::tables(vec![web])
}

fn syn() -> Vec<u8> {
    Segment::new((OUR_OVERLAY, PORT), (TASKS[0], 8000), "S", 7, 0).ip()
}

fn syn_ack() -> Segment {
    Segment::new((TASKS[0], 8000), (OUR_OVERLAY, PORT), "SA", 70, 8)
}

/// Source and destination of the tunnel.
fn vteps(seen: &Seen) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let outer = seen.outer.as_ref()?;
    Some((outer.ip.source.into(), outer.ip.destination.into()))
}

#[test]
fn a_probe_goes_through_the_tunnel_and_its_answer_to_control() {
    let mut gateway = Gateway::new(web());
    gateway.line.expect(ProbeKind::Overlay, PORT, TASKS[0]);
    assert!(gateway.line.send(BackendId(100), syn()));
    gateway.settle();
    let out = gateway.collect(0, BACK);
    let seen = see(&out[0]);
    assert_eq!((seen.ethernet, vteps(&seen)), (Some((OUR_MACS[1], NODE_MACS[0])), Some((OUR_VTEP, VTEPS[0]))));
    assert_eq!(seen.bytes, syn(), "the packet is control's, as it was");
    let answer = syn_ack();
    gateway.inject(0, BACK, &answer.sent_by_task(0));
    gateway.settle();
    let heard = gateway.line.receive().unwrap();
    assert_eq!((heard.kind, heard.port, heard.packet), (ProbeKind::Overlay, PORT, answer.ip()));
    let totals = gateway.totals();
    assert_eq!((totals.probes_sent, totals.probes_answered, totals.flows_opened), (1, 1, 0));
    assert!(gateway.drops().is_empty());
    gateway.assert_frames_conserved();
}

#[test]
fn whichever_worker_hears_an_answer_passes_it_on() {
    let mut gateway = Gateway::with(web(), 2, [LinkType::Ethernet; 2], 1024);
    gateway.line.expect(ProbeKind::Overlay, PORT, TASKS[0]);
    gateway.inject(1, BACK, &syn_ack().sent_by_task(0));
    gateway.settle();
    assert!(gateway.line.receive().is_some());
    assert_eq!(gateway.totals().handed_over, 0);
}

#[test]
fn a_drained_backend_is_probed_and_one_that_is_gone_is_not() {
    let mut gateway = Gateway::new(web());
    assert!(gateway.line.send(BackendId(101), syn()));
    gateway.settle();
    assert_eq!(vteps(&see(&gateway.collect(0, BACK)[0])), Some((OUR_VTEP, VTEPS[1])));
    assert!(gateway.line.send(BackendId(999), syn()));
    assert!(gateway.line.send(BackendId(100), vec![0; 1451]));
    gateway.settle();
    assert_eq!(gateway.drops(), [("backend_gone", 1), ("too_big", 1)]);
    assert_eq!(gateway.totals().probes_sent, 1);
    gateway.assert_frames_conserved();
}

/// A check that is under way when its backend goes ends its connection: it would stay open there.
#[test]
fn a_probe_still_says_farewell_to_a_backend_that_was_removed() {
    let mut gateway = Gateway::new(web());
    let mut without = web();
    without.services[0].backends.remove(0);
    gateway.publish(without);
    let rst = Segment::new((OUR_OVERLAY, PORT), (TASKS[0], 8000), "R", 8, 0).ip();
    assert!(gateway.line.send(BackendId(100), rst.clone()));
    gateway.settle();
    let out = gateway.collect(0, BACK);
    assert_eq!((out.len(), gateway.drops()), (1, vec![]));
    let seen = see(&out[0]);
    assert_eq!((vteps(&seen), seen.bytes), (Some((OUR_VTEP, VTEPS[0])), rst));
    gateway.assert_frames_conserved();
}

#[test]
fn a_plain_backend_is_probed_without_a_tunnel() {
    let mut gateway = Gateway::new(web());
    gateway.line.expect(ProbeKind::Plain, PLAIN_PORT, SERVER);
    let probe = udp((PLAIN_SNAT, PLAIN_PORT), (SERVER, 53), b"are you there");
    assert!(gateway.line.send(BackendId(300), probe.clone()));
    gateway.settle();
    let seen = see(&gateway.collect(0, BACK)[0]);
    assert_eq!((seen.ethernet, vteps(&seen), seen.bytes), (Some((OUR_MACS[1], SERVER_MAC)), None, probe));
    // From a port that no backend of the tables has.
    let answer = udp((SERVER, 53), (PLAIN_SNAT, PLAIN_PORT), b"yes");
    gateway.inject(0, BACK, &ethernet(SERVER_MAC, OUR_MACS[1], &answer));
    gateway.settle();
    assert_eq!(gateway.line.receive().unwrap().packet, answer);
    assert!(gateway.drops().is_empty());
}

#[test]
fn an_icmp_error_about_a_probe_is_an_answer() {
    let mut gateway = Gateway::new(web());
    gateway.line.expect(ProbeKind::Overlay, PORT, TASKS[0]);
    let probe = udp((OUR_OVERLAY, PORT), (TASKS[0], 53), b"are you there");
    let error = lab::packets::icmp_error(TASKS[0], OUR_OVERLAY, 3, 3, 0, &probe);
    gateway.inject(0, BACK, &Tunnel::from_node(0).wrap(&error));
    gateway.settle();
    assert_eq!(gateway.line.receive().unwrap().packet, error);
    let other = udp((OUR_OVERLAY, PORT), (TASKS[1], 53), b"are you there");
    let error = lab::packets::icmp_error(TASKS[1], OUR_OVERLAY, 3, 3, 0, &other);
    gateway.inject(0, BACK, &Tunnel::from_node(1).wrap(&error));
    gateway.settle();
    assert_eq!((gateway.line.receive(), gateway.drops()), (None, vec![("probe_unexpected", 1)]));
}

#[test]
fn nobody_else_reaches_control() {
    let mut gateway = Gateway::new(web());
    gateway.line.expect(ProbeKind::Overlay, PORT, TASKS[0]);
    let from = |task: usize, port| Segment::new((TASKS[task], 8000), (OUR_OVERLAY, port), "SA", 70, 8);
    gateway.inject(0, BACK, &from(1, PORT).sent_by_task(1));
    gateway.inject(0, BACK, &from(0, PORT + 1).sent_by_task(0));
    gateway.settle();
    assert_eq!(gateway.drops(), [("probe_unexpected", 2)]);
    // Not through the tunnel.
    gateway.inject(0, BACK, &ethernet(NODE_MACS[0], OUR_MACS[1], &from(0, PORT).ip()));
    // A port of flows.
    gateway.inject(0, BACK, &from(0, 2000).sent_by_task(0));
    gateway.settle();
    assert_eq!(gateway.drops(), [("not_ours", 1), ("no_flow", 1), ("probe_unexpected", 2)]);
    assert_eq!(gateway.line.receive(), None);
    assert_eq!((gateway.collect(0, FRONT), gateway.collect(0, BACK)), (vec![], vec![]));
    gateway.assert_frames_conserved();
}

#[test]
fn a_flood_of_answers_stays_bounded() {
    let mut gateway = Gateway::new(web());
    gateway.line.expect(ProbeKind::Overlay, PORT, TASKS[0]);
    for _ in 0..100 {
        gateway.inject(0, BACK, &syn_ack().sent_by_task(0));
        gateway.settle();
    }
    assert_eq!(std::iter::from_fn(|| gateway.line.receive()).count(), 16);
    assert_eq!(gateway.drops(), [("probe_queue_full", 84)]);
    gateway.assert_frames_conserved();
}

/// Over TUN the source for plain backends may be the VIP: a service at a port of probes is served all the same.
#[test]
fn a_service_at_a_port_of_probes_is_served() {
    let mut tables = web();
    tables.services[0].listens[0].ports = PLAIN_PORT..=PLAIN_PORT;
    let datapath::service::Path::Plain { snat, .. } = &mut tables.services[0].backends[2].path else { panic!() };
    *snat = vec![VIP];
    let mut gateway = Gateway::new(tables);
    let mut syn = Segment::syn(40_000);
    syn.dst.1 = PLAIN_PORT;
    assert_eq!(gateway.forward(&syn.sent_by_client()).len(), 1);
}

/// Only the first fragment has ports: what follows has nobody to go to.
#[test]
fn fragments_of_an_answer_are_not_kept() {
    let mut gateway = Gateway::new(web());
    gateway.line.expect(ProbeKind::Overlay, PORT, TASKS[0]);
    let answer = udp((TASKS[0], 53), (OUR_OVERLAY, PORT), &[1; 2000]);
    for piece in fragments(&answer, 1000) {
        gateway.inject(0, BACK, &Tunnel::from_node(0).wrap(&piece));
    }
    gateway.settle();
    assert!(gateway.line.receive().is_some());
    assert_eq!(gateway.drops().iter().map(|(_, n)| n).sum::<u64>(), 2);
    gateway.assert_frames_conserved();
}
