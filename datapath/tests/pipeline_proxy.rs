//! The PROXY protocol in front of clients' streams, through the whole pipeline, in memory.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use std::time::Duration;

use datapath::service::Tables;
use etherparse::TcpOptionElement;
use lab::packets::{Seen, Segment, Tunnel, answer_of, ethernet, fragments, icmp_error, reassemble, see, udp};
use lab::{BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, OUR_OVERLAY, TASKS, VIP, six};
use sys::LinkType;
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

#[test]
fn a_header_that_arrives_in_parts_is_still_none_of_the_clients_business() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = connect(&mut gateway);
    let mut part = answer_of(0, &syn, "A", 5001, 1001 + 10);
    part.window = 1000;
    let seen = one(&gateway.backward(&part.sent_by_task(0)));
    assert_eq!((facts(&seen), seen.tcp().window_size), ((5001, 1001, vec![]), 1000 - 18));
}

/// A client that waits for the server's first word sends nothing again: the gateway does, and gives up in the end.
#[test]
fn a_backend_that_does_not_listen_is_given_up() {
    let mut gateway = Gateway::new(web(&[1]));
    connect(&mut gateway);
    let mut sent = Vec::new();
    for tick in 1..300u32 {
        gateway.pass(Duration::from_millis(100));
        for frame in gateway.collect(0, BACK) {
            let (seq, _, payload) = facts(&see(&frame));
            sent.push((tick, seq, see(&frame).tcp().rst));
            assert!(see(&frame).tcp().rst || payload == header(1, 8080));
        }
    }
    let headers = [2, 6, 14, 30, 62, 126].map(|tick| (tick, 1001, false));
    assert_eq!(sent, [&headers[..], &[(254, 1001 + HEADER_LEN, true)]].concat());
    let reset = one(&gateway.collect(0, FRONT));
    assert!(reset.tcp().rst);
    assert_eq!((reset.tcp().sequence_number, reset.tcp().acknowledgment_number), (5001, 1001));
    let totals = gateway.totals();
    assert_eq!((totals.proxy_headers, totals.proxy_headers_repeated, totals.flows_reset), (1, 6, 1));
    assert_eq!(gateway.drops(), [("proxy_unacknowledged", 1)]);
    gateway.assert_frames_conserved();
    gateway.assert_gauges();
}

#[test]
fn a_backend_that_was_reset_too_far_asks_back_and_is_answered_exactly() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = connect(&mut gateway);
    let mut without = web(&[]);
    without.overlays[0].peers = lab::VTEPS.to_vec();
    gateway.publish(without);
    assert_eq!(one(&gateway.collect(0, BACK)).tcp().sequence_number, 1001 + HEADER_LEN, "if the header has arrived");
    gateway.collect(0, FRONT);
    gateway.inject(0, BACK, &answer_of(0, &syn, "A", 5001, 1001).sent_by_task(0));
    gateway.settle();
    let exact = one(&gateway.collect(0, BACK)).tcp();
    assert_eq!((exact.rst, exact.sequence_number), (true, 1001));
    assert!(gateway.collect(0, FRONT).is_empty());
}

#[test]
fn a_backend_that_misses_the_header_gets_it_at_once() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = connect(&mut gateway);
    // The first data follow the handshake at once; nothing is sent twice for that.
    let data = client("PA", 1001, 5001).with(b"question").sent_by_client();
    assert_eq!(facts(&one(&gateway.forward(&data))).0, 1001 + HEADER_LEN);
    gateway.now += Duration::from_millis(3);
    gateway.inject(0, BACK, &answer_of(0, &syn, "A", 5001, 1001).sent_by_task(0));
    gateway.settle();
    assert_eq!(facts(&one(&gateway.collect(0, BACK))), (1001, 5001, header(1, 8080)));
    // What the client repeats comes behind the header again.
    gateway.now += Duration::from_millis(3);
    let both: Vec<_> = gateway.forward(&data).iter().map(|frame| facts(&see(frame))).collect();
    assert_eq!(both, [(1001, 5001, header(1, 8080)), (1001 + HEADER_LEN, 5001, b"question".to_vec())]);
    gateway.backward(&answer_of(0, &syn, "A", 5001, 1009 + HEADER_LEN).sent_by_task(0));
    gateway.pass(Duration::from_secs(30));
    assert!(gateway.collect(0, BACK).is_empty(), "it has arrived");
    assert_eq!((gateway.totals().proxy_headers_repeated, gateway.drops()), (2, vec![]));
}

