//! Fragments through the whole pipeline, in memory: what the tracker knows of TCP segments in fragments, and how fragments find
//! the worker that has their flow. (A card sees no ports in them and spreads them by their addresses.)

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use datapath::service::Tables;
use lab::packets::{Seen, Segment, Tunnel, answer_of, ethernet, fragments, reassemble, see, see_ip, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, PLAIN_SNAT, SERVER, SERVER_MAC, TASKS, VIP};
use sys::LinkType;
use wire::Protocol;

const PORT: u16 = 40_000;

fn web() -> Tables {
    lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])])
}

fn one(frames: &[Vec<u8>]) -> Seen {
    assert_eq!(frames.len(), 1, "exactly one packet");
    see(&frames[0])
}

fn client(flags: &'static str, seq: u32, ack: u32) -> Segment {
    Segment::new((CLIENT, PORT), (VIP, 8080), flags, seq, ack)
}

/// Opens a connection; gives what the task saw of the SYN.
fn connect(gateway: &mut Gateway) -> Seen {
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    one(&gateway.forward(&client("A", 1001, 5001).sent_by_client()));
    syn
}

fn from_client(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    pieces.iter().map(|piece| ethernet(CLIENT_MAC, OUR_MACS[0], piece)).collect()
}

fn join(frames: &[Vec<u8>]) -> Seen {
    see_ip(&reassemble(frames.iter().map(|frame| see(frame).bytes).collect()))
}

fn states(gateway: &mut Gateway) -> Vec<&'static str> {
    gateway.flows().iter().map(|flow| flow.state).collect()
}

/// Whoever has got all fragments acknowledges all of the segment, and may have nothing to add.
#[test]
fn the_answer_to_a_segment_in_fragments_gets_through() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut gateway = Gateway::new(web());
        let syn = connect(&mut gateway);
        let pieces = from_client(&fragments(&client("PA", 1001, 5001).with(&[7; 2000]).ip(), 1000));
        let sent: Vec<_> = order.iter().flat_map(|n| gateway.forward(&pieces[*n])).collect();
        assert_eq!(join(&sent).payload()[20..], [7; 2000]);
        let answer = answer_of(0, &syn, "FPA", 5001, 3001).with(b"bye");
        let seen = one(&gateway.backward(&answer.sent_by_task(0)));
        assert_eq!((seen.tcp().acknowledgment_number, seen.tcp().fin), (3001, true));
        assert_eq!((states(&mut gateway), gateway.drops()), (vec!["FIN_WAIT"], vec![]));
        one(&gateway.forward(&client("FA", 3001, 5005).sent_by_client()));
        one(&gateway.backward(&answer_of(0, &syn, "A", 5005, 3002).sent_by_task(0)));
        assert_eq!(states(&mut gateway), ["TIME_WAIT"]);
        gateway.assert_frames_conserved();
        gateway.assert_gauges();
    }
}

#[test]
fn a_fin_in_fragments_lies_behind_all_of_them() {
    let mut gateway = Gateway::new(web());
    let syn = connect(&mut gateway);
    let pieces = from_client(&fragments(&client("FPA", 1001, 5001).with(&[7; 2000]).ip(), 1000));
    assert_eq!(gateway.forward(&pieces[0]).len(), 1);
    assert_eq!(states(&mut gateway), ["ESTABLISHED"], "where its FIN lies is not known");
    assert_eq!(pieces[1..].iter().flat_map(|piece| gateway.forward(piece)).count(), 2);
    assert_eq!(states(&mut gateway), ["FIN_WAIT"]);
    // The client sends it again; whole, as its way has become wider.
    assert_eq!(gateway.forward(&client("FPA", 2401, 5001).with(&[7; 600]).sent_by_client()).len(), 1);
    one(&gateway.backward(&answer_of(0, &syn, "FPA", 5001, 3002).with(b"bye").sent_by_task(0)));
    one(&gateway.forward(&client("A", 3002, 5005).sent_by_client()));
    assert_eq!((states(&mut gateway), gateway.drops()), (vec!["TIME_WAIT"], vec![]));
    gateway.assert_gauges();
}

#[test]
fn a_first_fragment_with_a_fin_out_of_the_window_ends_nothing() {
    let mut gateway = Gateway::new(web());
    connect(&mut gateway);
    let forged = from_client(&fragments(&client("FA", 900_000_000, 5001).with(&[7; 2000]).ip(), 1000));
    assert_eq!(gateway.forward(&forged[0]).len(), 0);
    assert_eq!((states(&mut gateway), gateway.drops()), (vec!["ESTABLISHED"], vec![("fin_out_of_window", 1)]));
}

