//! The PROXY protocol in front of clients' streams, through the whole pipeline, in memory.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use datapath::service::Tables;
use etherparse::TcpOptionElement;
use lab::packets::{Seen, Segment, answer_of, see};
use lab::{CLIENT, Gateway, OUR_OVERLAY, TASKS, VIP};
use wire::Protocol;

const PORT: u16 = 40_000;
/// IPv4: sixteen bytes and twelve of addresses.
const HEADER_LEN: u32 = 28;

/// By hand from section 2.2 of the specification: v2 PROXY, the client, what it asked for.
fn header(transport: u8, vip_port: u16) -> Vec<u8> {
    let mut bytes = vec![0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
    bytes.extend([0x21, 0x10 | transport, 0x00, 0x0c, 198, 19, 0, 2, 198, 18, 0, 1, 0x9c, 0x40]);
    bytes.extend(vip_port.to_be_bytes());
    bytes
}

fn web(backends: &[u16]) -> Tables {
    let mut tables = lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, backends)]);
    tables.services[0].proxy_protocol = true;
    tables
}

fn one(frames: &[Vec<u8>]) -> Seen {
    assert_eq!(frames.len(), 1, "exactly one packet");
    see(&frames[0])
}

fn client(flags: &'static str, seq: u32, ack: u32) -> Segment {
    Segment::new((CLIENT, PORT), (VIP, 8080), flags, seq, ack)
}

/// Sequence number, acknowledgment, payload.
fn facts(seen: &Seen) -> (u32, u32, Vec<u8>) {
    let tcp = seen.tcp();
    let payload = seen.payload()[tcp.header_len()..].to_vec();
    (tcp.sequence_number, tcp.acknowledgment_number, payload)
}

/// A connection of which the header was sent; what the task saw of the SYN.
fn connect(gateway: &mut Gateway) -> Seen {
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    let header_segment = one(&gateway.forward(&client("A", 1001, 5001).sent_by_client()));
    assert_eq!(facts(&header_segment), (1001, 5001, header(1, 8080)));
    syn
}

/// The same, and the header has arrived.
fn introduce(gateway: &mut Gateway) -> Seen {
    let syn = connect(gateway);
    let ack = one(&gateway.backward(&answer_of(0, &syn, "A", 5001, 1001 + HEADER_LEN).sent_by_task(0)));
    assert_eq!(facts(&ack), (5001, 1001, vec![]));
    syn
}

#[test]
fn the_header_takes_the_place_of_the_last_word_of_the_handshake() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    assert_eq!(facts(&syn), (1000, 0, vec![]));
    let synack = one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    assert_eq!(facts(&synack), (5000, 1001, vec![]));
    assert_eq!(synack.tcp().window_size, 65_535 - HEADER_LEN as u16, "the header takes its part");
    let mut ack = client("A", 1001, 5001);
    ack.options = vec![TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(1_000_007, 777)];
    let segment = one(&gateway.forward(&ack.sent_by_client()));
    assert_eq!(facts(&segment), (1001, 5001, header(1, 8080)));
    assert_eq!((segment.src(), segment.dst(), segment.ports().1), (OUR_OVERLAY, TASKS[0], 8000));
    assert_eq!((segment.ports(), segment.outer.unwrap().source_port), (syn.ports(), syn.outer.unwrap().source_port));
    let tcp = one(&gateway.forward(&client("A", 1001, 5001).with(b"x").sent_by_client())).tcp();
    assert_eq!((tcp.sequence_number, tcp.window_size), (1001 + HEADER_LEN, 65_535));
    let totals = gateway.totals();
    assert_eq!((totals.proxy_headers, totals.proxy_headers_repeated, gateway.drops()), (1, 0, vec![]));
    gateway.assert_frames_conserved();
}

#[test]
fn the_header_has_the_clock_of_the_connection() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    let (value, _) = syn.timestamps().unwrap();
    one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    let mut ack = client("A", 1001, 5001);
    ack.options = vec![TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(1_000_007, 777)];
    let segment = one(&gateway.forward(&ack.sent_by_client()));
    assert_eq!(segment.timestamps(), Some((value + 7, 777)));
}

#[test]
fn both_ways_are_renumbered_for_good() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = introduce(&mut gateway);
    let request = one(&gateway.forward(&client("PA", 1001, 5001).with(b"question").sent_by_client()));
    assert_eq!(facts(&request), (1001 + HEADER_LEN, 5001, b"question".to_vec()));
    let mut answer = answer_of(0, &syn, "PA", 5001, 1009 + HEADER_LEN).with(b"answer");
    let sack = TcpOptionElement::SelectiveAcknowledgement((1109 + HEADER_LEN, 1209 + HEADER_LEN), [None; 3]);
    answer.options = vec![sack.clone()];
    let seen = one(&gateway.backward(&answer.sent_by_task(0)));
    assert_eq!(facts(&seen), (5001, 1009, b"answer".to_vec()));
    let moved = TcpOptionElement::SelectiveAcknowledgement((1109, 1209), [None; 3]);
    assert_eq!(seen.option(|option| matches!(option, TcpOptionElement::SelectiveAcknowledgement(..))), Some(moved));
    // A client's own SACK is about the backend's stream, which nothing was put into.
    let mut ack = client("A", 1009, 5001);
    ack.options = vec![sack.clone()];
    let seen = one(&gateway.forward(&ack.sent_by_client()));
    assert_eq!(facts(&seen), (1009 + HEADER_LEN, 5001, vec![]));
    assert_eq!(seen.option(|option| matches!(option, TcpOptionElement::SelectiveAcknowledgement(..))), Some(sack));
    // The end, one side after the other.
    let fin = one(&gateway.forward(&client("FA", 1009, 5007).sent_by_client()));
    assert_eq!(facts(&fin), (1009 + HEADER_LEN, 5007, vec![]));
    let fin = one(&gateway.backward(&answer_of(0, &syn, "FA", 5007, 1010 + HEADER_LEN).sent_by_task(0)));
    assert_eq!(facts(&fin), (5007, 1010, vec![]));
    one(&gateway.forward(&client("A", 1010, 5008).sent_by_client()));
    assert_eq!(gateway.flows()[0].state, "TIME_WAIT");
    assert_eq!(gateway.totals().proxy_headers_repeated, 0);
    assert_eq!(gateway.drops(), []);
}
