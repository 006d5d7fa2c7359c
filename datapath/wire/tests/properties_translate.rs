//! Laws of the translation between IPv6 and IPv4, with etherparse building the packet that should come out.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::six::{
    addresses6, assert_checksum6, build6, extend, fragment_header, narrow, pairs6, parse6, pseudo6, to_four, to_six,
    widen,
};
use common::{Plan, addresses, assert_checksums, parse, plans, slow_sum};
use proptest::prelude::*;
use wire::{L4, Malformed, Pair, Protocol, Untranslatable, finish_partial_checksum};

/// What the plan is to look like as IPv4, built from scratch.
fn expected_four(plan: &Plan, to: Pair<std::net::Ipv4Addr>) -> Vec<u8> {
    let mut plan = Plan { ip_options: vec![], id: 0x1234, no_checksum: false, ..plan.clone() };
    (plan.tuple.src, plan.tuple.dst) = (to.src, to.dst);
    let mut packet = plan.build();
    packet[6] = if packet.len() > 1260 { 0x40 } else { 0 };
    packet[10..12].fill(0);
    let checksum = !slow_sum(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn pairs4() -> impl Strategy<Value = Pair<std::net::Ipv4Addr>> {
    (addresses(), addresses()).prop_map(|(src, dst)| Pair { src, dst })
}

/// Extension headers that a packet may carry without losing its way.
fn extensions() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let options =
        |number: u8| (0..3u8).prop_map(move |len| (number, [vec![0, len], vec![1; 6 + 8 * usize::from(len)]].concat()));
    let routing = Just((43, vec![0, 0, 0, 0, 0, 0, 0, 0]));
    let middle = prop::collection::vec(prop_oneof![options(60), routing, Just(fragment_header(7, 0, false))], 0..4);
    (prop::option::of(options(0)), middle).prop_map(|(first, middle)| {
        let mut all: Vec<_> = first.into_iter().chain(middle).collect();
        let mut seen = false;
        all.retain(|(number, _)| *number != 44 || !std::mem::replace(&mut seen, true));
        all
    })
}

proptest! {
    #[test]
    fn six_becomes_four(mut plan in plans(), pair in pairs6(), to in pairs4(), more in 0..1300usize) {
        plan.payload.resize(plan.payload.len() + more, 0x5a);
        let packet = build6(&plan, pair);
        assert_checksum6(&packet);
        let padded = [packet.as_slice(), &[9; 7]].concat();
        prop_assert_eq!(to_four(&padded, to), Ok(expected_four(&plan, to)));
    }

    #[test]
    fn extension_headers_are_left_behind(plan in plans(), pair in pairs6(), to in pairs4(), extensions in extensions()) {
        let plain = build6(&plan, pair);
        let packet = extend(&plain, &extensions);
        prop_assert_eq!(parse6(&packet).payload_len(), plain.len() - 40);
        let mut expected = to_four(&plain, to).expect("translatable");
        if extensions.iter().any(|(number, _)| *number == 44) {
            // An atomic fragment brings its own identification.
            expected[4..6].copy_from_slice(&[0, 7]);
            expected[6] = 0;
            expected[10..12].fill(0);
            let checksum = !slow_sum(&[&expected[..20]]);
            expected[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        prop_assert_eq!(to_four(&packet, to), Ok(expected));
    }

    #[test]
    fn four_becomes_six(plan in plans(), to in pairs6()) {
        let mut expected = build6(&plan, to);
        expected[0..4].copy_from_slice(&(0x6000_0000 | u32::from(plan.tos) << 20).to_be_bytes());
        let packet = [plan.build().as_slice(), &[9; 7]].concat();
        prop_assert_eq!(to_six(&packet, to), Ok(expected));
    }

    /// There and back: the same packet but for the flow label, and checksums that were wrong stay wrong.
    #[test]
    fn there_and_back(plan in plans(), pair in pairs6(), to in pairs4(), spoiled: bool) {
        let mut packet = build6(&plan, pair);
        packet[1] &= 0xf0;
        packet[2..4].fill(0);
        if spoiled {
            let last = packet.len() - 1;
            packet[last] ^= 0x10;
            // A wrong checksum that looks like an unfinished one would be finished.
            let at = if plan.tuple.protocol == Protocol::Tcp { 56 } else { 46 };
            prop_assume!(slow_sum(&[&pseudo6(&packet, packet.len() - 40)]).to_be_bytes() != packet[at..at + 2]);
        }
        let four = to_four(&packet, to).expect("translatable");
        prop_assert_eq!(to_six(&four, pair), Ok(packet));
    }

    /// What the sender left to its card stays unfinished, and is finished by who finishes such IPv4 packets.
    #[test]
    fn unfinished_checksums(plan in plans(), pair in pairs6(), to in pairs4()) {
        let mut packet = build6(&plan, pair);
        let at = if plan.tuple.protocol == Protocol::Tcp { 56 } else { 46 };
        let unfinished = slow_sum(&[&pseudo6(&packet, packet.len() - 40)]);
        packet[at..at + 2].copy_from_slice(&unfinished.to_be_bytes());
        let mut four = to_four(&packet, to).expect("translatable");
        let headers = parse(&four);
        finish_partial_checksum(&mut four, &headers);
        assert_checksums(&four);
        prop_assert_eq!(four, expected_four(&plan, to));
    }

    /// Fragments stay fragments of the same place, in both directions.
    #[test]
    fn fragments(
        mut plan in plans(), pair in pairs6(), to in pairs4(), id: u32, cut in 8..20usize, at in 1..4000usize,
    ) {
        // The first one has room for the longest TCP header, and the second one is not empty.
        plan.payload.resize(plan.payload.len() + 200, 7);
        let whole = build6(&plan, pair);
        let split = 40 + cut * 8;
        let (first, rest) = (whole[..split].to_vec(), [&whole[..40], &whole[split..]].concat());
        let first = extend(&first, &[fragment_header(id, 0, true)]);
        let rest = extend(&rest, &[fragment_header(id, at * 8, false)]);
        let four = (to_four(&first, to).expect("first"), to_four(&rest, to).expect("rest"));
        let ip = (parse(&four.0).ip, parse(&four.1).ip);
        prop_assert_eq!((ip.0.id(), ip.0.more_fragments(), ip.0.fragment_offset_bytes()), (id as u16, true, 0));
        prop_assert_eq!((ip.1.id(), ip.1.more_fragments(), ip.1.fragment_offset_bytes()), (id as u16, false, at * 8));
        prop_assert!(!ip.0.dont_fragment() && !ip.1.dont_fragment());
        let joined = [&four.0[20..], &four.1[20..]].concat();
        prop_assert_eq!(&joined, &expected_four(&plan, to)[20..]);

        let back = (to_six(&four.0, pair).expect("first"), to_six(&four.1, pair).expect("rest"));
        let facts = (parse6(&back.0), parse6(&back.1));
        prop_assert_eq!(&back.0[48..], &first[48..]);
        let fragment = facts.1.fragment.expect("a fragment");
        prop_assert_eq!((fragment.id, fragment.more, fragment.offset_bytes), (id & 0xffff, false, at * 8));
        prop_assert_eq!(&back.1[40..44], &rest[40..44]);
    }

    /// A fragment of UDP without checksum cannot be mended, a whole datagram can.
    #[test]
    fn udp_without_checksum(plan in plans(), pair in pairs6(), to in pairs4()) {
        let mut plan = plan;
        plan.tuple.protocol = Protocol::Udp;
        plan.no_checksum = true;
        let mut four = plan.build();
        assert_checksum6(&to_six(&four, pair).expect("mended"));
        four[6] |= 0x20;
        four[10..12].fill(0);
        let len = usize::from(four[0] & 15) * 4;
        let checksum = !slow_sum(&[&four[..len]]);
        four[10..12].copy_from_slice(&checksum.to_be_bytes());
        prop_assert_eq!(to_six(&four, pair), Err(Untranslatable::NoUdpChecksum));
        let mut six = build6(&plan, pair);
        six[46..48].fill(0);
        prop_assert_eq!(to_four(&six, to), Err(Untranslatable::NoUdpChecksum));
    }

    #[test]
    fn echo_there_and_back(
        reply: bool, rest: u32, data in prop::collection::vec(any::<u8>(), 0..100), pair in pairs6(), to in pairs4(),
    ) {
        let mut message = [&[128 + u8::from(reply), 0, 0, 0], &rest.to_be_bytes()[..], &data].concat();
        let mut packet = [vec![0x60, 0, 0, 0, 0, message.len() as u8, 58, 33], pair.src.octets().to_vec(), pair.dst.octets().to_vec()].concat();
        let checksum = !slow_sum(&[&pseudo6(&packet, message.len()), &message]);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        packet.extend_from_slice(&message);
        let four = to_four(&packet, to).expect("translatable");
        assert_checksums(&four);
        let L4::Icmp(icmp) = parse(&four).l4 else { panic!("not ICMP") };
        prop_assert_eq!((icmp.kind, icmp.code, icmp.rest), (if reply { 0 } else { 8 }, 0, rest));
        prop_assert_eq!(&four[28..], &data);
        prop_assert_eq!(to_six(&four, pair), Ok(packet));
    }

    #[test]
    fn sources_that_are_no_hosts(plan in plans(), dst in addresses6(), to in pairs4()) {
        for src in ["ff02::1", "::", "::1"] {
            let pair = Pair { src: src.parse().expect("an address"), dst };
            let refused = Err(Untranslatable::Malformed(Malformed::BadIpv6Address));
            prop_assert_eq!(to_four(&build6(&plan, pair), to), refused);
        }
    }

    #[test]
    fn prefixes_are_inverse(address in addresses()) {
        prop_assert_eq!(narrow(widen(address)), Some(address));
    }
}
