//! UDP, ICMP, fragments, tunnels, ARP and TUN through the whole pipeline, in memory.

mod lab;

use std::net::Ipv4Addr;
use std::time::Duration;

use datapath::service::{Hop, InterfaceIndex, Path};
use lab::packets::{Tunnel, arp, ethernet, fragments, ping, reassemble, see, see_ip, udp};
use lab::{
    BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, NODE_MACS, OUR_MACS, OUR_OVERLAY, OUR_VTEP, PLAIN_SNAT, SERVER,
    SERVER_MAC, TASKS, VIP, VTEPS, our_overlay_mac,
};
use sys::LinkType;
use wire::{MacAddr, Protocol};

fn dns(weights: &[u16]) -> datapath::service::Tables {
    lab::tables(vec![lab::service(1, Protocol::Udp, 53, weights)])
}

fn from_client(ip: &[u8]) -> Vec<u8> {
    ethernet(CLIENT_MAC, OUR_MACS[0], ip)
}

fn ask(port: u16, payload: &[u8]) -> Vec<u8> {
    udp((CLIENT, port), (VIP, 53), payload)
}

#[test]
fn udp_goes_there_and_back() {
    let mut gateway = Gateway::new(dns(&[1, 1]));
    let out = gateway.forward(&from_client(&ask(5000, b"question")));
    let seen = see(&out[0]);
    assert_eq!(
        (seen.src(), seen.dst(), seen.ports().1, &seen.payload()[8..]),
        (OUR_OVERLAY, TASKS[0], 8000, &b"question"[..])
    );
    let answer = udp((TASKS[0], 8000), (OUR_OVERLAY, seen.ports().0), b"answer");
    let back = gateway.backward(&Tunnel::from_node(0).wrap(&answer));
    let seen = see(&back[0]);
    assert_eq!((seen.src(), seen.dst(), seen.ports(), &seen.payload()[8..]), (VIP, CLIENT, (53, 5000), &b"answer"[..]));
    assert!(gateway.drops().is_empty());
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut gateway = Gateway::new(dns(&[1]));
    let mut question = ask(5000, b"question");
    question[26..28].fill(0);
    let seen = see(&gateway.forward(&from_client(&question))[0]);
    assert_eq!(&seen.payload()[6..8], [0, 0]);
}

#[test]
fn udp_moves_on_when_its_backend_goes() {
    let full = dns(&[1, 1]);
    let mut gateway = Gateway::new(full.clone());
    assert_eq!(see(&gateway.forward(&from_client(&ask(5000, b"a")))[0]).dst(), TASKS[0]);
    let mut fewer = full;
    fewer.services[0].backends.remove(0);
    gateway.publish(fewer);
    assert_eq!(see(&gateway.forward(&from_client(&ask(5000, b"b")))[0]).dst(), TASKS[1]);
    gateway.assert_frames_conserved();
}

#[test]
fn udp_that_nobody_serves_is_answered() {
    let mut gateway = Gateway::new(dns(&[0]));
    gateway.inject(0, FRONT, &from_client(&ask(5000, b"question")));
    gateway.settle();
    let seen = see(&gateway.collect(0, FRONT)[0]);
    assert_eq!((seen.src(), seen.payload()[0], seen.payload()[1]), (VIP, 3, 3));
    assert_eq!(gateway.drops(), [("no_backend", 1)]);
}

#[test]
fn ping_is_answered() {
    let mut gateway = Gateway::new(dns(&[1]));
    gateway.inject(0, FRONT, &from_client(&ping(CLIENT, VIP, b"abcdefgh")));
    gateway.settle();
    let seen = see(&gateway.collect(0, FRONT)[0]);
    assert_eq!((seen.src(), seen.dst(), seen.ethernet), (VIP, CLIENT, Some((OUR_MACS[0], CLIENT_MAC))));
    assert_eq!((seen.payload()[0], &seen.payload()[4..]), (0, &b"\0\x07\0\x09abcdefgh"[..]));
    assert_eq!((gateway.totals().replies, gateway.drops().len()), (1, 0));
}

