//! Packets written by hand from RFC 791, 8200, 9293 and 7348, and the pieces that must come of them. Checksums were computed apart
//! from the code here.

use proptest::prelude::*;

use super::*;

/// A packet from text, and from data behind it.
pub(crate) fn packet(hex: &[&str]) -> Vec<u8> {
    hex.iter().flat_map(|line| line.split(' ')).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// IPv4 with DF, and TCP with time stamps: CWR, PSH and FIN are set, and identification and sequence number are about to begin anew.
pub(crate) fn four() -> Vec<u8> {
    packet(&[
        "02 00 00 00 00 01 02 00 00 00 00 02 08 00",
        "45 00 00 3e ff fe 40 00 40 06 b2 a0 c0 00 02 07 c6 12 00 01",
        "c3 50 01 bb ff ff ff fe 00 00 00 09 80 99 01 f5 88 4b 00 00 01 01 08 0a 00 00 27 10 00 00 00 00",
        "61 62 63 64 65 66 67 68 69 6a",
    ])
}

/// Four bytes of data in each.
pub(crate) const FOUR: JoinedLimits = JoinedLimits { longest: 61, piece: 56, tunnel_port: None };

pub(crate) fn pieces_of_four() -> [Vec<u8>; 3] {
    [
        packet(&[
            "02 00 00 00 00 01 02 00 00 00 00 02 08 00",
            "45 00 00 38 ff fe 00 00 40 06 f2 a6 c0 00 02 07 c6 12 00 01",
            "c3 50 01 bb ff ff ff fe 00 00 00 09 80 90 01 f5 88 45 00 00 01 01 08 0a 00 00 27 10 00 00 00 00",
            "61 62 63 64",
        ]),
        packet(&[
            "02 00 00 00 00 01 02 00 00 00 00 02 08 00",
            "45 00 00 38 ff ff 00 00 40 06 f2 a5 c0 00 02 07 c6 12 00 01",
            "c3 50 01 bb 00 00 00 02 00 00 00 09 80 10 01 f5 88 45 00 00 01 01 08 0a 00 00 27 10 00 00 00 00",
            "65 66 67 68",
        ]),
        packet(&[
            "02 00 00 00 00 01 02 00 00 00 00 02 08 00",
            "45 00 00 36 00 00 00 00 40 06 f2 a7 c0 00 02 07 c6 12 00 01",
            "c3 50 01 bb 00 00 00 06 00 00 00 09 80 19 01 f5 88 43 00 00 01 01 08 0a 00 00 27 10 00 00 00 00",
            "69 6a",
        ]),
    ]
}

/// In a tunnel to port 4789, DF outside and inside, with an outer checksum that is not to be kept.
fn tunnelled() -> Vec<u8> {
    packet(&[
        "02 00 00 00 00 01 02 00 00 00 00 02 08 00",
        "45 00 00 64 10 00 40 00 40 11 16 83 0a 00 00 03 0a 00 00 04",
        "d4 31 12 b5 00 50 be ef",
        "08 00 00 00 00 10 01 00",
        "02 42 0a 63 00 05 02 42 0a 63 00 02 08 00",
        "45 00 00 32 20 00 40 00 40 06 05 fa 0a 63 00 02 0a 63 00 05",
        "c3 50 01 bb 01 02 03 04 00 00 00 09 50 18 01 f5 14 f1 00 00",
        "61 62 63 64 65 66 67 68 69 6a",
    ])
}

/// Six bytes of data in each.
const TUNNEL: JoinedLimits = JoinedLimits { longest: 99, piece: 46, tunnel_port: Some(4789) };

/// From Ethernet on; nine bytes of data.
fn six() -> Vec<u8> {
    packet(&[
        "02 00 00 00 00 01 02 00 00 00 00 02 86 dd",
        "60 01 23 45 00 1d 06 40 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 07",
        "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01",
        "c3 50 01 bb 00 00 00 05 00 00 00 09 50 18 01 f5 5b 9d 00 00",
        "61 62 63 64 65 66 67 68 69",
    ])
}

const SIX: JoinedLimits = JoinedLimits { longest: 68, piece: 65, tunnel_port: None };

/// All pieces of a packet that lies in one row. None when it is not to be cut.
fn cut(packet: &[u8], limits: JoinedLimits) -> Option<Vec<Vec<u8>>> {
    let mut joined = Joined::read(packet, packet.len(), &limits)?;
    let mut data = &packet[joined.headers_len()..];
    let mut pieces = Vec::new();
    while let Some(len) = joined.next_len() {
        let mut piece = vec![0; len];
        let (headers, room) = piece.split_at_mut(joined.headers_len());
        joined.write_next(headers);
        room.copy_from_slice(data.split_off(..room.len()).unwrap());
        pieces.push(piece);
    }
    Some(pieces)
}

/// The sum of RFC 1071, from its definition.
fn plain_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    words.fold(0, |sum, word| if sum + word > 0xffff { sum + word - 0xffff } else { sum + word }) as u16
}

