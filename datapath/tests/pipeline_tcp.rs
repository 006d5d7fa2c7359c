//! TCP through the whole pipeline, in memory.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use std::time::Duration;

use lab::packets::{Seen, Segment, Tunnel, answer_of, ethernet, fragments, icmp_error, see, see_ip};
use lab::{
    BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, NODE_MACS, OUR_MACS, OUR_OVERLAY, OUR_VTEP, TASKS, VIP, VNI, VTEPS,
    our_overlay_mac,
};
use wire::{MacAddr, Protocol};

fn web(weights: &[u16]) -> datapath::service::Tables {
    lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, weights)])
}

fn one(frames: &[Vec<u8>]) -> Seen {
    assert_eq!(frames.len(), 1, "exactly one packet");
    see(&frames[0])
}

/// Opens a connection; gives what the task saw of the SYN.
fn connect(gateway: &mut Gateway, port: u16) -> (usize, Seen) {
    let syn = one(&gateway.forward(&Segment::syn(port).sent_by_client()));
    let task = TASKS.iter().position(|task| *task == syn.dst()).unwrap();
    let answer = answer_of(task, &syn, "SA", 5000, 1001);
    let synack = one(&gateway.backward(&answer.sent_by_task(task)));
    assert_eq!((synack.src(), synack.ports()), (VIP, (8080, port)));
    let ack = Segment::new((CLIENT, port), (VIP, 8080), "A", 1001, 5001);
    one(&gateway.forward(&ack.sent_by_client()));
    (task, syn)
}

#[test]
fn a_syn_reaches_a_task_through_the_overlay() {
    let mut gateway = Gateway::new(web(&[1, 1]));
    let syn = one(&gateway.forward(&Segment { tos: 0xb9, ..Segment::syn(40_000) }.sent_by_client()));
    assert_eq!(syn.ethernet, Some((OUR_MACS[1], NODE_MACS[0])));
    let outer = syn.outer.clone().unwrap();
    assert_eq!((outer.ip.source, outer.ip.destination), (OUR_VTEP.octets(), VTEPS[0].octets()));
    assert_eq!((outer.destination_port, outer.vni, outer.ip.time_to_live), (4789, VNI, 64));
    assert!(outer.source_port >= 49_152, "RFC 7348 §5: a dynamic port");
    assert!(!outer.ip.dont_fragment);
    assert_eq!((outer.inner_src, outer.inner_dst), (our_overlay_mac(), MacAddr::docker(TASKS[0])));
    assert_eq!((syn.src(), syn.dst(), syn.ports().1), (OUR_OVERLAY, TASKS[0], 8000));
    assert_ne!(syn.ports().0, 40_000, "never the client's own port");
    assert_eq!(syn.ip.time_to_live, 63);
    assert_eq!(syn.mss(), Some(1410), "fits 1450");
    // DSCP and ECN survive, outside too (RFC 6040).
    assert_eq!((syn.ip.dscp.value() << 2) | syn.ip.ecn.value(), 0xb9);
    assert_eq!((outer.ip.dscp.value() << 2) | outer.ip.ecn.value(), 0xb9);
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
    gateway.assert_frames_conserved();
}

/// Nodes of a cloud may have links of less than 1,500 bytes, and the overlay still its usual MTU.
#[test]
fn a_tunnel_fits_its_link() {
    let mut tables = web(&[1]);
    tables.interfaces[1].mtu = 1400;
    let mut gateway = Gateway::new(tables);
    let (_, syn) = connect(&mut gateway, 40_000);
    assert_eq!(syn.mss(), Some(1310), "1400 less a tunnel's 50");
    let data = |len| Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(&vec![7; len]).sent_by_client();
    let longest = gateway.forward(&data(1310));
    assert_eq!((longest.len(), longest[0].len()), (1, 14 + 1400));
    assert!(gateway.forward(&data(1311)).is_empty());
    assert_eq!(gateway.drops(), [("too_big", 1)]);
}