/// One byte before the first: a client asks whether the other end lives. Anything more would lie over the header.
#[test]
fn nothing_lies_over_the_header() {
    let mut gateway = Gateway::new(web(&[1]));
    connect(&mut gateway);
    let forged = client("PA", 1001 - HEADER_LEN, 5001).with(&header(1, 80)).sent_by_client();
    assert!(gateway.forward(&forged).is_empty());
    assert_eq!(gateway.drops(), [("proxy_overlap", 1)]);
    let alive = one(&gateway.forward(&client("A", 1000, 5001).with(b"x").sent_by_client()));
    assert_eq!(facts(&alive), (1000, 5001, b"x".to_vec()));
    let mut gateway = Gateway::new(web(&[1]));
    introduce(&mut gateway);
    let alive = one(&gateway.forward(&client("A", 1000, 5001).sent_by_client()));
    assert_eq!(facts(&alive), (1000 + HEADER_LEN, 5001, vec![]), "the last byte that the backend has got");
}

#[test]
fn resets_are_exact_for_whoever_gets_them() {
    // The client gives up before the header was sent: the backend expects the very first byte.
    let mut gateway = Gateway::new(web(&[1]));
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    let reset = one(&gateway.forward(&client("R", 1001, 0).sent_by_client()));
    assert_eq!((reset.tcp().rst, reset.tcp().sequence_number), (true, 1001));
    assert_eq!((gateway.totals().proxy_headers, gateway.flows()[0].state), (0, "CLOSE"));
    // And after it.
    let mut gateway = Gateway::new(web(&[1]));
    introduce(&mut gateway);
    let reset = one(&gateway.forward(&client("RA", 1001, 5001).sent_by_client()));
    assert_eq!((reset.tcp().sequence_number, reset.tcp().acknowledgment_number), (1001 + HEADER_LEN, 5001));
    assert_eq!(gateway.flows()[0].state, "CLOSE");
    // The backend refuses at once, and later on.
    let mut gateway = Gateway::new(web(&[1]));
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    let refused = one(&gateway.backward(&answer_of(0, &syn, "RA", 0, 1001).sent_by_task(0)));
    assert_eq!((refused.tcp().sequence_number, refused.tcp().acknowledgment_number), (0, 1001));
    let mut gateway = Gateway::new(web(&[1]));
    let syn = introduce(&mut gateway);
    let reset = one(&gateway.backward(&answer_of(0, &syn, "RA", 5001, 1001 + HEADER_LEN).sent_by_task(0)));
    assert_eq!((reset.tcp().sequence_number, reset.tcp().acknowledgment_number), (5001, 1001));
    assert_eq!(gateway.flows()[0].state, "CLOSE");
}

#[test]
fn both_ends_learn_in_their_own_numbers_that_the_backend_is_gone() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = introduce(&mut gateway);
    gateway.forward(&client("PA", 1001, 5001).with(b"question").sent_by_client());
    gateway.backward(&answer_of(0, &syn, "PA", 5001, 1009 + HEADER_LEN).with(b"answer").sent_by_task(0));
    gateway.publish(web(&[]));
    let (to_client, to_backend) = (one(&gateway.collect(0, FRONT)).tcp(), one(&gateway.collect(0, BACK)).tcp());
    assert_eq!((to_client.rst, to_client.sequence_number, to_client.acknowledgment_number), (true, 5007, 1009));
    let numbers = (to_backend.sequence_number, to_backend.acknowledgment_number);
    assert_eq!((to_backend.rst, numbers), (true, (1009 + HEADER_LEN, 5007)));
}

#[test]
fn an_idle_connection_ends_in_the_numbers_of_either_end() {
    let mut gateway = Gateway::new(web(&[1]));
    introduce(&mut gateway);
    gateway.pass(Duration::from_secs(7201));
    let (to_client, to_backend) = (one(&gateway.collect(0, FRONT)).tcp(), one(&gateway.collect(0, BACK)).tcp());
    assert_eq!((to_client.rst, to_client.sequence_number), (true, 5001));
    assert_eq!((to_backend.rst, to_backend.sequence_number), (true, 1001 + HEADER_LEN));
}

#[test]
fn fast_open_becomes_an_ordinary_handshake() {
    let mut gateway = Gateway::new(web(&[1]));
    let early = Segment::syn(PORT).with(b"early").sent_by_client();
    let syn = one(&gateway.forward(&early));
    assert_eq!(facts(&syn), (1000, 0, vec![]));
    // No backend can know of the data; who claims to is somebody else.
    assert!(gateway.backward(&answer_of(0, &syn, "SA", 5000, 1006).sent_by_task(0)).is_empty());
    assert_eq!(gateway.drops(), [("proxy_syn_ack", 1)]);
    one(&gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0)));
    let data = gateway.forward(&client("PA", 1001, 5001).with(b"early").sent_by_client());
    let data: Vec<_> = data.iter().map(|frame| facts(&see(frame))).collect();
    assert_eq!(data, [(1001, 5001, header(1, 8080)), (1001 + HEADER_LEN, 5001, b"early".to_vec())]);
}

