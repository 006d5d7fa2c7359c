//! The ends of flows: backends that were removed, many at once, and packets that come at that very moment.

mod lab;

use std::time::Duration;

use lab::packets::{Seen, Segment, Tunnel, answer_of, ethernet, see, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, PLAIN_SNAT, SERVER, SERVER_MAC, VIP};
use sys::LinkType;
use wire::Protocol;

fn dns(weights: &[u16]) -> datapath::service::Tables {
    lab::tables(vec![lab::service(1, Protocol::Udp, 53, weights)])
}

fn ask(port: u16) -> Vec<u8> {
    ethernet(CLIENT_MAC, OUR_MACS[0], &udp((CLIENT, port), (VIP, 53), b"question"))
}

#[test]
fn every_packet_of_a_burst_learns_that_its_backend_is_gone() {
    let mut gateway = Gateway::new(dns(&[1]));
    assert_eq!(gateway.forward(&ask(5000)).len(), 1);
    for _ in 0..3 {
        gateway.inject(0, FRONT, &ask(5000));
    }
    // They are taken in the very turn that meets the new tables.
    gateway.publish(dns(&[]));
    let answers: Vec<_> = gateway.collect(0, FRONT).iter().map(|frame| see(frame)).collect();
    let unreachable = answers.iter().filter(|seen| (seen.src(), &seen.payload()[..2]) == (VIP, &[3, 3][..]));
    assert_eq!(unreachable.count(), 3);
    assert_eq!((gateway.flows().len(), gateway.drops()), (0, vec![("no_backend", 3)]));
    gateway.assert_frames_conserved();
}

#[test]
fn a_connection_that_is_over_is_not_reset_by_a_late_segment() {
    let full = lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])]);
    let mut gateway = Gateway::new(full);
    let client = |flags, seq, ack| Segment::new((CLIENT, 40_000), (VIP, 8080), flags, seq, ack).sent_by_client();
    let syn = see(&gateway.forward(&client("S", 1000, 0))[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    gateway.forward(&client("FA", 1001, 5001));
    gateway.backward(&answer_of(0, &syn, "FA", 5001, 1002).sent_by_task(0));
    gateway.forward(&client("A", 1002, 5002));
    assert_eq!(gateway.flows()[0].state, "TIME_WAIT");
    gateway.inject(0, FRONT, &client("A", 1002, 5002));
    gateway.publish(lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[])]));
    assert_eq!(gateway.totals().flows_reset, 0);
    assert!(gateway.collect(0, BACK).is_empty(), "the task has closed, too");
}

/// More flows than one turn sweeps.
#[test]
fn all_flows_of_a_removed_backend_end() {
    let mut gateway = Gateway::with(dns(&[1]), 1, [LinkType::Ethernet; 2], 3000);
    for port in 1..=3000 {
        assert_eq!(gateway.forward(&ask(port)).len(), 1);
    }
    assert_eq!(gateway.workers[0].core().flows(), 3000);
    gateway.publish(dns(&[]));
    while gateway.workers[0].has_more() {
        gateway.settle();
    }
    assert_eq!(gateway.workers[0].core().flows(), 0);
}

fn web(weights: &[u16]) -> datapath::service::Tables {
    lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, weights)])
}

/// A gateway with so many established connections.
fn connected(count: u16) -> Gateway {
    let mut gateway = Gateway::new(web(&[1]));
    for port in 1..=count {
        let syn = see(&gateway.forward(&Segment::syn(port).sent_by_client())[0]);
        gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
        gateway.forward(&Segment::new((CLIENT, port), (VIP, 8080), "A", 1001, 5001).sent_by_client());
    }
    gateway
}

/// Ports of clients that were told, and how many tasks' ends were, in one turn.
fn resets_of_a_turn(gateway: &mut Gateway) -> (Vec<u16>, usize) {
    gateway.now += Duration::from_micros(10);
    gateway.workers[0].turn(gateway.now);
    let resets = |frames: Vec<Vec<u8>>| frames.iter().map(|frame| see(frame)).filter(|seen| seen.tcp().rst).collect();
    let to_clients: Vec<Seen> = resets(gateway.collect(0, FRONT));
    let to_tasks: Vec<Seen> = resets(gateway.collect(0, BACK));
    (to_clients.iter().map(|seen| seen.ports().1).collect(), to_tasks.len())
}

/// Turns while there is more to end: none ends more than 32, and in the end each end of each connection was told once.
fn all_are_told_by_and_by(gateway: &mut Gateway, count: u16) {
    let (mut clients, mut tasks, mut turns) = (Vec::new(), 0, 0);
    while turns == 0 || gateway.workers[0].has_more() {
        let (to_clients, to_tasks) = resets_of_a_turn(gateway);
        assert!(to_clients.len() <= 32 && to_tasks <= 32, "{} and {to_tasks} in a turn", to_clients.len());
        clients.extend(to_clients);
        tasks += to_tasks;
        turns += 1;
    }
    clients.sort_unstable();
    assert_eq!((clients, tasks), ((1..=count).collect(), usize::from(count)));
    assert!(turns >= usize::from(count) / 32, "{turns} turns");
    assert_eq!(gateway.drops(), []);
    gateway.assert_frames_conserved();
}