#[test]
fn connections_alternate() {
    let mut gateway = Gateway::new(web(&[1, 1]));
    let tasks: Vec<_> = (0..6).map(|n| connect(&mut gateway, 40_000 + n).0).collect();
    assert_eq!(tasks, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn a_retransmitted_syn_stays_with_its_task() {
    let mut gateway = Gateway::new(web(&[1, 1]));
    let first = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    let second = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    assert_eq!((first.dst(), first.ports()), (second.dst(), second.ports()));
}

#[test]
fn a_syn_sent_again_to_a_task_that_rests_goes_to_another() {
    let full = web(&[1, 1]);
    let mut gateway = Gateway::new(full.clone());
    let first = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    let mut resting = full.clone();
    resting.services[0].backends[0].weight = 0;
    gateway.publish(resting);
    gateway.pass(Duration::from_secs(1));
    let second = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    assert_ne!(first.dst(), second.dst());
    let totals = full.services[0].backends[0].stats.totals();
    assert_eq!((totals.answered, totals.unanswered, totals.refused), (0, 1, 0));
    one(&gateway.backward(&answer_of(1, &second, "SA", 5000, 1001).sent_by_task(1)));
    assert_eq!(full.services[0].backends[1].stats.totals().answered, 1);
}

/// RFC 6298: an honest client waits for 1 s, then for 2, for 4. What comes sooner says nothing of the task, nor what it cannot take.
#[test]
fn only_a_client_that_has_waited_says_that_a_task_is_silent() {
    let tables = web(&[1]);
    let mut gateway = Gateway::new(tables.clone());
    let unanswered = || tables.services[0].backends[0].stats.totals().unanswered;
    let syn = |port| Segment::syn(port).sent_by_client();
    let times = |gateway: &mut Gateway, port, waits: &[u64]| {
        one(&gateway.forward(&syn(port)));
        for wait in waits {
            gateway.pass(Duration::from_secs(*wait));
            one(&gateway.forward(&syn(port)));
        }
    };
    times(&mut gateway, 40_000, &[0, 0, 0, 0, 0]);
    assert_eq!(unanswered(), 0, "all at once");
    times(&mut gateway, 40_001, &[1, 2, 4]);
    assert_eq!(unanswered(), 3);
    times(&mut gateway, 40_002, &[1, 0, 0]);
    assert_eq!(unanswered(), 4);
    let mut broken = syn(40_003);
    one(&gateway.forward(&broken));
    // The checksum's last byte.
    broken[14 + 20 + 17] ^= 1;
    gateway.pass(Duration::from_secs(1));
    assert_eq!(gateway.forward(&broken).len(), 1, "the receiver judges it");
    assert_eq!(unanswered(), 4);
}

#[test]
fn a_task_that_answers_a_syn_by_rst_is_counted() {
    let tables = web(&[1]);
    let mut gateway = Gateway::new(tables.clone());
    let syn = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    one(&gateway.backward(&answer_of(0, &syn, "RA", 0, 1001).sent_by_task(0)));
    let totals = tables.services[0].backends[0].stats.totals();
    assert_eq!((totals.answered, totals.unanswered, totals.refused), (0, 0, 1));
}

#[test]
fn both_syns_of_one_burst_make_one_flow() {
    let mut gateway = Gateway::new(web(&[1, 1]));
    gateway.inject(0, FRONT, &Segment::syn(40_000).sent_by_client());
    gateway.inject(0, FRONT, &Segment::syn(40_000).sent_by_client());
    gateway.settle();
    let seen: Vec<_> = gateway.collect(0, BACK).iter().map(|frame| see(frame)).collect();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].dst(), seen[0].ports()), (seen[1].dst(), seen[1].ports()));
    assert_eq!(gateway.totals().flows_opened, 1);
}

#[test]
fn the_answer_reaches_the_client() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    let mut answer = answer_of(0, &syn, "SA", 5000, 1001);
    answer.options = vec![etherparse::TcpOptionElement::MaximumSegmentSize(1460)];
    let synack = one(&gateway.backward(&answer.sent_by_task(0)));
    assert_eq!(synack.ethernet, Some((OUR_MACS[0], CLIENT_MAC)));
    assert!(synack.outer.is_none());
    assert_eq!((synack.src(), synack.dst(), synack.ports()), (VIP, CLIENT, (8080, 40_000)));
    assert_eq!((synack.ip.time_to_live, synack.mss()), (63, Some(1410)));
    assert_eq!((synack.tcp().sequence_number, synack.tcp().acknowledgment_number), (5000, 1001));
}

