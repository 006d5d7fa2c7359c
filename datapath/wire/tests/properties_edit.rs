//! Laws of the edits in place, with etherparse building the packet that should come out.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::net::Ipv4Addr;

use common::{Plan, addresses, assert_checksums, parse, plans, slow_sum, tuples};
use proptest::prelude::*;
use wire::{
    Datagram, Delta, FiveTuple, Headers, L4, Protocol, Rewrite, checksum, decrement_ttl, finish_partial_checksum,
    give_udp_checksum, l4_checksum_ok, rewrite, route, set_tos,
};

fn to(tuple: FiveTuple) -> Rewrite {
    Rewrite { src: tuple.src, dst: tuple.dst, src_port: tuple.src_port, dst_port: tuple.dst_port }
}

fn retarget(plan: &Plan, mut tuple: FiveTuple) -> Plan {
    tuple.protocol = plan.tuple.protocol;
    Plan { tuple, ..plan.clone() }
}

proptest! {
    #[test]
    fn sums_agree(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(checksum::fold(checksum::sum(&bytes)), slow_sum(&[&bytes]));
        prop_assert_eq!(checksum::internet(&bytes), !slow_sum(&[&bytes]));
    }

    #[test]
    fn pseudo_headers_agree(src in addresses(), dst in addresses(), protocol: u8, len: u16) {
        let bytes = [&src.octets()[..], &dst.octets(), &[0, protocol], &len.to_be_bytes()].concat();
        let sum = checksum::pseudo_header(src, dst, protocol, len);
        prop_assert_eq!(checksum::fold(sum), slow_sum(&[&bytes]));
    }

    /// What its sender would have sent with one; all else stays.
    #[test]
    fn a_datagram_gets_its_checksum(mut plan in plans()) {
        plan.no_checksum = true;
        let mut frame = plan.build();
        let headers = parse(&frame);
        give_udp_checksum(&mut frame, &headers);
        prop_assert_eq!(frame, Plan { no_checksum: false, ..plan }.build());
    }

    /// A delta gives what a sum from scratch gives, at even and odd positions, for one and for many changes.
    #[test]
    fn delta_equals_recompute(
        mut bytes in prop::collection::vec(any::<u8>(), 8..100),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>(), any::<bool>()), 1..6),
    ) {
        // All zeros is the one sum with two representations; no header is.
        bytes[0] = 0x45;
        let before = checksum::internet(&bytes);
        let mut delta = Delta::new();
        for (at, new, wide) in changes {
            let at = 1 + at.index(bytes.len() - 5);
            let old = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            if wide {
                delta = delta.replace32_at(at, old, new);
                bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
            } else {
                delta = delta.replace16_at(at, (old >> 16) as u16, new as u16);
                bytes[at..at + 2].copy_from_slice(&(new as u16).to_be_bytes());
            }
        }
        prop_assert_eq!(delta.apply(before), checksum::internet(&bytes));
    }

    #[test]
    fn aligned_deltas_agree(old: u32, new: u32, checksum: u16) {
        let halves = Delta::new()
            .replace16((old >> 16) as u16, (new >> 16) as u16)
            .replace16(old as u16, new as u16);
        prop_assert_eq!(Delta::new().replace32(old, new).apply(checksum), halves.apply(checksum));
        prop_assert_eq!(Delta::new().replace32_at(4, old, new).apply(checksum), halves.apply(checksum));
    }

    /// What NAT makes is byte for byte the packet that the other sender would have built.
    #[test]
    fn rewrite_equals_rebuild(plan in plans(), tuple in tuples()) {
        let mut packet = plan.build();
        let headers = parse(&packet);
        prop_assert_eq!(headers.five_tuple(), Some(plan.tuple));
        let target = retarget(&plan, tuple);
        rewrite(&mut packet, &headers, &to(tuple));
        prop_assert_eq!(&packet, &target.build());
        prop_assert_eq!(parse(&packet).five_tuple(), Some(target.tuple));
    }

    #[test]
    fn to_route_is_to_rewrite_and_to_take_one_from_the_ttl(plan in plans(), target in plans()) {
        let mut packet = plan.build();
        let headers = parse(&packet);
        route(&mut packet, &headers, &to(target.tuple));
        prop_assert_eq!(packet, Plan { tuple: FiveTuple { protocol: plan.tuple.protocol, ..target.tuple }, ttl: plan.ttl - 1, ..plan }.build());
    }

    /// What is seen at first sight is what the parser sees; of whole datagrams without options it sees all.
    #[test]
    fn a_datagram_at_the_front_is_the_parsers(plan in plans(), padding in 0..20usize, flips in prop::collection::vec((0..40usize, any::<u8>()), 0..3)) {
        let mut frame = [plan.build(), vec![0x55; padding]].concat();
        for (at, bits) in flips {
            if let Some(byte) = frame.get_mut(at) {
                *byte ^= bits;
            }
        }
        let parsed = Headers::parse(&frame, 0);
        let plain = parsed.as_ref().ok().filter(|headers| headers.ip.header_len() == 20).and_then(Datagram::of);
        prop_assert_eq!(Datagram::at_front(&frame), plain);
    }

    #[test]
    fn rewrite_there_and_back(plan in plans(), tuple in tuples()) {
        let original = plan.build();
        let mut packet = original.clone();
        rewrite(&mut packet, &parse(&original), &to(tuple));
        let headers = parse(&packet);
        rewrite(&mut packet, &headers, &to(plan.tuple));
        prop_assert_eq!(packet, original);
    }

    #[test]
    fn ttl_and_tos_equal_rebuild(plan in plans(), tos: u8) {
        let mut packet = plan.build();
        let mut ip = parse(&packet).ip;
        decrement_ttl(&mut packet, &ip);
        set_tos(&mut packet, &mut ip, tos);
        prop_assert_eq!(ip, parse(&packet).ip, "the view follows the frame");
        prop_assert_eq!(packet, Plan { tos, ttl: plan.ttl - 1, ..plan }.build());
    }

    /// A checksum that holds the sum of the pseudo header only, as an offloading sender leaves it, is finished.
    #[test]
    fn partial_checksums_are_finished(plan in plans(), padding in 0..20usize) {
        let plan = Plan { no_checksum: false, ..plan };
        let finished = [plan.build(), vec![0x55; padding]].concat();
        let mut packet = finished.clone();
        let headers = parse(&packet);
        prop_assert!(l4_checksum_ok(&packet, &headers));
        prop_assert!(!finish_partial_checksum(&mut packet, &headers));
        prop_assert_eq!(&packet, &finished);

        let (field, l4_len) = match headers.l4 {
            L4::Tcp(tcp) => (tcp.offset() + 16, headers.ip.payload_len()),
            L4::Udp(udp) => (udp.offset() + 6, udp.len()),
            _ => unreachable!("plans are TCP or UDP"),
        };
        let pseudo = checksum::pseudo_header(plan.tuple.src, plan.tuple.dst, plan.tuple.protocol as u8, l4_len as u16);
        packet[field..field + 2].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
        let headers = parse(&packet);
        let already_right = packet == finished;
        prop_assert_eq!(finish_partial_checksum(&mut packet, &headers), !already_right);
        prop_assert_eq!(packet, finished);
    }

    /// A wrong checksum stays wrong: NAT must not repair what was damaged on its way.
    #[test]
    fn damage_survives_rewrite(plan in plans(), tuple in tuples(), bit in 0..8u8, at: prop::sample::Index) {
        let uncovered = plan.no_checksum && plan.tuple.protocol == Protocol::Udp;
        prop_assume!(!plan.payload.is_empty() && !uncovered);
        let mut packet = plan.build();
        let at = packet.len() - 1 - at.index(plan.payload.len());
        packet[at] ^= 1 << bit;
        let headers = parse(&packet);
        prop_assert!(!l4_checksum_ok(&packet, &headers));
        rewrite(&mut packet, &headers, &to(tuple));
        prop_assert!(!l4_checksum_ok(&packet, &parse(&packet)));
    }

    #[test]
    fn builder_is_right(plan in plans()) {
        assert_checksums(&plan.build());
    }
}