#[test]
fn a_turn_ends_few_of_many_idle_connections_and_the_next_turns_the_others() {
    let mut gateway = connected(150);
    gateway.now += Duration::from_hours(3);
    all_are_told_by_and_by(&mut gateway, 150);
    assert_eq!((gateway.workers[0].core().flows(), gateway.totals().flows_expired), (0, 150));
}

#[test]
fn a_turn_ends_few_of_a_removed_backends_connections_and_the_next_turns_the_others() {
    let mut gateway = connected(150);
    gateway.publish_quietly(web(&[]));
    all_are_told_by_and_by(&mut gateway, 150);
    assert_eq!(gateway.totals().flows_reset, 150);
}

/// Services whose tasks run on the same nodes: one that loses a task does not lose the node.
fn services() -> datapath::service::Tables {
    lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1, 1]), lab::service(2, Protocol::Udp, 53, &[1, 1])])
}

/// A gateway whose first task is removed before it has answered this packet to its service.
fn removed_before_its_answer(service: usize, packet: &[u8], meanwhile: impl Fn(&mut Gateway, &Seen)) -> Gateway {
    let mut gateway = Gateway::new(services());
    let asked = see(&gateway.forward(packet)[0]);
    let mut fewer = services();
    fewer.services[service].backends.retain(|backend| backend.address != asked.dst());
    meanwhile(&mut gateway, &asked);
    gateway.publish_same(fewer);
    gateway
}

/// The client has heard nothing of anybody yet.
#[test]
fn a_client_that_was_not_answered_goes_on_with_another_task() {
    let syn = Segment::syn(40_000).sent_by_client();
    // In the very turn that meets the new tables, and after the sweep.
    let at_once = removed_before_its_answer(0, &syn, |gateway, _| gateway.inject(0, FRONT, &syn));
    let mut later = removed_before_its_answer(0, &syn, |_, _| {});
    assert!(later.collect(0, BACK).is_empty());
    later.inject(0, FRONT, &syn);
    later.settle();
    for mut gateway in [at_once, later] {
        let asked: Vec<_> = gateway.collect(0, BACK).iter().map(|frame| see(frame)).collect();
        assert_eq!((asked.len(), asked[0].tcp().syn, asked[0].dst()), (1, true, lab::TASKS[1]));
        assert!(gateway.collect(0, FRONT).is_empty(), "the client is told nothing");
        assert_eq!((gateway.totals().flows_reset, gateway.flows().len(), gateway.drops()), (0, 1, vec![]));
        gateway.assert_gauges();
        gateway.assert_frames_conserved();
    }
}

#[test]
fn the_answer_of_a_task_that_is_removed_goes_no_further() {
    let syn = Segment::syn(40_000).sent_by_client();
    let of_web = removed_before_its_answer(0, &syn, |gateway, asked| {
        gateway.inject(0, BACK, &answer_of(0, asked, "SA", 5000, 1001).sent_by_task(0));
    });
    let of_dns = removed_before_its_answer(1, &ask(5000), |gateway, asked| {
        let answer = udp((asked.dst(), 8000), (asked.src(), asked.ports().0), b"answer");
        gateway.inject(0, BACK, &Tunnel::from_node(0).wrap(&answer));
    });
    for mut gateway in [of_web, of_dns] {
        assert!(gateway.collect(0, FRONT).is_empty() && gateway.collect(0, BACK).is_empty());
        assert_eq!((gateway.flows().len(), gateway.drops()), (0, vec![("backend_gone", 1)]));
        gateway.assert_gauges();
        gateway.assert_frames_conserved();
    }
}

/// Answers of plain backends and of tasks come to ports out of different ranges.
#[test]
fn answers_find_their_worker_on_either_path() {
    let mut plain = lab::service(2, Protocol::Udp, 54, &[]);
    plain.backends.push(lab::plain_backend(9));
    let tables = lab::tables(vec![lab::service(1, Protocol::Udp, 53, &[1]), plain]);
    let mut gateway = Gateway::with(tables, 2, [LinkType::Ethernet; 2], 1024);
    for port in 5000..5020 {
        let question = udp((CLIENT, port), (VIP, 54), b"question");
        gateway.inject(1, FRONT, &ethernet(CLIENT_MAC, OUR_MACS[0], &question));
        gateway.settle();
        let asked = see(&gateway.collect(1, BACK)[0]);
        let answer = udp((SERVER, 80), (PLAIN_SNAT, asked.ports().0), b"answer");
        gateway.inject(0, BACK, &ethernet(SERVER_MAC, OUR_MACS[1], &answer));
        gateway.settle();
        assert_eq!(see(&gateway.collect(1, FRONT)[0]).ports(), (54, port));
    }
    assert_eq!((gateway.totals().handed_over, gateway.drops()), (20, vec![]));
    gateway.assert_frames_conserved();
}

/// Tunnel packets may be fragmented on the underlay, so no two of them carry the same identification (RFC 6864).
#[test]
fn tunnel_packets_are_told_apart() {
    let mut gateway = Gateway::new(dns(&[1]));
    let identification = |frame: &Vec<u8>| see(frame).outer.unwrap().ip.identification;
    let mut all: Vec<u16> = (0..100).map(|_| identification(&gateway.forward(&ask(5000))[0])).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 100);
}