#[test]
fn timestamps_come_from_one_clock_and_go_back_as_they_came() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = one(&gateway.forward(&Segment::syn(40_000).sent_by_client()));
    // The gateway's clock: 5,000 ms at the start, 100 s later.
    let (value, _) = syn.timestamps().unwrap();
    assert_eq!(value, 105_000);
    let mut answer = answer_of(0, &syn, "SA", 5000, 1001);
    answer.options = vec![etherparse::TcpOptionElement::Timestamp(777, value)];
    let synack = one(&gateway.backward(&answer.sent_by_task(0)));
    assert_eq!(synack.timestamps(), Some((777, 1_000_000)));
    let mut data = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001);
    data.options = vec![
        etherparse::TcpOptionElement::Noop,
        etherparse::TcpOptionElement::Noop,
        etherparse::TcpOptionElement::Timestamp(1_000_250, 777),
    ];
    assert_eq!(one(&gateway.forward(&data.sent_by_client())).timestamps(), Some((105_250, 777)));
}

#[test]
fn a_stray_segment_is_refused_at_once() {
    let mut gateway = Gateway::new(web(&[1]));
    gateway.inject(0, FRONT, &Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 7000, 9000).sent_by_client());
    gateway.settle();
    let reset = one(&gateway.collect(0, FRONT));
    let tcp = reset.tcp();
    assert!(tcp.rst && !tcp.ack);
    assert_eq!((reset.src(), reset.dst(), reset.ports(), tcp.sequence_number), (VIP, CLIENT, (8080, 40_000), 9000));
    assert_eq!(reset.ethernet, Some((OUR_MACS[0], CLIENT_MAC)));
    assert_eq!(gateway.drops(), [("no_flow_tcp", 1)]);
    gateway.inject(0, FRONT, &Segment::new((CLIENT, 40_000), (VIP, 8080), "R", 7000, 0).sent_by_client());
    gateway.settle();
    assert!(gateway.collect(0, FRONT).is_empty(), "never a RST for a RST");
}

#[test]
fn nobody_to_serve_means_a_reset_and_not_a_timeout() {
    let mut drained = Gateway::new(web(&[0, 0]));
    drained.inject(0, FRONT, &Segment::syn(40_000).sent_by_client());
    drained.settle();
    let reset = one(&drained.collect(0, FRONT));
    assert!(reset.tcp().rst);
    assert_eq!(reset.tcp().acknowledgment_number, 1001);
    assert_eq!(drained.drops(), [("no_backend", 1)]);

    let mut gateway = Gateway::new(web(&[1]));
    let mut other = Segment::syn(40_000);
    other.dst.1 = 81;
    gateway.inject(0, FRONT, &other.sent_by_client());
    gateway.settle();
    assert!(one(&gateway.collect(0, FRONT)).tcp().rst);
    assert_eq!(gateway.drops(), [("no_service", 1)]);
}

#[test]
fn a_removed_backend_ends_its_flow_at_both_ends() {
    let full = web(&[1, 1]);
    let mut gateway = Gateway::new(full.clone());
    let (first, syn) = connect(&mut gateway, 40_000);
    connect(&mut gateway, 40_001);
    assert_eq!(first, 0);
    let mut fewer = full.clone();
    fewer.services[0].backends.remove(0);
    gateway.publish(fewer);
    let to_client = one(&gateway.collect(0, FRONT));
    assert!(to_client.tcp().rst);
    assert_eq!((to_client.src(), to_client.ports(), to_client.tcp().sequence_number), (VIP, (8080, 40_000), 5001));
    let to_task = one(&gateway.collect(0, BACK));
    assert!(to_task.tcp().rst);
    assert_eq!((to_task.dst(), to_task.ports(), to_task.tcp().sequence_number), (TASKS[0], syn.ports(), 1001));
    assert_eq!(gateway.totals().flows_reset, 1);

    // What is still under way is answered with a RST that must be believed.
    let late = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(b"more");
    gateway.inject(0, FRONT, &late.sent_by_client());
    gateway.settle();
    assert_eq!(one(&gateway.collect(0, FRONT)).tcp().sequence_number, 5001);
    let challenge = answer_of(0, &syn, "A", 5001, 1001);
    gateway.inject(0, BACK, &challenge.sent_by_task(0));
    gateway.settle();
    // The node is no VTEP of ours any more: nothing of it is heard.
    assert!(gateway.collect(0, BACK).is_empty());

    // The other flow goes on.
    let data = Segment::new((CLIENT, 40_001), (VIP, 8080), "A", 1001, 5001).with(b"hello");
    assert_eq!(one(&gateway.forward(&data.sent_by_client())).dst(), TASKS[1]);
    gateway.assert_frames_conserved();
}

