//! No bytes, no lie about a length, and no view that belongs to another frame makes anything panic.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::{Golden, plans};
use proptest::prelude::*;
use wire::translate::ROOM;
use wire::{
    Arp, Headers, IcmpError, Ipv6, L4, Pair, Rewrite, checksum, deserves_icmp_error, echo_reply_in_place, ethernet,
    finish_partial_checksum, four_to_six, l4_checksum_ok, reset_for, rewrite, six_to_four, split, translate_icmp_error,
    write_icmp_error, write_tcp_reset,
};

/// Everything that can be done with a packet and the views of it, done to `frame`.
fn do_everything(frame: &mut [u8], headers: &Headers) {
    let ip = headers.ip;
    let to = Rewrite { src: ip.dst(), dst: ip.src(), src_port: 1, dst_port: 2 };
    let mut buf = [0; 600];
    let _ = (l4_checksum_ok(frame, headers), deserves_icmp_error(headers), headers.five_tuple());
    let _ = wire::is_checksum_unfinished(frame, headers);
    finish_partial_checksum(frame, headers);
    if let L4::Tcp(tcp) = headers.l4 {
        let _ = (tcp.options(frame), tcp.timestamps(frame), tcp.sequence_len());
        tcp.clamp_mss(frame, 536);
        tcp.shift_timestamps(frame, 0x8000_0001, 7);
        let reset = headers.five_tuple().and_then(|tuple| reset_for(&tcp, tuple));
        reset.map(|reset| write_tcp_reset(&mut buf, &reset));
    }
    rewrite(frame, headers, &to);
    wire::decrement_ttl(frame, &ip);
    wire::set_tos(frame, &mut { ip }, 0xff);
    if let L4::Icmp(icmp) = headers.l4 {
        if let Ok(inner) = icmp.inner(frame) {
            translate_icmp_error(frame, &ip, &icmp, ip.dst(), ip.src(), inner.tuple.reversed());
        }
        echo_reply_in_place(frame, &ip, &icmp);
    }
    let packet = frame.get(ip.offset()..).unwrap_or_default();
    for piece in 0..3 {
        let _ = wire::segment(packet, headers, 68, piece, &mut buf);
        let _ = split(packet, 68, piece, &mut buf);
    }
    let _ = wire::leave_uncut(&mut packet.to_vec(), headers, 68);
    let _ = write_icmp_error(&mut buf, IcmpError::TimeExceeded, ip.src(), ip.dst(), packet);
}

/// Translates whatever is there, to either family, and back if it can be.
fn translate(frame: &[u8], offset: usize) {
    let (four, six) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::LOCALHOST);
    let (four, six) = (Pair { src: four, dst: four }, Pair { src: six, dst: six });
    let mut copy = frame.to_vec();
    let result = Ipv6::parse(&copy, offset).map(|ip| {
        assert!(ip.end() <= copy.len() && ip.payload() <= ip.end());
        six_to_four(&mut copy, &ip, four, 1, |_| Some(four.src))
    });
    if let Ok(Ok(range)) = result {
        let packet = copy[range].to_vec();
        let headers = Headers::parse(&packet, 0).expect("what was made here is well formed");
        assert_eq!((headers.ip.header_len(), headers.ip.total_len()), (20, packet.len()));
    }
    for room in [0, 20, ROOM] {
        let mut copy = [vec![0; room], frame.to_vec()].concat();
        if let Ok(range) = four_to_six(&mut copy, room.saturating_add(offset), six, |_| Some(six.src)) {
            let header = copy[range.clone()].to_vec();
            assert_eq!(u16::from_be_bytes([header[4], header[5]]) as usize + 40, range.len());
        }
    }
}

/// Parses at `offset`; what can be parsed goes through everything, also with half of the frame gone.
fn feed(frame: &mut [u8], offset: usize) {
    let _ = (ethernet(frame), Arp::parse(frame), checksum::internet(frame));
    translate(frame, offset);
    let Ok(headers) = Headers::parse(frame, offset) else { return };
    assert!(headers.ip.end() <= frame.len());
    let half = frame.len() / 2;
    do_everything(&mut frame[..half], &headers);
    do_everything(frame, &headers);
}