#[test]
fn a_forged_end_of_the_handshake_opens_nothing() {
    let mut gateway = Gateway::new(web(&[1]));
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    assert!(gateway.forward(&client("A", 1001, 900_000).sent_by_client()).is_empty());
    assert_eq!((gateway.totals().proxy_headers, gateway.drops()), (0, vec![("invalid_segment", 1)]));
    assert_eq!(facts(&one(&gateway.forward(&client("A", 1001, 5001).sent_by_client()))).2, header(1, 8080));
}

#[test]
fn errors_quote_what_their_receiver_has_sent() {
    let mut gateway = Gateway::new(web(&[1]));
    introduce(&mut gateway);
    let sent = one(&gateway.forward(&client("PA", 1001, 5001).with(&[7; 500]).sent_by_client()));
    let error = icmp_error(TASKS[0], OUR_OVERLAY, 3, 4, 400, &sent.bytes);
    let seen = one(&gateway.backward(&Tunnel::from_node(0).wrap(&error)));
    assert_eq!(&seen.payload()[8 + 20 + 4..8 + 20 + 8], 1001u32.to_be_bytes(), "the client's number");
    // Too big for the overlay: the client's own packet comes back.
    let big = client("A", 1501, 5001).with(&[1; 1460]);
    gateway.inject(0, FRONT, &big.sent_by_client());
    gateway.settle();
    let seen = one(&gateway.collect(0, FRONT));
    assert_eq!(&seen.payload()[8..36], &big.ip()[..28]);
}

#[test]
fn a_client_that_comes_again_gets_a_header_again() {
    let mut gateway = Gateway::new(web(&[1]));
    introduce(&mut gateway);
    gateway.forward(&client("R", 1001, 0).sent_by_client());
    let syn = one(&gateway.forward(&Segment { seq: 77_000, ..Segment::syn(PORT) }.sent_by_client()));
    one(&gateway.backward(&answer_of(0, &syn, "SA", 9000, 77_001).sent_by_task(0)));
    let first = one(&gateway.forward(&client("A", 77_001, 9001).sent_by_client()));
    assert_eq!(facts(&first), (77_001, 9001, header(1, 8080)));
    assert_eq!(gateway.totals().proxy_headers, 2);
}

/// A service that has its setting changed keeps to what its flows have begun with.
#[test]
fn what_has_begun_without_a_header_goes_on_without_one() {
    let mut plain = web(&[1]);
    plain.services[0].proxy_protocol = false;
    let mut gateway = Gateway::new(plain.clone());
    let syn = one(&gateway.forward(&Segment::syn(PORT).sent_by_client()));
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    gateway.publish(web(&[1]));
    let data = one(&gateway.forward(&client("PA", 1001, 5001).with(b"x").sent_by_client()));
    assert_eq!(facts(&data).0, 1001);
    gateway.publish(plain);
    assert_eq!((gateway.totals().proxy_headers, gateway.drops()), (0, vec![]));
}

fn dns() -> Tables {
    let mut tables = lab::tables(vec![lab::service(1, Protocol::Udp, 53, &[1])]);
    tables.services[0].proxy_protocol = true;
    tables
}

fn ask(payload: &[u8]) -> Vec<u8> {
    udp((CLIENT, PORT), (VIP, 53), payload)
}

#[test]
fn the_first_datagram_of_a_flow_and_only_that() {
    let mut gateway = Gateway::new(dns());
    let mut send = |payload: &[u8]| {
        let seen = one(&gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &ask(payload))));
        seen.payload()[8..].to_vec()
    };
    assert_eq!(send(b"question"), [&header(2, 53)[..], b"question"].concat());
    assert_eq!(send(b"another"), b"another");
    assert_eq!((gateway.totals().proxy_headers, gateway.drops()), (1, vec![]));
    gateway.assert_frames_conserved();
}

/// What had just fitted leaves in fragments.
#[test]
fn a_first_datagram_that_gets_too_long_is_split() {
    let mut gateway = Gateway::new(dns());
    let payload = vec![7; 1450 - 28];
    let pieces = gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &ask(&payload)));
    assert_eq!(pieces.len(), 2);
    let whole = reassemble(pieces.iter().map(|frame| see(frame).bytes).collect());
    assert_eq!(whole[28..], [header(2, 53), payload].concat());
}