#[test]
fn a_drained_backend_keeps_its_flows() {
    let full = web(&[1, 1]);
    let mut gateway = Gateway::new(full.clone());
    assert_eq!(connect(&mut gateway, 40_000).0, 0);
    let mut drained = full.clone();
    drained.services[0].backends[0].weight = 0;
    gateway.publish(drained);
    assert_eq!(connect(&mut gateway, 40_001).0, 1);
    assert_eq!(connect(&mut gateway, 40_002).0, 1);
    let data = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(b"hello");
    assert_eq!(one(&gateway.forward(&data.sent_by_client())).dst(), TASKS[0]);
}

#[test]
fn idle_flows_end_with_a_reset_to_both_ends() {
    let mut gateway = Gateway::new(web(&[1]));
    connect(&mut gateway, 40_000);
    let data = Segment::new((CLIENT, 40_000), (VIP, 8080), "PA", 1001, 5001).with(b"hello");
    one(&gateway.forward(&data.sent_by_client()));
    gateway.pass(Duration::from_secs(2 * 3600 - 10));
    assert!(gateway.collect(0, FRONT).is_empty());
    gateway.pass(Duration::from_secs(20));
    let (to_client, to_task) = (one(&gateway.collect(0, FRONT)), one(&gateway.collect(0, BACK)));
    assert!(to_client.tcp().rst && to_task.tcp().rst);
    assert_eq!(to_client.tcp().sequence_number, 5001);
    assert_eq!(to_task.tcp().sequence_number, 1006);
    assert_eq!((gateway.workers[0].core().flows(), gateway.totals().flows_expired), (0, 1));
    gateway.assert_frames_conserved();
}