/// Every way to order three fragments.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn fragments_of_clients_arrive_in_any_order() {
    for order in ORDERS {
        let mut gateway = Gateway::new(dns(&[1, 1]));
        let whole = ask(5000, &[9; 2500]);
        let pieces = fragments(&whole, 1000);
        let mut seen = Vec::new();
        for n in order {
            seen.extend(gateway.forward(&from_client(&pieces[n])).iter().map(|frame| see(frame)));
        }
        assert!(seen.iter().all(|piece| piece.dst() == TASKS[0]), "all to one task");
        let joined = see_ip(&reassemble(seen.iter().map(|piece| piece.bytes.clone()).collect()));
        assert_eq!((joined.src(), joined.ports().1, &joined.payload()[8..]), (OUR_OVERLAY, 8000, &[9; 2500][..]));
        assert!(gateway.drops().is_empty());
        gateway.assert_frames_conserved();
    }
}

/// After a flood and then silence, a worker must not sleep while flows wait for their end.
#[test]
fn a_thousand_flows_end_without_a_packet() {
    let mut gateway = Gateway::new(dns(&[1]));
    for port in 5000..6000 {
        gateway.forward(&from_client(&ask(port, b"question")));
    }
    gateway.now += Duration::from_mins(5);
    let worker = &mut gateway.workers[0];
    assert_eq!(worker.core().flows(), 1000);
    worker.turn(gateway.now);
    while worker.has_more() {
        gateway.now += Duration::from_micros(1);
        worker.turn(gateway.now);
    }
    assert_eq!(worker.core().flows(), 0);
}

/// More datagrams than the table has places, within its lifetime: the oldest known ones make room.
#[test]
fn datagrams_in_fragments_do_not_run_out() {
    let mut gateway = Gateway::new(dns(&[1]));
    for id in 0..10_000_u16 {
        let mut pieces = fragments(&ask(5000, &[9; 1200]), 1000);
        if id % 3 == 0 {
            pieces.reverse();
        }
        let out: usize = pieces
            .iter_mut()
            .map(|piece| {
                set_id(piece, id);
                gateway.forward(&from_client(piece)).len()
            })
            .sum();
        assert_eq!(out, pieces.len(), "datagram {id}");
    }
    assert!(gateway.drops().is_empty());
    gateway.assert_frames_conserved();
}

/// An identification that is used again before its time keeps its way for the whole time.
#[test]
fn a_used_identification_lives_on() {
    let mut gateway = Gateway::new(dns(&[1]));
    let pieces = fragments(&ask(5000, &[9; 1200]), 1000);
    assert_eq!(gateway.forward(&from_client(&pieces[0])).len(), 1);
    gateway.pass(Duration::from_secs(29));
    assert_eq!(gateway.forward(&from_client(&pieces[0])).len(), 1);
    gateway.pass(Duration::from_secs(29));
    assert_eq!(gateway.forward(&from_client(&pieces[1])).len(), 1);
    gateway.pass(Duration::from_secs(31));
    assert_eq!(gateway.forward(&from_client(&pieces[1])).len(), 0, "an orphan waits");
}

/// Sets the identification of an IPv4 packet without options, and its checksum.
fn set_id(packet: &mut [u8], id: u16) {
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[10..12].fill(0);
    let sum = etherparse::checksum::Sum16BitWords::new();
    let sum = packet[..20].chunks(2).fold(sum, |sum, word| sum.add_2bytes([word[0], word[1]])).ones_complement();
    packet[10..12].copy_from_slice(&sum.to_be().to_be_bytes());
}