/// Finishes the TCP checksum of a packet as a card does, and checks it as its receiver does; the IPv4 header, too.
pub(crate) fn assert_right_when_finished(piece: &[u8], ip: usize) {
    let is_six = piece[ip] >> 4 == 6;
    let (addresses, tcp) =
        if is_six { (ip + 8..ip + 40, ip + 40) } else { (ip + 12..ip + 20, ip + usize::from(piece[ip] & 15) * 4) };
    if !is_six {
        assert_eq!(plain_sum(&piece[ip..tcp]), 0xffff, "the header's checksum: {piece:x?}");
    }
    let mut segment = piece[tcp..].to_vec();
    let finished = !plain_sum(&segment);
    segment[16..18].copy_from_slice(&finished.to_be_bytes());
    let covered = [&piece[addresses], &[0, 6], &(segment.len() as u16).to_be_bytes()[..], &segment[..]].concat();
    assert_eq!(plain_sum(&covered), 0xffff, "the segment's checksum: {piece:x?}");
}

#[test]
fn an_ipv4_packet_becomes_three() {
    let pieces = cut(&four(), FOUR).unwrap();
    assert_eq!(pieces, pieces_of_four());
    for piece in &pieces {
        assert_right_when_finished(piece, 14);
    }
}

#[test]
fn a_packet_in_a_tunnel_becomes_two_of_them() {
    let first = packet(&[
        "02 00 00 00 00 01 02 00 00 00 00 02 08 00",
        "45 00 00 60 10 00 40 00 40 11 16 87 0a 00 00 03 0a 00 00 04",
        "d4 31 12 b5 00 4c 00 00",
        "08 00 00 00 00 10 01 00",
        "02 42 0a 63 00 05 02 42 0a 63 00 02 08 00",
        "45 00 00 2e 20 00 00 00 40 06 45 fe 0a 63 00 02 0a 63 00 05",
        "c3 50 01 bb 01 02 03 04 00 00 00 09 50 10 01 f5 14 ed 00 00",
        "61 62 63 64 65 66",
    ]);
    let second = packet(&[
        "02 00 00 00 00 01 02 00 00 00 00 02 08 00",
        "45 00 00 5e 10 01 40 00 40 11 16 88 0a 00 00 03 0a 00 00 04",
        "d4 31 12 b5 00 4a 00 00",
        "08 00 00 00 00 10 01 00",
        "02 42 0a 63 00 05 02 42 0a 63 00 02 08 00",
        "45 00 00 2c 20 01 00 00 40 06 45 ff 0a 63 00 02 0a 63 00 05",
        "c3 50 01 bb 01 02 03 0a 00 00 00 09 50 18 01 f5 14 eb 00 00",
        "67 68 69 6a",
    ]);
    let pieces = cut(&tunnelled(), TUNNEL).unwrap();
    assert_eq!(pieces, [first, second]);
    for piece in &pieces {
        assert_right_when_finished(piece, 64);
    }
}