/// Makes the IPv4 header checksum right, so that the header counts.
fn seal(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 15) * 4;
    if packet.len() >= header_len && header_len >= 20 {
        packet[10..12].fill(0);
        let checksum = checksum::internet(&packet[..header_len]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Makes the payload length and the `ICMPv6` checksum right, so that the message counts.
fn seal6(packet: &mut [u8]) {
    if packet.len() < 48 {
        return;
    }
    let len = packet.len() - 40;
    packet[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    if packet[6] == 58 {
        packet[42..44].fill(0);
        let checksum = !common::slow_sum(&[&common::six::pseudo6(packet, len), &packet[40..]]);
        packet[42..44].copy_from_slice(&checksum.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200), offset in 0..40usize) {
        feed(&mut bytes, offset);
    }

    /// An IPv4 header that counts, with random lengths, flags and protocol, before random bytes.
    #[test]
    fn random_packets(
        mut bytes in prop::collection::vec(any::<u8>(), 60..200),
        header_words in 4..=15u8,
        slack in 0..20usize,
        protocol in prop::sample::select(vec![1, 6, 17, 132]),
        fragment in prop::sample::select(vec![0, 0x4000, 0x2000, 0x2001, 0x1fff]),
    ) {
        bytes[0] = 0x40 | header_words;
        let total_len = (bytes.len() - slack) as u16;
        bytes[2..4].copy_from_slice(&total_len.to_be_bytes());
        bytes[6..8].copy_from_slice(&u16::to_be_bytes(fragment));
        bytes[9] = protocol;
        seal(&mut bytes);
        feed(&mut bytes, 0);
    }

    /// Good packets with a few bytes changed: lying lengths, flags, offsets.
    #[test]
    fn spoiled_packets(
        plan in plans(),
        changes in prop::collection::vec((0..60usize, any::<u8>()), 1..4),
        cut in 0..30usize,
    ) {
        let mut packet = plan.build();
        for (at, value) in changes {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        packet.truncate(packet.len() - cut.min(packet.len() - 20));
        seal(&mut packet);
        feed(&mut packet, 0);
    }

    #[test]
    fn spoiled_icmp_errors(at in 20..88usize, value: u8, cut in 0..60usize) {
        let mut packet = Golden::read("nat_icmp_tcp_whole").packet("before");
        packet[at] = value;
        packet.truncate(packet.len() - cut);
        let total_len = packet.len() as u16;
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        seal(&mut packet);
        feed(&mut packet, 0);
    }

    /// IPv6 headers that count, random extension headers and messages.
    #[test]
    fn random_six(
        mut bytes in prop::collection::vec(any::<u8>(), 40..300),
        chain in prop::collection::vec(prop::sample::select(vec![0, 43, 44, 60, 6, 17, 58]), 1..6),
        lens in prop::collection::vec(0..3u8, 6),
        slack in 0..20usize,
    ) {
        let len = bytes.len().saturating_sub(40 + slack) as u16;
        bytes[0] = 0x60;
        bytes[4..6].copy_from_slice(&len.to_be_bytes());
        (bytes[6], bytes[8]) = (chain[0], 0x20);
        let mut at = 40;
        for (number, len) in chain[1..].iter().zip(lens) {
            if let Some(header) = bytes.get_mut(at..at + 4) {
                (header[0], header[1], header[3]) = (*number, len, header[3] & 0xf8);
                at += 8 + usize::from(len) * 8;
            }
        }
        feed(&mut bytes, 0);
    }

    /// Kernel's IPv6 packets with a few bytes changed and a right checksum of the message, cut anywhere.
    #[test]
    fn spoiled_six(
        file in prop::sample::select(vec!["six_udp_refused", "six_time_exceeded", "six_fragments", "six_tcp", "six_echo"]),
        changes in prop::collection::vec((0..120usize, any::<u8>()), 1..4),
        cut in 0..80usize,
    ) {
        for packet in Golden::read(file).packets() {
            let mut packet = packet.to_vec();
            for &(at, value) in &changes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            packet.truncate(packet.len() - cut.min(packet.len() - 20));
            if packet[0] >> 4 == 6 {
                seal6(&mut packet);
            } else {
                seal(&mut packet);
            }
            feed(&mut packet, 0);
        }
    }

    /// Views of a longer frame: an edit of what is not there edits nothing and does not panic.
    #[test]
    fn foreign_views(plan in plans(), offset in prop::sample::select(vec![0, 1, 1000, 60_000])) {
        let packet = plan.build();
        let mut longer = vec![0; offset];
        longer.extend_from_slice(&packet);
        let headers = Headers::parse(&longer, offset).unwrap();
        let mut frame = packet;
        do_everything(&mut frame, &headers);
    }
}

#[test]
fn offset_beyond_the_frame() {
    feed(&mut [0x45; 100], 101);
    feed(&mut [0x45; 100], usize::MAX);
    feed(&mut [], 0);
}