#[test]
fn fragments_of_tasks_arrive_in_any_order() {
    for order in ORDERS {
        let mut gateway = Gateway::new(dns(&[1]));
        let port = see(&gateway.forward(&from_client(&ask(5000, b"big please")))[0]).ports().0;
        let pieces = fragments(&udp((TASKS[0], 8000), (OUR_OVERLAY, port), &[3; 4000]), 1424);
        let mut seen = Vec::new();
        for n in order {
            seen.extend(gateway.backward(&Tunnel::from_node(0).wrap(&pieces[n])).iter().map(|frame| see(frame).bytes));
        }
        let joined = see_ip(&reassemble(seen));
        assert_eq!((joined.src(), joined.dst(), joined.ports()), (VIP, CLIENT, (53, 5000)));
        assert_eq!(&joined.payload()[8..], [3; 4000]);
        gateway.assert_frames_conserved();
    }
}

#[test]
fn fragments_follow_their_flow_to_another_worker() {
    for order in ORDERS {
        let mut gateway = Gateway::with(dns(&[1]), 2, [LinkType::Ethernet; 2], 1024);
        gateway.inject(1, FRONT, &from_client(&ask(5000, b"big please")));
        gateway.settle();
        let port = see(&gateway.collect(1, BACK)[0]).ports().0;
        for n in order {
            let pieces = fragments(&udp((TASKS[0], 8000), (OUR_OVERLAY, port), &[3; 4000]), 1424);
            gateway.inject(0, BACK, &Tunnel::from_node(0).wrap(&pieces[n]));
            gateway.settle();
        }
        let seen = gateway.collect(1, FRONT).iter().map(|frame| see(frame).bytes).collect();
        assert_eq!(&see_ip(&reassemble(seen)).payload()[8..], [3; 4000]);
        gateway.assert_frames_conserved();
    }
}

/// Its only listen on this VIP goes. Who has a flow goes on, whichever worker hears of it; who is new is refused.
#[test]
fn flows_of_a_listen_that_went_are_found_and_new_ones_refused() {
    let mut gateway = Gateway::with(dns(&[1]), 2, [LinkType::Ethernet; 2], 1024);
    gateway.inject(1, FRONT, &from_client(&ask(5000, b"before")));
    gateway.settle();
    assert_eq!(gateway.collect(1, BACK).len(), 1);
    let mut tables = dns(&[1]);
    tables.left.clone_from(&tables.services[0].listens);
    tables.services[0].listens[0].address = Ipv4Addr::new(198, 18, 0, 77);
    gateway.publish_same(tables);
    gateway.inject(0, FRONT, &from_client(&ask(5000, b"after")));
    gateway.settle();
    let seen: Vec<_> =
        [0, 1].iter().flat_map(|worker| gateway.collect(*worker, BACK)).map(|frame| see(&frame)).collect();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].dst(), &seen[0].payload()[8..]), (TASKS[0], &b"after"[..]));
    gateway.inject(0, FRONT, &from_client(&ask(6000, b"new")));
    gateway.settle();
    let refusals: Vec<_> = [0, 1].iter().flat_map(|worker| gateway.collect(*worker, FRONT)).collect();
    assert_eq!((refusals.len(), gateway.drops()), (1, vec![("no_service", 1)]));
    gateway.assert_frames_conserved();
}

#[test]
fn a_fragment_that_does_not_fit_the_overlay_is_split_again() {
    let mut gateway = Gateway::new(dns(&[1]));
    let pieces = fragments(&ask(5000, &[5; 3000]), 1480);
    let mut seen = Vec::new();
    for piece in &pieces {
        seen.extend(gateway.forward(&from_client(piece)).iter().map(|frame| see(frame)));
    }
    assert!(seen.iter().all(|piece| usize::from(piece.ip.total_len) <= 1450));
    let joined = see_ip(&reassemble(seen.iter().map(|piece| piece.bytes.clone()).collect()));
    assert_eq!((joined.src(), joined.dst(), joined.ports().1), (OUR_OVERLAY, TASKS[0], 8000));
    assert_eq!(&joined.payload()[8..], [5; 3000]);
    gateway.assert_frames_conserved();
}

