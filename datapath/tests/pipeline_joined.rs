//! Joined segments, through the whole pipeline, in memory, as the kernel hands them over and takes them.

#![allow(clippy::unwrap_used, reason = "test code")]

mod lab;

use etherparse::{Ipv4Header, TcpHeader, TcpOptionElement};
use lab::packets::{Seen, Segment, answer_of, see_ip};
use lab::{BACK, CLIENT, FRONT, Gateway, VIP};
use proptest::prelude::*;
use sys::{LinkType, Segmentation};
use wire::Protocol;

const PORT: u16 = 40_000;
/// As text.
const TASK: &str = "10.0.0.11";
/// In front of a packet that is to be cut: `struct virtio_net_hdr`.
const ORDER_LEN: usize = 10;

fn tables() -> datapath::service::Tables {
    lab::kernel_tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])])
}

fn client(flags: &'static str, seq: u32, ack: u32) -> Segment {
    Segment::new((CLIENT, PORT), (VIP, 8080), flags, seq, ack)
}

/// As the overlay socket hands on what a task sends.
fn from_task(segment: &Segment, edit: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut packet = segment.sent_by_task(0)[14..].to_vec();
    // Outer IP, UDP and VXLAN, inner Ethernet.
    edit(&mut packet[50..]);
    packet
}

/// As the TUN device hands on a client's: DF is cleared.
fn from_client(segment: &Segment, edit: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut packet = segment.ip();
    packet[6] = 0;
    let (mut ip, _) = Ipv4Header::from_slice(&packet).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    packet[10..12].copy_from_slice(&ip.header_checksum.to_be_bytes());
    edit(&mut packet);
    packet
}

/// What Linux leaves to a card: the sum of the pseudo header, not inverted.
fn unfinish(packet: &mut [u8]) {
    let sum = pseudo_header(packet);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo_header(packet: &[u8]) -> u16 {
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&packet[12..20]);
    let sum = sum.add_2bytes([0, 6]).add_2bytes((packet.len() as u16 - 20).to_be_bytes());
    !sum.ones_complement().to_be()
}

fn as_it_is(_: &mut [u8]) {}

fn connect(gateway: &mut Gateway) -> Seen {
    let syn = see_ip(&gateway.forward(&Segment::syn(PORT).ip())[0]);
    assert_eq!(gateway.backward(&from_task(&answer_of(0, &syn, "SA", 5000, 1001), as_it_is)).len(), 1);
    gateway.forward(&client("A", 1001, 5001).ip());
    syn
}

fn stream(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// The stream that segments carry, which must be whole and right, in order, from this number on.
fn carried(pieces: &[Vec<u8>], from: u32, ends: (&str, u16, u16)) -> Vec<u8> {
    let mut stream = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let piece = see_ip(piece);
        let (tcp, last) = (piece.tcp(), n + 1 == pieces.len());
        assert_eq!((piece.dst().to_string().as_str(), piece.ports()), (ends.0, (ends.1, ends.2)));
        assert_eq!(tcp.sequence_number, from.wrapping_add(stream.len() as u32));
        assert_eq!((tcp.psh, tcp.fin, piece.ip.dont_fragment), (last, last, false));
        assert!(piece.bytes.len() <= 1450 && (last || piece.bytes.len() == 1450));
        stream.extend_from_slice(&piece.payload()[tcp.header_len()..]);
    }
    stream
}

/// What is cut behind us leaves whole, with the size of the segments that we would make.
#[test]
fn a_tasks_joined_segment_leaves_whole_where_it_is_cut_behind_us() {
    for (len, unfinished) in [(2000, false), (2000, true), (9500, false), (9500, true), (60_000, false), (60_000, true)]
    {
        let mut gateway = Gateway::cutting(tables());
        let syn = connect(&mut gateway);
        let sent = stream(len);
        let answer = answer_of(0, &syn, "FPA", 5001, 1001).with(&sent);
        let out = gateway.backward(&from_task(&answer, if unfinished { unfinish } else { as_it_is }));
        assert_eq!(out.len(), 1, "{len} bytes");
        let order = Segmentation { tcp_offset: 20, data_offset: 40, data_len: 1410, cwr: false };
        assert_eq!(Segmentation::read(&out[0]), Some(order));
        let packet = &out[0][ORDER_LEN..];
        let (ip, rest) = Ipv4Header::from_slice(packet).unwrap();
        let (tcp, data) = TcpHeader::from_slice(rest).unwrap();
        assert_eq!((ip.source, ip.destination), (VIP.octets(), CLIENT.octets()));
        assert_eq!((tcp.source_port, tcp.destination_port, tcp.sequence_number), (8080, PORT, 5001));
        assert_eq!((ip.header_checksum, ip.dont_fragment, ip.time_to_live), (ip.calc_header_checksum(), false, 63));
        assert!(tcp.fin && tcp.psh && data == sent);
        assert_eq!(tcp.checksum, pseudo_header(packet), "unfinished, for the new addresses");
        assert_eq!(gateway.drops(), []);
        gateway.assert_frames_conserved();
    }
}