#[test]
fn an_ipv6_packet_becomes_two() {
    let first = packet(&[
        "02 00 00 00 00 01 02 00 00 00 00 02 86 dd",
        "60 01 23 45 00 19 06 40 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 07",
        "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01",
        "c3 50 01 bb 00 00 00 05 00 00 00 09 50 10 01 f5 5b 99 00 00",
        "61 62 63 64 65",
    ]);
    let second = packet(&[
        "02 00 00 00 00 01 02 00 00 00 00 02 86 dd",
        "60 01 23 45 00 18 06 40 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 07",
        "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01",
        "c3 50 01 bb 00 00 00 0a 00 00 00 09 50 18 01 f5 5b 98 00 00",
        "66 67 68 69",
    ]);
    let pieces = cut(&six(), SIX).unwrap();
    assert_eq!(pieces, [first, second]);
    for piece in &pieces {
        assert_right_when_finished(piece, 14);
    }
}

#[test]
fn a_checksum_is_finished_or_not() {
    let limits = JoinedLimits { piece: 100, ..TUNNEL };
    let is_unfinished = |packet: &[u8]| Joined::read(packet, packet.len(), &limits).unwrap().is_unfinished();
    assert!(is_unfinished(&four()) && is_unfinished(&tunnelled()) && is_unfinished(&six()));
    for (mut packet, at) in [(four(), 50), (tunnelled(), 100), (six(), 70)] {
        packet[at] ^= 0x40;
        assert!(!is_unfinished(&packet));
    }
}

#[test]
fn what_lies_behind_the_packet_is_cut_off() {
    let mut padded = four();
    padded.extend([0xee; 9]);
    assert_eq!(cut(&padded, FOUR).unwrap(), pieces_of_four());
    // Inside a tunnel, too: the outer packet is three bytes longer than what the inner one needs.
    let mut padded = tunnelled();
    let expected = cut(&padded, TUNNEL).unwrap();
    padded.extend([0xee; 3]);
    (padded[17], padded[25], padded[39]) = (0x67, 0x80, 0x53);
    assert_eq!(cut(&padded, TUNNEL).unwrap(), expected);
}