#[test]
fn orphans_are_bounded_in_number_and_time() {
    let mut gateway = Gateway::new(dns(&[1]));
    let orphan = &fragments(&ask(5000, &[5; 3000]), 1480)[1];
    for id in 0..400u16 {
        let mut orphan = orphan.clone();
        orphan[4..6].copy_from_slice(&id.to_be_bytes());
        orphan[10..12].fill(0);
        let sum = etherparse::Ipv4Header::from_slice(&orphan).unwrap().0.calc_header_checksum();
        orphan[10..12].copy_from_slice(&sum.to_be_bytes());
        assert!(gateway.forward(&from_client(&orphan)).is_empty());
    }
    assert_eq!(gateway.drops(), [("fragment_no_room", 144)]);
    gateway.assert_frames_conserved();
    gateway.pass(Duration::from_secs(31));
    assert_eq!(gateway.drops(), [("fragment_orphan", 256), ("fragment_no_room", 144)]);
    assert_eq!(gateway.workers[0].core().frames().1, 0);
}

/// A gateway with one flow, and what its task answers.
fn answered() -> (Gateway, Vec<u8>) {
    let mut gateway = Gateway::new(dns(&[1]));
    let port = see(&gateway.forward(&from_client(&ask(5000, b"?")))[0]).ports().0;
    (gateway, udp((TASKS[0], 8000), (OUR_OVERLAY, port), b"answer"))
}

#[test]
fn only_what_belongs_here_is_taken_out_of_a_tunnel() {
    let good = Tunnel::from_node(0);
    let stranger = "198.18.1.99".parse().unwrap();
    let cases: Vec<(&str, Tunnel)> = vec![
        ("unknown_vtep", Tunnel { outer_src: stranger, ..good.clone() }),
        ("wrong_vni", Tunnel { vni: 4097, ..good.clone() }),
        ("bad_vxlan", Tunnel { flags: 0, ..good.clone() }),
        ("wrong_inner_mac", Tunnel { inner_dst: MacAddr::docker(TASKS[1]), ..good.clone() }),
        ("wrong_inner_mac", Tunnel { inner_dst: MacAddr::BROADCAST, ..good.clone() }),
        ("not_ipv4", Tunnel { inner_type: 0x86dd, ..good.clone() }),
    ];
    for (reason, tunnel) in cases {
        let (mut gateway, answer) = answered();
        assert!(gateway.backward(&tunnel.wrap(&answer)).is_empty());
        assert_eq!(gateway.drops(), [(reason, 1)], "{tunnel:?}");
        gateway.assert_frames_conserved();
    }
    let (mut gateway, answer) = answered();
    assert_eq!(gateway.backward(&good.wrap(&answer)).len(), 1);
}

#[test]
fn inner_packets_that_answer_nothing_are_dropped() {
    let (mut gateway, _) = answered();
    let elsewhere = udp((TASKS[0], 8000), ("10.0.0.77".parse().unwrap(), 5000), b"x");
    gateway.backward(&Tunnel::from_node(0).wrap(&elsewhere));
    assert_eq!(gateway.drops(), [("wrong_inner_address", 1)]);
    let unasked = udp((TASKS[0], 9999), (OUR_OVERLAY, 30_000), b"x");
    gateway.backward(&Tunnel::from_node(0).wrap(&unasked));
    assert_eq!(gateway.drops(), [("wrong_inner_address", 1), ("no_flow", 1)]);
    let to_vip = udp((TASKS[0], 9999), (VIP, 53), b"x");
    gateway.backward(&Tunnel::from_node(0).wrap(&to_vip));
    assert_eq!(gateway.drops(), [("wrong_inner_address", 2), ("no_flow", 1)]);
}