/// What is known of the SNAT ports of a backend does not stay for ever: tasks come and go.
#[test]
fn unused_snat_ports_are_forgotten() {
    let mut gateway = Gateway::new(web(&[1]));
    let port_after = |gateway: &mut Gateway, client, seconds| {
        gateway.pass(Duration::from_secs(seconds));
        let snat = connect(gateway, client).1.ports().0;
        one(&gateway.forward(&Segment::new((CLIENT, client), (VIP, 8080), "R", 1001, 0).sent_by_client()));
        snat
    };
    let first = port_after(&mut gateway, 40_000, 0);
    assert_ne!(port_after(&mut gateway, 40_001, 200), first);
    assert_eq!(port_after(&mut gateway, 40_002, 250), first, "the walk begins anew");
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_old() {
    let mut gateway = Gateway::with(web(&[1]), 1, [sys::LinkType::Ethernet; 2], 8);
    let capacity = gateway.workers[0].core().capacity() as u16;
    for n in 0..capacity {
        connect(&mut gateway, 30_000 + n);
    }
    assert!(gateway.forward(&Segment::syn(50_000).sent_by_client()).is_empty());
    assert_eq!(gateway.drops(), [("table_full", 1)]);
    for n in 0..capacity {
        let data = Segment::new((CLIENT, 30_000 + n), (VIP, 8080), "A", 1001, 5001);
        one(&gateway.forward(&data.sent_by_client()));
    }
}

#[test]
fn backend_counters_tell_active_from_closing() {
    let tables = web(&[1]);
    let stats = std::sync::Arc::clone(&tables.services[0].backends[0].stats);
    let mut gateway = Gateway::new(tables);
    one(&gateway.forward(&Segment::syn(39_999).sent_by_client()));
    connect(&mut gateway, 40_000);
    let totals = stats.totals();
    assert_eq!((totals.connections, totals.active, totals.inactive), (2, 1, 1));
    assert_eq!((totals.packets_in, totals.packets_out), (3, 1));
    gateway.pass(Duration::from_secs(130));
    let totals = stats.totals();
    assert_eq!((totals.connections, totals.active, totals.inactive), (2, 1, 0), "the half-open one has expired");
}

#[test]
fn a_dead_end_is_told_to_the_client() {
    let mut gateway = Gateway::new(web(&[1]));
    let (_, syn) = connect(&mut gateway, 40_000);
    // The task's node: nobody listens on 8000. The error quotes what the task got.
    let error = icmp_error(TASKS[0], OUR_OVERLAY, 3, 3, 0, &syn.bytes);
    let seen = one(&gateway.backward(&Tunnel::from_node(0).wrap(&error)));
    assert_eq!((seen.src(), seen.dst()), (VIP, CLIENT));
    let (inner, ports) = etherparse::Ipv4Header::from_slice(&seen.payload()[8..]).unwrap();
    assert_eq!((inner.source, inner.destination), (CLIENT.octets(), VIP.octets()));
    assert_eq!(inner.header_checksum, inner.calc_header_checksum());
    assert_eq!(&ports[..4], [40_000u16.to_be_bytes(), 8080u16.to_be_bytes()].concat());
}

#[test]
fn a_smaller_mtu_at_the_client_is_told_to_the_task() {
    let mut gateway = Gateway::new(web(&[1]));
    let (_, syn) = connect(&mut gateway, 40_000);
    let data = answer_of(0, &syn, "A", 5001, 1001).with(&[7; 1000]);
    let sent = one(&gateway.backward(&data.sent_by_task(0)));
    let router = "198.19.9.9".parse().unwrap();
    let error = icmp_error(router, VIP, 3, 4, 1300, &sent.bytes);
    let seen = one(&gateway.forward(&lab::packets::ethernet(CLIENT_MAC, OUR_MACS[0], &error)));
    assert_eq!((seen.src(), seen.dst()), (OUR_OVERLAY, TASKS[0]));
    assert_eq!(&seen.payload()[4..8], [0, 0, 0x05, 0x14], "next-hop MTU 1300");
    let (inner, ports) = etherparse::Ipv4Header::from_slice(&seen.payload()[8..]).unwrap();
    assert_eq!((inner.source, inner.destination), (TASKS[0].octets(), OUR_OVERLAY.octets()));
    assert_eq!(&ports[..2], 8000u16.to_be_bytes());
    assert_eq!(&ports[2..4], syn.ports().0.to_be_bytes());
}

#[test]
fn replies_find_the_worker_that_owns_the_flow() {
    let mut gateway = Gateway::with(web(&[1, 1]), 2, [sys::LinkType::Ethernet; 2], 1024);
    gateway.inject(1, FRONT, &Segment::syn(40_000).sent_by_client());
    gateway.settle();
    let syn = one(&gateway.collect(1, BACK));
    let task = TASKS.iter().position(|task| *task == syn.dst()).unwrap();
    // The answer lands on the other worker's queue.
    gateway.inject(0, BACK, &answer_of(task, &syn, "SA", 5000, 1001).sent_by_task(task));
    gateway.settle();
    assert_eq!(one(&gateway.collect(1, FRONT)).ports(), (8080, 40_000));
    let totals = gateway.totals();
    assert_eq!((totals.handed_over, totals.received_over), (1, 1));
    assert!(gateway.drops().is_empty());
    gateway.assert_frames_conserved();
}

/// A Linux client behind a veth takes another queue after a timeout: the flow must not be taken for unknown.
#[test]
fn a_client_may_change_the_queue() {
    let mut gateway = Gateway::with(web(&[1, 1]), 3, [sys::LinkType::Ethernet; 2], 1024);
    gateway.inject(2, FRONT, &Segment::syn(40_000).sent_by_client());
    gateway.settle();
    let syn = one(&gateway.collect(2, BACK));
    gateway.inject(2, BACK, &answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    gateway.settle();
    one(&gateway.collect(2, FRONT));
    let ack = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001);
    gateway.inject(0, FRONT, &ack.sent_by_client());
    gateway.settle();
    assert_eq!(one(&gateway.collect(2, BACK)).dst(), TASKS[0]);
    assert!(gateway.drops().is_empty());
    // One that nobody knows is answered, once.
    let stray = Segment::new((CLIENT, 40_001), (VIP, 8080), "A", 1001, 5001);
    gateway.inject(0, FRONT, &stray.sent_by_client());
    gateway.settle();
    let answers: Vec<_> = (0..3).flat_map(|worker| gateway.collect(worker, FRONT)).collect();
    assert!(one(&answers).tcp().rst);
    assert_eq!(gateway.drops(), [("no_flow_tcp", 1)]);
    gateway.assert_frames_conserved();
}

#[test]
fn errors_find_the_worker_that_owns_the_flow() {
    let mut gateway = Gateway::with(web(&[1]), 2, [sys::LinkType::Ethernet; 2], 1024);
    gateway.inject(1, FRONT, &Segment::syn(40_000).sent_by_client());
    gateway.settle();
    let syn = one(&gateway.collect(1, BACK));
    gateway.inject(1, BACK, &answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    gateway.settle();
    let synack = one(&gateway.collect(1, FRONT));
    let error = icmp_error(CLIENT, VIP, 3, 4, 1300, &synack.bytes);
    gateway.inject(0, FRONT, &lab::packets::ethernet(CLIENT_MAC, OUR_MACS[0], &error));
    gateway.settle();
    assert_eq!(one(&gateway.collect(1, BACK)).dst(), TASKS[0]);
    // About nothing that we know: looked for at each worker once, then dropped.
    let mut stranger = synack.clone();
    stranger.bytes[23] ^= 1;
    let error = icmp_error(CLIENT, VIP, 3, 4, 1300, &stranger.bytes);
    gateway.inject(0, FRONT, &lab::packets::ethernet(CLIENT_MAC, OUR_MACS[0], &error));
    gateway.settle();
    assert_eq!(gateway.drops(), [("icmp_no_flow", 1)]);
}

#[test]
fn an_unfinished_checksum_is_finished() {
    let mut gateway = Gateway::new(web(&[1]));
    let mut frame = Segment::syn(40_000).sent_by_client();
    // What a kernel leaves for the card: the sum of the pseudo-header alone (CHECKSUM_PARTIAL).
    let tcp_len = (frame.len() - 14 - 20) as u16;
    let sum = etherparse::checksum::Sum16BitWords::new().add_4bytes(CLIENT.octets()).add_4bytes(VIP.octets());
    let partial = !sum.add_2bytes([0, 6]).add_2bytes(tcp_len.to_be_bytes()).ones_complement();
    frame[14 + 20 + 16..14 + 20 + 18].copy_from_slice(&partial.to_be().to_be_bytes());
    // `see` checks the checksum that left.
    one(&gateway.forward(&frame));
    assert_eq!(gateway.totals().checksums_finished, 1);
}

#[test]
fn ttl_runs_out_at_the_gateway() {
    let mut gateway = Gateway::new(web(&[1]));
    let dying = Segment { ttl: 1, ..Segment::syn(40_000) };
    gateway.inject(0, FRONT, &dying.sent_by_client());
    gateway.settle();
    let seen = one(&gateway.collect(0, FRONT));
    assert_eq!((seen.src(), seen.dst(), seen.payload()[0], seen.payload()[1]), (VIP, CLIENT, 11, 0));
    assert_eq!(&seen.payload()[8..28], &dying.ip()[..20], "quotes what the client sent");
    assert!(gateway.collect(0, BACK).is_empty());
    assert_eq!(gateway.drops(), [("ttl_expired", 1)]);
}

/// Two segments that fit the tunnel make one packet that fits the link (DF is theirs): their sender could do nothing about it.
#[test]
fn where_segments_may_be_joined_what_is_too_big_is_cut() {
    let mut gateway = Gateway::joining(web(&[1]));
    connect(&mut gateway, 40_000);
    let sent: Vec<u8> = (0..1460_u32).map(|n| (n * 7 + n / 251) as u8).collect();
    let big = Segment::new((CLIENT, 40_000), (VIP, 8080), "PA", 1001, 5001).with(&sent);
    gateway.inject(0, FRONT, &big.sent_by_client());
    gateway.settle();
    assert!(gateway.collect(0, FRONT).is_empty());
    let pieces: Vec<_> = gateway.collect(0, BACK).iter().map(|frame| see(frame)).collect();
    assert_eq!(pieces.len(), 2);
    let data = |seen: &Seen| seen.payload()[seen.tcp().header_len()..].to_vec();
    assert_eq!(pieces.iter().flat_map(data).collect::<Vec<u8>>(), sent);
    assert_eq!(pieces.iter().map(|piece| piece.tcp().sequence_number).collect::<Vec<_>>(), [1001, 1001 + 1410]);
    assert!(pieces.iter().all(|piece| piece.bytes.len() <= 1450 && !piece.ip.dont_fragment));
    assert_eq!(gateway.drops(), []);
    gateway.assert_frames_conserved();
}

#[test]
fn a_packet_too_big_for_the_overlay_is_answered_with_its_mtu() {
    let mut gateway = Gateway::new(web(&[1]));
    connect(&mut gateway, 40_000);
    let big = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(&[1; 1460]);
    gateway.inject(0, FRONT, &big.sent_by_client());
    gateway.settle();
    let seen = one(&gateway.collect(0, FRONT));
    assert_eq!((seen.src(), seen.payload()[0], seen.payload()[1]), (VIP, 3, 4));
    assert_eq!(&seen.payload()[4..8], [0, 0, 0x05, 0xaa], "1450");
    assert_eq!(&seen.payload()[8..28], &big.ip()[..20]);
    assert_eq!(gateway.drops(), [("too_big", 1)]);
    gateway.assert_frames_conserved();
}

#[test]
fn a_forged_reset_ends_nothing() {
    let mut gateway = Gateway::new(web(&[1]));
    connect(&mut gateway, 40_000);
    let forged = Segment::new((CLIENT, 40_000), (VIP, 8080), "R", 900_000_000, 0);
    assert!(gateway.forward(&forged.sent_by_client()).is_empty());
    assert_eq!(gateway.drops(), [("reset_out_of_window", 1)]);
    let data = Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(b"hello");
    one(&gateway.forward(&data.sent_by_client()));
}

#[test]
fn a_syn_on_a_closed_flow_opens_a_new_one_at_once() {
    let mut gateway = Gateway::new(web(&[1, 1]));
    let (task, _) = connect(&mut gateway, 40_000);
    let reset = Segment::new((CLIENT, 40_000), (VIP, 8080), "R", 1001, 0);
    one(&gateway.forward(&reset.sent_by_client()));
    let again = one(&gateway.forward(&Segment { seq: 77_000, ..Segment::syn(40_000) }.sent_by_client()));
    assert_ne!(again.dst(), TASKS[task], "scheduled anew");
    assert_eq!(gateway.totals().flows_opened, 2);
}

/// The task's end of a connection that only the client has closed still stands, and nobody else would ever tell it.
#[test]
fn a_syn_on_a_half_closed_flow_frees_the_old_task() {
    let mut gateway = Gateway::new(web(&[1, 1]));
    let (task, old) = connect(&mut gateway, 40_000);
    one(&gateway.forward(&Segment::new((CLIENT, 40_000), (VIP, 8080), "FA", 1001, 5001).sent_by_client()));
    gateway.pass(Duration::from_secs(2));
    let out = gateway.forward(&Segment { seq: 77_000, ..Segment::syn(40_000) }.sent_by_client());
    assert_eq!(out.len(), 2);
    let (reset, again) = (see(&out[0]), see(&out[1]));
    assert_eq!((reset.dst(), reset.ports(), reset.tcp().rst), (TASKS[task], old.ports(), true));
    assert_eq!(reset.tcp().sequence_number, 1002, "what the task expects (RFC 5961)");
    assert_eq!((again.dst(), again.tcp().syn, again.tcp().rst), (TASKS[1 - task], true, false));
    assert!(gateway.collect(0, FRONT).is_empty(), "the client knows");
    assert_eq!((gateway.flows().len(), gateway.drops()), (1, vec![]));
    gateway.assert_gauges();
    gateway.assert_frames_conserved();
}

/// A SYN of the same client port right after its backend was removed must not be refused for the old flow's sake.
#[test]
fn a_syn_on_a_flow_that_we_reset_opens_a_new_one_at_once() {
    let full = web(&[1, 1]);
    let mut gateway = Gateway::new(full.clone());
    connect(&mut gateway, 40_000);
    let mut fewer = full;
    fewer.services[0].backends.remove(0);
    gateway.publish(fewer);
    assert!(one(&gateway.collect(0, FRONT)).tcp().rst);
    gateway.collect(0, BACK);
    let again = one(&gateway.forward(&Segment { seq: 77_000, ..Segment::syn(40_000) }.sent_by_client()));
    assert_eq!(again.dst(), TASKS[1]);
    assert_eq!(gateway.totals().flows_opened, 2);
    assert_eq!(gateway.drops(), []);
}

/// What the kernel joined on its way to the overlay socket leaves in segments that fit; over the wire nothing can be so
/// long, so it is never taken for a packet that is too big.
#[test]
fn joined_segments_of_a_task_are_cut_again() {
    let mut gateway = Gateway::kernel(lab::kernel_tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])]));
    let outer_of = |segment: &Segment| ethernet_off(&segment.sent_by_task(0));
    let syn = see_ip(&gateway.forward(&Segment::syn(40_000).ip())[0]);
    let answer = answer_of(0, &syn, "SA", 5000, 1001);
    assert_eq!(gateway.backward(&outer_of(&answer)).len(), 1);
    gateway.forward(&Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).ip());
    let sent: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let joined = answer_of(0, &syn, "PA", 5001, 1001).with(&sent);
    let pieces: Vec<_> = gateway.backward(&outer_of(&joined)).iter().map(|piece| see_ip(piece)).collect();
    let mut stream = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        assert_eq!((piece.src(), piece.ports()), (VIP, (8080, 40_000)));
        assert_eq!(piece.tcp().sequence_number, 5001 + stream.len() as u32);
        assert_eq!(piece.tcp().psh, n + 1 == pieces.len());
        assert!(piece.bytes.len() <= 1450 && !piece.ip.dont_fragment);
        stream.extend_from_slice(&piece.payload()[piece.tcp().header_len()..]);
    }
    assert_eq!(stream, sent);
    let mut spoiled = outer_of(&joined);
    *spoiled.last_mut().unwrap() ^= 1;
    assert!(gateway.backward(&spoiled).is_empty(), "a wrong checksum is not made right");
    assert_eq!(gateway.drops(), [("bad_transport_header", 1)]);
    gateway.assert_frames_conserved();
}