#[test]
fn what_one_segment_holds_leaves_as_one() {
    let mut gateway = Gateway::cutting(tables());
    let syn = connect(&mut gateway);
    let sent = stream(1410);
    let out = gateway.backward(&from_task(&answer_of(0, &syn, "FPA", 5001, 1001).with(&sent), unfinish));
    assert_eq!((out.len(), Segmentation::read(&out[0])), (1, None));
    assert_eq!(see_ip(&out[0]).payload()[20..], sent);
}

#[test]
fn a_tasks_joined_segment_is_cut_where_nobody_does_it_for_us() {
    for len in [2000, 9500, 60_000] {
        let mut gateway = Gateway::kernel(tables());
        let syn = connect(&mut gateway);
        let sent = stream(len);
        let out = gateway.backward(&from_task(&answer_of(0, &syn, "FPA", 5001, 1001).with(&sent), unfinish));
        assert_eq!(carried(&out, 5001, ("198.19.0.2", 8080, PORT)), sent);
        gateway.assert_frames_conserved();
    }
}

#[test]
fn a_clients_joined_segment_is_cut_for_the_tunnel() {
    for (len, edit) in [(2000, as_it_is as fn(&mut [u8])), (2000, unfinish), (9500, as_it_is), (60_000, unfinish)] {
        let mut gateway = Gateway::cutting(tables());
        let snat = connect(&mut gateway).ports().0;
        let sent = stream(len);
        let out = gateway.forward(&from_client(&client("FPA", 1001, 5001).with(&sent), edit));
        assert_eq!(carried(&out, 1001, (TASK, snat, 8000)), sent);
        let identifications: Vec<_> = out.iter().map(|piece| see_ip(piece).ip.identification).collect();
        assert!(identifications.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{identifications:?}");
        gateway.assert_frames_conserved();
    }
}

/// DF says that it came over a wire as it is.
#[test]
fn a_clients_long_packet_that_is_one_is_not_cut() {
    let mut gateway = Gateway::cutting(tables());
    connect(&mut gateway);
    gateway.inject(0, FRONT, &client("PA", 1001, 5001).with(&stream(1430)).ip());
    gateway.settle();
    assert!(gateway.collect(0, BACK).is_empty());
    let errors = gateway.collect(0, FRONT);
    let error = see_ip(&errors[0]);
    assert_eq!((error.payload()[..2].to_vec(), &error.payload()[6..8]), (vec![3, 4], &1450_u16.to_be_bytes()[..]));
}

/// A checksum that is neither unfinished nor right stays wrong, so nobody takes the bytes.
#[test]
fn a_wrong_checksum_is_not_made_right() {
    let spoil = |packet: &mut [u8]| *packet.last_mut().unwrap() ^= 1;
    for len in [2000, 60_000] {
        let mut gateway = Gateway::cutting(tables());
        let syn = connect(&mut gateway);
        let sent = stream(len);
        assert!(gateway.backward(&from_task(&answer_of(0, &syn, "PA", 5001, 1001).with(&sent), spoil)).is_empty());
        assert!(gateway.forward(&from_client(&client("PA", 1001, 5001).with(&sent), spoil)).is_empty());
        assert_eq!(gateway.drops(), [("bad_transport_header", 2)]);
        gateway.assert_frames_conserved();
    }
}

/// The worker that owns the flow looks at nothing twice.
#[test]
fn an_unfinished_one_crosses_workers() {
    let mut gateway = Gateway::with(tables(), 2, [LinkType::Ip; 2], 1024);
    let syn = connect(&mut gateway);
    let sent = stream(60_000);
    gateway.inject(1, BACK, &from_task(&answer_of(0, &syn, "FPA", 5001, 1001).with(&sent), unfinish));
    gateway.settle();
    assert_eq!(gateway.totals().handed_over, 1);
    assert_eq!(carried(&gateway.collect(0, FRONT), 5001, ("198.19.0.2", 8080, PORT)), sent);
}

/// However much the others leave at once: all frames of a turn must be there before the first of them is sent.
#[test]
fn many_that_cross_workers_at_once_find_frames() {
    let mut gateway = Gateway::with(tables(), 2, [LinkType::Ip; 2], 1024);
    let syn = connect(&mut gateway);
    let (sent, mut next) = (stream(60_000), 5001);
    for n in 0..16 {
        let answer = answer_of(0, &syn, "PA", next + 60_000 * n, 1001).with(&sent);
        gateway.inject(1, BACK, &from_task(&answer, unfinish));
    }
    gateway.workers[1].turn(gateway.now);
    let mut out = Vec::new();
    while gateway.workers[0].turn(gateway.now) > 0 {
        out.extend(gateway.collect(0, FRONT));
    }
    assert_eq!((gateway.drops(), out.len()), (vec![], 16 * 43));
    for piece in out.iter().map(|piece| see_ip(piece)) {
        assert_eq!(piece.tcp().sequence_number, next);
        next += piece.payload().len() as u32 - 20;
    }
    assert_eq!(next, 5001 + 16 * 60_000);
    gateway.assert_frames_conserved();
}

/// Edits on the way do not depend on the checksum, nor it on them.
#[test]
fn timestamps_are_those_of_the_gateway() {
    let mut gateway = Gateway::cutting(tables());
    let stamps =
        |value, echo| vec![TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(value, echo)];
    let syn = see_ip(&gateway.forward(&Segment::syn(PORT).ip())[0]);
    let delta = syn.timestamps().unwrap().0.wrapping_sub(1_000_000);
    assert_ne!(delta, 0, "nothing would be seen");
    let with = |segment: Segment, value, echo| Segment { options: stamps(value, echo), ..segment };
    let hello = with(answer_of(0, &syn, "SA", 5000, 1001), 70, delta.wrapping_add(1_000_000));
    gateway.backward(&from_task(&hello, as_it_is));
    gateway.forward(&with(client("A", 1001, 5001), 1_000_001, 70).ip());
    let sent = stream(30_000);
    let answer = with(answer_of(0, &syn, "PA", 5001, 1001).with(&sent), 71, delta.wrapping_add(1_000_001));
    let out = gateway.backward(&from_task(&answer, unfinish));
    assert_eq!(Segmentation::read(&out[0]).map(|order| (order.data_offset, order.data_len)), Some((52, 1398)));
    let (_, rest) = Ipv4Header::from_slice(&out[0][ORDER_LEN..]).unwrap();
    let (tcp, data) = TcpHeader::from_slice(rest).unwrap();
    let found = tcp.options_iterator().filter_map(Result::ok).last();
    assert_eq!((found, data), (Some(TcpOptionElement::Timestamp(71, 1_000_001)), &sent[..]));
    let question = with(client("FPA", 1001, 35_001).with(&sent), 1_000_002, 71);
    let pieces = gateway.forward(&from_client(&question, unfinish));
    assert_eq!(carried(&pieces, 1001, (TASK, syn.ports().0, 8000)), sent);
    for piece in &pieces {
        assert_eq!(see_ip(piece).timestamps(), Some((delta.wrapping_add(1_000_002), 71)));
    }
}

/// The PROXY header goes in front of the pieces, and moves the numbers of what comes back.
#[test]
fn a_header_goes_in_front_of_the_pieces() {
    let mut tables = tables();
    tables.services[0].proxy_protocol = true;
    let mut gateway = Gateway::cutting(tables);
    let syn = see_ip(&gateway.forward(&Segment::syn(PORT).ip())[0]);
    gateway.backward(&from_task(&answer_of(0, &syn, "SA", 5000, 1001), as_it_is));
    let sent = stream(20_000);
    let mut out = gateway.forward(&from_client(&client("FPA", 1001, 5001).with(&sent), unfinish));
    let header = see_ip(&out.remove(0));
    assert_eq!((header.tcp().sequence_number, header.payload().len()), (1001, 20 + 28));
    assert_eq!(carried(&out, 1001 + 28, (TASK, syn.ports().0, 8000)), sent);
    let out = gateway.backward(&from_task(&answer_of(0, &syn, "PA", 5001, 1029 + 20_000).with(&sent), unfinish));
    let (_, rest) = Ipv4Header::from_slice(&out[0][ORDER_LEN..]).unwrap();
    let (tcp, data) = TcpHeader::from_slice(rest).unwrap();
    assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (5001, 1001 + 20_000));
    assert_eq!((out.len(), data), (1, &sent[..]));
    gateway.assert_frames_conserved();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Bytes of the headers are whatever they are, under a header checksum that is right; no frame is lost, and each packet
    /// has an end that is counted or seen.
    #[test]
    fn hostile_ones_end_somewhere(
        edits in prop::collection::vec((0..64usize, any::<u8>()), 1..4),
        len in prop::sample::select(vec![1450_usize, 2000, 9300, 60_000]),
        unfinished in any::<bool>(),
    ) {
        let mut gateway = Gateway::cutting(tables());
        let syn = connect(&mut gateway);
        let edit = |packet: &mut [u8]| {
            if unfinished {
                unfinish(packet);
            }
            for (at, value) in &edits {
                packet[*at] = *value;
            }
            if let Ok((ip, _)) = Ipv4Header::from_slice(packet) {
                packet[10..12].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
            }
        };
        let before = gateway.drops().iter().map(|(_, n)| n).sum::<u64>();
        let sent = stream(len);
        let mut seen = gateway.backward(&from_task(&answer_of(0, &syn, "PA", 5001, 1001).with(&sent), edit)).len();
        seen += gateway.forward(&from_client(&client("PA", 1001, 5001).with(&sent), edit)).len();
        seen += gateway.collect(0, FRONT).len() + gateway.collect(0, BACK).len();
        let dropped = gateway.drops().iter().map(|(_, n)| n).sum::<u64>() - before;
        let (_, held, _) = gateway.workers[0].core().frames();
        prop_assert!(dropped as usize + seen + held >= 2, "{} dropped, {} seen, {} held", dropped, seen, held);
        gateway.assert_frames_conserved();
    }
}