#[test]
fn an_answer_must_come_through_the_tunnel() {
    let (mut gateway, answer) = answered();
    gateway.inject(0, FRONT, &from_client(&answer));
    gateway.settle();
    assert!(gateway.collect(0, FRONT).is_empty());
    assert_eq!(gateway.drops(), [("wrong_path", 1)]);
}

#[test]
fn congestion_marked_outside_is_marked_inside() {
    let (mut gateway, answer) = answered();
    let mut capable = answer.clone();
    capable[1] = 0x02;
    capable[10..12].fill(0);
    let sum = etherparse::Ipv4Header::from_slice(&capable).unwrap().0.calc_header_checksum();
    capable[10..12].copy_from_slice(&sum.to_be_bytes());
    let marked = Tunnel { outer_tos: 0x03, ..Tunnel::from_node(0) };
    assert_eq!(see(&gateway.backward(&marked.wrap(&capable))[0]).ip.ecn.value(), 3);
    assert!(gateway.backward(&marked.wrap(&answer)).is_empty());
    assert_eq!(gateway.drops(), [("ecn_mismatch", 1)]);
}

#[test]
fn plain_backends_are_routed_without_a_tunnel() {
    let mut service = lab::service(1, Protocol::Udp, 53, &[]);
    service.backends.push(lab::plain_backend(9));
    let mut gateway = Gateway::new(lab::tables(vec![service]));
    let seen = see(&gateway.forward(&from_client(&ask(5000, b"question")))[0]);
    assert!(seen.outer.is_none());
    assert_eq!(seen.ethernet, Some((OUR_MACS[1], SERVER_MAC)));
    assert_eq!((seen.src(), seen.dst(), seen.ports().1), (PLAIN_SNAT, SERVER, 80));
    assert!(seen.ports().0 <= 32_767, "outside of the kernel's own port range");
    let answer = udp((SERVER, 80), (PLAIN_SNAT, seen.ports().0), b"answer");
    let seen = see(&gateway.backward(&ethernet(SERVER_MAC, OUR_MACS[1], &answer))[0]);
    assert_eq!((seen.src(), seen.ports(), seen.ethernet), (VIP, (53, 5000), Some((OUR_MACS[0], CLIENT_MAC))));
}

#[test]
fn one_arm_is_enough() {
    let mut tables = dns(&[1]);
    tables.interfaces[1].mac = OUR_MACS[1];
    let mut gateway = Gateway::new(tables);
    // Clients behind the interface that the nodes are behind, too.
    gateway.inject(0, BACK, &ethernet(CLIENT_MAC, OUR_MACS[1], &ask(5000, b"?")));
    gateway.settle();
    let out = see(&gateway.collect(0, BACK)[0]);
    let answer = udp((TASKS[0], 8000), (OUR_OVERLAY, out.ports().0), b"answer");
    gateway.inject(0, BACK, &Tunnel::from_node(0).wrap(&answer));
    gateway.settle();
    let back = see(&gateway.collect(0, BACK)[0]);
    assert_eq!((back.dst(), back.ethernet), (CLIENT, Some((OUR_MACS[1], CLIENT_MAC))));
    assert!(gateway.collect(0, FRONT).is_empty());
}

#[test]
fn the_client_is_answered_where_it_was_last_heard() {
    let (mut gateway, answer) = answered();
    let moved = MacAddr([2, 0, 0, 0, 0xc, 0x77]);
    gateway.forward(&ethernet(moved, OUR_MACS[0], &ask(5000, b"again")));
    let back = see(&gateway.backward(&Tunnel::from_node(0).wrap(&answer))[0]);
    assert_eq!(back.ethernet, Some((OUR_MACS[0], moved)));
}