/// All clients have one address at the task. Their stacks put 0 into what must not be cut, as Linux does on unconnected sockets.
#[test]
fn fragments_of_first_datagrams_are_told_apart() {
    let mut gateway = Gateway::with(dns(), 2, [LinkType::Ethernet; 2], 1024);
    let mut ids = std::collections::BTreeSet::new();
    for n in 0..4 {
        let asked = udp((CLIENT, PORT + n), (VIP, 53), &[7; 1450 - 28]);
        let (sent, _) = etherparse::Ipv4Header::from_slice(&asked).unwrap();
        assert_eq!((sent.identification, sent.dont_fragment), (0, true));
        let worker = usize::from(n % 2);
        gateway.inject(worker, FRONT, &ethernet(CLIENT_MAC, OUR_MACS[0], &asked));
        gateway.settle();
        let pieces: Vec<_> = gateway.collect(worker, BACK).iter().map(|frame| see(frame).ip.identification).collect();
        assert!(pieces.len() == 2 && pieces[0] == pieces[1], "{pieces:?}");
        ids.insert(pieces[0]);
    }
    assert_eq!(ids.len(), 4, "{ids:?}");
}

#[test]
fn a_first_datagram_in_fragments_is_refused() {
    let mut gateway = Gateway::new(dns());
    for piece in fragments(&ask(&[7; 2000]), 1400) {
        assert!(gateway.forward(&ethernet(CLIENT_MAC, OUR_MACS[0], &piece)).is_empty());
    }
    assert_eq!((gateway.flows().len(), gateway.totals().proxy_headers), (0, 0));
    assert_eq!(gateway.drops(), [("proxy_fragment", 1)]);
}

/// By hand: version 2, PROXY, IPv6, the client and the VIP of `lab::six`.
fn header6(transport: u8, vip_port: u16) -> Vec<u8> {
    let mut bytes = header(transport, 0)[..12].to_vec();
    bytes.extend([0x21, 0x20 | transport, 0x00, 0x24]);
    bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([0x9c, 0x40]);
    bytes.extend(vip_port.to_be_bytes());
    bytes
}

fn on_both_vips(protocol: Protocol, port: u16, backend: datapath::service::Backend) -> Tables {
    let mut service = lab::six::service(1, protocol, port);
    service.proxy_protocol = true;
    service.backends.push(backend);
    lab::six::tables(vec![service])
}

#[test]
fn clients_of_ipv6_are_named_by_their_own_addresses() {
    let mut gateway = Gateway::new(on_both_vips(Protocol::Tcp, 8080, lab::overlay_backend(100, 0, 1)));
    let says = |flags: &str, seq, ack, payload: &[u8]| {
        six::by_client(&six::tcp6((six::CLIENT6, PORT), (six::VIP6, 8080), flags, seq, ack, payload))
    };
    let syn = one(&gateway.forward(&says("S", 1000, 0, b"")));
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    let first = one(&gateway.forward(&says("A", 1001, 5001, b"")));
    assert_eq!(facts(&first), (1001, 5001, header6(1, 8080)));
    let data = one(&gateway.forward(&says("A", 1001, 5001, b"question")));
    assert_eq!(facts(&data), (1001 + 52, 5001, b"question".to_vec()));
    let back = gateway.backward(&answer_of(0, &syn, "A", 5001, 1009 + 52).sent_by_task(0));
    let back = six::see6(&back[0]).tcp();
    assert_eq!((back.sequence_number, back.acknowledgment_number), (5001, 1009));
    assert_eq!((gateway.totals().proxy_headers, gateway.drops()), (1, vec![]));
}

#[test]
fn backends_of_ipv6_get_headers_too() {
    let mut gateway = Gateway::new(on_both_vips(Protocol::Tcp, 8080, six::backend(100)));
    let syn = six::see6(&gateway.forward(&Segment::syn(PORT).sent_by_client())[0]);
    let answer = |flags: &str, seq, ack| {
        let (snat, port) = syn.ports();
        six::by_server(&six::tcp6((syn.dst, port), (syn.src, snat), flags, seq, ack, b""))
    };
    gateway.backward(&answer("SA", 5000, 1001));
    let first = six::see6(&gateway.forward(&client("A", 1001, 5001).sent_by_client())[0]);
    assert_eq!((first.src, first.dst, first.tcp().sequence_number), (six::SNAT6, six::SERVER6, 1001));
    assert_eq!(first.payload[first.tcp().header_len()..], header(1, 8080));
    let back = one(&gateway.backward(&answer("A", 5001, 1001 + HEADER_LEN)));
    assert_eq!(facts(&back), (5001, 1001, vec![]));
}

#[test]
fn datagrams_of_ipv6_are_introduced() {
    let mut gateway = Gateway::new(on_both_vips(Protocol::Udp, 53, lab::overlay_backend(100, 0, 1)));
    let ask = |payload: &[u8]| six::by_client(&six::udp6((six::CLIENT6, PORT), (six::VIP6, 53), payload));
    let first = one(&gateway.forward(&ask(b"question")));
    assert_eq!(first.payload()[8..], [&header6(2, 53)[..], b"question"].concat());
    assert_eq!(one(&gateway.forward(&ask(b"another"))).payload()[8..], *b"another");
    assert_eq!(gateway.drops(), []);
}