fn ethernet_off(frame: &[u8]) -> Vec<u8> {
    frame[14..].to_vec()
}

/// Whether the flow's answers go to this neighbour.
fn answers_to(gateway: &mut Gateway, task: usize, syn: &Seen) -> MacAddr {
    let answer = answer_of(task, syn, "A", 5001, 1001);
    one(&gateway.backward(&answer.sent_by_task(task))).ethernet.unwrap().1
}

/// Data and acknowledgments pass wherever they lie, but only who sees the connection says where its client is.
#[test]
fn answers_do_not_follow_strangers() {
    const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0xc, 66]);
    let mut gateway = Gateway::new(web(&[1]));
    let (task, syn) = connect(&mut gateway, 40_000);
    let guess = |flags, seq, ack| Segment::new((CLIENT, 40_000), (VIP, 8080), flags, seq, ack);
    let whole = guess("A", 1001, 5001).with(&[0; 64]).ip();
    let forged = [
        guess("A", 900_000_000, 5001).with(b"data beyond the window").ip(),
        guess("A", 1001, 900_000_000).ip(),
        guess("S", 1001, 0).ip(),
        guess("R", 1500, 0).ip(),
    ];
    for packet in &forged {
        assert_eq!(gateway.forward(&ethernet(STRANGER, OUR_MACS[0], packet)).len(), 1, "the task judges it");
        assert_eq!(answers_to(&mut gateway, task, &syn), CLIENT_MAC);
    }
    let pieces = fragments(&whole, 48);
    gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &pieces[0]));
    assert_eq!(gateway.forward(&ethernet(STRANGER, OUR_MACS[0], &pieces[1])).len(), 1);
    assert_eq!(answers_to(&mut gateway, task, &syn), CLIENT_MAC, "it has no number");
    assert!(gateway.drops().is_empty(), "{:?}", gateway.drops());
}