#[test]
fn tun_in_front_and_the_socket_behind() {
    let mut gateway = Gateway::kernel(lab::kernel_tables(vec![lab::service(1, Protocol::Udp, 53, &[1])]));
    let seen = see_ip(&gateway.forward(&ask(5000, b"question"))[0]);
    assert_eq!(seen.outer.as_ref().unwrap().ip.source, OUR_VTEP.octets());
    assert_eq!((seen.src(), seen.dst()), (OUR_OVERLAY, TASKS[0]));
    let answer = udp((TASKS[0], 8000), (OUR_OVERLAY, seen.ports().0), b"answer");
    let tunnel = Tunnel { ethernet: None, ..Tunnel::from_node(0) };
    let seen = see_ip(&gateway.backward(&tunnel.wrap(&answer))[0]);
    assert_eq!((seen.src(), seen.dst(), seen.ports()), (VIP, CLIENT, (53, 5000)));
    gateway.assert_frames_conserved();
}

fn arps(gateway: &mut Gateway) -> Vec<Vec<u8>> {
    gateway.collect_all(0, BACK)
}

#[test]
fn arp_questions_about_us_are_answered() {
    let mut gateway = Gateway::new(dns(&[1]));
    gateway.settle();
    arps(&mut gateway);
    let question = arp(1, MacAddr::docker(TASKS[0]), TASKS[0], MacAddr::default(), OUR_OVERLAY);
    let tunnel = Tunnel { inner_dst: MacAddr::BROADCAST, inner_type: 0x0806, ..Tunnel::from_node(0) };
    gateway.inject(0, BACK, &tunnel.wrap(&question));
    gateway.settle();
    let answers = arps(&mut gateway);
    let expected = arp(2, our_overlay_mac(), OUR_OVERLAY, MacAddr::docker(TASKS[0]), TASKS[0]);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].ends_with(&expected));
    assert_eq!(&answers[0][..6], NODE_MACS[0].0, "to the node");
    assert_eq!(&answers[0][30..34], VTEPS[0].octets());
    assert!(gateway.drops().is_empty());
}

#[test]
fn tasks_are_taught_and_taught_again() {
    let mut gateway = Gateway::new(dns(&[1, 1]));
    gateway.settle();
    let first = arps(&mut gateway);
    for task in TASKS {
        let request = arp(1, our_overlay_mac(), OUR_OVERLAY, MacAddr::default(), task);
        let reply = arp(2, our_overlay_mac(), OUR_OVERLAY, MacAddr::docker(task), task);
        let to = |mac: MacAddr, packet: &[u8]| {
            first.iter().filter(|frame| frame[50..56] == mac.0 && frame.ends_with(packet)).count()
        };
        assert_eq!(to(MacAddr::docker(task), &request), 1, "a unicast question");
        assert_eq!(to(MacAddr::docker(task), &reply), 1, "a unicast answer");
        assert_eq!(to(MacAddr::BROADCAST, &request), 1, "and a question to all, at first");
    }
    assert!(first.iter().all(|frame| frame[15] == 0), "no class and no congestion outside");
    assert_eq!(gateway.totals().arp_taught, first.len() as u64);
    gateway.pass(Duration::from_secs(2));
    assert!(!arps(&mut gateway).is_empty());
    for _ in 0..5 {
        gateway.pass(Duration::from_millis(10_100));
        assert!(arps(&mut gateway).len() >= 4, "every ten seconds");
    }
}

/// How many of these teach this task.
fn lessons(frames: &[Vec<u8>], task: Ipv4Addr) -> usize {
    frames.iter().filter(|frame| frame.ends_with(&task.octets())).count()
}

