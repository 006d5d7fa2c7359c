//! TCP segments in fragments through the whole pipeline, in memory: what the tracker knows of them.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use datapath::service::Tables;
use lab::packets::{Seen, Segment, Tunnel, answer_of, ethernet, fragments, reassemble, see, see_ip};
use lab::{CLIENT, CLIENT_MAC, Gateway, OUR_MACS, PLAIN_SNAT, SERVER, SERVER_MAC, TASKS, VIP};
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