/// Another router of the client's, in every state.
#[test]
fn answers_follow_the_client() {
    const MOVED: MacAddr = MacAddr([2, 0, 0, 0, 0xc, 2]);
    let by = |mac, segment: Segment| ethernet(mac, OUR_MACS[0], &segment.ip());
    let segment = |flags, seq, ack| Segment::new((CLIENT, 40_000), (VIP, 8080), flags, seq, ack);
    let mut gateway = Gateway::new(web(&[1]));
    gateway.forward(&by(CLIENT_MAC, Segment::syn(40_000)));
    let syn = one(&gateway.forward(&by(MOVED, Segment::syn(40_000))));
    let syn_ack = one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    assert_eq!(syn_ack.ethernet.unwrap().1, MOVED, "with the SYN sent again");
    // The answer was lost, as was the way on which it went: the client asks by another one.
    gateway.forward(&by(CLIENT_MAC, Segment::syn(40_000)));
    let syn_ack = one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    assert_eq!(syn_ack.ethernet.unwrap().1, CLIENT_MAC, "with the SYN after an answer that was lost");
    gateway.forward(&by(MOVED, Segment::syn(40_000)));
    let stranger = Segment { seq: 1, ..Segment::syn(40_000) };
    gateway.forward(&by(CLIENT_MAC, stranger));
    let syn_ack = one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    assert_eq!(syn_ack.ethernet.unwrap().1, MOVED, "and not with another SYN");
    gateway.forward(&by(CLIENT_MAC, segment("A", 1001, 5001)));
    assert_eq!(answers_to(&mut gateway, 0, &syn), CLIENT_MAC, "with the end of the handshake");
    gateway.forward(&by(MOVED, segment("A", 1001, 5001).with(b"data")));
    assert_eq!(answers_to(&mut gateway, 0, &syn), MOVED, "with data");
    gateway.forward(&by(CLIENT_MAC, segment("FA", 1005, 5001)));
    assert_eq!(answers_to(&mut gateway, 0, &syn), CLIENT_MAC, "with its FIN");
    gateway.forward(&by(MOVED, segment("FA", 1005, 5001)));
    assert_eq!(answers_to(&mut gateway, 0, &syn), MOVED, "with its FIN again");
}