#[test]
fn a_plain_backend_may_answer_in_fragments() {
    let mut service = lab::service(1, Protocol::Tcp, 8080, &[]);
    service.backends.push(lab::plain_backend(9));
    let mut gateway = Gateway::new(lab::tables(vec![service]));
    let snat = one(&gateway.forward(&Segment::syn(PORT).sent_by_client())).ports().0;
    let server = |flags, seq, ack| Segment::new((SERVER, 80), (PLAIN_SNAT, snat), flags, seq, ack);
    let sent = |packet: &[u8]| ethernet(SERVER_MAC, OUR_MACS[1], packet);
    one(&gateway.backward(&sent(&server("SA", 5000, 1001).ip())));
    one(&gateway.forward(&client("A", 1001, 5001).sent_by_client()));
    let pieces = fragments(&server("FPA", 5001, 1001).with(&[3; 2000]).ip(), 1000);
    let answer: Vec<_> = pieces.iter().flat_map(|piece| gateway.backward(&sent(piece))).collect();
    assert_eq!(join(&answer).payload()[20..], [3; 2000]);
    let end = one(&gateway.forward(&client("FA", 1001, 7002).sent_by_client()));
    assert_eq!((end.dst(), end.tcp().acknowledgment_number), (SERVER, 7002));
    one(&gateway.backward(&sent(&server("A", 7002, 1002).ip())));
    assert_eq!((states(&mut gateway), gateway.drops()), (vec!["TIME_WAIT"], vec![]));
    gateway.assert_gauges();
}

/// The tracker counts as the client does, on both sides of the header that is put in front of the stream.
#[test]
fn fragments_behind_a_proxy_header_are_counted_as_the_client_counts() {
    let mut tables = web();
    tables.services[0].proxy_protocol = true;
    let mut gateway = Gateway::new(tables);
    let syn = connect(&mut gateway);
    one(&gateway.backward(&answer_of(0, &syn, "A", 5001, 1029).sent_by_task(0)));
    let pieces = from_client(&fragments(&client("PA", 1001, 5001).with(&[7; 2000]).ip(), 1000));
    let sent: Vec<_> = pieces.iter().flat_map(|piece| gateway.forward(piece)).collect();
    assert_eq!(join(&sent).tcp().sequence_number, 1029);
    let answer = fragments(&answer_of(0, &syn, "FPA", 5001, 3029).with(&[3; 2000]).ip(), 1000);
    let answer: Vec<_> = answer.iter().flat_map(|piece| gateway.backward(&Tunnel::from_node(0).wrap(piece))).collect();
    assert_eq!(join(&answer).tcp().acknowledgment_number, 3001);
    let end = one(&gateway.forward(&client("FA", 3001, 7002).sent_by_client()));
    assert_eq!((end.dst(), end.tcp().acknowledgment_number), (TASKS[0], 7002));
    one(&gateway.backward(&answer_of(0, &syn, "A", 7002, 3030).sent_by_task(0)));
    assert_eq!((states(&mut gateway), gateway.drops()), (vec!["TIME_WAIT"], vec![]));
}

fn gateway_of(workers: usize, tables: Tables) -> Gateway {
    Gateway::with(tables, workers, [LinkType::Ethernet; 2], 1024)
}

fn dns() -> Tables {
    lab::tables(vec![lab::service(1, Protocol::Udp, 53, &[1, 1])])
}

fn ask(payload: &[u8]) -> Vec<u8> {
    udp((CLIENT, 5000), (VIP, 53), payload)
}

/// In at one worker, out to the tasks at whichever.
fn through(gateway: &mut Gateway, worker: usize, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    for frame in frames {
        gateway.inject(worker, FRONT, frame);
    }
    for _ in 0..gateway.workers.len() {
        gateway.settle();
    }
    (0..gateway.workers.len()).flat_map(|worker| gateway.collect(worker, BACK)).collect()
}

#[test]
fn fragments_of_a_segment_find_their_flow_together() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for owner in 1..4 {
            let mut gateway = gateway_of(4, web());
            let syn = one(&through(&mut gateway, owner, &[Segment::syn(PORT).sent_by_client()]));
            gateway.inject(owner, BACK, &answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
            gateway.settle();
            one(&gateway.collect(owner, FRONT));
            one(&through(&mut gateway, owner, &[client("A", 1001, 5001).sent_by_client()]));
            let pieces = from_client(&fragments(&client("PA", 1001, 5001).with(&[7; 2000]).ip(), 1000));
            let sent = through(&mut gateway, 0, &order.map(|n| pieces[n].clone()));
            assert_eq!(join(&sent).payload()[20..], [7; 2000], "worker {owner}");
            gateway.inject(owner, BACK, &answer_of(0, &syn, "FPA", 5001, 3001).with(b"bye").sent_by_task(0));
            gateway.settle();
            one(&gateway.collect(owner, FRONT));
            assert_eq!(gateway.drops(), []);
            gateway.assert_frames_conserved();
        }
    }
}