/// The packet with some bytes changed, its IPv4 checksums made good.
fn with(mut packet: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    let is_four = packet[12] == 8;
    for (at, value) in changes {
        packet[*at] = *value;
    }
    for at in if is_four && packet.len() > 100 {
        vec![14, 64]
    } else if is_four {
        vec![14]
    } else {
        vec![]
    } {
        let end = at + usize::from(packet[at] & 15).max(5) * 4;
        packet[at + 10..at + 12].fill(0);
        let end = end.min(packet.len());
        let checksum = !plain_sum(&packet[at..end]);
        packet[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

#[test]
fn what_is_no_whole_tcp_packet_is_not_cut() {
    assert!(cut(&with(four(), &[]), FOUR).is_some(), "or the cases below say nothing");
    let wrong_four: [(&str, &[(usize, u8)]); 11] = [
        ("ARP", &[(13, 6)]),
        ("version 5", &[(14, 0x55)]),
        ("a header of 16 bytes", &[(14, 0x44)]),
        ("one byte more than there are", &[(17, 0x3f)]),
        ("shorter than its headers", &[(17, 51)]),
        ("without data", &[(17, 52)]),
        ("a first fragment", &[(20, 0x20)]),
        ("a later fragment", &[(20, 0), (21, 1)]),
        ("UDP", &[(23, 17)]),
        ("SYN", &[(47, 0x12)]),
        ("a TCP header of 16 bytes", &[(46, 0x40)]),
    ];
    for (what, changes) in wrong_four {
        assert!(cut(&with(four(), changes), FOUR).is_none(), "{what}");
    }
    let mut broken = four();
    broken[24] ^= 1;
    assert!(cut(&broken, FOUR).is_none(), "the header's checksum is wrong");
    for piece in [0, 51, 52] {
        assert!(cut(&four(), JoinedLimits { piece, ..FOUR }).is_none(), "no room for data in {piece} bytes");
    }
    for (what, changes) in [("version 4", (14, 0x40)), ("an extension header", (20, 0)), ("too long", (19, 0x1e))] {
        assert!(cut(&with(six(), &[changes]), SIX).is_none(), "{what}");
    }
}

#[test]
fn only_ipv4_in_tunnels_to_the_port_is_cut() {
    assert!(cut(&with(tunnelled(), &[]), TUNNEL).is_some(), "or the cases below say nothing");
    let wrong: [(&str, &[(usize, u8)]); 8] = [
        ("another port", &[(37, 0xb6)]),
        ("a UDP length that is not the packet's", &[(39, 0x4f)]),
        ("no VXLAN flag", &[(42, 0)]),
        ("IPv6 inside", &[(62, 0x86), (63, 0xdd)]),
        ("UDP inside", &[(73, 17)]),
        ("an inner packet that is longer than the outer", &[(67, 0x33)]),
        ("a fragment outside", &[(20, 0x20)]),
        ("a fragment inside", &[(70, 0x20)]),
    ];
    for (what, changes) in wrong {
        assert!(cut(&with(tunnelled(), changes), TUNNEL).is_none(), "{what}");
    }
    assert!(cut(&tunnelled(), JoinedLimits { tunnel_port: None, ..TUNNEL }).is_none());
}

#[test]
fn headers_must_be_in_the_first_chunk() {
    for (packet, limits, headers) in [(four(), FOUR, 66), (tunnelled(), TUNNEL, 104), (six(), SIX, 74)] {
        for len in 0..packet.len() {
            let is_read = Joined::read(&packet[..len], packet.len(), &limits).is_some();
            assert_eq!(is_read, len >= headers, "{len} bytes");
        }
    }
}

#[test]
fn a_piece_may_be_all_of_it() {
    let whole = cut(&four(), JoinedLimits { piece: 62, ..FOUR }).unwrap();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0][47], 0x99, "first and last at once: no flag goes");
    assert_eq!(whole[0][50..52], [0x88, 0x4b]);
}

#[test]
fn all_options_go_along() {
    // 60 bytes of IPv4 header and 60 of TCP, in a tunnel: the longest headers that there are.
    let plain = tunnelled();
    let mut packet = [&plain[..84], &[1; 40], &plain[84..104], &[1; 40], &plain[104..]].concat();
    (packet[17], packet[39], packet[64], packet[67], packet[136]) = (0xb4, 0xa0, 0x4f, 0x82, 0xf0);
    let packet = with(packet, &[]);
    let pieces = cut(&packet, JoinedLimits { piece: 124, ..TUNNEL }).unwrap();
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [188, 188, 186]);
    for piece in pieces {
        assert_eq!((&piece[84..124], &piece[144..184]), (&[1; 40][..], &[1; 40][..]));
        assert_right_when_finished(&piece, 64);
        assert_right_outside(&piece);
    }
}

fn assert_right_outside(piece: &[u8]) {
    assert_eq!(plain_sum(&piece[14..34]), 0xffff);
    assert_eq!(usize::from(get16(piece, 16)), piece.len() - 14);
    assert_eq!((usize::from(get16(piece, 38)), get16(piece, 40)), (piece.len() - 34, 0));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        len in 0..70_000_usize,
        piece in 0..2_000_usize,
    ) {
        let limits = JoinedLimits { longest: 0, piece, tunnel_port: Some(4789) };
        if let Some(mut joined) = Joined::read(&bytes, len.max(bytes.len()), &limits) {
            prop_assert!(joined.headers_len() <= bytes.len());
            let mut headers = vec![0; joined.headers_len()];
            while joined.next_len().is_some() { joined.write_next(&mut headers); }
        }
    }

    #[test]
    fn nearly_good_packets_are_cut_into_good_pieces(
        which in 0..3_usize,
        changes in prop::collection::vec((0..120_usize, any::<u8>()), 0..4),
        piece in 40..140_usize,
    ) {
        let packet = [four(), tunnelled(), six()][which].clone();
        let changes: Vec<_> = changes.into_iter().filter(|(at, _)| *at < packet.len()).collect();
        let packet = with(packet, &changes);
        let limits = JoinedLimits { longest: 0, piece, tunnel_port: Some(4789) };
        for made in cut(&packet, limits).into_iter().flatten() {
            let ip = if made[12] == 8 && made[23] == 17 { 64 } else { 14 };
            prop_assert!(made.len() <= ip + piece && made.len() <= packet.len());
            assert_right_when_finished(&made, ip);
        }
    }
}
