//! Laws of segmentation: the pieces carry the stream that the packet carried, each of them whole and right.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Plan, assert_checksums, parse, plans};
use proptest::prelude::*;
use wire::{L4, Protocol, Tcp, TcpFlags, is_checksum_unfinished, leave_uncut, segment};

/// All pieces of a packet for one MTU.
fn pieces(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let (headers, mut buf) = (parse(packet), vec![0; mtu]);
    let pieces =
        (0..).map_while(|piece| segment(packet, &headers, mtu, piece, &mut buf).map(|len| buf[..len].to_vec()));
    pieces.collect()
}

fn tcp(packet: &[u8]) -> Tcp {
    match parse(packet).l4 {
        L4::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

fn large_segments() -> impl Strategy<Value = Plan> {
    (plans(), prop::collection::vec(any::<u8>(), 1..20_000)).prop_map(|(plan, payload)| Plan {
        payload,
        tuple: wire::FiveTuple { protocol: Protocol::Tcp, ..plan.tuple },
        ..plan
    })
}

proptest! {
    #[test]
    fn pieces_carry_the_stream(plan in large_segments(), mtu in 300..1600usize, flags in any::<u8>()) {
        let mut packet = plan.build();
        let at = tcp(&packet).offset() + 13;
        let flags = flags & !TcpFlags::SYN.0;
        packet[at] = flags;
        let whole = tcp(&packet);
        let pieces = pieces(&packet, mtu);
        let mut stream = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            assert_checksums(piece);
            let (headers, part) = (parse(piece), tcp(piece));
            prop_assert!(piece.len() <= mtu);
            prop_assert!(piece.len() == mtu || index + 1 == pieces.len(), "as full as they can be");
            prop_assert_eq!(part.seq(), whole.seq().wrapping_add(stream.len() as u32));
            prop_assert_eq!((part.ack(), part.window()), (whole.ack(), whole.window()));
            prop_assert!(!headers.ip.dont_fragment());
            let (first, last) = (index == 0, index + 1 == pieces.len());
            let absent = if last { 0 } else { 0x09 } | if first { 0 } else { 0x80 };
            prop_assert_eq!(part.flags().0, flags & !absent);
            prop_assert_eq!(&piece[part.offset() + 20..part.offset() + part.header_len()],
                &packet[whole.offset() + 20..whole.offset() + whole.header_len()], "options");
            stream.extend_from_slice(&piece[part.offset() + part.header_len()..]);
        }
        prop_assert_eq!(stream, plan.payload);
    }
}

proptest! {
    /// Whoever cuts the packet by what it is told makes the pieces that are made here.
    #[test]
    fn what_is_left_uncut_becomes_the_same_pieces(plan in large_segments(), mtu in 300..1600usize) {
        let packet = plan.build();
        let wanted = pieces(&packet, mtu);
        let mut left = packet.clone();
        let step = leave_uncut(&mut left, &parse(&packet), mtu);
        if wanted.len() < 2 {
            prop_assert_eq!((step, left), (None, packet));
            return Ok(());
        }
        let whole = tcp(&packet);
        prop_assert_eq!(step, Some(wanted[0].len() - whole.offset() - whole.header_len()));
        // `parse` demands a right header checksum.
        let headers = parse(&left);
        prop_assert!(is_checksum_unfinished(&left, &headers) && !headers.ip.dont_fragment());
        prop_assert_eq!(&left[whole.offset() + 18..], &packet[whole.offset() + 18..], "behind the checksum");
        prop_assert_eq!(pieces(&left, mtu), wanted);
    }
}

/// By hand from RFC 9293 and RFC 791: 5 bytes of data in pieces of at most 42 bytes, so 2 + 2 + 1.
#[test]
fn three_pieces_by_hand() {
    let head = |total: u8, id: u8, df: u8, sum: [u8; 2]| {
        vec![0x45, 0, 0, total, 0x10, id, df, 0, 64, 6, sum[0], sum[1], 10, 0, 0, 1, 10, 0, 0, 2]
    };
    let body = |seq: [u8; 4], flags: u8, sum: [u8; 2]| {
        let mut tcp = vec![0, 80, 0x9c, 0x40];
        tcp.extend(seq);
        tcp.extend([0, 0, 0, 9, 0x50, flags, 0, 100, sum[0], sum[1], 0, 0]);
        tcp
    };
    let join = |head: Vec<u8>, body: Vec<u8>, data: &[u8]| [head, body, data.to_vec()].concat();
    // PSH, FIN, ACK, CWR: 0x99. Sequence 0xffff_ffff wraps. Checksums of the input are not looked at but the IPv4 one:
    // 4500+002d+1020+4000+4006+0a00+0001+0a00+0002 = e956, inverted 16a9.
    let packet = join(head(45, 0x20, 0x40, [0x16, 0xa9]), body([0xff; 4], 0x99, [0, 0]), &[1, 2, 3, 4, 5]);
    let pieces = pieces(&packet, 42);
    // 4500+002a+1020+4006+0a00+0001+0a00+0002 = a953, inverted 56ac; the next ones have id + 1, and 41 bytes in all.
    let expected = [
        join(
            head(42, 0x20, 0, [0x56, 0xac]),
            body([0xff; 4], 0x90, by_sum(&[0xffff, 0xffff], 0x5090, 0x0102, 22)),
            &[1, 2],
        ),
        join(head(42, 0x21, 0, [0x56, 0xab]), body([0, 0, 0, 1], 0x10, by_sum(&[0, 1], 0x5010, 0x0304, 22)), &[3, 4]),
        join(head(41, 0x22, 0, [0x56, 0xab]), body([0, 0, 0, 3], 0x19, by_sum(&[0, 3], 0x5019, 0x0500, 21)), &[5]),
    ];
    assert_eq!(pieces, expected);
}

/// The TCP checksum of a piece of `three_pieces_by_hand`, from its words.
fn by_sum(seq: &[u32], flags: u32, data: u32, len: u32) -> [u8; 2] {
    let pseudo = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + len;
    let rest = 0x0050 + 0x9c40 + seq.iter().sum::<u32>() + 9 + flags + 100 + data;
    let sum = pseudo + rest;
    let folded = (sum & 0xffff) + (sum >> 16);
    (!(((folded & 0xffff) + (folded >> 16)) as u16)).to_be_bytes()
}

#[test]
fn what_is_no_stream_is_not_cut() {
    let data = common::Golden::read("nat_tcp_data").packets().next().expect("a packet").to_vec();
    let syn = common::Golden::read("nat_tcp_syn").packets().next().expect("a packet").to_vec();
    let udp = common::Golden::read("nat_udp").packets().next().expect("a packet").to_vec();
    let mut buf = [0; 2000];
    for packet in [&syn, &udp] {
        assert_eq!(segment(packet, &parse(packet), 1450, 0, &mut buf), None);
        assert_eq!(leave_uncut(&mut packet.clone(), &parse(packet), 41), None);
    }
    let headers = parse(&data);
    assert_eq!(segment(&data, &headers, 1450, 1, &mut buf), None, "there is one piece only");
    assert_eq!(segment(&data, &headers, 1450, usize::MAX, &mut buf), None);
    assert_eq!(segment(&data, &headers, 40, 0, &mut buf), None, "no room for data");
    assert_eq!(segment(&data, &headers, 1450, 0, &mut buf[..41]), None, "buffer");
}