/// Tables change with every step of a slow start and every flap of a health check: that concerns nobody in the overlay.
#[test]
fn who_was_taught_is_not_taught_again_with_every_table() {
    let mut gateway = Gateway::new(dns(&[1]));
    gateway.settle();
    gateway.pass(Duration::from_secs(2));
    arps(&mut gateway);
    for weight in [2, 0, 3] {
        gateway.publish(dns(&[weight]));
        gateway.pass(Duration::from_secs(2));
        assert!(arps(&mut gateway).is_empty(), "only a weight has changed");
    }
    gateway.publish(dns(&[3, 1]));
    let frames = arps(&mut gateway);
    assert_eq!((lessons(&frames, TASKS[0]), lessons(&frames, TASKS[1])), (0, 3), "the new one, at once");
    gateway.publish(dns(&[4, 1]));
    assert!(arps(&mut gateway).is_empty());
    gateway.pass(Duration::from_secs(1));
    let frames = arps(&mut gateway);
    assert_eq!((lessons(&frames, TASKS[0]), lessons(&frames, TASKS[1])), (0, 3), "and soon again");
    gateway.pass(Duration::from_secs(3));
    let frames = arps(&mut gateway);
    let counts = (lessons(&frames, TASKS[0]), lessons(&frames, TASKS[1]));
    assert_eq!(counts, (2, 3), "the round of all comes in its time, and asks everybody for who is new");
}

/// Another way, another address of ours: tasks have not heard of that yet.
#[test]
fn who_has_moved_and_who_hears_of_a_new_source_is_taught() {
    let mut gateway = Gateway::new(dns(&[1, 1]));
    gateway.settle();
    gateway.pass(Duration::from_secs(2));
    arps(&mut gateway);
    let changed = |change: fn(&mut Path)| {
        let mut tables = dns(&[1, 1]);
        change(&mut tables.services[0].backends[1].path);
        tables
    };
    let moves: [fn(&mut Path); 3] = [
        |path| {
            if let Path::Overlay { mac, .. } = path {
                *mac = MacAddr([2, 9, 9, 9, 9, 9]);
            }
        },
        |path| {
            if let Path::Overlay { vtep, .. } = path {
                *vtep = VTEPS[0];
            }
        },
        |path| {
            if let Path::Overlay { hop, .. } = path {
                *hop = Hop::Ethernet { interface: InterfaceIndex(1), mac: NODE_MACS[0] };
            }
        },
    ];
    for change in moves {
        gateway.publish(changed(change));
        let frames = arps(&mut gateway);
        assert_eq!((lessons(&frames, TASKS[0]), lessons(&frames, TASKS[1])), (0, 3));
    }
    gateway.publish(dns(&[1, 1]));
    arps(&mut gateway);
    let mut tables = dns(&[1, 1]);
    tables.overlays[0].addresses.push(Ipv4Addr::new(10, 0, 0, 4));
    gateway.publish(tables);
    let frames = arps(&mut gateway);
    assert_eq!((lessons(&frames, TASKS[0]), lessons(&frames, TASKS[1])), (6, 6));
    gateway.publish(dns(&[1, 1]));
    assert!(arps(&mut gateway).is_empty(), "one address less is nothing to learn");
}

#[test]
fn another_mac_than_expected_is_reported_once_heard() {
    let mut gateway = Gateway::new(dns(&[1]));
    let odd = MacAddr([2, 9, 9, 9, 9, 9]);
    let reply = arp(2, odd, TASKS[0], our_overlay_mac(), OUR_OVERLAY);
    let tunnel = Tunnel { inner_src: odd, inner_type: 0x0806, ..Tunnel::from_node(0) };
    gateway.inject(0, BACK, &tunnel.wrap(&reply));
    gateway.settle();
    let event = gateway.shared[0].events.pop();
    assert_eq!(event, Some(datapath::Event::OverlayNeighbour { vtep: VTEPS[0], address: TASKS[0], mac: odd }));
    // A node that speaks for another node's task is not believed.
    let spoofed = arp(2, odd, TASKS[0], our_overlay_mac(), OUR_OVERLAY);
    gateway.inject(0, BACK, &Tunnel { outer_src: VTEPS[1], inner_type: 0x0806, ..Tunnel::from_node(1) }.wrap(&spoofed));
    gateway.settle();
    assert_eq!(gateway.shared[0].events.pop(), None);
}