#[test]
fn fragments_of_a_datagram_find_the_flow_of_the_whole_ones() {
    for owner in 1..4 {
        let mut gateway = gateway_of(4, dns());
        let first = see(&through(&mut gateway, owner, &from_client(&[ask(b"small")]))[0]);
        let pieces = from_client(&fragments(&ask(&[9; 1500]), 1000));
        let sent = through(&mut gateway, 0, &pieces);
        let whole = join(&sent);
        assert_eq!((whole.dst(), whole.ports()), (first.dst(), first.ports()), "worker {owner}");
        assert_eq!(whole.payload()[8..], [9; 1500]);
        assert_eq!((gateway.totals().flows_opened, gateway.drops()), (1, vec![]));
        gateway.assert_frames_conserved();
    }
}

/// Nobody knows it: it is opened where its fragments come, and they need not travel any more.
#[test]
fn a_flow_that_begins_with_fragments_is_opened_once() {
    for workers in 2..5 {
        let mut gateway = gateway_of(workers, dns());
        let pieces = from_client(&fragments(&ask(&[9; 2500]), 1000));
        let sent = through(&mut gateway, 0, &pieces);
        let offsets: Vec<_> = sent.iter().map(|frame| see(frame).ip.fragment_offset.value()).collect();
        assert_eq!((offsets, join(&sent).dst()), (vec![0, 125, 250], TASKS[0]), "in the order of their arrival");
        let travelled = gateway.totals().handed_over;
        assert_eq!((travelled, gateway.workers[0].core().flows()), (3 * workers as u64, 1));
        assert_eq!(join(&through(&mut gateway, 0, &pieces)).dst(), TASKS[0]);
        let totals = gateway.totals();
        assert_eq!((totals.flows_opened, totals.handed_over, gateway.drops()), (1, travelled, vec![]));
        gateway.assert_frames_conserved();
    }
}

/// A flow is opened from a whole datagram, and a datagram alone sent, wherever it comes.
#[test]
fn nothing_but_fragments_of_flows_is_looked_for() {
    let mut gateway = gateway_of(2, dns());
    through(&mut gateway, 1, &from_client(&[ask(b"small")]));
    through(&mut gateway, 0, &from_client(&[ask(b"small")]));
    assert_eq!((gateway.totals().flows_opened, gateway.totals().handed_over), (2, 0));
    let mut alone = dns();
    alone.services[0].one_packet = true;
    let mut gateway = gateway_of(2, alone);
    let sent = through(&mut gateway, 0, &from_client(&fragments(&ask(&[9; 1500]), 1000)));
    assert_eq!((sent.len(), gateway.totals().handed_over, gateway.drops()), (2, 0, vec![]));
}

/// Both workers have sent the first fragment on, and nobody took it in the end.
#[test]
fn fragments_do_not_go_round_in_circles() {
    let mut tables = dns();
    for backend in &mut tables.services[0].backends {
        backend.weight = 0;
    }
    let mut gateway = gateway_of(2, tables);
    through(&mut gateway, 0, &from_client(&fragments(&ask(&[9; 1500]), 1000)));
    assert_eq!(gateway.drops(), [("no_backend", 1), ("fragment_orphan", 1)]);
    assert_eq!(gateway.totals().handed_over, 4);
    gateway.assert_frames_conserved();
}

/// As many as a large machine has CPUs: each is asked once, and nothing goes round and round.
#[test]
fn two_hundred_and_fifty_six_workers_are_not_too_many() {
    let idle = lab::service(2, Protocol::Udp, 53, &[0]);
    let mut gateway = gateway_of(256, lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1]), idle]));
    gateway.inject(7, FRONT, &client("A", 1001, 7002).sent_by_client());
    gateway.settle();
    assert_eq!((gateway.drops(), gateway.totals().handed_over), (vec![("no_flow_tcp", 1)], 255));
    for piece in from_client(&fragments(&ask(&[9; 1500]), 1000)) {
        gateway.inject(0, FRONT, &piece);
    }
    gateway.settle();
    assert_eq!(gateway.drops(), [("no_flow_tcp", 1), ("no_backend", 1), ("fragment_orphan", 1)]);
    assert_eq!(gateway.totals().handed_over, 255 + 2 * 256);
    gateway.assert_frames_conserved();
}