/// One datagram whose checksum computes to 0 after NAT, found by choosing the source port: it must be sent as 0xffff.
#[test]
fn computed_zero_is_sent_as_ones() {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 11));
    let tuple = FiveTuple { src, dst, src_port: 1, dst_port: 53, protocol: Protocol::Udp };
    let plan = Plan {
        tuple,
        ip_options: vec![],
        tos: 0,
        ttl: 64,
        id: 0,
        tcp_flags: 0,
        tcp_options: vec![],
        no_checksum: false,
        payload: b"zero".to_vec(),
    };
    let packet = plan.build();
    let checksum = u16::from_be_bytes([packet[26], packet[27]]);
    // The port takes up what is left of the sum to 0xffff.
    let src_port = 1 + checksum;
    let mut after = packet.clone();
    rewrite(&mut after, &parse(&packet), &Rewrite { src, dst, src_port, dst_port: 53 });
    assert_eq!(after[26..28], [0xff, 0xff]);
    assert_checksums(&after);
    // And back again it is what it was.
    let headers = parse(&after);
    rewrite(&mut after, &headers, &Rewrite { src, dst, src_port: 1, dst_port: 53 });
    assert_eq!(after, packet);
}

/// By hand, RFC 768: 192.0.2.1:1 to 192.0.2.2:2, nine bytes of datagram. c000 + 0201 + c000 + 0202 + 0011 + 0009 of the pseudo
/// header, 0001 + 0002 + 0009 + 4100 of the datagram, the odd byte padded: 1c529, with the carry c52a, its complement 3ad5.
#[test]
fn the_checksum_of_an_odd_datagram() {
    let mut packet =
        vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0xf6, 0xcc, 192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2, 0, 9, 0, 0, 0x41];
    let headers = parse(&packet);
    give_udp_checksum(&mut packet, &headers);
    assert_eq!(packet[26..], [0x3a, 0xd5, 0x41]);
}
